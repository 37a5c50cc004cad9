// Llama 1 to 3, CodeLlama and Mistral: a pre-norm transformer decoder with RMSNorm, rotary positions, grouped-query attention and SwiGLU;
// Mistral 7B adds a sliding window.
// Touvron et al. 2023, "LLaMA" and "Llama 2"; Grattafiori et al. 2024, "The Llama 3 Herd of Models"; Jiang et al. 2023, "Mistral 7B".
#include "nemo/cpp/hf_decoder.hpp"
#include "nemo/cpp/plugin.hpp"
#include "variants.hpp"

using namespace nemo::sdk;

namespace {

const Schema schema{join({
    decoder_fields({"false", "1e-5", "inner width of the MLP; 0 = 8/3 * hidden_size, rounded up to 256s"}),
    rope_fields(),
    {
        boolean("add_qkv_bias", "false", "biases of q, k and v").changes_checkpoint(),
        boolean("attention_bias", "false", "biases of q, k, v and o").changes_checkpoint(),
        boolean("mlp_bias", "false", "biases of gate, up and down").changes_checkpoint(),
        boolean("rotary_interleaved", "false", "pairs are (2i, 2i + 1) instead of (i, i + d/2)").changes_checkpoint(),
        integer("window_size", "0", "tokens that a token sees, itself included; 0 = all before it")
            .min(0)
            .unit("tokens")
            .changes_checkpoint(),
    },
})};

void build(Graph& g, const Config& c) {
  DecoderSpec s(g, c);
  if (s.size.ffn == 0) s.size.ffn = (8 * s.size.hidden / 3 + 255) / 256 * 256;
  s.o_bias = c.boolean("attention_bias");
  s.qkv_bias = s.o_bias || c.boolean("add_qkv_bias");
  s.mlp_bias = c.boolean("mlp_bias");
  s.interleaved = c.boolean("rotary_interleaved");
  s.window_everywhere(c.integer("window_size"));
  s.ropes = {rope_of_settings(c, s.size.head, position_count(g, c), g.axis_size("seq"))};
  Decoder(g, s).build();
}

void hf_config(HfConfig& c) {
  const bool mistral = c.importing() || !c.model_type().empty() ? c.model_type() == "mistral" : c.integer_of("window_size") != 0;
  c.set_kind(mistral ? "MistralForCausalLM" : "LlamaForCausalLM", mistral ? "mistral" : "llama");
  hf_decoder_sizes(c);
  hf_rope(c);
  c.expect("hidden_act", "silu");
  hf_unused_dropout(c, {"attention_dropout"});
  if (mistral) {
    if (c.importing() || c.integer_of("window_size") != 0)
      c.integer("window_size", "sliding_window", c.json().type("sliding_window") == NEMO_JSON_ABSENT ? 4096 : 0);
    return;
  }
  c.boolean("attention_bias", "attention_bias", false);
  c.boolean("mlp_bias", "mlp_bias", false);
  if (c.importing()) return;
  for (const char* setting : {"add_qkv_bias", "rotary_interleaved"})
    if (c.boolean_of(setting))
      throw Error(NEMO_CODE_UNSUPPORTED, "a Llama config.json cannot say " + std::string(setting)).with("path", setting);
  if (c.integer_of("window_size") != 0)
    throw Error(NEMO_CODE_UNSUPPORTED, "a Llama config.json cannot say window_size").with("path", "window_size");
}

void hf_map(HfMap& m, const Config& c) { hf_map_llama_like(m, DecoderSizes(c)); }

constexpr nemo_hf_architecture kinds[] = {hf_kind("LlamaForCausalLM", "llama"), hf_kind("MistralForCausalLM", "mistral")};
constexpr nemo_model_api api = hf_model_api<build, hf_config, hf_map>(kinds, llama_variants);

}  // namespace

NEMO_PLUGIN("model:llama\0", component(NEMO_KIND_MODEL, "llama", "1.1.0",
                                       "Llama and Mistral decoders: RMSNorm, RoPE, grouped queries, SwiGLU", &api, schema.get()))
