// StarCoder2: LayerNorm and biases everywhere, GELU without a gate, rotary positions, grouped queries, a sliding window.
// Lozhkov et al. 2024, "StarCoder 2 and The Stack v2".
#include "nemo/cpp/hf_decoder.hpp"
#include "nemo/cpp/plugin.hpp"

using namespace nemo::sdk;

namespace {

const Schema schema{join({
    decoder_fields({"true", "1e-5"}),
    rope_fields(),
    {
        boolean("add_bias_linear", "true", "biases in the linear layers").changes_checkpoint(),
        choice("activation", "\"gelu_tanh\"",
               {{"gelu_tanh", "GELU, tanh approximation"}, {"gelu_erf", "exact GELU"}, {"relu", "max(x, 0)"}}, "activation of the MLP")
            .changes_checkpoint(),
        integer("window_size", "0", "tokens that a token sees, itself included; 0 = all before it")
            .min(0)
            .unit("tokens")
            .changes_checkpoint(),
        number("hidden_dropout", "0", "dropout on each branch before it joins the residual stream").min(0).max(0.99),
        number("embedding_dropout", "0", "dropout on the embeddings").min(0).max(0.99),
    },
})};

void build(Graph& g, const Config& c) {
  DecoderSpec s(g, c);
  s.layer_norm = true;
  s.gated = false;
  s.activation = c.string("activation");
  s.qkv_bias = s.o_bias = s.mlp_bias = c.boolean("add_bias_linear");
  s.window_everywhere(c.integer("window_size"));
  s.hidden_dropout = c.number("hidden_dropout");
  s.embedding_dropout = c.number("embedding_dropout");
  s.ropes = {rope_of_settings(c, s.size.head, position_count(g, c), g.axis_size("seq"))};
  Decoder(g, s).build();
}

void hf_config(HfConfig& c) {
  c.set_kind("Starcoder2ForCausalLM", "starcoder2");
  HfDecoder d;
  d.epsilon_key = "norm_epsilon";
  d.missing_epsilon = 1e-5;
  d.missing_tied = true;
  hf_decoder_sizes(c, d);
  hf_rope(c);
  c.word("activation", "hidden_act",
         {{"gelu_pytorch_tanh", "gelu_tanh"}, {"gelu_new", "gelu_tanh"}, {"gelu", "gelu_erf"}, {"relu", "relu"}}, "gelu_pytorch_tanh");
  c.boolean("add_bias_linear", "use_bias", true);
  c.number("hidden_dropout", "residual_dropout", 0);
  c.number("embedding_dropout", "embedding_dropout", 0);
  hf_unused_dropout(c, {"attention_dropout"});
  c.expect("mlp_type", "default");
  c.expect("norm_type", "layer_norm");
  if (c.importing()) return c.put("window_size", c.json().integer("sliding_window", 0));
  if (c.integer_of("window_size") > 0)
    c.json().set("sliding_window", c.integer_of("window_size"));
  else
    c.json().set_null("sliding_window");
}

void hf_map(HfMap& m, const Config& c) {
  HfNames names;
  names.up = "mlp.c_fc";
  names.down = "mlp.c_proj";
  hf_map_llama_like(m, DecoderSizes(c), names, true);
}

#define STARCODER2(layers, hidden, ffn, heads, groups, base)                                                       \
  "num_layers = " #layers "\nhidden_size = " #hidden "\nffn_hidden_size = " #ffn "\nnum_attention_heads = " #heads \
  "\n"                                                                                                             \
  "num_query_groups = " #groups "\nrotary_base = " #base "\nvocab_size = 49152\nmax_position_embeddings = 16384\nwindow_size = 4096\n"
constexpr nemo_variant variants[] = {
    variant("starcoder2_3b", "StarCoder2 3B", STARCODER2(30, 3072, 12288, 24, 2, 999999.4420358813)),
    variant("starcoder2_7b", "StarCoder2 7B", STARCODER2(32, 4608, 18432, 36, 4, 1e6) "share_embeddings_and_output_weights = false\n"),
    variant("starcoder2_15b", "StarCoder2 15B", STARCODER2(40, 6144, 24576, 48, 4, 1e5) "share_embeddings_and_output_weights = false\n"),
};
constexpr nemo_hf_architecture kinds[] = {hf_kind("Starcoder2ForCausalLM", "starcoder2")};
constexpr nemo_model_api api = hf_model_api<build, hf_config, hf_map>(kinds, variants);

}  // namespace

NEMO_PLUGIN("model:starcoder2\0",
            component(NEMO_KIND_MODEL, "starcoder2", "1.0.0", "StarCoder2 decoders: LayerNorm, GELU, RoPE, windows", &api, schema.get()))
