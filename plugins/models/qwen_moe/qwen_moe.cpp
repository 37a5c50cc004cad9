// Qwen 1.5/2 MoE and Qwen 3 MoE: Qwen's decoders with a mixture of experts; Qwen 2 has a gated shared expert beside it.
// Qwen Team 2024, "Qwen1.5-MoE"; Yang et al. 2025, "Qwen3 Technical Report".
#include "nemo/cpp/hf_decoder.hpp"
#include "nemo/cpp/layer_windows.hpp"
#include "nemo/cpp/mixture.hpp"
#include "nemo/cpp/plugin.hpp"

using namespace nemo::sdk;

namespace {

const Schema schema{join({
    decoder_fields({"false", "1e-6"}),
    rope_fields("1e6"),
    window_fields(),
    mixture_fields(),
    mixture_layer_fields(),
    {
        boolean("add_qkv_bias", "false", "biases of q, k and v: Qwen 2").changes_checkpoint(),
        boolean("attention_bias", "false", "biases of q, k, v and o").changes_checkpoint(),
        boolean("qk_layernorm", "false", "RMSNorm over the heads of q and k: Qwen 3").changes_checkpoint(),
        boolean("moe_shared_expert_gate", "false", "the shared expert's result is scaled by a sigmoid: Qwen 2").changes_checkpoint(),
    },
})};

MixtureSpec mixture_spec(const Config& c, const DecoderSpec& s) {
  MixtureSpec m(c, s.size.hidden, s.size.ffn, s.in, s.out);
  m.shared_gate = c.boolean("moe_shared_expert_gate");
  return m;
}

class QwenMoe : public Decoder {
 public:
  QwenMoe(Graph& graph, const DecoderSpec& spec, const Config& c)
      : Decoder(graph, spec), mixture(graph, mixture_spec(c, spec)), sparse(mixture_layers(c, spec.size.layers)) {}

 private:
  Value mlp(int64_t layer, const std::string& name, Value x) override {
    return sparse[size_t(layer)] ? mixture.build(name, x) : Decoder::mlp(layer, name, x);
  }
  Value total_loss(Value tokens) override { return mixture.total_loss(tokens); }
  Mixture mixture;
  std::vector<bool> sparse;
};

void build(Graph& g, const Config& c) {
  DecoderSpec s(g, c);
  s.o_bias = c.boolean("attention_bias");
  s.qkv_bias = s.o_bias || c.boolean("add_qkv_bias");
  s.qk_norm = c.boolean("qk_layernorm");
  s.window_of = window_by_layer(c, s.size.layers);
  s.ropes = {rope_of_settings(c, s.size.head, position_count(g, c), g.axis_size("seq"))};
  QwenMoe(g, s, c).build();
}

void hf_layers(HfConfig& c) {
  Json& j = c.json();
  if (c.importing()) {
    c.put("moe_layer_step", j.integer("decoder_sparse_step", 1));
    if (j.has("mlp_only_layers")) c.put("moe_dense_layers", j.integers("mlp_only_layers"));
    return;
  }
  std::vector<int64_t> dense = c.config().integers("moe_dense_layers");
  for (int64_t i = 0; i < c.integer_of("moe_first_dense_layers"); ++i) dense.push_back(i);
  j.set("decoder_sparse_step", c.integer_of("moe_layer_step"));
  j.set("mlp_only_layers", dense);
}

void hf_config(HfConfig& c) {
  const bool three = c.importing() ? c.model_type() == "qwen3_moe" : c.boolean_of("qk_layernorm");
  c.set_kind(three ? "Qwen3MoeForCausalLM" : "Qwen2MoeForCausalLM", three ? "qwen3_moe" : "qwen2_moe");
  hf_refuse_quantized(c);
  hf_decoder_sizes(c);
  hf_rope(c);
  c.expect("hidden_act", "silu");
  hf_unused_dropout(c, {"attention_dropout"});
  c.put("qk_layernorm", three);
  c.put("moe_shared_expert_gate", !three);
  c.integer("moe_ffn_hidden_size", "moe_intermediate_size");
  c.integer("num_moe_experts", three && c.json().has("num_local_experts") ? "num_local_experts" : "num_experts");
  c.integer("moe_router_topk", "num_experts_per_tok");
  c.boolean("moe_router_renormalize", "norm_topk_prob", false);
  hf_router_loss(c);
  hf_layers(c);
  if (three) {
    if (c.importing() && !c.json().has("head_dim")) c.put("kv_channels", int64_t{128});
    c.boolean("attention_bias", "attention_bias", false);
  } else {
    c.boolean("add_qkv_bias", "qkv_bias", true);
    c.integer("moe_shared_expert_intermediate_size", "shared_expert_intermediate_size");
  }
  const int64_t first = c.importing() ? c.json().integer("max_window_layers", 28) : 0;
  hf_windows(
      c, "sliding_window", [&](int64_t layer) { return layer >= first; }, "use_sliding_window");
}

void hf_map(HfMap& m, const Config& c) {
  const DecoderSizes s(c);
  hf_map_llama_like(m, s);
  HfMixtureNames n;
  n.shared = "mlp.shared_expert.";
  hf_map_mixture(m, s.hidden, n);
}

#define SIZES(layers, hidden, ffn, heads, groups)                                                                  \
  "num_layers = " #layers "\nhidden_size = " #hidden "\nffn_hidden_size = " #ffn "\nnum_attention_heads = " #heads \
  "\nnum_query_groups = " #groups "\n"
#define QWEN3                                                                                                                             \
  "qk_layernorm = true\nkv_channels = 128\nvocab_size = 151936\nmax_position_embeddings = 40960\nnum_moe_experts = 128\nmoe_router_topk " \
  "= 8\nmoe_aux_loss_coeff = 0.001\n"
constexpr nemo_variant variants[] = {
    variant("qwen15_moe_a2p7b", "Qwen 1.5 MoE A2.7B",
            SIZES(24, 2048, 5632, 16,
                  16) "add_qkv_bias = true\nvocab_size = 151936\nmax_position_embeddings = 8192\nnum_moe_experts = 60\nmoe_router_topk = "
                      "4\nmoe_router_renormalize = false\nmoe_ffn_hidden_size = 1408\nmoe_shared_expert_intermediate_size = "
                      "5632\nmoe_shared_expert_gate = true\nmoe_aux_loss_coeff = 0.001\n"),
    variant("qwen3_30b_a3b", "Qwen 3 30B-A3B", SIZES(48, 2048, 6144, 32, 4) QWEN3 "moe_ffn_hidden_size = 768\n"),
    variant("qwen3_235b_a22b", "Qwen 3 235B-A22B", SIZES(94, 4096, 12288, 64, 4) QWEN3 "moe_ffn_hidden_size = 1536\n"),
};
constexpr nemo_hf_architecture kinds[] = {hf_kind("Qwen2MoeForCausalLM", "qwen2_moe"), hf_kind("Qwen3MoeForCausalLM", "qwen3_moe")};
constexpr nemo_model_api api = hf_model_api<build, hf_config, hf_map>(kinds, variants);

}  // namespace

NEMO_PLUGIN("model:qwen_moe\0",
            component(NEMO_KIND_MODEL, "qwen_moe", "1.0.0", "Qwen 2 and 3 decoders with mixtures of experts", &api, schema.get()))
