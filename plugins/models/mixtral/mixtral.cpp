// Mixtral: Mistral's decoder with a mixture of experts in every layer. Jiang et al. 2024, "Mixtral of Experts".
#include "nemo/cpp/hf_decoder.hpp"
#include "nemo/cpp/layer_windows.hpp"
#include "nemo/cpp/mixture.hpp"
#include "nemo/cpp/plugin.hpp"

using namespace nemo::sdk;

namespace {

const Schema schema{
    join({decoder_fields({"false", "1e-5", "inner width of an expert"}), rope_fields("1e6"), window_fields(), mixture_fields()})};

class Mixtral : public Decoder {
 public:
  Mixtral(Graph& graph, const DecoderSpec& spec, const Config& c)
      : Decoder(graph, spec), mixture(graph, MixtureSpec(c, s.size.hidden, s.size.ffn, s.in, s.out)) {}

 private:
  Value mlp(int64_t, const std::string& name, Value x) override { return mixture.build(name, x); }
  Value total_loss(Value tokens) override { return mixture.total_loss(tokens); }
  Mixture mixture;
};

void build(Graph& g, const Config& c) {
  DecoderSpec s(g, c);
  s.window_of = window_by_layer(c, s.size.layers);
  s.ropes = {rope_of_settings(c, s.size.head, position_count(g, c), g.axis_size("seq"))};
  Mixtral(g, s, c).build();
}

void hf_config(HfConfig& c) {
  c.set_kind("MixtralForCausalLM", "mixtral");
  hf_refuse_quantized(c);
  hf_decoder_sizes(c, {"rms_norm_eps", 1e-5, false});
  hf_rope(c, {"rope_parameters", "rope_theta", "rope_scaling", 1e6});
  c.expect("hidden_act", "silu");
  hf_unused_dropout(c, {"attention_dropout"});
  c.integer("num_moe_experts", "num_local_experts", 8);
  c.integer("moe_router_topk", "num_experts_per_tok", 2);
  hf_router_loss(c);
  hf_windows(
      c, "sliding_window", [](int64_t) { return true; }, "");
}

void hf_map(HfMap& m, const Config& c) {
  const DecoderSizes s(c);
  hf_map_ends(m, s);
  hf_map_attention(m, s);
  HfMixtureNames n;
  n.router = "block_sparse_moe.gate.weight", n.expert = "block_sparse_moe.experts.*.";
  n.gate = "w1.weight", n.up = "w3.weight", n.down = "w2.weight";
  hf_map_mixture(m, s.hidden, n);
}

#define MIXTRAL(layers, hidden, ffn, heads)                                                                        \
  "num_layers = " #layers "\nhidden_size = " #hidden "\nffn_hidden_size = " #ffn "\nnum_attention_heads = " #heads \
  "\nnum_query_groups = 8\nnum_moe_experts = 8\nmoe_router_topk = 2\nmoe_aux_loss_coeff = 0.01\n"
constexpr nemo_variant variants[] = {
    variant("mixtral_8x3b", "Mixtral 8x3B", MIXTRAL(32, 2560, 8960, 32) "vocab_size = 32000\nmax_position_embeddings = 4096\n"),
    variant("mixtral_8x7b", "Mixtral 8x7B", MIXTRAL(32, 4096, 14336, 32) "vocab_size = 32000\nmax_position_embeddings = 32768\n"),
    variant("mixtral_8x22b", "Mixtral 8x22B", MIXTRAL(56, 6144, 16384, 48) "vocab_size = 32768\nmax_position_embeddings = 65536\n"),
};
constexpr nemo_hf_architecture kinds[] = {hf_kind("MixtralForCausalLM", "mixtral")};
constexpr nemo_model_api api = hf_model_api<build, hf_config, hf_map>(kinds, variants);

}  // namespace

NEMO_PLUGIN("model:mixtral\0",
            component(NEMO_KIND_MODEL, "mixtral", "1.0.0", "Mixtral decoder: mixture of experts in every layer", &api, schema.get()))
