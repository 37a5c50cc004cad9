// GPT-2 / GPT-3: a pre-norm transformer decoder with learned positions.
// Radford et al. 2019, "Language Models are Unsupervised Multitask Learners"; Brown et al. 2020, "Language Models are Few-Shot Learners".
#include <cmath>

#include "nemo/cpp/hf.hpp"
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
    boolean("layernorm_zero_centered_gamma", "false", "norm weights are stored minus 1").changes_checkpoint(),
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
        zero_centered(c.boolean("layernorm_zero_centered_gamma")),
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
    const Value o = g.attention({q, k, v, g.input("segments")}, {{"scale", 1 / std::sqrt(double(hidden) / double(heads))}});
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
    const Value weight = g.vector(name + ".weight", {embed()}, Init::constant(zero_centered ? 0 : 1));
    return g.layer_norm({x, weight, g.vector(name + ".bias", {embed()}, Init::constant(0))},
                        {{"eps", epsilon}, {"zero_centered", zero_centered}});
  }

  Value bias(const std::string& name, std::initializer_list<Dim> dims) { return biased ? g.vector(name, dims, Init::constant(0)) : kNone; }

  // Every dropout of the model draws from a stream of its own.
  Value dropout(Value x, double p) { return p > 0 ? Value(g.dropout({x, g.input("rng")}, {{"p", p}, {"key", ++dropouts}})) : x; }

  Dim embed() const { return {hidden, "embed"}; }
  Dim head_dim() const { return {hidden / heads, "head_dim"}; }

  Graph& g;
  int64_t layers, hidden, ffn, heads, positions, vocab;
  bool tied, biased, zero_centered;
  std::string activation;
  double epsilon, hidden_dropout, embedding_dropout;
  Init in, out;
  int64_t dropouts = 0;
};

void build(Graph& g, const Config& c) { Gpt(g, c).build(); }

void hf_config(HfConfig& c) {
  Json& j = c.json();
  c.set_kind("GPT2LMHeadModel", "gpt2");
  c.integer("num_layers", "n_layer");
  c.integer("hidden_size", "n_embd");
  c.integer("num_attention_heads", "n_head");
  c.integer("vocab_size", "vocab_size");
  c.number("layernorm_epsilon", "layer_norm_epsilon", 1e-5);
  c.number("init_method_std", "initializer_range", 0.02);
  c.boolean("share_embeddings_and_output_weights", "tie_word_embeddings", true);
  c.word("activation", "activation_function",
         {{"gelu_new", "gelu_tanh"},
          {"gelu_pytorch_tanh", "gelu_tanh"},
          {"gelu_fast", "gelu_tanh"},
          {"gelu", "gelu_erf"},
          {"quick_gelu", "quick_gelu"},
          {"relu", "relu"},
          {"relu2", "relu2"},
          {"silu", "silu"},
          {"swish", "silu"}},
         "gelu_new");
  c.number("hidden_dropout", "resid_pdrop", 0.1);
  c.number("embedding_dropout", "embd_pdrop", 0.1);
  c.expect("scale_attn_weights", true);
  c.expect("scale_attn_by_inverse_layer_idx", false);
  c.expect("add_cross_attention", false);
  (void)j.has("attn_pdrop"), (void)j.has("reorder_and_upcast_attn");  // not applied; the same in exact arithmetic
  if (c.importing()) {
    if (j.has("n_inner")) c.integer("ffn_hidden_size", "n_inner");
    return c.integer("max_position_embeddings", "n_positions", 1024);
  }
  if (!c.boolean_of("add_bias_linear") || c.boolean_of("layernorm_zero_centered_gamma"))
    throw Error(NEMO_CODE_UNSUPPORTED, "a GPT-2 config.json cannot say add_bias_linear = false or layernorm_zero_centered_gamma = true")
        .with("path", "add_bias_linear");
  const int64_t ffn = c.integer_of("ffn_hidden_size"), positions = c.integer_of("max_position_embeddings");
  if (ffn != 0 && (j.has("n_inner") || ffn != 4 * c.integer_of("hidden_size"))) j.set("n_inner", ffn);
  if (positions == 0)
    throw Error(NEMO_CODE_UNSUPPORTED, "the recipe leaves max_position_embeddings 0, so the rows of the position table are not known")
        .with("path", "max_position_embeddings");
  j.set("n_positions", positions);
}

// Checkpoints have linear weights as [in, out].
void hf_map(HfMap& m, const Config& c) {
  const int64_t hidden = c.integer("hidden_size"), vocab = c.integer("vocab_size");
  const int64_t ffn = c.integer("ffn_hidden_size") == 0 ? 4 * hidden : c.integer("ffn_hidden_size");
  const std::string theirs = "transformer.h.*.", ours = "layers.*.";
  m.spelling("transformer.", "");
  m.tensor("transformer.wte.weight", {vocab, hidden}).padded(vocab).to("embedding.word.weight");
  m.tensor("transformer.wpe.weight").to("embedding.position.weight");
  m.tensor("lm_head.weight", {vocab, hidden}).padded(vocab).to("output.weight");
  m.alias("lm_head.weight", "transformer.wte.weight");
  const char* parts[] = {"q", "k", "v"};
  for (int64_t i = 0; i < 3; ++i) {
    const std::string part = ours + "attention." + parts[i];
    m.tensor(theirs + "attn.c_attn.weight", {hidden, 3 * hidden}).transpose().rows(i * hidden, hidden).to(part + ".weight");
    m.tensor(theirs + "attn.c_attn.bias", {3 * hidden}).rows(i * hidden, hidden).to(part + ".bias");
  }
  m.tensor(theirs + "attn.c_proj.weight", {hidden, hidden}).transpose().to(ours + "attention.o.weight");
  m.tensor(theirs + "mlp.c_fc.weight", {hidden, ffn}).transpose().to(ours + "mlp.up.weight");
  m.tensor(theirs + "mlp.c_proj.weight", {ffn, hidden}).transpose().to(ours + "mlp.down.weight");
  for (const char* bias : {"attn.c_proj", "mlp.c_fc", "mlp.c_proj"}) {
    const std::string name = bias;
    m.tensor(theirs + name + ".bias")
        .to(ours +
            (name == "attn.c_proj" ? "attention.o"
             : name == "mlp.c_fc"  ? "mlp.up"
                                   : "mlp.down") +
            ".bias");
  }
  for (const char* part : {".weight", ".bias"}) {
    m.tensor(theirs + "ln_1" + part).to(ours + "input_norm" + part);
    m.tensor(theirs + "ln_2" + part).to(ours + "post_attention_norm" + part);
    m.tensor(std::string("transformer.ln_f") + part).to(std::string("final_norm") + part);
  }
  m.ignore("transformer.h.*.attn.bias");  // masks that old checkpoints carry
  m.ignore("transformer.h.*.attn.masked_bias");
}

#define GPT(layers, hidden, ffn, heads, positions)                                                                 \
  "num_layers = " #layers "\nhidden_size = " #hidden "\nffn_hidden_size = " #ffn "\nnum_attention_heads = " #heads \
  "\n"                                                                                                             \
  "max_position_embeddings = " #positions "\n"
#define GPT2 "vocab_size = 50257\n"
#define GPT3 "vocab_size = 50257\nmake_vocab_size_divisible_by = 128\nhidden_dropout = 0.1\nembedding_dropout = 0.1\n"
constexpr nemo_variant variants[] = {
    variant("gpt2_124m", "GPT-2 small", GPT(12, 768, 3072, 12, 1024) GPT2),
    variant("gpt2_355m", "GPT-2 medium", GPT(24, 1024, 4096, 16, 1024) GPT2),
    variant("gpt2_774m", "GPT-2 large", GPT(36, 1280, 5120, 20, 1024) GPT2),
    variant("gpt2_1558m", "GPT-2 XL", GPT(48, 1600, 6400, 25, 1024) GPT2),
    variant("gpt3_126m", "GPT-3 126M", GPT(12, 768, 3072, 12, 2048) GPT3),
    variant("gpt3_5b", "GPT-3 5B", GPT(24, 4096, 16384, 32, 2048) GPT3),
    variant("gpt3_7b", "GPT-3 7B", GPT(32, 4096, 10880, 32, 2048) GPT3),
    variant("gpt3_20b", "GPT-3 20B", GPT(44, 6144, 24576, 48, 2048) GPT3),
    variant("gpt3_40b", "GPT-3 40B", GPT(48, 8192, 32768, 64, 2048) GPT3),
    variant(
        "gpt3_175b", "GPT-3 175B",
        GPT(96, 12288, 49152, 96, 2048) "vocab_size = 50257\nmake_vocab_size_divisible_by = 128\nlayernorm_zero_centered_gamma = true\n"),
};
constexpr nemo_hf_architecture kinds[] = {hf_kind("GPT2LMHeadModel", "gpt2")};
constexpr nemo_model_api api = hf_model_api<build, hf_config, hf_map>(kinds, variants);

}  // namespace

NEMO_PLUGIN("model:gpt\0",
            component(NEMO_KIND_MODEL, "gpt", "1.0.0", "GPT-2 and GPT-3 decoder: learned positions, LayerNorm, GELU", &api, schema.get()))
