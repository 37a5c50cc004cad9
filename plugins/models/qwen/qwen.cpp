// Qwen 2, 2.5 and 3, dense: Llama's block with biases of q, k and v (2, 2.5) or RMSNorm over the heads of q and k (3).
// Yang et al. 2024, "Qwen2 Technical Report"; Yang et al. 2025, "Qwen3 Technical Report".
#include "nemo/cpp/hf_decoder.hpp"
#include "nemo/cpp/layer_windows.hpp"
#include "nemo/cpp/plugin.hpp"

using namespace nemo::sdk;

namespace {

const Schema schema{join({
    decoder_fields({"false", "1e-6"}),
    rope_fields("1e6"),
    window_fields(),
    {
        boolean("add_qkv_bias", "false", "biases of q, k and v: Qwen 2 and 2.5").changes_checkpoint(),
        boolean("attention_bias", "false", "biases of q, k, v and o").changes_checkpoint(),
        boolean("qk_layernorm", "false", "RMSNorm over the heads of q and k: Qwen 3").changes_checkpoint(),
    },
})};

void build(Graph& g, const Config& c) {
  DecoderSpec s(g, c);
  s.o_bias = c.boolean("attention_bias");
  s.qkv_bias = s.o_bias || c.boolean("add_qkv_bias");
  s.qk_norm = c.boolean("qk_layernorm");
  s.window_of = window_by_layer(c, s.size.layers);
  s.ropes = {rope_of_settings(c, s.size.head, position_count(g, c), g.axis_size("seq"))};
  Decoder(g, s).build();
}

void hf_config(HfConfig& c) {
  const bool three = c.importing() ? c.model_type() == "qwen3" : c.boolean_of("qk_layernorm");
  c.set_kind(three ? "Qwen3ForCausalLM" : "Qwen2ForCausalLM", three ? "qwen3" : "qwen2");
  hf_decoder_sizes(c);
  hf_rope(c);
  c.expect("hidden_act", "silu");
  hf_unused_dropout(c, {"attention_dropout"});
  c.put("qk_layernorm", three);
  c.put("add_qkv_bias", !three);
  if (three) {
    if (c.importing() && !c.json().has("head_dim")) c.put("kv_channels", int64_t{128});
    c.boolean("attention_bias", "attention_bias", false);
  } else if (!c.importing() && (!c.boolean_of("add_qkv_bias") || c.boolean_of("attention_bias"))) {
    throw Error(NEMO_CODE_UNSUPPORTED, "a Qwen 2 config.json means biases of q, k and v, and none of o").with("path", "add_qkv_bias");
  }
  // Windows begin at layer max_window_layers where the config does not list the layers.
  const int64_t first = c.importing() ? c.json().integer("max_window_layers", 28) : 0;
  hf_windows(
      c, "sliding_window", [&](int64_t layer) { return layer >= first; }, "use_sliding_window");
}

void hf_map(HfMap& m, const Config& c) { hf_map_llama_like(m, DecoderSizes(c)); }

#define QWEN(layers, hidden, ffn, heads, groups)                                                                   \
  "num_layers = " #layers "\nhidden_size = " #hidden "\nffn_hidden_size = " #ffn "\nnum_attention_heads = " #heads \
  "\n"                                                                                                             \
  "num_query_groups = " #groups "\n"
#define QWEN2 "add_qkv_bias = true\n"
#define QWEN3 "qk_layernorm = true\nkv_channels = 128\nvocab_size = 151936\nmax_position_embeddings = 40960\n"
#define TIED "share_embeddings_and_output_weights = true\n"
constexpr nemo_variant variants[] = {
    variant("qwen2_500m", "Qwen 2 0.5B", QWEN(24, 896, 4864, 14, 2) QWEN2 TIED "vocab_size = 151936\nmax_position_embeddings = 32768\n"),
    variant("qwen2_1p5b", "Qwen 2 1.5B", QWEN(28, 1536, 8960, 12, 2) QWEN2 TIED "vocab_size = 151936\nmax_position_embeddings = 32768\n"),
    variant("qwen2_7b", "Qwen 2 7B", QWEN(28, 3584, 18944, 28, 4) QWEN2 "vocab_size = 152064\nmax_position_embeddings = 32768\n"),
    variant("qwen2_72b", "Qwen 2 72B",
            QWEN(80, 8192, 29568, 64, 8) QWEN2 "vocab_size = 152064\nlayernorm_epsilon = 1e-5\nmax_position_embeddings = 32768\n"),
    variant("qwen25_500m", "Qwen 2.5 0.5B", QWEN(24, 896, 4864, 14, 2) QWEN2 TIED "vocab_size = 151936\nmax_position_embeddings = 32768\n"),
    variant("qwen25_1p5b", "Qwen 2.5 1.5B",
            QWEN(28, 1536, 8960, 12, 2) QWEN2 TIED "vocab_size = 151936\nmax_position_embeddings = 131072\n"),
    variant("qwen25_3b", "Qwen 2.5 3B", QWEN(36, 2048, 11008, 16, 2) QWEN2 TIED "vocab_size = 151936\nmax_position_embeddings = 32768\n"),
    variant("qwen25_7b", "Qwen 2.5 7B", QWEN(28, 3584, 18944, 28, 4) QWEN2 "vocab_size = 152064\nmax_position_embeddings = 131072\n"),
    variant("qwen25_14b", "Qwen 2.5 14B",
            QWEN(48, 5120, 13824, 40, 8) QWEN2 "vocab_size = 152064\nlayernorm_epsilon = 1e-5\nmax_position_embeddings = 131072\n"),
    variant("qwen25_32b", "Qwen 2.5 32B",
            QWEN(64, 5120, 27648, 40, 8) QWEN2 "vocab_size = 152064\nlayernorm_epsilon = 1e-5\nmax_position_embeddings = 131072\n"),
    variant("qwen25_72b", "Qwen 2.5 72B",
            QWEN(80, 8192, 29568, 64, 8) QWEN2 "vocab_size = 152064\nlayernorm_epsilon = 1e-5\nmax_position_embeddings = 131072\n"),
    variant("qwen3_600m", "Qwen 3 0.6B", QWEN(28, 1024, 3072, 16, 8) QWEN3 TIED),
    variant("qwen3_1p7b", "Qwen 3 1.7B", QWEN(28, 2048, 6144, 16, 8) QWEN3 TIED),
    variant("qwen3_4b", "Qwen 3 4B", QWEN(36, 2560, 9728, 32, 8) QWEN3 TIED),
    variant("qwen3_8b", "Qwen 3 8B", QWEN(36, 4096, 12288, 32, 8) QWEN3),
    variant("qwen3_14b", "Qwen 3 14B", QWEN(40, 5120, 17408, 40, 8) QWEN3),
    variant("qwen3_32b", "Qwen 3 32B", QWEN(64, 5120, 25600, 64, 8) QWEN3),
};
constexpr nemo_hf_architecture kinds[] = {hf_kind("Qwen2ForCausalLM", "qwen2"), hf_kind("Qwen3ForCausalLM", "qwen3")};
constexpr nemo_model_api api = hf_model_api<build, hf_config, hf_map>(kinds, variants);

}  // namespace

NEMO_PLUGIN("model:qwen\0", component(NEMO_KIND_MODEL, "qwen", "1.0.0", "Qwen 2, 2.5 and 3 dense decoders", &api, schema.get()))
