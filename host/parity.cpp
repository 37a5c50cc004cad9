// host/parity.cpp - a Hugging Face model folder against the outputs of a reference implementation.

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "core/base/error.hpp"
#include "core/hub/parity.hpp"
#include "host/options.hpp"
#include "host/program.hpp"

namespace nemo::host {

namespace po = boost::program_options;

namespace {

// A new folder below `parent`, removed at the end.
class WorkFolder {
 public:
  explicit WorkFolder(const std::filesystem::path& parent) {
    std::string name = (parent / "nemo-parity-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) throw Error(Code::kInternal, "cannot make a folder in " + parent.string());
    path_ = name;
  }
  ~WorkFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  WorkFolder(const WorkFolder&) = delete;
  WorkFolder& operator=(const WorkFolder&) = delete;
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace

int parity(Program& program, const std::vector<std::string>& arguments) {
  const std::string usage = "nemo-host parity HF_DIR [--golden golden.safetensors] [options]";
  po::options_description options("options");
  options.add_options()("golden", po::value<std::string>(), "outputs of the reference; golden.json lies beside it; default: in HF_DIR")(
      "accelerator", po::value<std::string>(), "cpu (default) or gpu")("work", po::value<std::string>(),
                                                                       "folder for temporary files; default: the system's");
  const Parsed parsed = parse(arguments, usage, options);
  if (parsed.help) return kDone;
  if (parsed.positional.size() != 1) throw Error(Code::kConfig, "one model folder is needed\nusage: " + usage);
  const std::filesystem::path folder = parsed.positional[0];
  const std::filesystem::path parent =
      parsed.values.count("work") ? std::filesystem::path(parsed.values["work"].as<std::string>()) : std::filesystem::temp_directory_path();
  const WorkFolder work(parent);
  hub::ParityOptions o;
  o.folder = folder;
  o.golden =
      parsed.values.count("golden") ? std::filesystem::path(parsed.values["golden"].as<std::string>()) : folder / "golden.safetensors";
  o.work = work.path();
  o.recipe = kImportedRecipe;
  if (parsed.values.count("accelerator")) o.device = "trainer.accelerator=" + parsed.values["accelerator"].as<std::string>();
  const std::vector<hub::ParityRow> rows = hub::parity(o, program.registry({}, std::filesystem::current_path()), program.context());
  std::printf("%s\n  %-26s%-10s%-12s%s\n", folder.c_str(), "check", "", "of bound", "measured");
  for (const hub::ParityRow& row : rows)
    std::printf("  %-26s%-10s%-12.3g%s\n", row.check.c_str(), row.ok ? "ok" : "MISSED", row.worst, row.measured.c_str());
  const auto missed = std::count_if(rows.begin(), rows.end(), [](const hub::ParityRow& row) { return !row.ok; });
  std::printf("%s\n", missed == 0 ? "parity" : (std::to_string(missed) + " of " + std::to_string(rows.size()) + " checks missed").c_str());
  return missed == 0 ? kDone : kFailed;
}

}  // namespace nemo::host
