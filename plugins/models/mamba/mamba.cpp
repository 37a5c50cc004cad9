// Mamba-2: a stack of state-space mixers, without attention or MLP. Dao & Gu 2024, "Transformers are SSMs".
#include "nemo/cpp/hf.hpp"
#include "nemo/cpp/model.hpp"
#include "nemo/cpp/plugin.hpp"
#include "nemo/cpp/state_space.hpp"

using namespace nemo::sdk;

namespace {

std::vector<Field> fields() {
  std::vector<Field> own{
      integer("num_layers", "", "state-space mixers").required().min(1).changes_checkpoint(),
      integer("hidden_size", "", "width of the residual stream").required().min(1).changes_checkpoint(),
      integer("vocab_size", "0", "rows of the token table; 0 = the tokenizer's vocabulary").min(0).changes_checkpoint(),
      integer("make_vocab_size_divisible_by", "16", "pads the token table to a multiple of this").min(1).changes_checkpoint(),
      boolean("share_embeddings_and_output_weights", "false", "the output layer uses the token table").changes_checkpoint(),
      number("layernorm_epsilon", "1e-5", "added to the mean square in RMSNorm").min(0).changes_checkpoint(),
      number("init_method_std", "0.02", "deviation of initial weights; output projections use it / sqrt(num_layers)").min(0),
      mamba_norm_field(),
  };
  for (Field& f : mamba_fields("64", "1")) own.push_back(std::move(f));
  return own;
}
const Schema schema{fields()};

MambaSpec spec(const Config& c) {
  const double std = c.number("init_method_std");
  MambaSpec s(c, c.integer("hidden_size"), c.number("layernorm_epsilon"), Init::normal(std),
              Init::normal(std / std::sqrt(double(c.integer("num_layers")))));
  if (c.string("mamba_norm") == "groups") s.norm_groups = s.groups;
  return s;
}

void build(Graph& g, const Config& c) {
  const MambaSpec s = spec(c);
  require_unpacked(g);
  const Dim embed{s.hidden, "embed"}, vocab{vocabulary_rows(g, c), "vocab"};
  const auto norm = [&](const std::string& name, Value x) {
    return g.rms_norm({x, g.vector(name + ".weight", {embed}, Init::constant(1))}, {{"eps", s.epsilon}});
  };
  const Value table = g.weight("embedding.word.weight", {vocab, embed}, s.in);
  Value x = g.embedding({g.input("tokens"), table});
  Mamba2Mixer mixer(g, s);
  for (int64_t i = 0; i < c.integer("num_layers"); ++i) {
    const std::string name = "layers." + std::to_string(i);
    const Graph::Block block(g, "layer", i);
    const Graph::Scope scope(g, name);
    x = g.add({x, mixer.build(name + ".mamba", norm(name + ".norm", x))});
  }
  const bool tied = c.boolean("share_embeddings_and_output_weights");
  const Value logits = g.linear({norm("final_norm", x), tied ? table : g.weight("output.weight", {vocab, embed}, s.in)});
  g.output("logits", logits);
  g.output("loss", g.sum({g.cross_entropy({logits, g.input("labels")})}));
}

void hf_config(HfConfig& c) {
  Json& j = c.json();
  c.set_kind("Mamba2ForCausalLM", "mamba2");
  c.integer("num_layers", "num_hidden_layers");
  c.integer("hidden_size", "hidden_size");
  c.integer("vocab_size", "vocab_size");
  if (c.importing()) c.put("make_vocab_size_divisible_by", int64_t{1});
  c.boolean("share_embeddings_and_output_weights", "tie_word_embeddings", false);
  c.number("layernorm_epsilon", "layer_norm_epsilon", 1e-5);
  c.number("init_method_std", "initializer_range", 0.1);
  c.expect("hidden_act", "silu");
  c.expect("rms_norm", true);
  c.without_meaning({"chunk_size", "residual_in_fp32", "rescale_prenorm_residual", "time_step_floor", "time_step_max", "time_step_min",
                     "time_step_rank"});
  c.integer("mamba_head_dim", "head_dim", 64);
  c.integer("mamba_num_groups", "n_groups", 8);
  c.integer("mamba_state_dim", "state_size", 128);
  c.integer("mamba_conv_kernel", "conv_kernel", 4);
  c.whole_number("mamba_expand", "expand", 2);
  if (c.importing())
    c.put("mamba_num_heads", j.integer("num_heads", 128));
  else
    j.set("num_heads", spec(c.config()).heads);
  c.boolean("mamba_proj_bias", "use_bias", false);
  c.boolean("mamba_conv_bias", "use_conv_bias", true);
  hf_time_step_limit(c);
  hf_mamba_norm(c);
}

void hf_map(HfMap& m, const Config& c) {
  const MambaSpec s = spec(c);
  const int64_t vocab = c.integer("vocab_size");
  m.tensor("backbone.embeddings.weight", {vocab, s.hidden}).padded(vocab).to("embedding.word.weight");
  m.tensor("lm_head.weight", {vocab, s.hidden}).padded(vocab).to("output.weight");
  m.alias("lm_head.weight", "backbone.embeddings.weight");
  m.tensor("backbone.norm_f.weight").to("final_norm.weight");
  m.tensor("backbone.layers.*.norm.weight").to("layers.*.norm.weight");
  hf_map_mamba2(m, s, "backbone.layers.*.mixer.", "layers.*.mamba.");
}

#define MAMBA(layers, hidden) "num_layers = " #layers "\nhidden_size = " #hidden "\nvocab_size = 50280\n"
constexpr nemo_variant variants[] = {
    variant("mamba2_130m", "Mamba-2 130M", MAMBA(24, 768)),
    variant("mamba2_370m", "Mamba-2 370M", MAMBA(48, 1024)),
    variant("mamba2_780m", "Mamba-2 780M", MAMBA(48, 1536)),
    variant("mamba2_1p3b", "Mamba-2 1.3B", MAMBA(48, 2048)),
    variant("mamba2_2p7b", "Mamba-2 2.7B", MAMBA(64, 2560)),
    variant("nvidia_mamba2_8b", "NVIDIA Mamba-2 8B",
            "num_layers = 56\nhidden_size = 4096\nmamba_num_groups = 8\nmake_vocab_size_divisible_by = 128\n"),
};
constexpr nemo_hf_architecture kinds[] = {hf_kind("Mamba2ForCausalLM", "mamba2")};
constexpr nemo_model_api api = hf_model_api<build, hf_config, hf_map>(kinds, variants);

}  // namespace

NEMO_PLUGIN("model:mamba\0", component(NEMO_KIND_MODEL, "mamba", "1.0.0", "Mamba-2: state-space mixers", &api, schema.get()))
