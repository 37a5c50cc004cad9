// Baichuan 2: Llama's block with q, k, v as one tensor, and an output layer whose rows are normalized. 7B has rotary positions, 13B linear
// biases (ALiBi).
// Yang et al. 2023, "Baichuan 2: Open Large-scale Language Models".
#include "nemo/cpp/hf_decoder.hpp"
#include "nemo/cpp/plugin.hpp"

using namespace nemo::sdk;

namespace {

const Schema schema{join({
    decoder_fields({"false", "1e-6"}),
    rope_fields(),
    {boolean("normalized_output", "true", "rows of the output layer have length 1, as in Baichuan 2; false: Baichuan 1")
         .changes_checkpoint(),
     choice("position_embedding", "\"rope\"", {{"rope", "rotary, as 7B"}, {"alibi", "linear biases, as 13B"}}, "how positions are told")
         .changes_checkpoint()},
})};

void build(Graph& g, const Config& c) {
  DecoderSpec s(g, c);
  s.normalized_output = c.boolean("normalized_output");
  s.alibi = c.string("position_embedding") == "alibi";
  (void)position_count(g, c);
  if (!s.alibi) s.ropes = {rope_of_settings(c, s.size.head, position_count(g, c), g.axis_size("seq"))};
  Decoder(g, s).build();
}

void hf_config(HfConfig& c) {
  c.set_kind("BaichuanForCausalLM", "baichuan");
  // The code of 13B has the same names; its config.json knows model_max_length only.
  Json& j = c.json();
  const bool alibi =
      c.importing() ? !j.has("max_position_embeddings") && j.has("model_max_length") : c.string_of("position_embedding") == "alibi";
  c.put("position_embedding", alibi ? "alibi" : "rope");
  hf_decoder_sizes(c);
  if (!alibi) {
    hf_rope(c);
  } else if (c.importing()) {
    c.put("max_position_embeddings", j.integer("model_max_length"));
  } else {
    j.erase("max_position_embeddings");
    if (c.integer_of("max_position_embeddings") != 0) j.set("model_max_length", c.integer_of("max_position_embeddings"));
  }
  c.expect("hidden_act", "silu");
  if (c.importing()) {
    // Only Baichuan 2's config.json has the coefficient of its loss; its vocabulary doubled as well.
    c.put("normalized_output", c.json().has("z_loss_weight") || c.integer_of("vocab_size") > 64000);
    c.expect_number("z_loss_weight", 0);
  } else if (c.boolean_of("normalized_output") && !c.json().has("z_loss_weight")) {
    c.json().set("z_loss_weight", 0);
  }
  (void)c.json().has("model_max_length");
}

void hf_map(HfMap& m, const Config& c) {
  const DecoderSizes s(c);
  hf_map_ends(m, s);
  hf_map_fused_attention(m, s, "model.layers.*.self_attn.W_pack");
  m.tensor("model.layers.*.self_attn.o_proj.weight", {s.hidden, s.queries()}).to("layers.*.attention.o.weight");
  hf_map_mlp(m);
}

constexpr nemo_variant variants[] = {
    variant("baichuan2_7b", "Baichuan 2 7B",
            "num_layers = 32\nhidden_size = 4096\nffn_hidden_size = 11008\nnum_attention_heads = 32\nvocab_size = 125696\n"
            "max_position_embeddings = 4096\n"),
    variant("baichuan2_13b", "Baichuan 2 13B",
            "num_layers = 40\nhidden_size = 5120\nffn_hidden_size = 13696\nnum_attention_heads = 40\nvocab_size = 125696\n"
            "max_position_embeddings = 4096\nposition_embedding = \"alibi\"\n"),
};
constexpr nemo_hf_architecture kinds[] = {hf_kind("BaichuanForCausalLM", "baichuan"), hf_kind("BaiChuanForCausalLM", "baichuan")};
constexpr nemo_model_api api = hf_model_api<build, hf_config, hf_map>(kinds, variants);

}  // namespace

NEMO_PLUGIN("model:baichuan2\0",
            component(NEMO_KIND_MODEL, "baichuan2", "1.0.0",
                      "Baichuan 2 decoders: normalized output layer, rotary positions or linear biases", &api, schema.get()))
