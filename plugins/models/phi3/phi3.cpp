// Phi-3 and Phi-4: Llama's block; checkpoints have q, k, v and gate, up as one tensor each.
// Abdin et al. 2024, "Phi-3 Technical Report".
#include "nemo/cpp/hf_decoder.hpp"
#include "nemo/cpp/plugin.hpp"

using namespace nemo::sdk;

namespace {

const Schema schema{join({
    decoder_fields({"false", "1e-5"}),
    rope_fields(),
    {
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
  s.window_everywhere(c.integer("window_size"));
  s.hidden_dropout = c.number("hidden_dropout");
  s.embedding_dropout = c.number("embedding_dropout");
  s.ropes = {rope_of_settings(c, s.size.head, position_count(g, c), g.axis_size("seq"))};
  Decoder(g, s).build();
}

void hf_config(HfConfig& c) {
  c.set_kind("Phi3ForCausalLM", "phi3");
  HfDecoder d;
  d.missing_epsilon = 1e-5;
  hf_decoder_sizes(c, d);
  HfRope rope;
  rope.partial = true;
  hf_rope(c, rope);
  c.expect("hidden_act", "silu");
  c.number("hidden_dropout", "resid_pdrop", 0);
  hf_unused_dropout(c, {"attention_dropout", "embd_pdrop"});  // transformers reads embd_pdrop and does not use it
  c.expect("attention_bias", false);
  Json& j = c.json();
  (void)j.has("original_max_position_embeddings");  // of scaled positions, which hf_rope reads
  if (c.importing()) return c.put("window_size", j.integer("sliding_window", 0));
  if (c.integer_of("window_size") > 0)
    j.set("sliding_window", c.integer_of("window_size"));
  else
    j.set_null("sliding_window");
  // Its default in transformers is a row that small vocabularies do not have.
  if (j.type("pad_token_id") == NEMO_JSON_ABSENT) j.set_null("pad_token_id");
}

void hf_map(HfMap& m, const Config& c) {
  const DecoderSizes s(c);
  hf_map_ends(m, s);
  hf_map_fused_attention(m, s, "model.layers.*.self_attn.qkv_proj");
  m.tensor("model.layers.*.self_attn.o_proj.weight", {s.hidden, s.queries()}).to("layers.*.attention.o.weight");
  hf_map_fused_mlp(m, s, "model.layers.*.mlp.gate_up_proj", "model.layers.*.mlp.down_proj");
}

constexpr nemo_variant variants[] = {
    variant(
        "phi3_mini_4k", "Phi-3 mini, 3.8B",
        "num_layers = 32\nhidden_size = 3072\nffn_hidden_size = 8192\nnum_attention_heads = 32\nnum_query_groups = 32\nvocab_size = 32064\n"
        "max_position_embeddings = 4096\nwindow_size = 2047\n"),
};
constexpr nemo_hf_architecture kinds[] = {hf_kind("Phi3ForCausalLM", "phi3")};
constexpr nemo_model_api api = hf_model_api<build, hf_config, hf_map>(kinds, variants);

}  // namespace

NEMO_PLUGIN("model:phi3\0", component(NEMO_KIND_MODEL, "phi3", "1.0.0", "Phi-3 decoders", &api, schema.get()))
