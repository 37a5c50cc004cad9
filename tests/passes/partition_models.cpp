#include "tests/passes/partition_models.hpp"

#include <cmath>

#include "core/graph/builder.hpp"

namespace nemo::passes::testing {
namespace {

using graph::Attrs;
using graph::Builder;
using graph::Dim;
using graph::Dims;
using graph::Graph;
using graph::ValueId;

class Model {
 public:
  Model(Graph& graph, const ModelSize& size) : size_(size), builder_(graph, {size.batch, size.seq, size.vocab, {}}) {}

  void gpt() {
    const ValueId table = weight("embedding.word.weight", {{size_.vocab, "vocab", {}}, embed()});
    const ValueId place = weight("embedding.position.weight", {{size_.seq, "positions", {}}, embed()});
    ValueId x = op("add", {op("embedding", {builder_.input("tokens"), table}), op("embedding", {builder_.input("positions"), place})});
    for (int64_t i = 0; i < size_.layers; ++i) x = gpt_block(i, x);
    finish(layer_norm(x, "final_norm"), table);
  }

  void llama() {
    const ValueId table = weight("embedding.word.weight", {{size_.vocab, "vocab", {}}, embed()});
    ValueId x = op("embedding", {builder_.input("tokens"), table});
    for (int64_t i = 0; i < size_.layers; ++i) x = llama_block(i, x);
    x = op("rms_norm", {x, weight("final_norm.weight", {embed()})});
    finish(x, weight("output.weight", {{size_.vocab, "vocab", {}}, embed()}));
  }

 private:
  ValueId op(std::string_view name, std::vector<ValueId> inputs, Attrs attrs = {}) {
    return builder_.op(name, std::move(inputs), std::move(attrs))[0];
  }

  ValueId weight(const std::string& name, const Dims& dims) {
    std::vector<nemo_dim> raw;
    for (const Dim& d : dims) raw.push_back({d.size, {d.axis.data(), d.axis.size()}});
    return builder_.parameter(
        {sizeof(nemo_parameter), 0, {name.data(), name.size()}, raw.data(), raw.size(), NEMO_INIT_NORMAL, 0, 0, 0.02});
  }

  [[nodiscard]] Dim embed() const { return {size_.embed, "embed", {}}; }
  [[nodiscard]] Dim head_dim() const { return {size_.embed / size_.heads, "head_dim", {}}; }
  [[nodiscard]] Dim mlp() const { return {size_.mlp, "mlp", {}}; }
  [[nodiscard]] Dim heads(bool kv) const { return kv ? Dim{size_.kv_heads, "kv_heads", {}} : Dim{size_.heads, "heads", {}}; }
  [[nodiscard]] double scale() const { return 1 / std::sqrt(static_cast<double>(size_.embed / size_.heads)); }

  ValueId biased(ValueId x, const std::string& name, const Dims& dims, const Dims& bias, int64_t contract = 1) {
    const ValueId w = weight(name + ".weight", dims);
    return op("linear", {x, w, weight(name + ".bias", bias)}, {{"contract", contract}});
  }

  ValueId layer_norm(ValueId x, const std::string& name) {
    const ValueId w = weight(name + ".weight", {embed()});
    return op("layer_norm", {x, w, weight(name + ".bias", {embed()})});
  }

  ValueId gpt_block(int64_t i, ValueId x) {
    const std::string name = "layers." + std::to_string(i);
    builder_.block_begin("layer", i);
    builder_.scope_push(name);
    builder_.scope_push("attention");
    const ValueId h = layer_norm(x, name + ".input_norm");
    const auto project = [&](const char* which, bool kv) {
      return biased(h, name + ".attention." + which, {heads(kv), head_dim(), embed()}, {heads(kv), head_dim()});
    };
    const ValueId q = project("q", false), k = project("k", true), v = project("v", true);
    const ValueId o = op("attention", {q, k, v}, {{"scale", scale()}});
    x = op("add", {x, biased(o, name + ".attention.o", {embed(), heads(false), head_dim()}, {embed()}, 2)});
    builder_.scope_pop();
    builder_.scope_push("mlp");
    const ValueId up = biased(layer_norm(x, name + ".post_attention_norm"), name + ".mlp.up", {mlp(), embed()}, {mlp()});
    x = op("add", {x, biased(op("activation", {up}, {{"kind", "gelu_tanh"}}), name + ".mlp.down", {embed(), mlp()}, {embed()})});
    builder_.scope_pop();
    builder_.scope_pop();
    builder_.block_end();
    return x;
  }

  ValueId llama_block(int64_t i, ValueId x) {
    const std::string name = "layers." + std::to_string(i);
    builder_.block_begin("layer", i);
    builder_.scope_push(name);
    builder_.scope_push("attention");
    const ValueId h = op("rms_norm", {x, weight(name + ".input_norm.weight", {embed()})});
    const auto project = [&](const char* which, bool kv) {
      return op("linear", {h, weight(name + ".attention." + which + ".weight", {heads(kv), head_dim(), embed()})});
    };
    const ValueId q = project("q", false), k = project("k", true), v = project("v", true);
    const auto rotate = [&](ValueId y) {
      return op("rope", {y, builder_.input("positions")},
                {{"inv_freq", std::vector<double>(static_cast<size_t>(head_dim().size / 2), 0.7)}});
    };
    const ValueId rq = rotate(q), rk = rotate(k);
    const ValueId o = op("attention", {rq, rk, v}, {{"scale", scale()}});
    x = op("add",
           {x, op("linear", {o, weight(name + ".attention.o.weight", {embed(), heads(false), head_dim()})}, {{"contract", int64_t{2}}})});
    builder_.scope_pop();
    builder_.scope_push("mlp");
    const ValueId n = op("rms_norm", {x, weight(name + ".post_attention_norm.weight", {embed()})});
    const ValueId gate = op("linear", {n, weight(name + ".mlp.gate.weight", {mlp(), embed()})});
    const ValueId up = op("linear", {n, weight(name + ".mlp.up.weight", {mlp(), embed()})});
    x = op("add", {x, op("linear", {op("glu", {gate, up}), weight(name + ".mlp.down.weight", {embed(), mlp()})})});
    builder_.scope_pop();
    builder_.scope_pop();
    builder_.block_end();
    return x;
  }

  void finish(ValueId x, ValueId table) {
    const ValueId logits = op("linear", {x, table});
    builder_.output("logits", logits);
    Attrs attrs;
    if (size_.label_smoothing != 0) attrs["label_smoothing"] = size_.label_smoothing;
    builder_.output("loss", op("sum", {op("cross_entropy", {logits, builder_.input("labels")}, std::move(attrs))}));
  }

  const ModelSize size_;
  Builder builder_;
};

}  // namespace

Graph gpt(const ModelSize& size) {
  Graph graph;
  Model(graph, size).gpt();
  return graph;
}

Graph llama(const ModelSize& size) {
  Graph graph;
  Model(graph, size).llama();
  return graph;
}

Plan tensor_parallel(int64_t size) {
  return {{{"tp", size}}, {{"heads", "tp"}, {"kv_heads", "tp"}, {"mlp", "tp"}, {"vocab", "tp"}}, "", ""};
}

Plan sequence_parallel(int64_t size) {
  Plan plan = tensor_parallel(size);
  plan.rules.emplace_back("seq", "tp");
  return plan;
}

Plan fully_sharded(int64_t size) { return {{{"fsdp", size}}, {{"batch", "fsdp"}}, "fsdp", ""}; }

Plan data_parallel(int64_t size) { return {{{"dp", size}}, {{"batch", "dp"}}, "", ""}; }

Plan data_and_tensor_parallel(int64_t data, int64_t tensor) {
  Plan plan = tensor_parallel(tensor);
  plan.mesh.insert(plan.mesh.begin(), {"dp", data});
  plan.rules.insert(plan.rules.begin(), {"batch", "dp"});
  return plan;
}

Plan fully_sharded_sequence_parallel(int64_t fsdp, int64_t tensor) {
  Plan plan = sequence_parallel(tensor);
  plan.mesh.insert(plan.mesh.begin(), {"fsdp", fsdp});
  plan.rules.insert(plan.rules.begin(), {"batch", "fsdp"});
  plan.shard_parameters = "fsdp";
  return plan;
}

}  // namespace nemo::passes::testing
