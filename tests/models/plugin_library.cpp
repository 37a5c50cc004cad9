#include "tests/models/plugin_library.hpp"

#include <dlfcn.h>

#include <toml++/toml.h>
#include <sstream>

#include "core/base/error.hpp"

namespace nemo::models_test {
namespace {

graph::Builder& builder(nemo_graph* handle) { return *reinterpret_cast<graph::Builder*>(handle); }
std::string_view view(nemo_str s) { return {s.ptr, s.len}; }

template <class Body>
nemo_error* guarded(Body&& body) {
  try {
    body();
    return nullptr;
  } catch (const std::exception& e) {
    return new_error(NEMO_CODE_INVALID_ARGUMENT, e.what());
  }
}

graph::Attr attribute(const nemo_attr& a) {
  switch (a.type) {
    case NEMO_ATTR_INT:
      return a.i;
    case NEMO_ATTR_FLOAT:
      return a.f;
    case NEMO_ATTR_STRING:
      return std::string(view(a.s));
    case NEMO_ATTR_FLOATS:
      return std::vector<double>(a.floats, a.floats + a.n);
    case NEMO_ATTR_INTS:
      return std::vector<int64_t>(a.ints, a.ints + a.n);
    default:
      throw std::runtime_error("unknown attribute type");
  }
}

nemo_error* apply(nemo_graph* g, nemo_str name, const nemo_value* inputs, uint64_t n_inputs, const nemo_attr* attrs, uint64_t n_attrs,
                  uint64_t stride, nemo_value* outputs, uint64_t n_outputs) {
  return guarded([&] {
    graph::Attrs converted;
    for (uint64_t i = 0; i < n_attrs; ++i) {
      const auto& a = *reinterpret_cast<const nemo_attr*>(reinterpret_cast<const char*>(attrs) + i * stride);
      converted.emplace(view(a.name), attribute(a));
    }
    const auto results = builder(g).op(view(name), {inputs, inputs + n_inputs}, std::move(converted));
    for (uint64_t i = 0; i < std::min<uint64_t>(n_outputs, results.size()); ++i) outputs[i] = results[i];
  });
}

const nemo_graph_api* graph_api() {
  static const nemo_graph_api api = [] {
    nemo_graph_api a{};
    a.struct_size = sizeof a;
    a.axis_size = [](nemo_graph* g, nemo_str axis, int64_t* out) { return guarded([&] { *out = builder(g).axis_size(view(axis)); }); };
    a.vocab_size = [](nemo_graph* g, int64_t* out) { return guarded([&] { *out = builder(g).vocab_size(); }); };
    a.input = [](nemo_graph* g, nemo_str name, nemo_value* out) { return guarded([&] { *out = builder(g).input(view(name)); }); };
    a.parameter = [](nemo_graph* g, const nemo_parameter* p, nemo_value* out) { return guarded([&] { *out = builder(g).parameter(*p); }); };
    a.op = apply;
    a.output = [](nemo_graph* g, nemo_str name, nemo_value v) { return guarded([&] { builder(g).output(view(name), v); }); };
    a.scope_push = [](nemo_graph* g, nemo_str name) { return guarded([&] { builder(g).scope_push(view(name)); }); };
    a.scope_pop = [](nemo_graph* g) { return guarded([&] { builder(g).scope_pop(); }); };
    a.block_begin = [](nemo_graph* g, nemo_str kind, int64_t i) { return guarded([&] { builder(g).block_begin(view(kind), i); }); };
    a.block_end = [](nemo_graph* g) { return guarded([&] { builder(g).block_end(); }); };
    return a;
  }();
  return &api;
}

}  // namespace

const nemo_component& load_component(const std::string& name) {
  const std::string path = NEMO_BUILD_DIR "/lib/nemo/plugins/" + name + ".so";
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  if (library == nullptr) throw std::runtime_error(dlerror());
  auto* entry = reinterpret_cast<nemo_plugin_entry_fn*>(dlsym(library, NEMO_PLUGIN_ENTRY_NAME));
  if (entry == nullptr) throw std::runtime_error(path + " has no " NEMO_PLUGIN_ENTRY_NAME);
  const nemo_plugin* plugin = nullptr;
  rethrow(entry(host_api(), nullptr, &plugin));
  if (plugin->n_components != 1) throw std::runtime_error(path + " has not exactly one component");
  return plugin->components[0];
}

graph::Graph build_model(const nlohmann::json& settings, const graph::BuildFacts& facts) {
  const nemo_component& component = load_component("nemo_model_" + settings.at("plugin").get<std::string>());
  const Settings config(*component.schema, settings);
  graph::Graph graph;
  graph::Builder builder(graph, facts);
  rethrow(static_cast<const nemo_model_api*>(component.api)->build(nullptr, config.get(), graph_api(), builder.handle()));
  graph::verify(graph, "build");
  return graph;
}

nlohmann::json recipe_model(const std::string& name) {
  const toml::table recipe = toml::parse_file(NEMO_SOURCE_DIR "/host/recipes/" + name + ".toml");
  std::ostringstream json;
  json << toml::json_formatter(*recipe["model"].as_table());
  return nlohmann::json::parse(json.str());
}

}  // namespace nemo::models_test
