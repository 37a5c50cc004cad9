// nemo/cpp/graph.hpp - the graph builder for model plugins, so that a model reads like its paper:
//
//   Graph g(api, graph);
//   Value x = g.embedding({g.input("tokens"), table});
//   Value q = g.linear({x, wq});             // [batch seq heads head_dim]
//   Value o = g.attention({q, k, v}, {{"scale", scale}})[0];
#pragma once

#include <array>
#include <initializer_list>
#include <string>
#include <vector>

#include "nemo/cpp/core.hpp"

namespace nemo::sdk {
inline namespace v1 {

using Value = nemo_value;
constexpr Value kNone = 0;

struct Dim {
  int64_t size;
  std::string_view axis;
};

struct Init {
  nemo_init kind;
  double a, b;
  static Init constant(double value) { return {NEMO_INIT_CONSTANT, value, 0}; }
  static Init uniform(double low, double high) { return {NEMO_INIT_UNIFORM, low, high}; }
  static Init normal(double standard_deviation) { return {NEMO_INIT_NORMAL, 0, standard_deviation}; }
};

struct Attr {
  nemo_attr raw{};
  Attr(std::string_view name, double v) : Attr(name, Type{NEMO_ATTR_FLOAT}) { raw.f = v; }
  Attr(std::string_view name, int64_t v) : Attr(name, Type{NEMO_ATTR_INT}) { raw.i = v; }
  Attr(std::string_view name, int v) : Attr(name, int64_t{v}) {}
  Attr(std::string_view name, bool v) : Attr(name, int64_t{v}) {}
  Attr(std::string_view name, std::string_view v) : Attr(name, Type{NEMO_ATTR_STRING}) { raw.s = to_str(v); }
  Attr(std::string_view name, const char* v) : Attr(name, std::string_view(v)) {}
  Attr(std::string_view name, const std::string& v) : Attr(name, std::string_view(v)) {}
  Attr(std::string_view name, const std::vector<double>& v) : Attr(name, Type{NEMO_ATTR_FLOATS}) {
    raw.floats = v.data(), raw.n = v.size();
  }

 private:
  struct Type {
    nemo_attr_type type;
  };
  Attr(std::string_view name, Type t) { raw.name = to_str(name), raw.type = t.type; }
};

// Outputs of one op; converts to its first one.
struct Values {
  std::array<Value, 8> value{};
  Value operator[](size_t i) const { return value[i]; }
  operator Value() const { return value[0]; }
};

class Graph {
 public:
  Graph(const nemo_graph_api* api, nemo_graph* graph) : api_(api), graph_(graph) {}

  int64_t axis_size(std::string_view axis) const {
    int64_t n = 0;
    check(api_->axis_size(graph_, to_str(axis), &n));
    return n;
  }
  int64_t vocab_size() const {
    int64_t n = 0;
    check(api_->vocab_size(graph_, &n));
    return n;
  }
  Value input(std::string_view name) {
    Value v = 0;
    check(api_->input(graph_, to_str(name), &v));
    return v;
  }
  void output(std::string_view name, Value v) { check(api_->output(graph_, to_str(name), v)); }

  // Weight matrices take part in weight decay; vectors (norm weights, biases) do not by default.
  Value weight(std::string_view name, std::initializer_list<Dim> dims, Init init) { return parameter(name, dims, init, 0); }
  Value vector(std::string_view name, std::initializer_list<Dim> dims, Init init) {
    return parameter(name, dims, init, NEMO_PARAMETER_NO_DECAY);
  }
  // Saved with the model, never trained by gradient.
  Value frozen(std::string_view name, std::initializer_list<Dim> dims, Init init) {
    return parameter(name, dims, init, NEMO_PARAMETER_NO_DECAY | NEMO_PARAMETER_FROZEN);
  }

  Values op(std::string_view name, std::initializer_list<Value> inputs, std::initializer_list<Attr> attrs = {}) {
    std::vector<nemo_attr> raw;
    for (const Attr& a : attrs) raw.push_back(a.raw);
    Values out;
    check(api_->op(graph_, to_str(name), inputs.begin(), inputs.size(), raw.data(), raw.size(), sizeof(nemo_attr), out.value.data(),
                   out.value.size()));
    return out;
  }
#define NEMO_OP(name, signature, whole, attributes) \
  Values name(std::initializer_list<Value> inputs, std::initializer_list<Attr> attrs = {}) { return op(#name, inputs, attrs); }
#include "nemo/ops.def"
#undef NEMO_OP

  // RAII: names every op made while it lives.
  class Scope {
   public:
    Scope(Graph& g, std::string_view name) : g_(g) { check(g_.api_->scope_push(g_.graph_, to_str(name))); }
    ~Scope() {
      // NOLINTNEXTLINE(clang-analyzer-core.NullDereference): set before any code of the plugin runs
      if (nemo_error* e = g_.api_->scope_pop(g_.graph_)) host().api->error_free(e);
    }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    Graph& g_;
  };
  // RAII: one block, where pipeline, recompute and FSDP may cut.
  class Block {
   public:
    Block(Graph& g, std::string_view kind, int64_t index) : g_(g) { check(g_.api_->block_begin(g_.graph_, to_str(kind), index)); }
    ~Block() {
      if (nemo_error* e = g_.api_->block_end(g_.graph_)) host().api->error_free(e);
    }
    Block(const Block&) = delete;
    Block& operator=(const Block&) = delete;

   private:
    Graph& g_;
  };

 private:
  Value parameter(std::string_view name, std::initializer_list<Dim> dims, Init init, uint32_t flags) {
    std::vector<nemo_dim> raw;
    for (const Dim& d : dims) raw.push_back({d.size, to_str(d.axis)});
    nemo_parameter p{sizeof(nemo_parameter), flags, to_str(name), raw.data(), raw.size(), init.kind, 0, init.a, init.b};
    Value v = 0;
    check(api_->parameter(graph_, &p, &v));
    return v;
  }
  const nemo_graph_api* api_;
  nemo_graph* graph_;
};

}  // namespace v1
}  // namespace nemo::sdk
