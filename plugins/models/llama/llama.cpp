// Llama 1 to 3: a pre-norm transformer decoder with RMSNorm, rotary positions, grouped-query attention and SwiGLU.
// Touvron et al. 2023, "LLaMA" and "Llama 2"; Grattafiori et al. 2024, "The Llama 3 Herd of Models".
#include <cmath>

#include "nemo/cpp/model.hpp"
#include "nemo/cpp/plugin.hpp"
#include "nemo/cpp/rope.hpp"

using namespace nemo::sdk;

namespace {

const Schema schema{{
    integer("num_layers", "", "transformer blocks").required().min(1).changes_checkpoint(),
    integer("hidden_size", "", "width of the residual stream").required().min(1).changes_checkpoint(),
    integer("ffn_hidden_size", "0", "inner width of the MLP; 0 = 8/3 * hidden_size, rounded up to 256s").min(0).changes_checkpoint(),
    integer("num_attention_heads", "", "query heads").required().min(1).changes_checkpoint(),
    integer("num_query_groups", "0", "key and value heads; 0 = num_attention_heads").min(0).changes_checkpoint(),
    integer("kv_channels", "0", "size of a head; 0 = hidden_size / num_attention_heads").min(0).changes_checkpoint(),
    integer("max_position_embeddings", "0", "longest sequence that the model is made for; 0 = data.seq_length").min(0).unit("tokens"),
    integer("vocab_size", "0", "rows of the token table; 0 = the tokenizer's vocabulary").min(0).changes_checkpoint(),
    integer("make_vocab_size_divisible_by", "1", "pads the token table to a multiple of this").min(1).changes_checkpoint(),
    boolean("share_embeddings_and_output_weights", "false", "the output layer uses the token table").changes_checkpoint(),
    boolean("add_qkv_bias", "false", "biases of q, k and v").changes_checkpoint(),
    boolean("attention_bias", "false", "biases of q, k, v and o").changes_checkpoint(),
    boolean("mlp_bias", "false", "biases of gate, up and down").changes_checkpoint(),
    number("layernorm_epsilon", "1e-5", "added to the mean square in RMSNorm").min(0).changes_checkpoint(),
    number("init_method_std", "0.02", "deviation of initial weights; output projections use it / sqrt(2 * num_layers)").min(0),
    number("rotary_base", "10000", "theta: the slowest pair turns once in about 2 pi theta tokens").min(1.0001).changes_checkpoint(),
    boolean("rotary_interleaved", "false", "pairs are (2i, 2i + 1) instead of (i, i + d/2)").changes_checkpoint(),
    choice("rope_scaling.type", "\"none\"",
           {{"none", "plain RoPE"},
            {"linear", "all frequencies divided by factor"},
            {"llama3", "low frequencies divided, as in Llama 3.1"},
            {"yarn", "YaRN: a ramp over the pairs, and scaled attention"}},
           "how positions are stretched to a longer context")
        .changes_checkpoint(),
    number("rope_scaling.factor", "1", "new context / original context").min(1).changes_checkpoint(),
    integer("rope_scaling.original_max_position_embeddings", "0", "llama3, yarn: first context; 0 = max_position_embeddings")
        .min(0)
        .unit("tokens")
        .changes_checkpoint(),
    number("rope_scaling.low_freq_factor", "1", "llama3: wavelengths above original / this are stretched").min(0).changes_checkpoint(),
    number("rope_scaling.high_freq_factor", "4", "llama3: wavelengths below original / this are kept").min(0).changes_checkpoint(),
    number("rope_scaling.beta_fast", "32", "yarn: pairs that turn more often in the first context are kept").min(0).changes_checkpoint(),
    number("rope_scaling.beta_slow", "1", "yarn: pairs that turn less often are stretched in full").min(0).changes_checkpoint(),
    number("rope_scaling.attention_factor", "0", "yarn: scale of rotated q and k; 0 = from factor and mscale").min(0).changes_checkpoint(),
    number("rope_scaling.mscale", "0", "yarn, DeepSeek's scale: numerator; 0 = unset").min(0).changes_checkpoint(),
    number("rope_scaling.mscale_all_dim", "0", "yarn, DeepSeek's scale: denominator; 0 = unset").min(0).changes_checkpoint(),
    boolean("rope_scaling.truncate", "true", "yarn: the ramp starts and ends at whole pairs").changes_checkpoint(),
}};

RopeType rope_type(const std::string& name) {
  if (name == "linear") return RopeType::kLinear;
  if (name == "llama3") return RopeType::kLlama3;
  return name == "yarn" ? RopeType::kYarn : RopeType::kNone;
}

RopeScaling rope_scaling(const Config& c, int64_t max_positions) {
  RopeScaling s;
  s.type = rope_type(c.string("rope_scaling.type"));
  s.factor = c.number("rope_scaling.factor");
  s.original_positions = double(c.integer("rope_scaling.original_max_position_embeddings"));
  if (s.original_positions == 0) s.original_positions = double(max_positions);
  s.low_freq_factor = c.number("rope_scaling.low_freq_factor");
  s.high_freq_factor = c.number("rope_scaling.high_freq_factor");
  s.beta_fast = c.number("rope_scaling.beta_fast");
  s.beta_slow = c.number("rope_scaling.beta_slow");
  s.attention_factor = c.number("rope_scaling.attention_factor");
  s.mscale = c.number("rope_scaling.mscale");
  s.mscale_all_dim = c.number("rope_scaling.mscale_all_dim");
  s.truncate = c.boolean("rope_scaling.truncate");
  if (s.type == RopeType::kLlama3 && s.high_freq_factor <= s.low_freq_factor)
    config_fault("rope_scaling.high_freq_factor", "rope_scaling.high_freq_factor must be above rope_scaling.low_freq_factor");
  if (s.type == RopeType::kYarn && (s.beta_slow <= 0 || s.beta_fast <= s.beta_slow))
    config_fault("rope_scaling.beta_fast", "yarn needs 0 < rope_scaling.beta_slow < rope_scaling.beta_fast");
  return s;
}

class Llama {
 public:
  Llama(Graph& graph, const Config& c)
      : g(graph),
        layers(c.integer("num_layers")),
        hidden(c.integer("hidden_size")),
        ffn(c.integer("ffn_hidden_size")),
        heads(c.integer("num_attention_heads")),
        kv_heads(c.integer("num_query_groups")),
        head(c.integer("kv_channels")),
        vocab(vocabulary_rows(g, c)),
        tied(c.boolean("share_embeddings_and_output_weights")),
        o_bias(c.boolean("attention_bias")),
        qkv_bias(o_bias || c.boolean("add_qkv_bias")),
        mlp_bias(c.boolean("mlp_bias")),
        interleaved(c.boolean("rotary_interleaved")),
        epsilon(c.number("layernorm_epsilon")),
        in(Init::normal(c.number("init_method_std"))),
        out(Init::normal(c.number("init_method_std") / std::sqrt(2.0 * double(layers)))) {
    if (ffn == 0) ffn = (8 * hidden / 3 + 255) / 256 * 256;
    if (kv_heads == 0) kv_heads = heads;
    require_divides("num_query_groups", kv_heads, "num_attention_heads", heads);
    if (head == 0) {
      require_divides("num_attention_heads", heads, "hidden_size", hidden);
      head = hidden / heads;
    }
    if (head % 2 != 0) config_fault("kv_channels", "rotary positions turn pairs: the head size " + std::to_string(head) + " must be even");
    frequencies = rope_frequencies(head, c.number("rotary_base"), rope_scaling(c, position_count(g, c)));
  }

  void build() {
    const Value table = g.weight("embedding.word.weight", {{vocab, "vocab"}, embed()}, in);
    Value x = g.embedding({g.input("tokens"), table});
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
    x = g.add({x, attention(name + ".attention", norm(name + ".input_norm", x))});
    return g.add({x, mlp(name + ".mlp", norm(name + ".post_attention_norm", x))});
  }

  Value attention(const std::string& name, Value x) {
    const Graph::Scope scope(g, "attention");
    const Value q = project(name + ".q", x, {heads, "heads"});
    const Value k = project(name + ".k", x, {kv_heads, "kv_heads"});
    const Value v = project(name + ".v", x, {kv_heads, "kv_heads"});
    const Value o = g.attention({rotate(q), rotate(k), v, g.input("segments")}, {{"scale", 1 / std::sqrt(double(head))}});
    const Value w = g.weight(name + ".o.weight", {embed(), {heads, "heads"}, head_dim()}, out);
    return g.linear({o, w, bias(o_bias, name + ".o.bias", {embed()})}, {{"contract", 2}});
  }

  Value mlp(const std::string& name, Value x) {
    const Graph::Scope scope(g, "mlp");
    const Value gate = widen(name + ".gate", x);
    const Value h = g.glu({gate, widen(name + ".up", x)}, {{"kind", "silu"}});
    return g.linear({h, g.weight(name + ".down.weight", {embed(), {ffn, "mlp"}}, out), bias(mlp_bias, name + ".down.bias", {embed()})});
  }

  // Onto the heads: [batch seq embed] -> [batch seq heads head_dim].
  Value project(const std::string& name, Value x, Dim on) {
    return g.linear({x, g.weight(name + ".weight", {on, head_dim(), embed()}, in), bias(qkv_bias, name + ".bias", {on, head_dim()})});
  }

  Value widen(const std::string& name, Value x) {
    return g.linear({x, g.weight(name + ".weight", {{ffn, "mlp"}, embed()}, in), bias(mlp_bias, name + ".bias", {{ffn, "mlp"}})});
  }

  Value norm(const std::string& name, Value x) {
    return g.rms_norm({x, g.vector(name + ".weight", {embed()}, Init::constant(1))}, {{"eps", epsilon}});
  }

  Value rotate(Value x) {
    return g.rope({x, g.input("positions")},
                  {{"inv_freq", frequencies.inverse}, {"scale", frequencies.scale}, {"interleaved", interleaved}});
  }

  Value bias(bool present, const std::string& name, std::initializer_list<Dim> dims) {
    return present ? g.vector(name, dims, Init::constant(0)) : kNone;
  }

  Dim embed() const { return {hidden, "embed"}; }
  Dim head_dim() const { return {head, "head_dim"}; }

  Graph& g;
  int64_t layers, hidden, ffn, heads, kv_heads, head, vocab;
  bool tied, o_bias, qkv_bias, mlp_bias, interleaved;
  double epsilon;
  Init in, out;
  RopeFrequencies frequencies;
};

void build(Graph& g, const Config& c) { Llama(g, c).build(); }
constexpr nemo_model_api api = model_api<build>();

}  // namespace

NEMO_PLUGIN("model:llama\0",
            component(NEMO_KIND_MODEL, "llama", "1.0.0", "Llama decoder: RMSNorm, RoPE, grouped queries, SwiGLU", &api, schema.get()))
