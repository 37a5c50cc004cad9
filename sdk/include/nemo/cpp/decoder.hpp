// nemo/cpp/decoder.hpp - the decoder that most published language models are variations of: embedding, layers of attention and MLP around a
// residual stream, norm, output. A plugin fills a DecoderSpec from its settings and says which variations are its own; what no field
// expresses it overrides (mlp, for a mixture of experts).
//
//   class Mixtral : public Decoder { Value mlp(int64_t layer, const std::string& name, Value x) override { ... } };
//
// Parameters, in the words of this file:  embedding.word.weight [vocab embed]; layers.N.{input_norm, post_attention_norm}.{weight, bias};
// layers.N.attention.{q, k, v}.{weight [heads head_dim embed], bias}, .attention.{q_norm, k_norm}.weight [head_dim], .attention.o.{weight
// [embed heads head_dim], bias}; layers.N.mlp.{gate, up}.{weight [mlp embed], bias}, .mlp.down.{weight [embed mlp], bias};
// layers.N.{attention_output_norm, mlp_output_norm}.weight (norms on a branch before it joins, Gemma 2); final_norm; output.weight.
#pragma once

#include <cmath>

#include "nemo/cpp/model.hpp"
#include "nemo/cpp/rope_settings.hpp"

namespace nemo::sdk {
inline namespace v1 {

// Widths, from the settings that decoder_fields() declares, with their zeros ("as another setting says") resolved.
struct DecoderSizes {
  int64_t layers, hidden, ffn, heads, kv_heads, head, vocab;
  explicit DecoderSizes(const Config& c)
      : layers(c.integer("num_layers")),
        hidden(c.integer("hidden_size")),
        ffn(c.integer("ffn_hidden_size")),
        heads(c.integer("num_attention_heads")),
        kv_heads(c.integer("num_query_groups")),
        head(c.integer("kv_channels")),
        vocab(c.integer("vocab_size")) {
    if (kv_heads == 0) kv_heads = heads;
    require_divides("num_query_groups", kv_heads, "num_attention_heads", heads);
    if (head == 0) {
      require_divides("num_attention_heads", heads, "hidden_size", hidden);
      head = hidden / heads;
    }
  }
  int64_t queries() const { return heads * head; }
  int64_t keys() const { return kv_heads * head; }
};

// Defaults of decoder_fields; string literals.
struct DecoderDefaults {
  std::string_view tied = "false", epsilon = "1e-5", ffn_doc = "inner width of the MLP";
};

inline std::vector<Field> decoder_fields(const DecoderDefaults& d = {}) {
  return {
      integer("num_layers", "", "transformer blocks").required().min(1).changes_checkpoint(),
      integer("hidden_size", "", "width of the residual stream").required().min(1).changes_checkpoint(),
      integer("ffn_hidden_size", "0", d.ffn_doc).min(0).changes_checkpoint(),
      integer("num_attention_heads", "", "query heads").required().min(1).changes_checkpoint(),
      integer("num_query_groups", "0", "key and value heads; 0 = num_attention_heads").min(0).changes_checkpoint(),
      integer("kv_channels", "0", "size of a head; 0 = hidden_size / num_attention_heads").min(0).changes_checkpoint(),
      integer("max_position_embeddings", "0", "longest sequence that the model is made for; 0 = data.seq_length").min(0).unit("tokens"),
      integer("vocab_size", "0", "rows of the token table; 0 = the tokenizer's vocabulary").min(0).changes_checkpoint(),
      integer("make_vocab_size_divisible_by", "1", "pads the token table to a multiple of this").min(1).changes_checkpoint(),
      boolean("share_embeddings_and_output_weights", d.tied, "the output layer uses the token table").changes_checkpoint(),
      number("layernorm_epsilon", d.epsilon, "added to the variance or mean square in norms").min(0).changes_checkpoint(),
      number("init_method_std", "0.02", "deviation of initial weights; output projections use it / sqrt(2 * num_layers)").min(0),
  };
}

// Lists one after the other, for a Schema.
inline std::vector<Field> join(std::initializer_list<std::vector<Field>> lists) {
  std::vector<Field> all;
  for (const std::vector<Field>& list : lists) all.insert(all.end(), list.begin(), list.end());
  return all;
}

struct DecoderSpec {
  DecoderSizes size;
  int64_t vocab_rows;  // size.vocab or the tokenizer's, padded
  bool tied;
  double epsilon;
  Init in, out;  // of weights, and of those that write into the residual stream

  bool layer_norm = false;     // LayerNorm with bias instead of RMSNorm
  bool zero_centered = false;  // norm weights are stored minus 1
  bool qk_norm = false;        // RMSNorm over each head of q and k, before rotation
  bool output_norms = false;   // further norms on both branches, before they join
  bool qkv_bias = false, o_bias = false, mlp_bias = false;
  bool gated = true;  // act(gate) * up
  std::string activation = "silu";
  double scale = 0;  // of the scores; 0 = 1 / sqrt(head)
  double softcap = 0, logits_softcap = 0;
  double embedding_scale = 1;
  bool normalized_output = false;  // rows of the output layer are divided by their length
  bool interleaved = false;        // rotation of pairs (2i, 2i + 1)
  bool alibi = false;              // linear biases instead of rotary positions
  std::vector<RopeFrequencies> ropes;
  std::vector<size_t> rope_of;     // by layer: index of ropes; empty: 0
  std::vector<int64_t> window_of;  // by layer: keys that a query sees, itself included; 0 or empty: all before it
  double hidden_dropout = 0, embedding_dropout = 0;

  DecoderSpec(Graph& g, const Config& c)
      : size(c),
        vocab_rows(vocabulary_rows(g, c)),
        tied(c.boolean("share_embeddings_and_output_weights")),
        epsilon(c.number("layernorm_epsilon")),
        in(Init::normal(c.number("init_method_std"))),
        out(Init::normal(c.number("init_method_std") / std::sqrt(2.0 * double(size.layers)))) {}

  void window_everywhere(int64_t window) { window_of.assign(size_t(size.layers), window); }
};

class Decoder {
 public:
  Decoder(Graph& graph, DecoderSpec spec) : g(graph), s(std::move(spec)) {
    if (s.ropes.empty() && !s.alibi) config_fault("rotary_base", "this decoder needs rotary positions");
    if (s.scale == 0) s.scale = 1 / std::sqrt(double(s.size.head));
  }
  virtual ~Decoder() = default;

  void build() {
    const Value table = g.weight("embedding.word.weight", {{s.vocab_rows, "vocab"}, embed()}, s.in);
    Value x = g.embedding({g.input("tokens"), table});
    if (s.embedding_scale != 1) x = g.scale({x}, {{"alpha", s.embedding_scale}});
    x = dropout(x, s.embedding_dropout);
    for (int64_t i = 0; i < s.size.layers; ++i) x = block(i, x);
    x = norm("final_norm", x);
    Value rows = s.tied ? table : g.weight("output.weight", {{s.vocab_rows, "vocab"}, embed()}, s.in);
    if (s.normalized_output)  // a row over its root mean square is sqrt(hidden) times the row over its length
      rows = g.scale({g.rms_norm({rows, kNone}, {{"eps", 0.0}})}, {{"alpha", 1 / std::sqrt(double(s.size.hidden))}});
    Value logits = g.linear({x, rows});
    if (s.logits_softcap > 0)
      logits = g.scale({g.activation({g.scale({logits}, {{"alpha", 1 / s.logits_softcap}})}, {{"kind", "tanh"}})},
                       {{"alpha", s.logits_softcap}});
    g.output("logits", logits);
    g.output("loss", total_loss(g.sum({g.cross_entropy({logits, g.input("labels")})})));
  }

 protected:
  // The loss of the tokens with what layers add to it.
  virtual Value total_loss(Value tokens) { return tokens; }

  virtual Value block(int64_t i, Value x) {
    const std::string name = "layers." + std::to_string(i);
    const Graph::Block mark(g, "layer", i);
    const Graph::Scope scope(g, name);
    x = g.add({x, joined(attention(i, name + ".attention", norm(name + ".input_norm", x)), name + ".attention_output_norm")});
    return g.add({x, joined(mlp(i, name + ".mlp", norm(name + ".post_attention_norm", x)), name + ".mlp_output_norm")});
  }

  virtual Value attention(int64_t layer, const std::string& name, Value x) {
    const Graph::Scope scope(g, "attention");
    Value q = project(name + ".q", x, {s.size.heads, "heads"});
    Value k = project(name + ".k", x, {s.size.kv_heads, "kv_heads"});
    const Value v = project(name + ".v", x, {s.size.kv_heads, "kv_heads"});
    if (s.qk_norm) q = head_norm(name + ".q_norm", q), k = head_norm(name + ".k_norm", k);
    const size_t i = size_t(layer);
    if (!s.alibi) {
      const RopeFrequencies& rope = s.ropes.at(s.rope_of.empty() ? 0 : s.rope_of[i]);
      q = rotate(q, rope), k = rotate(k, rope);
    }
    const Value o = g.attention({q, k, v, g.input("segments")}, {{"scale", s.scale},
                                                                 {"softcap", s.softcap},
                                                                 {"window", s.window_of.empty() ? int64_t{0} : s.window_of[i]},
                                                                 {"alibi", s.alibi ? s.size.heads : int64_t{0}}});
    const Value w = g.weight(name + ".o.weight", {embed(), {s.size.heads, "heads"}, head_dim()}, s.out);
    return g.linear({o, w, bias(s.o_bias, name + ".o.bias", {embed()})}, {{"contract", 2}});
  }

  virtual Value mlp(int64_t, const std::string& name, Value x) { return dense_mlp(name, x, {s.size.ffn, "mlp"}); }

  // act(gate) * up, or act(up), then down; of any width.
  Value dense_mlp(const std::string& name, Value x, Dim wide) {
    const Graph::Scope scope(g, "mlp");
    const auto widen = [&](const std::string& part) {
      return g.linear({x, g.weight(name + part + ".weight", {wide, embed()}, s.in), bias(s.mlp_bias, name + part + ".bias", {wide})});
    };
    Value h = kNone;
    if (s.gated) {
      const Value gate = widen(".gate");
      h = g.glu({gate, widen(".up")}, {{"kind", s.activation}});
    } else {
      h = g.activation({widen(".up")}, {{"kind", s.activation}});
    }
    return g.linear({h, g.weight(name + ".down.weight", {embed(), wide}, s.out), bias(s.mlp_bias, name + ".down.bias", {embed()})});
  }

  // Onto the heads: [batch seq embed] -> [batch seq heads head_dim].
  Value project(const std::string& name, Value x, Dim on) {
    return g.linear({x, g.weight(name + ".weight", {on, head_dim(), embed()}, s.in), bias(s.qkv_bias, name + ".bias", {on, head_dim()})});
  }

  Value norm(const std::string& name, Value x) {
    const Value weight = g.vector(name + ".weight", {embed()}, Init::constant(s.zero_centered ? 0 : 1));
    if (!s.layer_norm) return g.rms_norm({x, weight}, {{"eps", s.epsilon}, {"zero_centered", s.zero_centered}});
    return g.layer_norm({x, weight, g.vector(name + ".bias", {embed()}, Init::constant(0))},
                        {{"eps", s.epsilon}, {"zero_centered", s.zero_centered}});
  }
  Value head_norm(const std::string& name, Value x) {
    const Value weight = g.vector(name + ".weight", {head_dim()}, Init::constant(s.zero_centered ? 0 : 1));
    return g.rms_norm({x, weight}, {{"eps", s.epsilon}, {"zero_centered", s.zero_centered}});
  }
  // A branch on its way into the residual stream.
  Value joined(Value branch, const std::string& norm_name) {
    return dropout(s.output_norms ? norm(norm_name, branch) : branch, s.hidden_dropout);
  }

  Value rotate(Value x, const RopeFrequencies& f) {
    return g.rope({x, g.input("positions")}, {{"inv_freq", f.inverse}, {"scale", f.scale}, {"interleaved", s.interleaved}});
  }

  Value bias(bool present, const std::string& name, std::initializer_list<Dim> dims) {
    return present ? g.vector(name, dims, Init::constant(0)) : kNone;
  }

  // Every dropout of the model draws from a stream of its own.
  Value dropout(Value x, double p) { return p > 0 ? Value(g.dropout({x, g.input("rng")}, {{"p", p}, {"key", ++dropouts_}})) : x; }

  Dim embed() const { return {s.size.hidden, "embed"}; }
  Dim head_dim() const { return {s.size.head, "head_dim"}; }

  Graph& g;
  DecoderSpec s;

 private:
  int64_t dropouts_ = 0;
};

}  // namespace v1
}  // namespace nemo::sdk
