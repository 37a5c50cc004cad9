// nemo/cpp/hf_decoder.hpp - config.json and tensor names that most decoders of transformers share, for plugins built on
// nemo/cpp/decoder.hpp.
#pragma once

#include "nemo/cpp/decoder.hpp"
#include "nemo/cpp/hf.hpp"

namespace nemo::sdk {
inline namespace v1 {

// What transformers takes where a key is absent.
struct HfDecoder {
  std::string epsilon_key = "rms_norm_eps";
  double missing_epsilon = 1e-6;
  bool missing_tied = false;
};

// num_hidden_layers, hidden_size, intermediate_size, num_attention_heads, num_key_value_heads, head_dim, max_position_embeddings,
// vocab_size, tie_word_embeddings and the norms' epsilon.
inline void hf_decoder_sizes(HfConfig& c, const HfDecoder& d = {}) {
  Json& j = c.json();
  if (c.importing()) {
    c.integer("num_layers", "num_hidden_layers");
    c.integer("hidden_size", "hidden_size");
    c.integer("ffn_hidden_size", "intermediate_size");
    c.integer("num_attention_heads", "num_attention_heads");
    c.put("num_query_groups", j.integer("num_key_value_heads", c.integer_of("num_attention_heads")));
    if (j.has("head_dim") && j.integer("head_dim") * c.integer_of("num_attention_heads") != c.integer_of("hidden_size"))
      c.integer("kv_channels", "head_dim");
    c.integer("vocab_size", "vocab_size");
  } else {
    const DecoderSizes s(c.config());
    j.set("num_hidden_layers", s.layers), j.set("hidden_size", s.hidden), j.set("intermediate_size", s.ffn);
    j.set("num_attention_heads", s.heads), j.set("num_key_value_heads", s.kv_heads), j.set("vocab_size", s.vocab);
    if (j.has("head_dim") || s.head * s.heads != s.hidden) j.set("head_dim", s.head);
  }
  if (c.importing() || c.integer_of("max_position_embeddings") != 0) c.integer("max_position_embeddings", "max_position_embeddings", 2048);
  c.boolean("share_embeddings_and_output_weights", "tie_word_embeddings", d.missing_tied);
  c.number("layernorm_epsilon", d.epsilon_key, d.missing_epsilon);
  c.number("init_method_std", "initializer_range", 0.02);
}

// Dropouts that a plugin does not apply say nothing about inference; training then differs, so a value other than 0 is told.
inline void hf_unused_dropout(HfConfig& c, std::initializer_list<const char*> keys) {
  for (const char* key : keys)
    if (c.importing() && c.json().number(key, 0) != 0)
      log(NEMO_LOG_WARNING, "", "config.json: " + std::string(key) + " is not 0; this plugin trains without that dropout");
}

// Names of the tensors of one layer and of the ends, as Llama has them.
struct HfNames {
  std::string layer = "model.layers.*.";
  std::string embedding = "model.embed_tokens.weight", final_norm = "model.norm", output = "lm_head.weight";
  std::string input_norm = "input_layernorm", mlp_norm = "post_attention_layernorm";
  std::string attention = "self_attn.", q = "q_proj", k = "k_proj", v = "v_proj", o = "o_proj";
  std::string gate = "mlp.gate_proj", up = "mlp.up_proj", down = "mlp.down_proj";
};

// Table, output, norms. `bias`: the norms have one.
inline void hf_map_ends(HfMap& m, const DecoderSizes& s, const HfNames& n = {}, bool bias = false) {
  m.tensor(n.embedding, {s.vocab, s.hidden}).padded(s.vocab).to("embedding.word.weight");
  m.tensor(n.output, {s.vocab, s.hidden}).padded(s.vocab).to("output.weight");
  m.alias(n.output, n.embedding);  // where tied
  for (const char* part : {".weight", ".bias"}) {
    if (!bias && std::string_view(part) == ".bias") continue;
    m.tensor(n.final_norm + part).to(std::string("final_norm") + part);
    m.tensor(n.layer + n.input_norm + part).to(std::string("layers.*.input_norm") + part);
    m.tensor(n.layer + n.mlp_norm + part).to(std::string("layers.*.post_attention_norm") + part);
  }
  m.ignore(n.layer + n.attention + "rotary_emb.inv_freq");
}

// q, k, v, o with their biases, and the norms of q and k.
inline void hf_map_attention(HfMap& m, const DecoderSizes& s, const HfNames& n = {}) {
  const std::string at = n.layer + n.attention, ours = "layers.*.attention.";
  const std::pair<std::string, int64_t> parts[] = {{n.q, s.queries()}, {n.k, s.keys()}, {n.v, s.keys()}};
  const char* names[] = {"q", "k", "v"};
  for (size_t i = 0; i < 3; ++i) {
    m.tensor(at + parts[i].first + ".weight", {parts[i].second, s.hidden}).to(ours + names[i] + ".weight");
    m.tensor(at + parts[i].first + ".bias", {parts[i].second}).to(ours + names[i] + ".bias");
  }
  m.tensor(at + n.o + ".weight", {s.hidden, s.queries()}).to(ours + "o.weight");
  m.tensor(at + n.o + ".bias").to(ours + "o.bias");
  m.tensor(at + "q_norm.weight").to(ours + "q_norm.weight");
  m.tensor(at + "k_norm.weight").to(ours + "k_norm.weight");
}

// One tensor with the rows of q, then k, then v.
inline void hf_map_fused_attention(HfMap& m, const DecoderSizes& s, const std::string& fused, bool bias = false) {
  const int64_t rows = s.queries() + 2 * s.keys();
  const int64_t start[] = {0, s.queries(), s.queries() + s.keys()}, length[] = {s.queries(), s.keys(), s.keys()};
  const char* names[] = {"q", "k", "v"};
  for (size_t i = 0; i < 3; ++i) {
    const std::string ours = std::string("layers.*.attention.") + names[i];
    m.tensor(fused + ".weight", {rows, s.hidden}).rows(start[i], length[i]).to(ours + ".weight");
    if (bias) m.tensor(fused + ".bias", {rows}).rows(start[i], length[i]).to(ours + ".bias");
  }
}

// gate (where there is one), up, down with their biases.
inline void hf_map_mlp(HfMap& m, const HfNames& n = {}) {
  const std::pair<std::string, const char*> parts[] = {{n.gate, "gate"}, {n.up, "up"}, {n.down, "down"}};
  for (const auto& [theirs, ours] : parts)
    for (const char* part : {".weight", ".bias"}) m.tensor(n.layer + theirs + part).to(std::string("layers.*.mlp.") + ours + part);
}

// One tensor with the rows of gate, then up.
inline void hf_map_fused_mlp(HfMap& m, const DecoderSizes& s, const std::string& fused, const std::string& down) {
  m.tensor(fused + ".weight", {2 * s.ffn, s.hidden}).rows(0, s.ffn).to("layers.*.mlp.gate.weight");
  m.tensor(fused + ".weight", {2 * s.ffn, s.hidden}).rows(s.ffn, s.ffn).to("layers.*.mlp.up.weight");
  m.tensor(down + ".weight").to("layers.*.mlp.down.weight");
}

inline void hf_map_llama_like(HfMap& m, const DecoderSizes& s, const HfNames& n = {}, bool norm_bias = false) {
  hf_map_ends(m, s, n, norm_bias);
  hf_map_attention(m, s, n);
  hf_map_mlp(m, n);
}

}  // namespace v1
}  // namespace nemo::sdk
