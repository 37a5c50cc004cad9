#include "core/runtime/run_folder.hpp"

#include <fstream>
#include <system_error>

#include "core/base/error.hpp"

namespace nemo::runtime {

namespace fs = std::filesystem;

fs::path run_folder(const Setup& setup) {
  const config::Section& job = setup.section("job");
  const std::string name = job.has("name") ? job.get_string("name") : fs::path(job.recipe()).stem().string();
  if (name.empty() || name == "." || name == ".." || name.find('/') != std::string::npos)
    throw config::fault_at(job, "name", "'" + name + "' cannot name a folder; give a name without '/' that is neither '.' nor '..'");
  return fs::path(setup.section("log").get_string("dir")) / name;
}

void make_run_folder(const fs::path& folder, const std::string& recipe) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error)
    throw Error(Code::kNotFound, "cannot make the run's folder '" + folder.string() + "': " + error.message() +
                                     "; set log.dir to a folder that can be written");
  const fs::path file = folder / "recipe.toml", partial = folder / "recipe.toml.partial";
  std::ofstream out(partial);
  out << recipe;
  out.close();
  if (out) fs::rename(partial, file, error);
  if (!out || error) throw Error(Code::kInternal, "cannot write '" + file.string() + "': no space or no permission");
}

void move_aside(const fs::path& folder, const std::function<void(const std::string&)>& info) {
  if (!fs::exists(folder / "checkpoints")) return;
  for (int n = 1;; ++n) {
    const fs::path aside = folder.string() + ".old-" + std::to_string(n);
    if (fs::exists(aside)) continue;
    fs::rename(folder, aside);
    info("checkpoint.resume = never: moved the earlier run to " + aside.string());
    return;
  }
}

}  // namespace nemo::runtime
