// Jamba: Mamba-1 mixers and some attention without positions; a mixture of experts in some layers. Lieber et al. 2024, "Jamba".
#include "nemo/cpp/hf_decoder.hpp"
#include "nemo/cpp/mixture.hpp"
#include "nemo/cpp/plugin.hpp"
#include "nemo/cpp/state_space.hpp"

using namespace nemo::sdk;

namespace {

const Schema schema{join({
    decoder_fields({"false", "1e-6"}),
    mixture_fields({"16", "2", "\"softmax\"", "false"}),
    {
        integer("attention_period", "8", "every k-th layer has attention").min(1).changes_checkpoint(),
        integer("attention_offset", "4", "the first of them").min(0).changes_checkpoint(),
        integer("moe_layer_period", "2", "every k-th layer has experts").min(1).changes_checkpoint(),
        integer("moe_layer_offset", "1", "the first of them").min(0).changes_checkpoint(),
        integer("mamba_state_dim", "16", "states per channel").min(1).max(256).changes_checkpoint(),
        integer("mamba_conv_kernel", "4", "taps of the causal convolution").min(1).max(16).changes_checkpoint(),
        integer("mamba_expand", "2", "channels / hidden_size").min(1).changes_checkpoint(),
        integer("mamba_dt_rank", "0", "rank of the time steps; 0 = hidden_size / 16, rounded up").min(0).changes_checkpoint(),
        boolean("mamba_conv_bias", "true", "biases of the convolution").changes_checkpoint(),
    },
})};

struct MixerSizes {
  int64_t inner, state, kernel, rank;
  bool conv_bias;
  explicit MixerSizes(const Config& c)
      : inner(c.integer("mamba_expand") * c.integer("hidden_size")),
        state(c.integer("mamba_state_dim")),
        kernel(c.integer("mamba_conv_kernel")),
        rank(c.integer("mamba_dt_rank")),
        conv_bias(c.boolean("mamba_conv_bias")) {
    if (rank == 0) rank = (c.integer("hidden_size") + 15) / 16;
  }
};

class Jamba : public Decoder {
 public:
  Jamba(Graph& graph, const DecoderSpec& spec, const Config& c)
      : Decoder(graph, spec),
        mixer(c),
        attention_period(c.integer("attention_period")),
        attention_offset(c.integer("attention_offset")),
        moe_period(c.integer("moe_layer_period")),
        moe_offset(c.integer("moe_layer_offset")),
        dense(c.integer("num_moe_experts") == 1),
        mixture(graph, MixtureSpec(c, s.size.hidden, s.size.ffn, s.in, s.out)) {}

 private:
  Value attention(int64_t layer, const std::string& name, Value x) override {
    if (layer % attention_period != attention_offset) return mamba(name.substr(0, name.rfind('.')) + ".mamba", x);
    const Graph::Scope scope(g, "attention");
    const Dim heads{s.size.heads, "heads"}, kv_heads{s.size.kv_heads, "kv_heads"};
    const Value q = project(name + ".q", x, heads), k = project(name + ".k", x, kv_heads), v = project(name + ".v", x, kv_heads);
    const Value o = g.attention({q, k, v}, {{"scale", s.scale}});
    return g.linear({o, g.weight(name + ".o.weight", {embed(), heads, head_dim()}, s.out)}, {{"contract", 2}});
  }

  Value mamba(const std::string& name, Value x) {
    const Graph::Scope scope(g, "mamba");
    const Dim inner{mixer.inner, "mlp"}, state{mixer.state, "state"}, rank{mixer.rank, ""};
    const double reach = 1 / std::sqrt(double(mixer.kernel));
    const auto linear = [&](const std::string& part, Value from, Dim on, Dim in) {
      return g.linear({from, g.weight(name + "." + part + ".weight", {on, in}, s.in)});
    };
    const auto small_norm = [&](const std::string& part, Value v, Dim on) {
      return g.rms_norm({v, g.vector(name + "." + part + ".weight", {on}, Init::constant(1))}, {{"eps", s.epsilon}});
    };
    const Value z = linear("z", x, inner, embed());
    const Value conv_bias = mixer.conv_bias ? g.vector(name + ".conv.bias", {inner}, Init::uniform(-reach, reach)) : kNone;
    const Value u =
        g.causal_conv1d({linear("x", x, inner, embed()),
                         g.weight(name + ".conv.weight", {inner, {mixer.kernel, ""}}, Init::uniform(-reach, reach)), conv_bias});
    const Value dt = linear("dt", small_norm("dt_norm", linear("dt_low", u, rank, inner), rank), inner, rank);
    const Value b = small_norm("b_norm", linear("b", u, state, inner), state),
                c = small_norm("c_norm", linear("c", u, state, inner), state);
    const Value a_log = g.vector(name + ".A_log", {inner, state}, Init::uniform(0, std::log(double(mixer.state))));
    const Value skip = g.vector(name + ".D", {inner}, Init::constant(1));
    const Value dt_bias = g.vector(name + ".dt.bias", {inner}, Init::uniform(std::log(std::expm1(0.001)), std::log(std::expm1(0.1))));
    const Value y = g.selective_scan({u, dt, a_log, b, c, skip, dt_bias});
    return g.linear({g.glu({z, y}, {{"kind", "silu"}}), g.weight(name + ".out.weight", {embed(), inner}, s.out)});
  }

  Value mlp(int64_t layer, const std::string& name, Value x) override {
    return dense || layer % moe_period != moe_offset ? Decoder::mlp(layer, name, x) : mixture.build(name, x);
  }
  Value total_loss(Value tokens) override { return mixture.total_loss(tokens); }

  MixerSizes mixer;
  int64_t attention_period, attention_offset, moe_period, moe_offset;
  bool dense;
  Mixture mixture;
};

void build(Graph& g, const Config& c) {
  DecoderSpec s(g, c);
  require_unpacked(g);
  s.ropes = {RopeFrequencies{}};  // no positions
  Jamba(g, s, c).build();
}

void hf_config(HfConfig& c) {
  Json& j = c.json();
  c.set_kind("JambaForCausalLM", "jamba");
  hf_refuse_quantized(c);
  hf_decoder_sizes(c);
  c.expect("hidden_act", "silu");
  c.without_meaning({"use_mamba_kernels", "use_mambapy", "use_associative_scan", "num_logits_to_keep"});
  c.expect("mamba_proj_bias", false);
  c.expect_absent("sliding_window");
  hf_unused_dropout(c, {"attention_dropout"});
  c.integer("attention_period", "attn_layer_period", 8);
  c.integer("attention_offset", "attn_layer_offset", 4);
  c.integer("moe_layer_period", "expert_layer_period", 2);
  c.integer("moe_layer_offset", "expert_layer_offset", 1);
  c.integer("num_moe_experts", "num_experts", 16);
  c.integer("moe_router_topk", "num_experts_per_tok", 2);
  c.put("moe_router_renormalize", false);
  hf_router_loss(c);
  c.integer("mamba_state_dim", "mamba_d_state", 16);
  c.integer("mamba_conv_kernel", "mamba_d_conv", 4);
  c.integer("mamba_expand", "mamba_expand", 2);
  c.boolean("mamba_conv_bias", "mamba_conv_bias", true);
  if (c.importing())
    c.put("mamba_dt_rank", j.type("mamba_dt_rank") == NEMO_JSON_STRING ? int64_t{0} : j.integer("mamba_dt_rank", 0));  // "auto"
  else
    j.set("mamba_dt_rank", MixerSizes(c.config()).rank);
}

void hf_map(HfMap& m, const Config& c) {
  const DecoderSizes s(c);
  const MixerSizes x(c);
  HfNames n;
  n.final_norm = "model.final_layernorm", n.mlp_norm = "pre_ff_layernorm";
  n.gate = "feed_forward.gate_proj", n.up = "feed_forward.up_proj", n.down = "feed_forward.down_proj";
  hf_map_llama_like(m, s, n);
  HfMixtureNames experts;
  experts.router = "feed_forward.router.weight", experts.expert = "feed_forward.experts.*.";
  hf_map_mixture(m, s.hidden, experts);
  const std::string theirs = "model.layers.*.mamba.", ours = "layers.*.mamba.";
  m.tensor(theirs + "in_proj.weight", {2 * x.inner, s.hidden}).rows(0, x.inner).to(ours + "x.weight");
  m.tensor(theirs + "in_proj.weight", {2 * x.inner, s.hidden}).rows(x.inner, x.inner).to(ours + "z.weight");
  m.tensor(theirs + "conv1d.weight", {x.inner, 1, x.kernel}).to(ours + "conv.weight");
  m.tensor(theirs + "conv1d.bias").to(ours + "conv.bias");
  const int64_t low = x.rank + 2 * x.state;
  m.tensor(theirs + "x_proj.weight", {low, x.inner}).rows(0, x.rank).to(ours + "dt_low.weight");
  m.tensor(theirs + "x_proj.weight", {low, x.inner}).rows(x.rank, x.state).to(ours + "b.weight");
  m.tensor(theirs + "x_proj.weight", {low, x.inner}).rows(x.rank + x.state, x.state).to(ours + "c.weight");
  m.tensor(theirs + "dt_proj.weight").to(ours + "dt.weight");
  m.tensor(theirs + "dt_proj.bias").to(ours + "dt.bias");
  for (const char* part : {"dt", "b", "c"}) m.tensor(theirs + part + "_layernorm.weight").to(ours + part + "_norm.weight");
  for (const char* part : {"A_log", "D"}) m.tensor(theirs + part).to(ours + part);
  m.tensor(theirs + "out_proj.weight").to(ours + "out.weight");
}

constexpr nemo_variant variants[] = {
    variant(
        "jamba_v0p1", "Jamba v0.1, 52B",
        "num_layers = 32\nhidden_size = 4096\nffn_hidden_size = 14336\nnum_attention_heads = 32\nnum_query_groups = 8\nvocab_size = 65536\n"
        "num_moe_experts = 16\nmoe_aux_loss_coeff = 0.001\nmamba_dt_rank = 256\n"),
};
constexpr nemo_hf_architecture kinds[] = {hf_kind("JambaForCausalLM", "jamba")};
constexpr nemo_model_api api = hf_model_api<build, hf_config, hf_map>(kinds, variants);

}  // namespace

NEMO_PLUGIN("model:jamba\0",
            component(NEMO_KIND_MODEL, "jamba", "1.0.0", "Jamba: Mamba-1 mixers, some attention, experts", &api, schema.get()))
