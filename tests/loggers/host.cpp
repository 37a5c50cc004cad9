#include "tests/loggers/host.hpp"

#include <dlfcn.h>
#include <unistd.h>

#include <fstream>
#include <iterator>

struct nemo_error {
  nemo_code code;
  std::string message;
  std::map<std::string, std::string> facts;
};

struct nemo_config {
  std::map<std::string, std::string> values;
};

namespace nemo::test {
namespace {

std::string text_of(nemo_str s) { return {s.ptr, s.len}; }
nemo_str str_of(const std::string& s) { return {s.data(), s.size()}; }

nemo_error* error_new(nemo_host*, nemo_code code, nemo_str message) { return new nemo_error{code, text_of(message), {}}; }
void error_set(nemo_error* error, nemo_str key, nemo_str value) { error->facts[text_of(key)] = text_of(value); }
nemo_code error_code(const nemo_error* error) { return error->code; }
nemo_str error_message(const nemo_error* error) { return str_of(error->message); }
void error_free(nemo_error* error) { delete error; }
uint8_t cancelled(nemo_host*) { return 0; }

void log(nemo_host*, nemo_log_level level, nemo_str, nemo_str message) {
  if (level == NEMO_LOG_WARNING) warnings().push_back(text_of(message));
}

nemo_error* find(const nemo_config* config, nemo_str path, const std::string** out) {
  const auto found = config->values.find(text_of(path));
  if (found == config->values.end()) return new nemo_error{NEMO_CODE_INVALID_ARGUMENT, "the schema has no field " + text_of(path), {}};
  *out = &found->second;
  return nullptr;
}

nemo_error* config_string(const nemo_config* config, nemo_str path, nemo_str* out) {
  const std::string* value = nullptr;
  nemo_error* error = find(config, path, &value);
  if (error == nullptr) *out = str_of(*value);
  return error;
}

nemo_error* config_int(const nemo_config* config, nemo_str path, int64_t* out) {
  const std::string* value = nullptr;
  nemo_error* error = find(config, path, &value);
  if (error == nullptr) *out = std::stoll(*value);
  return error;
}

const nemo_host_api& table() {
  static const nemo_host_api api = [] {
    nemo_host_api t{};
    t.struct_size = sizeof t;
    t.abi_minor_max = NEMO_ABI_MINOR;
    t.sdk_build = NEMO_SDK_BUILD;
    t.error_new = error_new, t.error_set = error_set, t.error_code = error_code, t.error_message = error_message, t.error_free = error_free;
    t.log = log, t.cancelled = cancelled, t.config_string = config_string, t.config_int = config_int;
    return t;
  }();
  return api;
}

void check(nemo_error* error) {
  if (error == nullptr) return;
  PluginError thrown(error->code, error->message);
  thrown.facts = error->facts;
  delete error;
  throw thrown;
}

const nemo_component& open_plugin(const std::string& id) {
  const std::string path = NEMO_BUILD_DIR "/lib/nemo/plugins/nemo_logger_" + id + ".so";
  void* library = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  if (library == nullptr) throw std::runtime_error(::dlerror());
  auto* entry = reinterpret_cast<nemo_plugin_entry_fn*>(::dlsym(library, NEMO_PLUGIN_ENTRY_NAME));
  if (entry == nullptr) throw std::runtime_error(path + " has no entry");
  const nemo_plugin* plugin = nullptr;
  check(entry(&table(), nullptr, &plugin));
  const nemo_component& component = plugin->components[0];
  if (plugin->n_components != 1 || component.kind != NEMO_KIND_LOGGER || text_of(component.id) != id)
    throw std::runtime_error(path + " is not the logger " + id);
  return component;
}

nemo_config settings_of(const nemo_schema& schema, const std::map<std::string, std::string>& over) {
  nemo_config config;
  for (uint64_t i = 0; i < schema.n_fields; ++i) {
    const auto* field = reinterpret_cast<const nemo_field*>(reinterpret_cast<const char*>(schema.fields) + i * schema.field_stride);
    std::string value = text_of(field->default_value);
    if (value.size() >= 2 && value.front() == '"') value = value.substr(1, value.size() - 2);
    config.values[text_of(field->path)] = value;
  }
  for (const auto& [path, value] : over) config.values.at(path) = value;
  return config;
}

}  // namespace

std::vector<std::string>& warnings() {
  static std::vector<std::string> all;
  return all;
}

TemporaryFolder::TemporaryFolder() {
  std::string name = (std::filesystem::temp_directory_path() / "nemo-logger-XXXXXX").string();
  path_ = ::mkdtemp(name.data());
}

std::string content(const std::filesystem::path& file) {
  std::ifstream in(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

void write(const std::filesystem::path& file, const std::string& text) { std::ofstream(file, std::ios::binary) << text; }

std::vector<std::string> lines(const std::filesystem::path& file) {
  std::ifstream in(file);
  std::vector<std::string> all;
  for (std::string line; std::getline(in, line);) all.push_back(line);
  return all;
}

Logger::Logger(const std::string& id, const std::filesystem::path& directory, const RunFacts& run) {
  const nemo_component& component = open_plugin(id);
  api_ = static_cast<const nemo_logger_api*>(component.api);
  const nemo_config config = settings_of(*component.schema, run.settings);
  const std::string folder = directory.string();
  nemo_run_info info{};
  info.struct_size = sizeof info;
  info.name = NEMO_STR("test");
  info.directory = str_of(folder);
  info.first_step = run.first_step;
  info.max_steps = run.max_steps;
  info.is_terminal = run.terminal ? 1 : 0;
  check(api_->start(nullptr, &config, &info, &logger_));
}

Logger::~Logger() { api_->destroy(logger_); }

void Logger::metrics(int64_t step, const Metrics& values) {
  struct Wider {  // a later SDK's metric: the stride is not sizeof(nemo_metric)
    nemo_metric metric;
    uint64_t unknown;
  };
  std::vector<Wider> raw;
  for (const auto& [name, value] : values) raw.push_back({{str_of(name), value}, 0});
  check(api_->metrics(logger_, step, raw.empty() ? nullptr : &raw.front().metric, raw.size(), sizeof(Wider)));
}

void Logger::text(const std::string& line) {
  ASSERT_NE(api_->text, nullptr);
  check(api_->text(logger_, 0, str_of(line)));
}

void Logger::finish(const std::string& status, const std::string& message) {
  check(api_->finish(logger_, str_of(status), str_of(message)));
}

}  // namespace nemo::test
