// DeepSeek V2, V2-Lite and V3: latent attention (keys and values from one narrow vector per token, positions in a part of the heads of
// their own), and mixtures of many small experts beside shared ones. DeepSeek-AI 2024, "DeepSeek-V2" and "DeepSeek-V3 Technical Report".
#include "nemo/cpp/hf_decoder.hpp"
#include "nemo/cpp/mixture.hpp"
#include "nemo/cpp/plugin.hpp"

using namespace nemo::sdk;

namespace {

constexpr double kLatentEpsilon = 1e-6;  // of the norms of the latent vectors, whatever the others have

const Schema schema{join({
    decoder_fields({"false", "1e-6"}),
    rope_fields(),
    mixture_fields(),
    mixture_layer_fields(),
    {
        integer("q_lora_rank", "0", "width of the latent vector of queries; 0 = queries directly").min(0).changes_checkpoint(),
        integer("kv_lora_rank", "512", "width of the latent vector of keys and values").min(1).changes_checkpoint(),
        integer("qk_head_dim", "128", "elements of a query or key without position").min(1).changes_checkpoint(),
        integer("qk_pos_emb_head_dim", "64", "elements of a query or key that turn with the position").min(2).changes_checkpoint(),
        boolean("rotary_interleaved", "true", "pairs are (2i, 2i + 1) instead of (i, i + d/2)").changes_checkpoint(),
    },
})};

// kv_channels is the size of a head's values.
struct LatentSizes {
  int64_t q_rank, kv_rank, plain, turning;
  explicit LatentSizes(const Config& c)
      : q_rank(c.integer("q_lora_rank")),
        kv_rank(c.integer("kv_lora_rank")),
        plain(c.integer("qk_head_dim")),
        turning(c.integer("qk_pos_emb_head_dim")) {
    if (turning % 2 != 0) config_fault("qk_pos_emb_head_dim", "rotary positions turn pairs: qk_pos_emb_head_dim must be even");
  }
  int64_t query() const { return plain + turning; }
};

class DeepSeek : public Decoder {
 public:
  DeepSeek(Graph& graph, const DecoderSpec& spec, const Config& c)
      : Decoder(graph, spec),
        latent(c),
        mixture(graph, MixtureSpec(c, s.size.hidden, s.size.ffn, s.in, s.out)),
        sparse(mixture_layers(c, s.size.layers)) {}

 private:
  Value attention(int64_t, const std::string& name, Value x) override {
    const Graph::Scope scope(g, "attention");
    const Value q = turn(queries(name, x), latent.plain);
    const Dim narrow{latent.kv_rank, ""}, heads{s.size.heads, "heads"};
    const Value kv = narrow_norm(name + ".kv_a_norm", g.linear({x, g.weight(name + ".kv_a.weight", {narrow, embed()}, s.in)}), narrow);
    const Value k = g.linear({kv, g.weight(name + ".k.weight", {heads, {latent.plain, "head_dim"}, narrow}, s.in)});
    const Value v = g.linear({kv, g.weight(name + ".v.weight", {heads, head_dim(), narrow}, s.in)});
    const Value position = g.linear({x, g.weight(name + ".k_rope.weight", {{1, ""}, {latent.turning, "head_dim"}, embed()}, s.in)});
    const Value key = g.head_concat({k, turn(position, 0)}, {{"f", latent.query()}});
    const Value o = g.attention({q, key, v, g.input("segments")}, {{"scale", s.scale}});
    return g.linear({o, g.weight(name + ".o.weight", {embed(), heads, head_dim()}, s.out)}, {{"contract", 2}});
  }

  Value queries(const std::string& name, Value x) {
    const Dim heads{s.size.heads, "heads"}, size{latent.query(), "head_dim"};
    if (latent.q_rank == 0) return g.linear({x, g.weight(name + ".q.weight", {heads, size, embed()}, s.in)});
    const Dim narrow{latent.q_rank, ""};
    const Value q = narrow_norm(name + ".q_a_norm", g.linear({x, g.weight(name + ".q_a.weight", {narrow, embed()}, s.in)}), narrow);
    return g.linear({q, g.weight(name + ".q_b.weight", {heads, size, narrow}, s.in)});
  }

  Value narrow_norm(const std::string& name, Value x, Dim width) {
    return g.rms_norm({x, g.vector(name + ".weight", {width}, Init::constant(1))}, {{"eps", kLatentEpsilon}});
  }
  Value turn(Value x, int64_t offset) {
    const RopeFrequencies& f = s.ropes[0];
    return g.rope({x, g.input("positions")},
                  {{"inv_freq", f.inverse}, {"scale", f.scale}, {"interleaved", s.interleaved}, {"offset", offset}});
  }
  Value mlp(int64_t layer, const std::string& name, Value x) override {
    return sparse[size_t(layer)] ? mixture.build(name, x) : Decoder::mlp(layer, name, x);
  }
  Value total_loss(Value tokens) override { return mixture.total_loss(tokens); }

  LatentSizes latent;
  Mixture mixture;
  std::vector<bool> sparse;
};

void build(Graph& g, const Config& c) {
  DecoderSpec s(g, c);
  const LatentSizes latent(c);
  const RopeScaling scaling = rope_scaling(c, latent.turning / 2, position_count(g, c), g.axis_size("seq"));
  s.interleaved = c.boolean("rotary_interleaved");
  s.ropes = {rope_frequencies(latent.turning, c.number("rotary_base"), scaling)};
  s.scale = 1 / std::sqrt(double(latent.query()));
  if (scaling.type == RopeType::kYarn && scaling.mscale_all_dim != 0 && scaling.factor > 1) {
    const double m = 0.1 * scaling.mscale_all_dim * std::log(scaling.factor) + 1;
    s.scale *= m * m;
  }
  DeepSeek(g, s, c).build();
}

// What V2 and V3 route by.
void hf_routing(HfConfig& c, bool three) {
  Json& j = c.json();
  c.integer("num_moe_experts", "n_routed_experts");
  c.integer("moe_router_topk", "num_experts_per_tok");
  c.number("moe_router_topk_scaling_factor", "routed_scaling_factor", 1);
  c.put("moe_router_score_function", three ? "sigmoid" : "softmax");
  c.put("moe_router_enable_expert_bias", three);
  c.put("moe_router_group_top", int64_t{three ? 2 : 1});
  c.expect("scoring_func", three ? "sigmoid" : "softmax");
  const bool grouped =
      c.importing() ? three || j.string("topk_method", "greedy") == "group_limited_greedy" : c.integer_of("moe_router_num_groups") > 1;
  if (three) {
    c.expect("topk_method", "noaux_tc");
    c.boolean("moe_router_renormalize", "norm_topk_prob", true);
  } else {
    const std::string method = j.string("topk_method", "greedy");
    if (c.importing() && method != "greedy" && !grouped) c.refuse("topk_method", "\"" + method + "\"");
    c.expect("norm_topk_prob", false);
    c.put("moe_router_renormalize", false);
    if (!c.importing()) j.set("topk_method", grouped ? "group_limited_greedy" : "greedy");
  }
  if (!grouped) return c.without_meaning({"n_group", "topk_group"});
  c.integer("moe_router_num_groups", "n_group");
  c.integer("moe_router_group_topk", "topk_group");
}

// first_k_dense_replace, and shared experts as multiples of an expert's width.
void hf_experts(HfConfig& c) {
  Json& j = c.json();
  c.integer("moe_ffn_hidden_size", "moe_intermediate_size");
  c.integer("moe_first_dense_layers", "first_k_dense_replace", 0);
  c.expect_number("moe_layer_freq", 1);
  const int64_t width = c.integer_of("moe_ffn_hidden_size");
  if (c.importing()) return c.put("moe_shared_expert_intermediate_size", j.integer("n_shared_experts", 0) * width);
  const int64_t shared = c.integer_of("moe_shared_expert_intermediate_size");
  if (shared % width != 0 || c.integer_of("moe_layer_step") != 1 || !c.config().integers("moe_dense_layers").empty())
    throw Error(
        NEMO_CODE_UNSUPPORTED,
        "DeepSeek's config.json means shared experts of a whole multiple of an expert's width, and experts in all layers behind the first")
        .with("path", "moe_shared_expert_intermediate_size");
  j.set("n_shared_experts", shared / width);
}

void hf_config(HfConfig& c) {
  Json& j = c.json();
  const bool three = c.importing() ? c.model_type() == "deepseek_v3" : c.string_of("moe_router_score_function") == "sigmoid";
  c.set_kind(three ? "DeepseekV3ForCausalLM" : "DeepseekV2ForCausalLM", three ? "deepseek_v3" : "deepseek_v2");
  hf_refuse_quantized(c);
  const bool has_head_dim = j.has("head_dim");
  hf_decoder_sizes(c);
  hf_rope(c);
  c.expect("hidden_act", "silu");
  c.expect("attention_bias", false);
  c.expect("mlp_bias", false);
  hf_unused_dropout(c, {"attention_dropout"});
  c.integer("kv_lora_rank", "kv_lora_rank");
  c.integer("qk_head_dim", "qk_nope_head_dim");
  c.integer("qk_pos_emb_head_dim", "qk_rope_head_dim");
  c.integer("kv_channels", "v_head_dim");
  if (c.importing()) c.expect_number("qk_head_dim", double(c.integer_of("qk_head_dim") + c.integer_of("qk_pos_emb_head_dim")));
  if (c.importing())
    c.put("q_lora_rank", j.integer("q_lora_rank", 0));
  else if (c.integer_of("q_lora_rank") == 0)
    j.set_null("q_lora_rank");
  else
    c.integer("q_lora_rank", "q_lora_rank");
  if (!c.importing()) {  // transformers' head_dim is the turning part
    if (has_head_dim)
      j.set("head_dim", c.integer_of("qk_pos_emb_head_dim"));
    else
      j.erase("head_dim");
    if (j.has("qk_head_dim")) j.set("qk_head_dim", c.integer_of("qk_head_dim") + c.integer_of("qk_pos_emb_head_dim"));
  }
  if (three)
    c.boolean("rotary_interleaved", "rope_interleave", true);
  else
    c.put("rotary_interleaved", true);
  if (c.importing() && j.integer("num_nextn_predict_layers", 0) > 0)
    log(NEMO_LOG_WARNING, "",
        "config.json: the layers that predict further tokens (num_nextn_predict_layers) are left out, as transformers does");
  hf_routing(c, three);
  hf_experts(c);
}

void hf_map(HfMap& m, const Config& c) {
  const DecoderSizes s(c);
  const LatentSizes l(c);
  const std::string theirs = "model.layers.*.self_attn.", ours = "layers.*.attention.";
  hf_map_ends(m, s);
  hf_map_mlp(m);
  hf_map_mixture(m, s.hidden);
  m.tensor(theirs + "q_proj.weight", {s.heads * l.query(), s.hidden}).to(ours + "q.weight");
  m.tensor(theirs + "q_a_proj.weight").to(ours + "q_a.weight");
  m.tensor(theirs + "q_a_layernorm.weight").to(ours + "q_a_norm.weight");
  m.tensor(theirs + "q_b_proj.weight", {s.heads * l.query(), l.q_rank}).to(ours + "q_b.weight");
  const HfMap::Shape latent{l.kv_rank + l.turning, s.hidden}, heads{s.heads * (l.plain + s.head), l.kv_rank},
      by_head{s.heads, l.plain + s.head, l.kv_rank};
  m.tensor(theirs + "kv_a_proj_with_mqa.weight", latent).rows(0, l.kv_rank).to(ours + "kv_a.weight");
  m.tensor(theirs + "kv_a_proj_with_mqa.weight", latent).rows(l.kv_rank, l.turning).to(ours + "k_rope.weight");
  m.tensor(theirs + "kv_a_layernorm.weight").to(ours + "kv_a_norm.weight");
  m.tensor(theirs + "kv_b_proj.weight", heads).view(by_head).part(1, 0, l.plain).to(ours + "k.weight");
  m.tensor(theirs + "kv_b_proj.weight", heads).view(by_head).part(1, l.plain, s.head).to(ours + "v.weight");
  m.tensor(theirs + "o_proj.weight", {s.hidden, s.heads * s.head}).to(ours + "o.weight");
  m.ignore("model.layers." + std::to_string(s.layers) + ".**");  // layers that predict further tokens
}

#define SIZES(layers, hidden, ffn, heads)                                                                           \
  "num_layers = " #layers "\nhidden_size = " #hidden "\nffn_hidden_size = " #ffn "\nnum_attention_heads = " #heads  \
  "\nkv_channels = 128\nkv_lora_rank = 512\nqk_head_dim = 128\nqk_pos_emb_head_dim = 64\ninit_method_std = 0.006\n" \
  "rope_scaling.type = \"yarn\"\nrope_scaling.factor = 40\nrope_scaling.original_max_position_embeddings = 4096\n"  \
  "max_position_embeddings = 163840\nmoe_router_load_balancing_type = \"seq_aux_loss\"\n"
#define MSCALE(m) "rope_scaling.mscale = " #m "\nrope_scaling.mscale_all_dim = " #m "\n"
constexpr nemo_variant variants[] = {
    variant("deepseek_v2_lite", "DeepSeek V2 Lite, 16B",
            SIZES(27, 2048, 10944, 16)
                MSCALE(0.707) "vocab_size = 102400\nnum_moe_experts = 64\nmoe_router_topk = 6\nmoe_ffn_hidden_size = 1408\n"
                              "moe_shared_expert_intermediate_size = 2816\nmoe_first_dense_layers = 1\nmoe_router_renormalize = false\n"
                              "moe_aux_loss_coeff = 0.001\n"),
    variant("deepseek_v2", "DeepSeek V2, 236B",
            SIZES(60, 5120, 12288, 128)
                MSCALE(0.707) "q_lora_rank = 1536\nvocab_size = 102400\nnum_moe_experts = 160\nmoe_router_topk = 6\n"
                              "moe_ffn_hidden_size = 1536\nmoe_shared_expert_intermediate_size = 3072\nmoe_first_dense_layers = 1\n"
                              "moe_router_renormalize = false\nmoe_router_num_groups = 8\nmoe_router_group_topk = 3\n"
                              "moe_router_topk_scaling_factor = 16\nmoe_aux_loss_coeff = 0.001\n"),
    variant("deepseek_v3", "DeepSeek V3, 671B",
            SIZES(61, 7168, 18432, 128)
                MSCALE(1) "q_lora_rank = 1536\nvocab_size = 129280\nnum_moe_experts = 256\nmoe_router_topk = 8\n"
                          "moe_ffn_hidden_size = 2048\nmoe_shared_expert_intermediate_size = 2048\nmoe_first_dense_layers = 3\n"
                          "moe_router_score_function = \"sigmoid\"\nmoe_router_enable_expert_bias = true\n"
                          "moe_router_num_groups = 8\nmoe_router_group_topk = 4\nmoe_router_group_top = 2\n"
                          "moe_router_topk_scaling_factor = 2.5\nmoe_aux_loss_coeff = 0.0001\n"),
};
constexpr nemo_hf_architecture kinds[] = {hf_kind("DeepseekV2ForCausalLM", "deepseek_v2"), hf_kind("DeepseekV3ForCausalLM", "deepseek_v3")};
constexpr nemo_model_api api = hf_model_api<build, hf_config, hf_map>(kinds, variants);

}  // namespace

NEMO_PLUGIN("model:deepseek\0",
            component(NEMO_KIND_MODEL, "deepseek", "1.0.0", "DeepSeek V2 and V3: latent attention, many experts", &api, schema.get()))
