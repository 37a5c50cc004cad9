// GPT-OSS: a mixture of experts in every layer, windows in every second one, and a learned sink per head that takes part in the softmax.
// OpenAI 2025, "gpt-oss-120b & gpt-oss-20b Model Card".
#include "nemo/cpp/hf_decoder.hpp"
#include "nemo/cpp/layer_windows.hpp"
#include "nemo/cpp/mixture.hpp"
#include "nemo/cpp/plugin.hpp"

using namespace nemo::sdk;

namespace {

const Schema schema{join({
    decoder_fields({"false", "1e-5", "inner width of an expert"}),
    rope_fields("150000"),
    window_fields(),
    mixture_fields(),
    {
        boolean("attention_bias", "true", "biases of q, k, v and o").changes_checkpoint(),
        number("activation_clamp", "7", "gate and up of an expert are clamped to this").min(0).changes_checkpoint(),
    },
})};

MixtureSpec mixture_spec(const Config& c, const DecoderSpec& s) {
  MixtureSpec m(c, s.size.hidden, s.size.ffn, s.in, s.out);
  m.activation = "clamped_swiglu";
  m.limit = c.number("activation_clamp");
  m.router_bias = m.expert_bias = true;
  return m;
}

class GptOss : public Decoder {
 public:
  GptOss(Graph& graph, const DecoderSpec& spec, const Config& c) : Decoder(graph, spec), mixture(graph, mixture_spec(c, spec)) {}

 private:
  Value attention(int64_t layer, const std::string& name, Value x) override {
    const Graph::Scope scope(g, "attention");
    const Dim heads{s.size.heads, "heads"}, kv_heads{s.size.kv_heads, "kv_heads"};
    const Value q = rotate(project(name + ".q", x, heads), s.ropes[0]), k = rotate(project(name + ".k", x, kv_heads), s.ropes[0]);
    const Value v = project(name + ".v", x, kv_heads), sinks = g.vector(name + ".sinks", {heads}, Init::constant(0));
    const Value o = g.attention({q, k, v, g.input("segments"), sinks}, {{"scale", s.scale}, {"window", s.window_of[size_t(layer)]}});
    const Value w = g.weight(name + ".o.weight", {embed(), heads, head_dim()}, s.out);
    return g.linear({o, w, bias(s.o_bias, name + ".o.bias", {embed()})}, {{"contract", 2}});
  }
  Value mlp(int64_t, const std::string& name, Value x) override { return mixture.build(name, x); }
  Value total_loss(Value tokens) override { return mixture.total_loss(tokens); }
  Mixture mixture;
};

void build(Graph& g, const Config& c) {
  DecoderSpec s(g, c);
  s.qkv_bias = s.o_bias = c.boolean("attention_bias");
  s.window_of = window_by_layer(c, s.size.layers);
  s.ropes = {rope_of_settings(c, s.size.head, position_count(g, c), g.axis_size("seq"))};
  GptOss(g, s, c).build();
}

void hf_config(HfConfig& c) {
  c.set_kind("GptOssForCausalLM", "gpt_oss");
  // Published weights are in MXFP4, which the host unpacks.
  if (c.json().string("quantization_config.quant_method", "") != "mxfp4") hf_refuse_quantized(c);
  hf_decoder_sizes(c, {"rms_norm_eps", 1e-5, false});
  hf_rope(c, {"rope_parameters", "rope_theta", "rope_scaling", 150000});
  c.expect("hidden_act", "silu");
  c.boolean("attention_bias", "attention_bias", true);
  hf_unused_dropout(c, {"attention_dropout"});
  c.integer("num_moe_experts", "num_local_experts");
  c.integer("moe_router_topk", "num_experts_per_tok", 4);
  if (c.importing())
    c.put("activation_clamp", c.json().number("swiglu_limit", 7));
  else if (c.json().has("swiglu_limit") || c.number_of("activation_clamp") != 7)
    c.json().set("swiglu_limit", c.number_of("activation_clamp"));
  hf_router_loss(c);
  hf_windows(
      c, "sliding_window", [](int64_t layer) { return layer % 2 == 0; }, "", 128);
}

void hf_map(HfMap& m, const Config& c) {
  const DecoderSizes s(c);
  hf_map_ends(m, s);
  hf_map_attention(m, s);
  m.tensor("model.layers.*.self_attn.sinks").to("layers.*.attention.sinks");
  const std::string theirs = "model.layers.*.mlp.", ours = "layers.*.mlp.";
  m.tensor(theirs + "router.weight").to(ours + "router.weight");
  m.tensor(theirs + "router.bias").to(ours + "router.bias");
  // gate and up alternate in the columns of one tensor.
  const int64_t experts = c.integer("num_moe_experts"),
                ffn = c.integer("moe_ffn_hidden_size") != 0 ? c.integer("moe_ffn_hidden_size") : s.ffn;
  const char* parts[] = {"gate", "up"};
  for (int64_t i = 0; i < 2; ++i) {
    const std::string to = ours + "experts." + parts[i];
    m.tensor(theirs + "experts.gate_up_proj", {experts, s.hidden, 2 * ffn})
        .view({experts, s.hidden, ffn, 2})
        .part(3, i, 1)
        .permute({0, 2, 1, 3})
        .to(to + ".weight");
    m.tensor(theirs + "experts.gate_up_proj_bias", {experts, 2 * ffn}).view({experts, ffn, 2}).part(2, i, 1).to(to + ".bias");
  }
  m.tensor(theirs + "experts.down_proj", {experts, ffn, s.hidden}).permute({0, 2, 1}).to(ours + "experts.down.weight");
  m.tensor(theirs + "experts.down_proj_bias").to(ours + "experts.down.bias");
}

#define GPT_OSS(layers, experts)                                                                                           \
  "num_layers = " #layers                                                                                                  \
  "\nhidden_size = 2880\nffn_hidden_size = 2880\nnum_attention_heads = 64\nnum_query_groups = 8\n"                         \
  "kv_channels = 64\nvocab_size = 201088\nmax_position_embeddings = 131072\nwindow_size = 128\nfull_attention_every = 2\n" \
  "rope_scaling.type = \"yarn\"\nrope_scaling.factor = 32\nrope_scaling.original_max_position_embeddings = 4096\n"         \
  "rope_scaling.truncate = false\nmoe_router_topk = 4\nnum_moe_experts = " #experts "\n"
constexpr nemo_variant variants[] = {variant("gpt_oss_20b", "GPT-OSS 20B", GPT_OSS(24, 32)),
                                     variant("gpt_oss_120b", "GPT-OSS 120B", GPT_OSS(36, 128))};
constexpr nemo_hf_architecture kinds[] = {hf_kind("GptOssForCausalLM", "gpt_oss")};
constexpr nemo_model_api api = hf_model_api<build, hf_config, hf_map>(kinds, variants);

}  // namespace

NEMO_PLUGIN("model:gpt_oss\0",
            component(NEMO_KIND_MODEL, "gpt_oss", "1.0.0", "GPT-OSS: sinks, windows, mixture of experts", &api, schema.get()))
