// ChatGLM 2 and 3, GLM-4: Llama's block with biases of q, k and v and rotation of neighbouring pairs in the first half of each head. Two
// kinds of checkpoint: ChatGLM's own names (fused q, k, v), and transformers' glm and glm4. Team GLM 2024, "ChatGLM: A Family of Large
// Language Models from GLM-130B to GLM-4 All Tools".
#include "nemo/cpp/hf_decoder.hpp"
#include "nemo/cpp/plugin.hpp"

using namespace nemo::sdk;

namespace {

const Schema schema{join({
    decoder_fields({"false", "1e-5"}),
    rope_fields(),
    {
        boolean("add_qkv_bias", "true", "biases of q, k and v").changes_checkpoint(),
        boolean("output_norms", "false", "norms of both branches before they join: GLM-4 0414").changes_checkpoint(),
        choice("checkpoint_names", "\"glm\"", {{"glm", "as transformers' GlmForCausalLM"}, {"chatglm", "as ChatGLMModel's own code"}},
               "names of tensors in Hugging Face checkpoints"),
    },
})};

void build(Graph& g, const Config& c) {
  DecoderSpec s(g, c);
  s.qkv_bias = c.boolean("add_qkv_bias");
  s.output_norms = c.boolean("output_norms");
  s.interleaved = true;
  s.ropes = {rope_of_settings(c, s.size.head, position_count(g, c), g.axis_size("seq"))};
  Decoder(g, s).build();
}

void glm_config(HfConfig& c, bool four) {
  c.set_kind(four ? "Glm4ForCausalLM" : "GlmForCausalLM", four ? "glm4" : "glm");
  HfDecoder d;
  d.missing_epsilon = 1.5625e-07;
  hf_decoder_sizes(c, d);
  if (c.importing() && !c.json().has("head_dim")) c.put("kv_channels", int64_t{128});
  if (!c.importing()) c.json().set("head_dim", DecoderSizes(c.config()).head);
  HfRope rope;
  rope.partial = true;
  rope.missing_partial = 0.5;
  hf_rope(c, rope);
  c.expect("hidden_act", "silu");
  hf_unused_dropout(c, {"attention_dropout"});
  c.boolean("add_qkv_bias", "attention_bias", false);
  c.put("output_norms", four);
  if (c.json().type("pad_token_id") == NEMO_JSON_ABSENT && !c.importing()) c.json().set_null("pad_token_id");
}

// ChatGLM's config.json has words of its own; half of each head turns, theta is 10000 * rope_ratio.
void chatglm_config(HfConfig& c) {
  Json& j = c.json();
  c.set_kind("ChatGLMModel", "chatglm");
  c.expect("rmsnorm", true);
  c.expect("post_layer_norm", true);
  c.expect("add_bias_linear", false);
  c.expect("apply_residual_connection_post_layernorm", false);
  c.expect("original_rope", true);
  c.expect_absent("pre_seq_len");
  hf_unused_dropout(c, {"attention_dropout", "hidden_dropout"});
  c.boolean("add_qkv_bias", "add_qkv_bias", false);
  c.number("layernorm_epsilon", "layernorm_epsilon", 1e-5);
  c.boolean("share_embeddings_and_output_weights", "tie_word_embeddings", false);
  if (c.importing()) {
    c.integer("num_layers", "num_layers");
    c.integer("hidden_size", "hidden_size");
    c.integer("ffn_hidden_size", "ffn_hidden_size");
    c.integer("num_attention_heads", "num_attention_heads");
    c.integer("kv_channels", "kv_channels", 128);
    c.integer("vocab_size", "padded_vocab_size");
    c.integer("max_position_embeddings", "seq_length", 2048);
    c.put("num_query_groups",
          j.boolean("multi_query_attention", false) ? j.integer("multi_query_group_num", 1) : c.integer_of("num_attention_heads"));
    c.put("rotary_base", 10000 * j.number("rope_ratio", 1));
    c.put("rotary_percent", 0.5);
    return c.put("checkpoint_names", "chatglm");
  }
  const DecoderSizes s(c.config());
  if (c.string_of("rope_scaling.type") != "none" || c.number_of("rotary_percent") != 0.5 || c.boolean_of("output_norms"))
    throw Error(NEMO_CODE_UNSUPPORTED, "a ChatGLM config.json cannot say rope_scaling, output_norms or another rotary_percent than 0.5")
        .with("path", "rope_scaling.type");
  j.set("num_layers", s.layers), j.set("hidden_size", s.hidden), j.set("ffn_hidden_size", s.ffn);
  j.set("num_attention_heads", s.heads), j.set("kv_channels", s.head), j.set("padded_vocab_size", s.vocab);
  if (const int64_t positions = c.integer_of("max_position_embeddings"); positions != 0) j.set("seq_length", positions);
  j.set("multi_query_attention", s.kv_heads != s.heads), j.set("multi_query_group_num", s.kv_heads);
  if (const double ratio = c.number_of("rotary_base") / 10000; ratio != 1 || j.has("rope_ratio")) j.set("rope_ratio", ratio);
}

void hf_config(HfConfig& c) {
  const std::string type = c.model_type();
  const bool own = type.empty() ? c.string_of("checkpoint_names") == "chatglm" : type == "chatglm";
  if (own) return chatglm_config(c);
  glm_config(c, type.empty() ? c.boolean_of("output_norms") : type == "glm4");
}

void chatglm_map(HfMap& m, const DecoderSizes& s) {
  HfNames names;
  names.layer = "transformer.encoder.layers.*.";
  names.embedding = "transformer.embedding.word_embeddings.weight";
  names.final_norm = "transformer.encoder.final_layernorm";
  names.output = "transformer.output_layer.weight";
  hf_map_ends(m, s, names);
  hf_map_fused_attention(m, s, "transformer.encoder.layers.*.self_attention.query_key_value", true);
  m.tensor("transformer.encoder.layers.*.self_attention.dense.weight", {s.hidden, s.queries()}).to("layers.*.attention.o.weight");
  hf_map_fused_mlp(m, s, "transformer.encoder.layers.*.mlp.dense_h_to_4h", "transformer.encoder.layers.*.mlp.dense_4h_to_h");
  m.ignore("transformer.rotary_pos_emb.inv_freq");
}

void hf_map(HfMap& m, const Config& c) {
  const DecoderSizes s(c);
  if (c.string("checkpoint_names") == "chatglm") return chatglm_map(m, s);
  hf_map_ends(m, s);
  hf_map_attention(m, s);
  hf_map_fused_mlp(m, s, "model.layers.*.mlp.gate_up_proj", "model.layers.*.mlp.down_proj");
  m.tensor("model.layers.*.post_self_attn_layernorm.weight").to("layers.*.attention_output_norm.weight");
  m.tensor("model.layers.*.post_mlp_layernorm.weight").to("layers.*.mlp_output_norm.weight");
}

#define CHATGLM                                                                                                    \
  "num_layers = 28\nhidden_size = 4096\nffn_hidden_size = 13696\nnum_attention_heads = 32\nnum_query_groups = 2\n" \
  "kv_channels = 128\nvocab_size = 65024\nrotary_percent = 0.5\ncheckpoint_names = \"chatglm\"\n"
constexpr nemo_variant variants[] = {
    variant("chatglm2_6b", "ChatGLM2 6B", CHATGLM "max_position_embeddings = 32768\n"),
    variant("chatglm3_6b", "ChatGLM3 6B", CHATGLM "max_position_embeddings = 8192\n"),
};
constexpr nemo_hf_architecture kinds[] = {hf_kind("ChatGLMModel", "chatglm"), hf_kind("ChatGLMForConditionalGeneration", "chatglm"),
                                          hf_kind("GlmForCausalLM", "glm"), hf_kind("Glm4ForCausalLM", "glm4")};
constexpr nemo_model_api api = hf_model_api<build, hf_config, hf_map>(kinds, variants);

}  // namespace

NEMO_PLUGIN("model:chatglm\0",
            component(NEMO_KIND_MODEL, "chatglm", "1.0.0", "ChatGLM 2, 3 and GLM-4 decoders: half-rotated pairs", &api, schema.get()))
