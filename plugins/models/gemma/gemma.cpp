// Gemma 1, 2 and 3 (text): GeGLU, zero-centred RMSNorm, embeddings scaled by sqrt(width), tied output. Gemma 2 adds norms behind both
// branches, soft caps and windows on alternate layers; Gemma 3 RMSNorm of q and k in place of the caps, and its own rotation for layers
// with a window. Gemma Team 2024, "Gemma" and "Gemma 2"; 2025, "Gemma 3 Technical Report".
#include "nemo/cpp/hf_decoder.hpp"
#include "nemo/cpp/layer_windows.hpp"
#include "nemo/cpp/plugin.hpp"
#include "variants.hpp"

using namespace nemo::sdk;

namespace {

const Schema schema{join({
    decoder_fields({"true", "1e-6"}),
    rope_fields(),
    window_fields(),
    {
        boolean("attention_bias", "false", "biases of q, k, v and o").changes_checkpoint(),
        boolean("output_norms", "false", "norms of both branches before they join: Gemma 2 and 3").changes_checkpoint(),
        boolean("qk_layernorm", "false", "RMSNorm over the heads of q and k: Gemma 3").changes_checkpoint(),
        number("query_pre_attn_scalar", "0", "scores are divided by the root of this; 0 = the size of a head").min(0).changes_checkpoint(),
        number("attn_logit_softcapping", "0", "soft cap of the scores; 0 = none").min(0).changes_checkpoint(),
        number("final_logit_softcapping", "0", "soft cap of the logits; 0 = none").min(0).changes_checkpoint(),
        number("rotary_base_local", "0", "theta of layers with a window, which are not stretched; 0 = they turn like the others")
            .min(0)
            .changes_checkpoint(),
    },
})};

void build(Graph& g, const Config& c) {
  DecoderSpec s(g, c);
  s.zero_centered = true;
  s.activation = "gelu_tanh";
  s.embedding_scale = std::sqrt(double(s.size.hidden));
  s.qkv_bias = s.o_bias = c.boolean("attention_bias");
  s.output_norms = c.boolean("output_norms");
  s.qk_norm = c.boolean("qk_layernorm");
  s.softcap = c.number("attn_logit_softcapping");
  s.logits_softcap = c.number("final_logit_softcapping");
  if (const double scalar = c.number("query_pre_attn_scalar"); scalar > 0) s.scale = 1 / std::sqrt(scalar);
  s.window_of = window_by_layer(c, s.size.layers);
  s.ropes = {rope_of_settings(c, s.size.head, position_count(g, c), g.axis_size("seq"))};
  if (const double local = c.number("rotary_base_local"); local > 0) {
    s.ropes.push_back(rope_frequencies(s.size.head, local));
    for (const int64_t window : s.window_of) s.rope_of.push_back(window > 0 ? 1 : 0);
  }
  Decoder(g, s).build();
}

int generation(HfConfig& c) {
  const std::string type = c.model_type();
  if (!type.empty()) return type == "gemma" ? 1 : type == "gemma2" ? 2 : 3;
  return c.boolean_of("qk_layernorm") ? 3 : c.boolean_of("output_norms") ? 2 : 1;
}

// Gemma 1's first published configs say "gelu", which transformers has always taken as the tanh form.
void activation(HfConfig& c, int generation) {
  if (generation == 1 && !c.json().has("hidden_activation")) {
    if (c.json().string("hidden_act", "") != "gelu") c.expect("hidden_act", "gelu_pytorch_tanh");
    return;
  }
  c.expect("hidden_activation", "gelu_pytorch_tanh");
}

// 0 in the settings is null in config.json.
void cap(HfConfig& c, const char* key, double missing) {
  Json& j = c.json();
  if (c.importing()) return c.put(key, j.type(key) == NEMO_JSON_ABSENT ? missing : j.number(key, 0));
  if (c.number_of(key) > 0)
    j.set(key, c.number_of(key));
  else
    j.set_null(key);
}

// Layers with a window have plain positions of their own base.
void local_rope(HfConfig& c) {
  Json& j = c.json();
  const std::string modern = "rope_parameters.sliding_attention", key = j.has(modern) ? modern + ".rope_theta" : "rope_local_base_freq";
  if (!c.importing()) return j.set(key, c.number_of("rotary_base_local"));
  if (const std::string type = j.string(modern + ".rope_type", "default"); type != "default")
    c.refuse(modern + ".rope_type", "\"" + type + "\"");
  c.put("rotary_base_local", j.number(key, 10000));
}

void hf_config(HfConfig& c) {
  const int n = generation(c);
  c.set_kind(n == 1   ? "GemmaForCausalLM"
             : n == 2 ? "Gemma2ForCausalLM"
                      : "Gemma3ForCausalLM",
             n == 1   ? "gemma"
             : n == 2 ? "gemma2"
                      : "gemma3_text");
  HfDecoder d;
  d.missing_tied = true;
  hf_decoder_sizes(c, d);
  if (c.importing() && !c.json().has("head_dim")) c.put("kv_channels", int64_t{256});
  if (!c.importing()) c.json().set("head_dim", DecoderSizes(c.config()).head);
  activation(c, n);
  hf_unused_dropout(c, {"attention_dropout"});
  c.boolean("attention_bias", "attention_bias", false);
  c.expect("use_bidirectional_attention", false);
  c.put("output_norms", n >= 2);
  c.put("qk_layernorm", n == 3);
  if (n == 1) return hf_rope(c);
  c.whole_number("query_pre_attn_scalar", "query_pre_attn_scalar", 256);
  cap(c, "attn_logit_softcapping", n == 2 ? 50 : 0);
  cap(c, "final_logit_softcapping", n == 2 ? 30 : 0);
  // Gemma 2: even layers; Gemma 3: all but every sixth, or as its pattern says.
  const int64_t every = n == 2 ? 2 : c.json().integer("sliding_window_pattern", c.json().integer("_sliding_window_pattern", 6));
  hf_windows(
      c, "sliding_window", [&](int64_t layer) { return (layer + 1) % every != 0; }, "", 4096);
  if (n == 2) return hf_rope(c);
  HfRope global;
  if (c.json().has("rope_parameters.full_attention")) global.modern = "rope_parameters.full_attention";
  global.missing_theta = 1e6;
  hf_rope(c, global);
  local_rope(c);
}

void hf_map(HfMap& m, const Config& c) {
  HfNames names;
  if (c.boolean("output_norms")) {
    names.mlp_norm = "pre_feedforward_layernorm";
    m.tensor("model.layers.*.post_attention_layernorm.weight").to("layers.*.attention_output_norm.weight");
    m.tensor("model.layers.*.post_feedforward_layernorm.weight").to("layers.*.mlp_output_norm.weight");
  }
  hf_map_llama_like(m, DecoderSizes(c), names);
}

constexpr nemo_hf_architecture kinds[] = {hf_kind("GemmaForCausalLM", "gemma"), hf_kind("Gemma2ForCausalLM", "gemma2"),
                                          hf_kind("Gemma3ForCausalLM", "gemma3_text")};
constexpr nemo_model_api api = hf_model_api<build, hf_config, hf_map>(kinds, gemma_variants);

}  // namespace

NEMO_PLUGIN("model:gemma\0", component(NEMO_KIND_MODEL, "gemma", "1.0.0", "Gemma 1, 2 and 3 text decoders", &api, schema.get()))
