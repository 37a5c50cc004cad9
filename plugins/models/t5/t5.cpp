// T5, versions 1.0 and 1.1: an encoder and a decoder with relative position biases, RMSNorm and no biases. The labels' predecessors are the
// decoder's tokens. Raffel et al. 2020, "Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer".
#include <cmath>

#include "nemo/cpp/hf.hpp"
#include "nemo/cpp/model.hpp"
#include "nemo/cpp/plugin.hpp"

using namespace nemo::sdk;

namespace {

const Schema schema{{
    integer("num_layers", "", "decoder layers").required().min(1).changes_checkpoint(),
    integer("encoder_num_layers", "0", "encoder layers; 0 = num_layers").min(0).changes_checkpoint(),
    integer("hidden_size", "", "width of the residual stream").required().min(1).changes_checkpoint(),
    integer("ffn_hidden_size", "", "inner width of the MLP").required().min(1).changes_checkpoint(),
    integer("num_attention_heads", "", "heads").required().min(1).changes_checkpoint(),
    integer("kv_channels", "0", "size of a head; 0 = hidden_size / num_attention_heads").min(0).changes_checkpoint(),
    integer("vocab_size", "0", "rows of the token table; 0 = the tokenizer's vocabulary").min(0).changes_checkpoint(),
    integer("make_vocab_size_divisible_by", "1", "pads the token table to a multiple of this").min(1).changes_checkpoint(),
    integer("relative_attention_num_buckets", "32", "buckets of distances").min(4).changes_checkpoint(),
    integer("relative_attention_max_distance", "128", "distances from here on share a bucket").min(2).changes_checkpoint(),
    choice("activation", "\"relu\"", {{"relu", "version 1.0: act(up)"}, {"gated_gelu", "version 1.1: gelu_tanh(gate) * up"}}, "the MLP")
        .changes_checkpoint(),
    boolean("share_embeddings_and_output_weights", "true", "the output layer uses the token table: version 1.0").changes_checkpoint(),
    boolean("scale_decoder_outputs", "true", "the decoder's result is divided by sqrt(hidden_size): version 1.0").changes_checkpoint(),
    number("layernorm_epsilon", "1e-6", "added to the mean square in RMSNorm").min(0).changes_checkpoint(),
    number("init_method_std", "0.02", "deviation of initial weights; output projections use it / sqrt(2 * num_layers)").min(0),
}};

struct Sizes {
  int64_t decoder, encoder, hidden, ffn, heads, head, vocab, buckets, farthest;
  bool gated;
  explicit Sizes(const Config& c)
      : decoder(c.integer("num_layers")),
        encoder(c.integer("encoder_num_layers")),
        hidden(c.integer("hidden_size")),
        ffn(c.integer("ffn_hidden_size")),
        heads(c.integer("num_attention_heads")),
        head(c.integer("kv_channels")),
        vocab(c.integer("vocab_size")),
        buckets(c.integer("relative_attention_num_buckets")),
        farthest(c.integer("relative_attention_max_distance")),
        gated(c.string("activation") == "gated_gelu") {
    if (encoder == 0) encoder = decoder;
    if (buckets % 2 != 0) config_fault("relative_attention_num_buckets", "relative_attention_num_buckets must be even");
    if (farthest <= buckets / 2)
      config_fault("relative_attention_max_distance",
                   "relative_attention_max_distance must be above half of relative_attention_num_buckets");
    if (head != 0) return;
    require_divides("num_attention_heads", heads, "hidden_size", hidden);
    head = hidden / heads;
  }
  int64_t inner() const { return heads * head; }
};

class T5 {
 public:
  T5(Graph& graph, const Config& c)
      : g(graph),
        s(c),
        rows(vocabulary_rows(g, c)),
        tied(c.boolean("share_embeddings_and_output_weights")),
        scaled(c.boolean("scale_decoder_outputs")),
        epsilon(c.number("layernorm_epsilon")),
        in(Init::normal(c.number("init_method_std"))),
        out(Init::normal(c.number("init_method_std") / std::sqrt(2.0 * double(s.decoder)))) {}

  void build() {
    const Value table = g.weight("embedding.word.weight", {{rows, "vocab"}, embed()}, in);
    const Value lengths = g.input("encoder_lengths"), source = g.input("encoder_tokens");
    const int64_t read = g.axis_size("encoder_seq"), written = g.axis_size("seq");
    Value x = g.embedding({source, table});
    const Value seen = bias("encoder.relative_bias.weight", read, true);
    for (int64_t i = 0; i < s.encoder; ++i) x = encode(i, x, seen, lengths);
    const Value memory = norm("encoder.final_norm", x);

    Value y = g.embedding({g.input("tokens"), table});
    const Value before = bias("decoder.relative_bias.weight", written, false);
    for (int64_t i = 0; i < s.decoder; ++i) y = decode(i, y, before, memory, lengths);
    y = norm("decoder.final_norm", y);
    if (scaled) y = g.scale({y}, {{"alpha", 1 / std::sqrt(double(s.hidden))}});
    const Value logits = g.linear({y, tied ? table : g.weight("output.weight", {{rows, "vocab"}, embed()}, in)});
    g.output("logits", logits);
    g.output("loss", g.sum({g.cross_entropy({logits, g.input("labels")})}));
  }

 private:
  Value bias(const std::string& name, int64_t length, bool both_ways) {
    const Value table = g.weight(name, {{s.buckets, ""}, heads()}, in);
    return g.relative_bias({table}, {{"s", length}, {"t", length}, {"bidirectional", both_ways}, {"max_distance", s.farthest}});
  }

  Value encode(int64_t i, Value x, Value seen, Value lengths) {
    const std::string name = "encoder.layers." + std::to_string(i);
    const Graph::Block block(g, "encoder", i);
    const Graph::Scope scope(g, name);
    const Value h = norm(name + ".attention_norm", x);
    x = g.add({x, attention(name + ".attention", h, h, seen, lengths, false)});
    return g.add({x, mlp(name + ".mlp", norm(name + ".mlp_norm", x))});
  }

  Value decode(int64_t i, Value x, Value before, Value memory, Value lengths) {
    const std::string name = "decoder.layers." + std::to_string(i);
    const Graph::Block block(g, "layer", i);
    const Graph::Scope scope(g, name);
    const Value h = norm(name + ".attention_norm", x);
    x = g.add({x, attention(name + ".attention", h, h, before, kNone, true)});
    x = g.add({x, attention(name + ".cross_attention", norm(name + ".cross_attention_norm", x), memory, kNone, lengths, false)});
    return g.add({x, mlp(name + ".mlp", norm(name + ".mlp_norm", x))});
  }

  // Scores are not scaled by the size of a head.
  Value attention(const std::string& name, Value x, Value from, Value added, Value lengths, bool causal) {
    const Graph::Scope scope(g, "attention");
    const auto project = [&](const char* part, Value v) {
      return g.linear({v, g.weight(name + part, {heads(), head_dim(), embed()}, in)});
    };
    const Value q = project(".q.weight", x), k = project(".k.weight", from), v = project(".v.weight", from);
    const Value o = g.attention({q, k, v, kNone, kNone, added, lengths}, {{"scale", 1.0}, {"causal", causal}});
    return g.linear({o, g.weight(name + ".o.weight", {embed(), heads(), head_dim()}, out)}, {{"contract", 2}});
  }

  Value mlp(const std::string& name, Value x) {
    const Graph::Scope scope(g, "mlp");
    const auto widen = [&](const char* part) { return g.linear({x, g.weight(name + part, {{s.ffn, "mlp"}, embed()}, in)}); };
    Value h = kNone;
    if (s.gated) {
      const Value gate = widen(".gate.weight");
      h = g.glu({gate, widen(".up.weight")}, {{"kind", "gelu_tanh"}});
    } else {
      h = g.activation({widen(".up.weight")}, {{"kind", "relu"}});
    }
    return g.linear({h, g.weight(name + ".down.weight", {embed(), {s.ffn, "mlp"}}, out)});
  }

  Value norm(const std::string& name, Value x) {
    return g.rms_norm({x, g.vector(name + ".weight", {embed()}, Init::constant(1))}, {{"eps", epsilon}});
  }
  Dim embed() const { return {s.hidden, "embed"}; }
  Dim heads() const { return {s.heads, "heads"}; }
  Dim head_dim() const { return {s.head, "head_dim"}; }

  Graph& g;
  Sizes s;
  int64_t rows;
  bool tied, scaled;
  double epsilon;
  Init in, out;
};

void build(Graph& g, const Config& c) { T5(g, c).build(); }

void hf_config(HfConfig& c) {
  Json& j = c.json();
  c.set_kind("T5ForConditionalGeneration", "t5");
  hf_refuse_quantized(c);
  c.without_meaning({"classifier_dropout", "dense_act_fn", "initializer_factor", "is_decoder", "is_gated_act", "n_positions"});
  if (c.importing()) {
    c.put("encoder_num_layers", j.integer("num_layers", 6));
    c.put("num_layers", j.integer("num_decoder_layers", j.integer("num_layers", 6)));
    c.put("kv_channels", j.integer("d_kv", 64));
  } else {
    const Sizes s(c.config());
    j.set("num_layers", s.encoder), j.set("num_decoder_layers", s.decoder), j.set("d_kv", s.head);
    j.set("is_encoder_decoder", true);
  }
  c.integer("hidden_size", "d_model", 512);
  c.integer("ffn_hidden_size", "d_ff", 2048);
  c.integer("num_attention_heads", "num_heads", 8);
  c.integer("vocab_size", "vocab_size", 32128);
  c.integer("relative_attention_num_buckets", "relative_attention_num_buckets", 32);
  c.integer("relative_attention_max_distance", "relative_attention_max_distance", 128);
  c.number("layernorm_epsilon", "layer_norm_epsilon", 1e-6);
  c.word("activation", "feed_forward_proj", {{"relu", "relu"}, {"gated-gelu", "gated_gelu"}}, "relu");
  if (c.importing() && j.number("dropout_rate", 0.1) != 0)
    log(NEMO_LOG_WARNING, "", "config.json: dropout_rate is not 0; this plugin trains without dropout");
  // transformers 5 has a key for the scale, and says tied even where the file has an output layer of its own; 4 has one key for both.
  if (c.importing()) {
    const bool tied = j.boolean("tie_word_embeddings", true), scaled = j.boolean("scale_decoder_outputs", tied);
    c.put("scale_decoder_outputs", scaled);
    return c.put("share_embeddings_and_output_weights", tied && scaled);
  }
  if (j.has("scale_decoder_outputs"))
    j.set("scale_decoder_outputs", c.boolean_of("scale_decoder_outputs"));
  else if (c.boolean_of("scale_decoder_outputs") != c.boolean_of("share_embeddings_and_output_weights"))
    throw Error(NEMO_CODE_UNSUPPORTED, "T5's config.json means a scaled decoder where the output layer is tied, and only there")
        .with("path", "scale_decoder_outputs");
  else
    j.set("tie_word_embeddings", c.boolean_of("share_embeddings_and_output_weights"));
}

void map_layer(HfMap& m, const Sizes& s, const std::string& theirs, const std::string& ours, bool decoder) {
  const auto attention = [&](const std::string& at, const std::string& to) {
    for (const char* part : {"q", "k", "v"}) m.tensor(at + part + ".weight", {s.inner(), s.hidden}).to(to + "." + part + ".weight");
    m.tensor(at + "o.weight", {s.hidden, s.inner()}).to(to + ".o.weight");
  };
  const std::string mlp = theirs + (decoder ? "layer.2." : "layer.1.");
  attention(theirs + "layer.0.SelfAttention.", ours + "attention");
  m.tensor(theirs + "layer.0.layer_norm.weight").to(ours + "attention_norm.weight");
  if (decoder) {
    attention(theirs + "layer.1.EncDecAttention.", ours + "cross_attention");
    m.tensor(theirs + "layer.1.layer_norm.weight").to(ours + "cross_attention_norm.weight");
  }
  m.tensor(mlp + "layer_norm.weight").to(ours + "mlp_norm.weight");
  m.tensor(mlp + "DenseReluDense.wo.weight").to(ours + "mlp.down.weight");
  if (s.gated) m.tensor(mlp + "DenseReluDense.wi_0.weight").to(ours + "mlp.gate.weight");
  m.tensor(mlp + (s.gated ? "DenseReluDense.wi_1.weight" : "DenseReluDense.wi.weight")).to(ours + "mlp.up.weight");
}

void hf_map(HfMap& m, const Config& c) {
  const Sizes s(c);
  m.tensor("shared.weight", {s.vocab, s.hidden}).padded(s.vocab).to("embedding.word.weight");
  m.tensor("lm_head.weight", {s.vocab, s.hidden}).padded(s.vocab).to("output.weight");
  for (const char* name : {"encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "lm_head.weight"}) m.alias(name, "shared.weight");
  m.ignore("decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight");
  for (const std::string side : {"encoder", "decoder"}) {
    m.tensor(side + ".block.0.layer.0.SelfAttention.relative_attention_bias.weight").to(side + ".relative_bias.weight");
    m.tensor(side + ".final_layer_norm.weight").to(side + ".final_norm.weight");
    map_layer(m, s, side + ".block.*.", side + ".layers.*.", side == "decoder");
  }
}

#define SIZES(layers, hidden, ffn, heads)                                                                          \
  "num_layers = " #layers "\nhidden_size = " #hidden "\nffn_hidden_size = " #ffn "\nnum_attention_heads = " #heads \
  "\nkv_channels = 64\nvocab_size = 32128\n"
#define V11 "activation = \"gated_gelu\"\nshare_embeddings_and_output_weights = false\nscale_decoder_outputs = false\n"
constexpr nemo_variant variants[] = {
    variant("t5_220m", "T5 base", SIZES(12, 768, 3072, 12)),
    variant("t5_v1_1_base", "T5 1.1 base", SIZES(12, 768, 2048, 12) V11),
    variant("t5_v1_1_large", "T5 1.1 large", SIZES(24, 1024, 2816, 16) V11),
    variant("t5_v1_1_xl", "T5 1.1 XL, 3B", SIZES(24, 2048, 5120, 32) V11),
    variant("t5_v1_1_xxl", "T5 1.1 XXL, 11B", SIZES(24, 4096, 10240, 64) V11),
};
constexpr nemo_hf_architecture kinds[] = {hf_kind("T5ForConditionalGeneration", "t5")};
constexpr nemo_model_api api = hf_model_api<build, hf_config, hf_map>(kinds, variants);

}  // namespace

NEMO_PLUGIN("model:t5\0",
            component(NEMO_KIND_MODEL, "t5", "1.0.0", "T5 1.0 and 1.1: encoder and decoder with relative biases", &api, schema.get()))
