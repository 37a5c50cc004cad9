// BERT: an encoder with learned positions and token types, norms behind the residual sums, and the heads of its pretraining: masked tokens,
// and whether the second sentence follows the first. Devlin et al. 2019, "BERT: Pre-training of Deep Bidirectional Transformers".
#include <cmath>

#include "nemo/cpp/hf.hpp"
#include "nemo/cpp/model.hpp"
#include "nemo/cpp/plugin.hpp"

using namespace nemo::sdk;

namespace {

const Schema schema{{
    integer("num_layers", "", "encoder layers").required().min(1).changes_checkpoint(),
    integer("hidden_size", "", "width of the residual stream").required().min(1).changes_checkpoint(),
    integer("ffn_hidden_size", "0", "inner width of the MLP; 0 = 4 * hidden_size").min(0).changes_checkpoint(),
    integer("num_attention_heads", "", "heads").required().min(1).changes_checkpoint(),
    integer("max_position_embeddings", "512", "rows of the position table").min(1).unit("tokens").changes_checkpoint(),
    integer("num_token_types", "2", "rows of the table of token types").min(1).changes_checkpoint(),
    integer("vocab_size", "0", "rows of the token table; 0 = the tokenizer's vocabulary").min(0).changes_checkpoint(),
    integer("make_vocab_size_divisible_by", "1", "pads the token table to a multiple of this").min(1).changes_checkpoint(),
    boolean("add_binary_head", "true", "pooler and next-sentence head").changes_checkpoint(),
    number("layernorm_epsilon", "1e-12", "added to the variance in LayerNorm").min(0).changes_checkpoint(),
    number("hidden_dropout", "0", "dropout on embeddings and branches").min(0).max(1),
    number("init_method_std", "0.02", "deviation of initial weights").min(0),
}};

struct Sizes {
  int64_t layers, hidden, ffn, heads, head, types;
  explicit Sizes(const Config& c)
      : layers(c.integer("num_layers")),
        hidden(c.integer("hidden_size")),
        ffn(c.integer("ffn_hidden_size")),
        heads(c.integer("num_attention_heads")),
        head(0),
        types(c.integer("num_token_types")) {
    if (ffn == 0) ffn = 4 * hidden;
    require_divides("num_attention_heads", heads, "hidden_size", hidden);
    head = hidden / heads;
  }
};

class Bert {
 public:
  Bert(Graph& graph, const Config& c)
      : g(graph),
        s(c),
        rows(vocabulary_rows(g, c)),
        positions(position_count(g, c)),
        binary(c.boolean("add_binary_head")),
        epsilon(c.number("layernorm_epsilon")),
        p(c.number("hidden_dropout")),
        in(Init::normal(c.number("init_method_std"))) {}

  void build() {
    const Value table = g.weight("embedding.word.weight", {{rows, "vocab"}, embed()}, in);
    const Value place = g.embedding({g.input("positions"), g.weight("embedding.position.weight", {{positions, "positions"}, embed()}, in)});
    const Value kind = g.embedding({g.input("token_types"), g.weight("embedding.type.weight", {{s.types, ""}, embed()}, in)});
    Value x = g.add({g.add({g.embedding({g.input("tokens"), table}), kind}), place});
    x = dropout(norm("embedding.norm", x));
    const Value lengths = g.input("lengths");
    for (int64_t i = 0; i < s.layers; ++i) x = layer(i, x, lengths);

    const Value h = norm("head.norm", g.activation({linear("head.dense", x, embed())}, {{"kind", "gelu_erf"}}));
    const Value logits = g.linear({h, table, g.vector("head.bias", {{rows, "vocab"}}, Init::constant(0))});
    Value loss = g.sum({g.cross_entropy({logits, g.input("labels")})});
    g.output("logits", logits);
    if (binary) loss = next_sentence(x, loss);
    g.output("loss", loss);
  }

 private:
  // The mean over the sequences of a step, as beside a mean over its masked tokens: the run divides by their number.
  Value next_sentence(Value x, Value loss) {
    const Value pooled = g.activation({linear("pooler", g.take_token({x}), embed())}, {{"kind", "tanh"}});
    const Value follows = linear("next_sentence", pooled, {2, ""});
    const Value term = g.sum({g.cross_entropy({follows, g.input("next_sentence_labels")})});
    return g.add_loss({loss, term, g.input("batch_counts")}, {{"quotient", true}, {"train_only", false}});
  }

  Value layer(int64_t i, Value x, Value lengths) {
    const std::string name = "layers." + std::to_string(i);
    const Graph::Block block(g, "layer", i);
    const Graph::Scope scope(g, name);
    x = norm(name + ".attention_norm", g.add({x, dropout(attention(name + ".attention", x, lengths))}));
    const Value h = g.activation({linear(name + ".mlp.up", x, {s.ffn, "mlp"})}, {{"kind", "gelu_erf"}});
    const Value w = g.weight(name + ".mlp.down.weight", {embed(), {s.ffn, "mlp"}}, in);
    const Value y = g.linear({h, w, g.vector(name + ".mlp.down.bias", {embed()}, Init::constant(0))});
    return norm(name + ".mlp_norm", g.add({x, dropout(y)}));
  }

  Value attention(const std::string& name, Value x, Value lengths) {
    const Graph::Scope scope(g, "attention");
    const auto project = [&](const std::string& part) {
      const Value w = g.weight(name + part + ".weight", {heads(), head_dim(), embed()}, in);
      return g.linear({x, w, g.vector(name + part + ".bias", {heads(), head_dim()}, Init::constant(0))});
    };
    const Value q = project(".q"), k = project(".k"), v = project(".v");
    const Value o = g.attention({q, k, v, kNone, kNone, kNone, lengths}, {{"scale", 1 / std::sqrt(double(s.head))}, {"causal", false}});
    const Value w = g.weight(name + ".o.weight", {embed(), heads(), head_dim()}, in);
    return g.linear({o, w, g.vector(name + ".o.bias", {embed()}, Init::constant(0))}, {{"contract", 2}});
  }

  Value linear(const std::string& name, Value x, Dim on) {
    return g.linear({x, g.weight(name + ".weight", {on, embed()}, in), g.vector(name + ".bias", {on}, Init::constant(0))});
  }
  Value norm(const std::string& name, Value x) {
    const Value w = g.vector(name + ".weight", {embed()}, Init::constant(1));
    return g.layer_norm({x, w, g.vector(name + ".bias", {embed()}, Init::constant(0))}, {{"eps", epsilon}});
  }
  Value dropout(Value x) { return p > 0 ? Value(g.dropout({x, g.input("rng")}, {{"p", p}, {"key", ++dropouts}})) : x; }

  Dim embed() const { return {s.hidden, "embed"}; }
  Dim heads() const { return {s.heads, "heads"}; }
  Dim head_dim() const { return {s.head, "head_dim"}; }

  Graph& g;
  Sizes s;
  int64_t rows, positions;
  bool binary;
  double epsilon, p;
  Init in;
  int64_t dropouts = 0;
};

void build(Graph& g, const Config& c) { Bert(g, c).build(); }

void hf_config(HfConfig& c) {
  Json& j = c.json();
  const bool binary = c.importing() ? c.architecture() != "BertForMaskedLM" : c.boolean_of("add_binary_head");
  c.set_kind(binary ? "BertForPreTraining" : "BertForMaskedLM", "bert");
  c.put("add_binary_head", binary);
  hf_refuse_quantized(c);
  c.integer("num_layers", "num_hidden_layers", 12);
  c.integer("hidden_size", "hidden_size", 768);
  c.integer("num_attention_heads", "num_attention_heads", 12);
  if (c.importing())
    c.put("ffn_hidden_size", j.integer("intermediate_size", 3072));
  else
    j.set("intermediate_size", Sizes(c.config()).ffn);
  c.integer("max_position_embeddings", "max_position_embeddings", 512);
  c.integer("num_token_types", "type_vocab_size", 2);
  c.integer("vocab_size", "vocab_size", 30522);
  c.number("layernorm_epsilon", "layer_norm_eps", 1e-12);
  c.number("init_method_std", "initializer_range", 0.02);
  c.number("hidden_dropout", "hidden_dropout_prob", 0.1);
  c.expect("hidden_act", "gelu");
  c.expect("position_embedding_type", "absolute");
  c.expect("tie_word_embeddings", true);
  c.expect("is_decoder", false);
  c.expect("add_cross_attention", false);
  if (c.importing() && j.number("attention_probs_dropout_prob", 0.1) != 0)
    log(NEMO_LOG_WARNING, "", "config.json: attention_probs_dropout_prob is not 0; this plugin trains without that dropout");
}

void hf_map(HfMap& m, const Config& c) {
  const Sizes s(c);
  const int64_t vocab = c.integer("vocab_size");
  const auto both = [&](const std::string& theirs, const std::string& ours) {
    for (const char* part : {".weight", ".bias"}) m.tensor(theirs + part).to(ours + part);
  };
  m.tensor("bert.embeddings.word_embeddings.weight", {vocab, s.hidden}).padded(vocab).to("embedding.word.weight");
  m.tensor("bert.embeddings.position_embeddings.weight").to("embedding.position.weight");
  m.tensor("bert.embeddings.token_type_embeddings.weight").to("embedding.type.weight");
  both("bert.embeddings.LayerNorm", "embedding.norm");
  const std::string theirs = "bert.encoder.layer.*.", ours = "layers.*.";
  const std::pair<const char*, const char*> parts[] = {{"query", "q"}, {"key", "k"}, {"value", "v"}};
  for (const auto& [part, to] : parts) {
    m.tensor(theirs + "attention.self." + part + ".weight", {s.hidden, s.hidden}).to(ours + "attention." + to + ".weight");
    m.tensor(theirs + "attention.self." + part + ".bias", {s.hidden}).to(ours + "attention." + to + ".bias");
  }
  m.tensor(theirs + "attention.output.dense.weight", {s.hidden, s.hidden}).to(ours + "attention.o.weight");
  m.tensor(theirs + "attention.output.dense.bias").to(ours + "attention.o.bias");
  both(theirs + "attention.output.LayerNorm", ours + "attention_norm");
  both(theirs + "intermediate.dense", ours + "mlp.up");
  both(theirs + "output.dense", ours + "mlp.down");
  both(theirs + "output.LayerNorm", ours + "mlp_norm");
  both("bert.pooler.dense", "pooler");
  both("cls.predictions.transform.dense", "head.dense");
  both("cls.predictions.transform.LayerNorm", "head.norm");
  m.tensor("cls.predictions.bias", {vocab}).padded(vocab).to("head.bias");
  both("cls.seq_relationship", "next_sentence");
  m.alias("cls.predictions.decoder.weight", "bert.embeddings.word_embeddings.weight");
  m.alias("cls.predictions.decoder.bias", "cls.predictions.bias");
  m.ignore("bert.embeddings.position_ids");
}

constexpr nemo_variant variants[] = {
    variant(
        "bert_base", "BERT base",
        "num_layers = 12\nhidden_size = 768\nffn_hidden_size = 3072\nnum_attention_heads = 12\nvocab_size = 30522\nhidden_dropout = 0.1\n"),
    variant("bert_large", "BERT large",
            "num_layers = 24\nhidden_size = 1024\nffn_hidden_size = 4096\nnum_attention_heads = 16\nvocab_size = 30522\nhidden_dropout = "
            "0.1\n"),
};
constexpr nemo_hf_architecture kinds[] = {hf_kind("BertForPreTraining", "bert"), hf_kind("BertForMaskedLM", "bert")};
constexpr nemo_model_api api = hf_model_api<build, hf_config, hf_map>(kinds, variants);

}  // namespace

NEMO_PLUGIN("model:bert\0", component(NEMO_KIND_MODEL, "bert", "1.0.0", "BERT: encoder with pretraining heads", &api, schema.get()))
