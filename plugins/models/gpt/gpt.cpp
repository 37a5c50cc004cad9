// GPT-2 / GPT-3: a pre-norm transformer decoder with learned positions.
// Radford et al. 2019, "Language Models are Unsupervised Multitask Learners"; Brown et al. 2020, "Language Models are Few-Shot Learners".
#include <cmath>

#include "nemo/cpp/model.hpp"
#include "nemo/cpp/plugin.hpp"

using namespace nemo::sdk;

namespace {

const Schema schema{{
    integer("num_layers", "", "transformer blocks").required().min(1).changes_checkpoint(),
    integer("hidden_size", "", "width of the residual stream").required().min(1).changes_checkpoint(),
    integer("ffn_hidden_size", "0", "inner width of the MLP; 0 = 4 * hidden_size").min(0).changes_checkpoint(),
    integer("num_attention_heads", "", "attention heads; must divide hidden_size").required().min(1).changes_checkpoint(),
    integer("max_position_embeddings", "0", "rows of the position table; 0 = data.seq_length").min(0).unit("tokens").changes_checkpoint(),
    integer("vocab_size", "0", "rows of the token table; 0 = the tokenizer's vocabulary").min(0).changes_checkpoint(),
    integer("make_vocab_size_divisible_by", "1", "pads the token table to a multiple of this").min(1).changes_checkpoint(),
    boolean("share_embeddings_and_output_weights", "true", "the output layer uses the token table").changes_checkpoint(),
    boolean("add_bias_linear", "true", "biases in the linear layers").changes_checkpoint(),
    choice("activation", "\"gelu_tanh\"",
           {{"gelu_tanh", "GELU, tanh approximation (GPT-2)"},
            {"gelu_erf", "exact GELU"},
            {"quick_gelu", "x * sigmoid(1.702 x)"},
            {"relu", "max(x, 0)"},
            {"relu2", "max(x, 0)^2"},
            {"silu", "x * sigmoid(x)"}},
           "activation of the MLP")
        .changes_checkpoint(),
    number("layernorm_epsilon", "1e-5", "added to the variance in LayerNorm").min(0).changes_checkpoint(),
    number("init_method_std", "0.02", "deviation of initial weights; output projections use it / sqrt(2 * num_layers)").min(0),
    number("hidden_dropout", "0", "dropout on each branch before it joins the residual stream").min(0).max(0.99),
    number("embedding_dropout", "0", "dropout on the sum of the embeddings").min(0).max(0.99),
}};

class Gpt {
 public:
  Gpt(Graph& graph, const Config& c)
      : g(graph),
        layers(c.integer("num_layers")),
        hidden(c.integer("hidden_size")),
        ffn(c.integer("ffn_hidden_size")),
        heads(c.integer("num_attention_heads")),
        positions(position_count(g, c)),
        vocab(vocabulary_rows(g, c)),
        tied(c.boolean("share_embeddings_and_output_weights")),
        biased(c.boolean("add_bias_linear")),
        activation(c.string("activation")),
        epsilon(c.number("layernorm_epsilon")),
        hidden_dropout(c.number("hidden_dropout")),
        embedding_dropout(c.number("embedding_dropout")),
        in(Init::normal(c.number("init_method_std"))),
        out(Init::normal(c.number("init_method_std") / std::sqrt(2.0 * double(layers)))) {
    require_divides("num_attention_heads", heads, "hidden_size", hidden);
    if (ffn == 0) ffn = 4 * hidden;
  }

  void build() {
    const Value table = g.weight("embedding.word.weight", {{vocab, "vocab"}, embed()}, in);
    const Value place = g.weight("embedding.position.weight", {{positions, "positions"}, embed()}, in);
    Value x = g.add({g.embedding({g.input("tokens"), table}), g.embedding({g.input("positions"), place})});
    x = dropout(x, embedding_dropout);
    for (int64_t i = 0; i < layers; ++i) x = block(i, x);
    x = norm("final_norm", x);
    const Value logits = g.linear({x, tied ? table : g.weight("output.weight", {{vocab, "vocab"}, embed()}, in)});
    g.output("logits", logits);
    g.output("loss", g.sum({g.cross_entropy({logits, g.input("labels")})}));
  }

 private:
  Value block(int64_t i, Value x) {
    const std::string name = "layers." + std::to_string(i);
    const Graph::Block block(g, "layer", i);
    const Graph::Scope scope(g, name);
    x = g.add({x, dropout(attention(name + ".attention", norm(name + ".input_norm", x)), hidden_dropout)});
    return g.add({x, dropout(mlp(name + ".mlp", norm(name + ".post_attention_norm", x)), hidden_dropout)});
  }

  Value attention(const std::string& name, Value x) {
    const Graph::Scope scope(g, "attention");
    const Value q = project(name + ".q", x, {heads, "heads"});
    const Value k = project(name + ".k", x, {heads, "kv_heads"});
    const Value v = project(name + ".v", x, {heads, "kv_heads"});
    const Value o = g.attention({q, k, v, g.input("segments")}, {{"scale", 1 / std::sqrt(double(hidden / heads))}});
    return g.linear({o, g.weight(name + ".o.weight", {embed(), {heads, "heads"}, head_dim()}, out), bias(name + ".o.bias", {embed()})},
                    {{"contract", 2}});
  }

  // Onto the heads: [batch seq embed] -> [batch seq heads head_dim].
  Value project(const std::string& name, Value x, Dim on) {
    return g.linear({x, g.weight(name + ".weight", {on, head_dim(), embed()}, in), bias(name + ".bias", {on, head_dim()})});
  }

  Value mlp(const std::string& name, Value x) {
    const Graph::Scope scope(g, "mlp");
    const Value up = g.linear({x, g.weight(name + ".up.weight", {{ffn, "mlp"}, embed()}, in), bias(name + ".up.bias", {{ffn, "mlp"}})});
    const Value h = g.activation({up}, {{"kind", activation}});
    return g.linear({h, g.weight(name + ".down.weight", {embed(), {ffn, "mlp"}}, out), bias(name + ".down.bias", {embed()})});
  }

  Value norm(const std::string& name, Value x) {
    const Value weight = g.vector(name + ".weight", {embed()}, Init::constant(1));
    return g.layer_norm({x, weight, g.vector(name + ".bias", {embed()}, Init::constant(0))}, {{"eps", epsilon}});
  }

  Value bias(const std::string& name, std::initializer_list<Dim> dims) { return biased ? g.vector(name, dims, Init::constant(0)) : kNone; }

  // Every dropout of the model draws from a stream of its own.
  Value dropout(Value x, double p) { return p > 0 ? Value(g.dropout({x, g.input("rng")}, {{"p", p}, {"key", ++dropouts}})) : x; }

  Dim embed() const { return {hidden, "embed"}; }
  Dim head_dim() const { return {hidden / heads, "head_dim"}; }

  Graph& g;
  int64_t layers, hidden, ffn, heads, positions, vocab;
  bool tied, biased;
  std::string activation;
  double epsilon, hidden_dropout, embedding_dropout;
  Init in, out;
  int64_t dropouts = 0;
};

void build(Graph& g, const Config& c) { Gpt(g, c).build(); }
constexpr nemo_model_api api = model_api<build>();

}  // namespace

NEMO_PLUGIN("model:gpt\0",
            component(NEMO_KIND_MODEL, "gpt", "1.0.0", "GPT-2 and GPT-3 decoder: learned positions, LayerNorm, GELU", &api, schema.get()))
