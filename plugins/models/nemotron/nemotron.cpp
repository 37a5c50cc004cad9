// Nemotron 3 and 4: LayerNorm with zero-centred weights, squared ReLU without a gate, rotation of half of each head, no biases.
// Parmar et al. 2024, "Nemotron-4 15B Technical Report".
#include "nemo/cpp/hf_decoder.hpp"
#include "nemo/cpp/plugin.hpp"

using namespace nemo::sdk;

namespace {

const Schema schema{join({
    decoder_fields({"false", "1e-5"}),
    rope_fields(),
    {
        boolean("attention_bias", "false", "biases of q, k, v and o").changes_checkpoint(),
        boolean("mlp_bias", "false", "biases of up and down").changes_checkpoint(),
    },
})};

void build(Graph& g, const Config& c) {
  DecoderSpec s(g, c);
  s.layer_norm = s.zero_centered = true;
  s.gated = false;
  s.activation = "relu2";
  s.qkv_bias = s.o_bias = c.boolean("attention_bias");
  s.mlp_bias = c.boolean("mlp_bias");
  s.ropes = {rope_of_settings(c, s.size.head, position_count(g, c), g.axis_size("seq"))};
  Decoder(g, s).build();
}

void hf_config(HfConfig& c) {
  c.set_kind("NemotronForCausalLM", "nemotron");
  HfDecoder d;
  d.epsilon_key = "norm_eps";
  d.missing_epsilon = 1e-5;
  hf_decoder_sizes(c, d);
  HfRope rope;
  rope.partial = true;
  rope.missing_partial = 0.5;
  hf_rope(c, rope);
  c.expect("hidden_act", "relu2");
  hf_unused_dropout(c, {"attention_dropout"});
  c.boolean("attention_bias", "attention_bias", false);
  c.boolean("mlp_bias", "mlp_bias", false);
}

void hf_map(HfMap& m, const Config& c) { hf_map_llama_like(m, DecoderSizes(c), {}, true); }

#define NEMOTRON(layers, hidden, ffn, heads, groups, head, init)                                                   \
  "num_layers = " #layers "\nhidden_size = " #hidden "\nffn_hidden_size = " #ffn "\nnum_attention_heads = " #heads \
  "\n"                                                                                                             \
  "num_query_groups = " #groups "\nkv_channels = " #head "\ninit_method_std = " #init                              \
  "\nrotary_percent = 0.5\nvocab_size = 256000\nmax_position_embeddings = 4096\n"
constexpr nemo_variant variants[] = {
    variant("nemotron3_4b", "Nemotron 3 4B", NEMOTRON(32, 3072, 9216, 24, 8, 128, 0.0134)),
    variant("nemotron3_8b", "Nemotron 3 8B", NEMOTRON(32, 4096, 16384, 32, 32, 128, 0.01)),
    variant("nemotron3_22b", "Nemotron 3 22B", NEMOTRON(40, 6144, 24576, 48, 48, 128, 0.008)),
    variant("nemotron4_15b", "Nemotron 4 15B", NEMOTRON(32, 6144, 24576, 48, 8, 128, 0.0134)),
    variant("nemotron4_340b", "Nemotron 4 340B", NEMOTRON(96, 18432, 73728, 96, 8, 192, 0.0063)),
};
constexpr nemo_hf_architecture kinds[] = {hf_kind("NemotronForCausalLM", "nemotron")};
constexpr nemo_model_api api = hf_model_api<build, hf_config, hf_map>(kinds, variants);

}  // namespace

NEMO_PLUGIN("model:nemotron\0",
            component(NEMO_KIND_MODEL, "nemotron", "1.0.0", "Nemotron 3 and 4 decoders: squared ReLU, LayerNorm1P", &api, schema.get()))
