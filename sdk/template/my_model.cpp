// A language model in one file: token embedding, a stack of residual MLP blocks, and an output layer. It mixes no positions, so it learns
// bigrams; replace the block by your own. Dimensions carry axis names, so every strategy, precision and checkpoint format works with it.
#include <string>

#include "nemo/cpp/graph.hpp"
#include "nemo/cpp/plugin.hpp"

using namespace nemo::sdk;

namespace {

const Schema& schema() {
  static const Schema fields{{
      integer("num_layers", "2", "number of residual blocks").min(1),
      integer("hidden_size", "128", "width of the residual stream").min(1),
      integer("ffn_hidden_size", "512", "width inside a block").min(1),
      number("init_std", "0.02", "standard deviation of initial weights").min(0),
  }};
  return fields;
}

// x [batch, seq, embed] -> x + down(silu(gate(norm(x))) * up(norm(x)))
Value block(Graph& g, Value x, const std::string& name, Dim embed, Dim mlp, Init init) {
  const Value n = g.rms_norm({x, g.vector(name + ".norm.weight", {embed}, Init::constant(1))});
  const Value gate = g.linear({n, g.weight(name + ".gate.weight", {mlp, embed}, init)});
  const Value up = g.linear({n, g.weight(name + ".up.weight", {mlp, embed}, init)});
  const Value h = g.glu({gate, up}, {{"kind", "silu"}});
  return g.add({x, g.linear({h, g.weight(name + ".down.weight", {embed, mlp}, init)})});
}

nemo_error* build(nemo_host*, const nemo_config* raw, const nemo_graph_api* api, nemo_graph* graph) {
  return guard([&] {
    const Config config(raw);
    Graph g(api, graph);
    const Dim embed{config.integer("hidden_size"), "embed"}, mlp{config.integer("ffn_hidden_size"), "mlp"}, vocab{g.vocab_size(), "vocab"};
    if (vocab.size == 0) throw Error(NEMO_CODE_CONFIG_INVALID, "my_model needs a tokenizer: the run has no vocabulary; set one in [data]");
    const Init init = Init::normal(config.number("init_std"));

    Value x = g.embedding({g.input("tokens"), g.weight("embedding.weight", {vocab, embed}, init)});
    for (int64_t i = 0; i < config.integer("num_layers"); ++i) {
      const Graph::Block mark(g, "layer", i);
      x = block(g, x, "layers." + std::to_string(i), embed, mlp, init);
    }
    x = g.rms_norm({x, g.vector("norm.weight", {embed}, Init::constant(1))});
    const Value logits = g.linear({x, g.weight("output.weight", {vocab, embed}, init)});
    g.output("logits", logits);
    g.output("loss", g.sum({g.cross_entropy({logits, g.input("labels")})}));
  });
}

const nemo_model_api api = [] {
  nemo_model_api table{};
  table.struct_size = sizeof table;
  table.build = build;
  return table;
}();

}  // namespace

NEMO_PLUGIN("model:org.example.my_model\0",
            component(NEMO_KIND_MODEL, "org.example.my_model", "0.1.0", "Residual MLP over token embeddings", &api, schema().get()))
