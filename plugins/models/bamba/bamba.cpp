// Bamba: a decoder in which most layers have a Mamba-2 mixer in the place of attention. IBM, Princeton, CMU and UIUC 2024, "Bamba".
#include "nemo/cpp/hf_decoder.hpp"
#include "nemo/cpp/plugin.hpp"
#include "nemo/cpp/state_space.hpp"

using namespace nemo::sdk;

namespace {

const Schema schema{join({
    decoder_fields(),
    rope_fields(),
    mamba_fields("64", "1"),
    {
        mamba_norm_field(),
        list("attention_layers", NEMO_FIELD_INT, "[]", "layers with attention; the others have a Mamba-2 mixer")
            .min(0)
            .changes_checkpoint(),
        boolean("attention_bias", "false", "biases of q, k, v and o").changes_checkpoint(),
        boolean("mlp_bias", "false", "biases of gate, up and down").changes_checkpoint(),
    },
})};

class Bamba : public Decoder {
 public:
  Bamba(Graph& graph, const DecoderSpec& spec, const Config& c)
      : Decoder(graph, spec),
        attends(c.integers("attention_layers")),
        mamba(c, s.size.hidden, s.epsilon, s.in, s.out),
        mixer(graph, mamba) {
    if (c.string("mamba_norm") == "groups") mamba.norm_groups = mamba.groups;
    for (const int64_t i : attends)
      if (i >= s.size.layers)
        config_fault("attention_layers", "attention_layers names layer " + std::to_string(i) + " of " + std::to_string(s.size.layers));
  }

 private:
  Value attention(int64_t layer, const std::string& name, Value x) override {
    if (std::find(attends.begin(), attends.end(), layer) != attends.end()) return Decoder::attention(layer, name, x);
    return mixer.build(name.substr(0, name.rfind('.')) + ".mamba", x);
  }
  std::vector<int64_t> attends;
  MambaSpec mamba;
  Mamba2Mixer mixer;
};

void build(Graph& g, const Config& c) {
  DecoderSpec s(g, c);
  require_unpacked(g);
  s.qkv_bias = s.o_bias = c.boolean("attention_bias");
  s.mlp_bias = c.boolean("mlp_bias");
  s.ropes = {rope_of_settings(c, s.size.head, position_count(g, c), g.axis_size("seq"))};
  Bamba(g, s, c).build();
}

MambaSpec mamba_spec(const Config& c) {
  return MambaSpec(c, c.integer("hidden_size"), c.number("layernorm_epsilon"), Init::constant(0), Init::constant(0));
}

void hf_config(HfConfig& c) {
  Json& j = c.json();
  c.set_kind("BambaForCausalLM", "bamba");
  hf_refuse_quantized(c);
  hf_decoder_sizes(c, {"rms_norm_eps", 1e-5, false});
  HfRope rope;
  rope.partial = true, rope.missing_partial = 0.5;
  hf_rope(c, rope);
  c.expect("hidden_act", "silu");
  hf_unused_dropout(c, {"attention_dropout"});
  c.without_meaning({"mamba_chunk_size", "num_logits_to_keep"});
  c.expect_number("z_loss_coefficient", 0);
  c.boolean("attention_bias", "attention_bias", false);
  c.boolean("mlp_bias", "mlp_bias", false);
  if (c.importing())
    c.put("attention_layers", j.integers("attn_layer_indices"));
  else
    j.set("attn_layer_indices", c.config().integers("attention_layers"));
  if (c.importing())
    c.put("mamba_num_heads", j.integer("mamba_n_heads", 128));
  else
    j.set("mamba_n_heads", mamba_spec(c.config()).heads);
  c.integer("mamba_head_dim", "mamba_d_head", 64);
  c.integer("mamba_num_groups", "mamba_n_groups", 1);
  c.integer("mamba_state_dim", "mamba_d_state", 256);
  c.integer("mamba_conv_kernel", "mamba_d_conv", 4);
  c.whole_number("mamba_expand", "mamba_expand", 2);
  c.boolean("mamba_conv_bias", "mamba_conv_bias", true);
  c.boolean("mamba_proj_bias", "mamba_proj_bias", false);
  hf_mamba_norm(c);
  hf_time_step_limit(c);
}

void hf_map(HfMap& m, const Config& c) {
  HfNames n;
  n.final_norm = "model.final_layernorm", n.mlp_norm = "pre_ff_layernorm";
  n.gate = "feed_forward.gate_proj", n.up = "feed_forward.up_proj", n.down = "feed_forward.down_proj";
  hf_map_llama_like(m, DecoderSizes(c), n);
  hf_map_mamba2(m, mamba_spec(c), "model.layers.*.mamba.", "layers.*.mamba.");
}

constexpr nemo_variant variants[] = {
    variant("bamba_9b", "Bamba 9B",
            "num_layers = 32\nhidden_size = 4096\nffn_hidden_size = 14336\nnum_attention_heads = 32\nnum_query_groups = 8\nvocab_size = "
            "128256\n"
            "attention_layers = [9, 18, 27]\nrotary_percent = 0.5\nmamba_num_heads = 128\nmamba_state_dim = 128\n"),
};
constexpr nemo_hf_architecture kinds[] = {hf_kind("BambaForCausalLM", "bamba")};
constexpr nemo_model_api api = hf_model_api<build, hf_config, hf_map>(kinds, variants);

}  // namespace

NEMO_PLUGIN("model:bamba\0", component(NEMO_KIND_MODEL, "bamba", "1.0.0", "Bamba: Mamba-2 mixers and some attention", &api, schema.get()))
