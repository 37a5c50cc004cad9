// Nemotron-H: layers of one part each, by a pattern of letters: M a Mamba-2 mixer, * attention without positions, - an MLP of squared ReLU,
// E a mixture of such experts. NVIDIA 2025, "Nemotron-H: A Family of Accurate and Efficient Hybrid Mamba-Transformer Models".
#include "nemo/cpp/hf_decoder.hpp"
#include "nemo/cpp/mixture.hpp"
#include "nemo/cpp/plugin.hpp"
#include "nemo/cpp/state_space.hpp"

using namespace nemo::sdk;

namespace {

const Schema schema{join({
    decoder_fields(),
    mamba_fields(),
    mixture_fields({"1", "1", "\"sigmoid\"", "true"}),
    {
        string("hybrid_override_pattern", "", "one letter per layer: M, *, - or E").required().changes_checkpoint(),
        boolean("attention_bias", "false", "biases of q, k, v and o").changes_checkpoint(),
        boolean("mlp_bias", "false", "biases of up and down").changes_checkpoint(),
    },
})};

std::string pattern_of(const Config& c) {
  std::string pattern = c.string("hybrid_override_pattern");
  if (pattern.find_first_not_of("M*-E") != std::string::npos)
    config_fault("hybrid_override_pattern", "hybrid_override_pattern has letters M, *, - and E only, not \"" + pattern + "\"");
  if (int64_t(pattern.size()) != c.integer("num_layers"))
    config_fault("hybrid_override_pattern", "hybrid_override_pattern has " + std::to_string(pattern.size()) + " letters, num_layers is " +
                                                std::to_string(c.integer("num_layers")));
  return pattern;
}

MambaSpec mamba_spec(const Config& c, Init in = Init::constant(0), Init out = Init::constant(0)) {
  MambaSpec m(c, c.integer("hidden_size"), c.number("layernorm_epsilon"), in, out);
  m.norm_groups = m.groups;
  return m;
}

MixtureSpec mixture_spec(const Config& c, const DecoderSpec& s) {
  MixtureSpec m(c, s.size.hidden, s.size.ffn, s.in, s.out);
  m.gated = false;
  m.activation = "relu2";
  return m;
}

class NemotronH : public Decoder {
 public:
  NemotronH(Graph& graph, const DecoderSpec& spec, const Config& c)
      : Decoder(graph, spec),
        pattern(pattern_of(c)),
        mamba(mamba_spec(c, s.in, s.out)),
        mixer(graph, mamba),
        mixture(graph, mixture_spec(c, spec)) {}

 private:
  Value block(int64_t i, Value x) override {
    const std::string name = "layers." + std::to_string(i);
    const Graph::Block mark(g, "layer", i);
    const Graph::Scope scope(g, name);
    return g.add({x, part(i, name, norm(name + ".norm", x))});
  }
  Value part(int64_t i, const std::string& name, Value x) {
    switch (pattern[size_t(i)]) {
      case 'M':
        return mixer.build(name + ".mamba", x);
      case '*':
        return attention(i, name + ".attention", x);
      case 'E':
        return mixture.build(name + ".mlp", x);
      default:
        return dense_mlp(name + ".mlp", x, {s.size.ffn, "mlp"});
    }
  }
  Value attention(int64_t, const std::string& name, Value x) override {
    const Graph::Scope scope(g, "attention");
    const Dim heads{s.size.heads, "heads"}, kv_heads{s.size.kv_heads, "kv_heads"};
    const Value q = project(name + ".q", x, heads), k = project(name + ".k", x, kv_heads), v = project(name + ".v", x, kv_heads);
    const Value o = g.attention({q, k, v}, {{"scale", s.scale}});
    return g.linear({o, g.weight(name + ".o.weight", {embed(), heads, head_dim()}, s.out), bias(s.o_bias, name + ".o.bias", {embed()})},
                    {{"contract", 2}});
  }
  Value total_loss(Value tokens) override { return mixture.total_loss(tokens); }

  std::string pattern;
  MambaSpec mamba;
  Mamba2Mixer mixer;
  Mixture mixture;
};

void build(Graph& g, const Config& c) {
  DecoderSpec s(g, c);
  require_unpacked(g);
  s.gated = false;
  s.activation = "relu2";
  s.qkv_bias = s.o_bias = c.boolean("attention_bias");
  s.mlp_bias = c.boolean("mlp_bias");
  s.ropes = {RopeFrequencies{}};  // no positions
  NemotronH(g, s, c).build();
}

struct Word {
  char letter;
  const char *newer, *older;  // in layers_block_type
};
constexpr Word kWords[] = {
    {'M', "linear_attention", "mamba"}, {'*', "full_attention", "attention"}, {'-', "mlp", "mlp"}, {'E', "moe", "moe"}};

// The pattern as one string, or as a list of words.
void hf_pattern(HfConfig& c) {
  Json& j = c.json();
  const bool words = j.has("layers_block_type");
  std::string pattern;
  if (c.importing()) {
    if (!words) pattern = j.string("hybrid_override_pattern");
    for (const std::string& word : j.strings("layers_block_type")) {
      const size_t before = pattern.size();
      for (const Word& w : kWords)
        if (word == w.newer || word == w.older) {
          pattern += w.letter;
          break;
        }
      if (pattern.size() == before) c.refuse("layers_block_type." + std::to_string(before), "\"" + word + "\"");
    }
    c.put("hybrid_override_pattern", pattern);
    return c.put("num_layers", int64_t(pattern.size()));
  }
  pattern = pattern_of(c.config());
  if (!words || j.has("hybrid_override_pattern")) j.set("hybrid_override_pattern", pattern);
  if (!words) return;
  std::vector<std::string> list;
  const std::vector<std::string> old = j.strings("layers_block_type");
  const bool older = std::find(old.begin(), old.end(), "mamba") != old.end();
  for (const char letter : pattern)
    for (const Word& w : kWords)
      if (w.letter == letter) list.emplace_back(older ? w.older : w.newer);
  j.set("layers_block_type", list);
}

void hf_sizes(HfConfig& c) {
  Json& j = c.json();
  c.integer("hidden_size", "hidden_size");
  c.integer("ffn_hidden_size", "intermediate_size");
  c.integer("num_attention_heads", "num_attention_heads");
  c.integer("num_query_groups", "num_key_value_heads", 8);
  const char* head = j.has("attention_head_dim") && !j.has("head_dim") ? "attention_head_dim" : "head_dim";
  if (c.importing())
    c.put("kv_channels", j.integer(head, 128));
  else
    j.set(head, DecoderSizes(c.config()).head);
  if (!c.importing() && j.has("num_hidden_layers")) j.set("num_hidden_layers", c.integer_of("num_layers"));
  c.integer("vocab_size", "vocab_size");
  if (c.importing() || c.integer_of("max_position_embeddings") != 0) c.integer("max_position_embeddings", "max_position_embeddings", 4096);
  c.boolean("share_embeddings_and_output_weights", "tie_word_embeddings", false);
  c.number("layernorm_epsilon", "layer_norm_epsilon", 1e-5);
  c.number("init_method_std", "initializer_range", 0.02);
  c.boolean("attention_bias", "attention_bias", false);
  c.boolean("mlp_bias", "mlp_bias", false);
}

void hf_mamba(HfConfig& c) {
  Json& j = c.json();
  if (c.importing())
    c.put("mamba_num_heads", j.integer("mamba_num_heads", 128));
  else
    j.set("mamba_num_heads", mamba_spec(c.config()).heads);
  c.integer("mamba_head_dim", "mamba_head_dim", 64);
  c.integer("mamba_num_groups", "n_groups", 8);
  c.integer("mamba_state_dim", "ssm_state_size", 128);
  c.integer("mamba_conv_kernel", "conv_kernel", 4);
  c.boolean("mamba_conv_bias", "use_conv_bias", true);
  if (c.importing() && j.has("use_bias") && !j.has("mamba_proj_bias"))
    c.put("mamba_proj_bias", j.boolean("use_bias"));
  else
    c.boolean("mamba_proj_bias", "mamba_proj_bias", false);
  hf_time_step_limit(c);
}

void hf_experts(HfConfig& c) {
  Json& j = c.json();
  const bool sparse = c.string_of("hybrid_override_pattern").find('E') != std::string::npos;
  if (!sparse)
    return c.without_meaning({"moe_intermediate_size", "moe_latent_size", "moe_shared_expert_intermediate_size", "n_group",
                              "n_routed_experts", "n_shared_experts", "norm_topk_prob", "num_experts_per_tok", "routed_scaling_factor",
                              "topk_group"});
  c.integer("num_moe_experts", "n_routed_experts");
  c.integer("moe_router_topk", "num_experts_per_tok");
  c.integer("moe_ffn_hidden_size", "moe_intermediate_size");
  c.number("moe_router_topk_scaling_factor", "routed_scaling_factor", 1);
  c.boolean("moe_router_renormalize", "norm_topk_prob", true);
  c.integer("moe_router_num_groups", "n_group", 1);
  c.integer("moe_router_group_topk", "topk_group", 1);
  c.put("moe_router_score_function", "sigmoid");
  c.put("moe_router_enable_expert_bias", true);
  const int64_t experts = c.integer_of("num_moe_experts"), groups = c.integer_of("moe_router_num_groups");
  c.put("moe_router_group_top", std::min<int64_t>(2, groups > 0 ? experts / groups : 1));
  c.expect_absent("moe_latent_size");
  c.expect_number("n_shared_experts", 1);
  c.integer("moe_shared_expert_intermediate_size", "moe_shared_expert_intermediate_size");
  if (!c.importing()) j.set("n_shared_experts", int64_t{1});
}

void hf_config(HfConfig& c) {
  c.set_kind("NemotronHForCausalLM", "nemotron_h");
  hf_refuse_quantized(c);
  hf_pattern(c);
  hf_sizes(c);
  hf_mamba(c);
  hf_experts(c);
  c.without_meaning({"chunk_size", "expand", "mamba_ssm_cache_dtype", "moe_shared_expert_overlap", "mtp_layers_block_type",
                     "num_logits_to_keep", "rescale_prenorm_residual", "residual_in_fp32", "time_step_floor", "time_step_max",
                     "time_step_min", "use_mamba_kernels"});
  c.expect_number("num_nextn_predict_layers", 0);
  c.expect("mamba_hidden_act", "silu");
  c.expect("mlp_hidden_act", "relu2");
  c.expect_absent("sliding_window");
  hf_unused_dropout(c, {"attention_dropout", "hidden_dropout"});
}

void hf_map(HfMap& m, const Config& c) {
  const DecoderSizes s(c);
  HfNames n;
  n.layer = "backbone.layers.*.", n.embedding = "backbone.embedding.weight", n.final_norm = "backbone.norm_f", n.attention = "mixer.";
  n.up = "mixer.up_proj", n.down = "mixer.down_proj";
  m.tensor(n.embedding, {s.vocab, s.hidden}).padded(s.vocab).to("embedding.word.weight");
  m.tensor(n.output, {s.vocab, s.hidden}).padded(s.vocab).to("output.weight");
  m.alias(n.output, n.embedding);
  m.spelling("backbone.embedding.", "backbone.embeddings.");
  m.tensor("backbone.norm_f.weight").to("final_norm.weight");
  m.tensor("backbone.layers.*.norm.weight").to("layers.*.norm.weight");
  hf_map_attention(m, s, n);
  hf_map_mlp(m, n);
  hf_map_mamba2(m, mamba_spec(c), "backbone.layers.*.mixer.", "layers.*.mamba.");
  HfMixtureNames experts;
  experts.router = "mixer.gate.weight", experts.expert = "mixer.experts.*.", experts.correction = "mixer.gate.e_score_correction_bias";
  experts.shared = "mixer.shared_experts.", experts.shared_gate = "mixer.shared_expert_gate.weight";
  hf_map_mixture(m, s.hidden, experts, n.layer);
}

#define SIZES(layers, hidden, ffn, heads, pattern)                                                                 \
  "num_layers = " #layers "\nhidden_size = " #hidden "\nffn_hidden_size = " #ffn "\nnum_attention_heads = " #heads \
  "\nnum_query_groups = 8\nvocab_size = 131072\nhybrid_override_pattern = \"" pattern "\"\n"
#define M8B "M-M-M-M*-M-M-M-M-M*-M-M-M-M-M*-M-M-M-M-M*-M-M-M-M-M-"
#define TEN "M-M-M-M-M*-"
constexpr nemo_variant variants[] = {
    variant("nemotron_h_4b", "Nemotron-H 4B",
            SIZES(52, 3072, 12288, 32, M8B) "kv_channels = 128\nmamba_num_heads = 112\nmamba_state_dim = 128\n"),
    variant("nemotron_h_8b", "Nemotron-H 8B", SIZES(52, 4096, 21504, 32, M8B) "mamba_num_heads = 128\nmamba_state_dim = 128\n"),
    variant("nemotron_h_56b", "Nemotron-H 56B",
            SIZES(118, 8192, 32768, 64,
                  "M-M-M-M*-" TEN TEN TEN TEN TEN TEN TEN TEN TEN "M-M-M-M-M-") "mamba_num_heads = 256\nmamba_state_dim = 256\n"),
    variant(
        "nemotron_nano_9b_v2", "Nemotron Nano 9B v2",
        SIZES(
            56, 4480, 15680, 40,
            "M-M-M-MM-M-M-M*-M-M-M*-M-M-M-M*-M-M-M-M*-M-MM-M-M-M-M-M-") "kv_channels = 128\nmamba_num_heads = 128\nmamba_head_dim = 80\n"),
    variant(
        "nemotron_nano_12b_v2", "Nemotron Nano 12B v2",
        SIZES(62, 5120, 20480, 40, "M-M-M-M*-M-M-M-M*-M-M-M-M*-M-M-M-M*-M-M-M-M*-M-M-M-M*-M-M-M-M-") "kv_channels = 128\nmamba_num_heads = "
                                                                                                     "128\nmamba_head_dim = 80\n"),
};
constexpr nemo_hf_architecture kinds[] = {hf_kind("NemotronHForCausalLM", "nemotron_h")};
constexpr nemo_model_api api = hf_model_api<build, hf_config, hf_map>(kinds, variants);

}  // namespace

NEMO_PLUGIN("model:nemotron_h\0", component(NEMO_KIND_MODEL, "nemotron_h", "1.0.0",
                                            "Nemotron-H: Mamba-2, attention and MLP layers by a pattern", &api, schema.get()))
