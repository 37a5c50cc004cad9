#include "tests/hub/files.hpp"

#include <cstdlib>
#include <cstring>
#include <fstream>

#include "core/config/config_api.hpp"
#include "core/plugin/search_path.hpp"

namespace nemo::hub_test {
namespace fs = std::filesystem;

Folder::Folder() {
  std::string name = (fs::temp_directory_path() / "nemo-hub-XXXXXX").string();
  if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("cannot make " + name);
  path_ = name;
}

Folder::~Folder() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

void write(const fs::path& file, const std::string& content) { std::ofstream(file, std::ios::binary) << content; }

std::string read(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

std::string safetensors(const std::string& header, const std::string& data) {
  const uint64_t size = header.size();
  std::string out(sizeof size, '\0');
  std::memcpy(out.data(), &size, sizeof size);
  return out + header + data;
}

fs::path golden_folder(const std::string& model) { return fs::path(NEMO_SOURCE_DIR) / "tests/golden/models" / model; }

void copy_model(const std::string& model, const fs::path& to) {
  fs::create_directories(to);
  for (const fs::directory_entry& entry : fs::directory_iterator(golden_folder(model)))
    fs::copy_file(entry.path(), to / entry.path().filename());
}

Host::Host() {
  plugin::HostOptions options;
  options.fill_config = config::fill_config_api;
  table_ = std::make_unique<plugin::HostTable>(options);
  plugin::SearchSources sources;
  sources.install_folder = NEMO_BUILD_DIR "/lib/nemo/plugins";
  registry_ = std::make_unique<plugin::Registry>(plugin::SearchPath(sources), *table_);
  static const std::atomic<bool> never{false};
  context.host = table_->api();
  context.interrupted = &never;
  context.info = [](const std::string&) {};
  context.warn = [this](const std::string& line) { warnings.push_back(line); };
}

}  // namespace nemo::hub_test
