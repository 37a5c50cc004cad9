// nemo/cpp/mixture.hpp - a mixture of experts in place of a layer's MLP, for model plugins: settings, graph, and the names of its
// parameters.
//
//   mlp override:  return mixture.build(name, x);            // and total_loss: return mixture.total_loss(tokens);
//
// Parameters under NAME: router.{weight [experts embed], bias, correction [experts]}; experts.{gate, up}.{weight [experts mlp embed],
// bias}, experts.down.{weight [experts embed mlp], bias}; shared.{gate, up, down}.weight, shared_gate.weight [embed]. Shazeer et al. 2017;
// Fedus et al. 2021; Dai et al. 2024 (shared experts); Wang et al. 2024 (correction by bias).
#pragma once

#include <algorithm>
#include <cmath>

#include "nemo/cpp/hf.hpp"
#include "nemo/cpp/model.hpp"

namespace nemo::sdk {
inline namespace v1 {

// Defaults of mixture_fields; string literals.
struct MixtureDefaults {
  std::string_view experts = "8", topk = "2", score = "\"softmax\"", renormalize = "true";
};

inline std::vector<Field> mixture_fields(const MixtureDefaults& d = {}) {
  return {
      integer("num_moe_experts", d.experts, "experts of a mixture").min(1).changes_checkpoint(),
      integer("moe_router_topk", d.topk, "experts that a token goes to").min(1).changes_checkpoint(),
      integer("moe_ffn_hidden_size", "0", "inner width of an expert; 0 = ffn_hidden_size").min(0).changes_checkpoint(),
      integer("moe_shared_expert_intermediate_size", "0", "inner width of the expert that every token goes to; 0 = none")
          .min(0)
          .changes_checkpoint(),
      choice("moe_router_score_function", d.score,
             {{"softmax", "scores compete"}, {"sigmoid", "every score on its own, as in DeepSeek-V3"}}, "from router logits to scores")
          .changes_checkpoint(),
      boolean("moe_router_renormalize", d.renormalize, "weights of the chosen experts are divided by their sum").changes_checkpoint(),
      number("moe_router_topk_scaling_factor", "1", "factor of the weights").changes_checkpoint(),
      integer("moe_router_num_groups", "1", "groups of experts, of which a token looks at the best").min(1).changes_checkpoint(),
      integer("moe_router_group_topk", "1", "groups that a token looks at").min(1).changes_checkpoint(),
      integer("moe_router_group_top", "1", "scores that make up a group's: the sum of so many best ones").min(1).changes_checkpoint(),
      boolean("moe_router_enable_expert_bias", "false", "a correction per expert that only takes part in the choice; kept, not trained")
          .changes_checkpoint(),
      choice("moe_router_load_balancing_type", "\"aux_loss\"",
             {{"aux_loss", "over the tokens of a micro batch"}, {"seq_aux_loss", "over each sequence"}},
             "what the load-balancing loss judges"),
      number("moe_aux_loss_coeff", "0", "weight of the load-balancing loss").min(0),
      number("moe_z_loss_coeff", "0", "weight of the router's z loss").min(0),
  };
}

// Which layers have experts.
inline std::vector<Field> mixture_layer_fields() {
  return {
      integer("moe_first_dense_layers", "0", "first layers with a plain MLP").min(0).changes_checkpoint(),
      integer("moe_layer_step", "1", "behind those every k-th layer has experts, the k-th first").min(1).changes_checkpoint(),
      list("moe_dense_layers", NEMO_FIELD_INT, "[]", "further layers with a plain MLP").min(0).changes_checkpoint(),
  };
}
inline std::vector<bool> mixture_layers(const Config& c, int64_t layers) {
  const std::vector<int64_t> dense = c.integers("moe_dense_layers");
  const int64_t first = c.integer("moe_first_dense_layers"), step = c.integer("moe_layer_step");
  std::vector<bool> sparse;
  for (int64_t i = 0; i < layers; ++i)
    sparse.push_back(i >= first && (i + 1) % step == 0 && std::find(dense.begin(), dense.end(), i) == dense.end());
  return sparse;
}

struct MixtureSpec {
  int64_t experts, topk, hidden, ffn, shared;
  std::string score;
  bool renormalize;
  double scaling;
  int64_t groups, group_topk, group_top;
  bool correction, sequence_wise;
  double aux, z;
  Init in, out;

  bool gated = true, shared_gate = false, router_bias = false, expert_bias = false;
  std::string activation = "silu";  // "clamped_swiglu": GPT-OSS
  double limit = 7, alpha = 1.702;  // of clamped_swiglu

  // `ffn`: inner width of a plain MLP.
  MixtureSpec(const Config& c, int64_t hidden_size, int64_t ffn_size, Init weights, Init output)
      : experts(c.integer("num_moe_experts")),
        topk(c.integer("moe_router_topk")),
        hidden(hidden_size),
        ffn(c.integer("moe_ffn_hidden_size") != 0 ? c.integer("moe_ffn_hidden_size") : ffn_size),
        shared(c.integer("moe_shared_expert_intermediate_size")),
        score(c.string("moe_router_score_function")),
        renormalize(c.boolean("moe_router_renormalize")),
        scaling(c.number("moe_router_topk_scaling_factor")),
        groups(c.integer("moe_router_num_groups")),
        group_topk(c.integer("moe_router_group_topk")),
        group_top(c.integer("moe_router_group_top")),
        correction(c.boolean("moe_router_enable_expert_bias")),
        sequence_wise(c.string("moe_router_load_balancing_type") == "seq_aux_loss"),
        aux(c.number("moe_aux_loss_coeff")),
        z(c.number("moe_z_loss_coeff")),
        in(weights),
        out(output) {
    require_divides("moe_router_num_groups", groups, "num_moe_experts", experts);
    if (group_topk > groups) config_fault("moe_router_group_topk", "moe_router_group_topk exceeds moe_router_num_groups");
    if (topk > experts / groups * group_topk)
      config_fault("moe_router_topk", "moe_router_topk = " + std::to_string(topk) + " exceeds the experts to choose from, " +
                                          std::to_string(experts / groups * group_topk));
  }
};

class Mixture {
 public:
  Mixture(Graph& graph, MixtureSpec spec) : g(graph), s(std::move(spec)) {}

  // Behind the router: dealt rows, experts, and the sum of their results.
  Value build(const std::string& name, Value x) {
    const Graph::Scope scope(g, "mlp");
    const Values route = this->route(name + ".router", x);
    const Values rows = g.moe_dispatch({x, route[1]}, {{"experts", s.experts}});
    const Value expert = experts(name + ".experts", rows[0], rows[1]);
    const Value y = g.moe_combine({expert, rows[2], route[0]});
    return s.shared > 0 ? Value(g.add({y, shared(name, x)})) : y;
  }

  // The loss of the tokens and of the routers of all layers built so far.
  Value total_loss(Value tokens) {
    for (const auto& [term, coefficient] : terms_) tokens = g.add_loss({tokens, term}, {{"coefficient", coefficient}});
    return tokens;
  }

 private:
  Values route(const std::string& name, Value x) {
    const Dim routed{s.experts, ""};  // every rank routes among all experts
    const Value bias = s.router_bias ? g.vector(name + ".bias", {routed}, Init::constant(0)) : kNone;
    const Value logits = g.linear({x, g.weight(name + ".weight", {routed, embed()}, s.in), bias});
    const Value correction = s.correction ? g.frozen(name + ".correction", {routed}, Init::constant(0)) : kNone;
    const Values chosen = g.moe_route({logits, correction}, {{"k", s.topk},
                                                             {"score", s.score},
                                                             {"renormalize", s.renormalize},
                                                             {"scaling", s.scaling},
                                                             {"groups", s.groups},
                                                             {"group_topk", s.group_topk},
                                                             {"group_top", s.group_top}});
    if (s.aux > 0) {
      const Values load = g.moe_load({logits, chosen[1]}, {{"axes", s.sequence_wise}, {"score", s.score}});
      terms_.emplace_back(g.moe_balance({load[0], load[1]}), s.aux);
    }
    if (s.z > 0) terms_.emplace_back(g.moe_z_loss({logits}), s.z);
    return chosen;
  }

  Value experts(const std::string& name, Value rows, Value ids) {
    const Dim all{s.experts, "experts"}, wide{s.ffn, "mlp"};
    const auto linear = [&](const std::string& part, Value x, Dim on, Dim from, Init init) {
      const Value bias = s.expert_bias ? g.vector(name + part + ".bias", {all, on}, Init::constant(0)) : kNone;
      return Value(g.grouped_linear({x, ids, g.weight(name + part + ".weight", {all, on, from}, init), bias}));
    };
    Value h = kNone;
    if (!s.gated) {
      h = g.activation({linear(".up", rows, wide, embed(), s.in)}, {{"kind", s.activation}});
    } else {
      const Value gate = linear(".gate", rows, wide, embed(), s.in), up = linear(".up", rows, wide, embed(), s.in);
      h = s.activation == "clamped_swiglu" ? g.clamped_glu({gate, up}, {{"alpha", s.alpha}, {"limit", s.limit}})
                                           : g.glu({gate, up}, {{"kind", s.activation}});
    }
    return linear(".down", h, embed(), wide, s.out);
  }

  Value shared(const std::string& name, Value x) {
    const Dim wide{s.shared, "mlp"};
    const auto widen = [&](const std::string& part) {
      return g.linear({x, g.weight(name + ".shared" + part + ".weight", {wide, embed()}, s.in)});
    };
    Value h = kNone;
    if (s.gated) {
      const Value gate = widen(".gate");
      h = g.glu({gate, widen(".up")}, {{"kind", s.activation}});
    } else {
      h = g.activation({widen(".up")}, {{"kind", s.activation}});
    }
    const Value y = g.linear({h, g.weight(name + ".shared.down.weight", {embed(), wide}, s.out)});
    if (!s.shared_gate) return y;
    const Value gate = g.linear({x, g.weight(name + ".shared_gate.weight", {embed()}, s.in)});
    return g.row_scale({y, g.activation({gate}, {{"kind", "sigmoid"}})});
  }

  Dim embed() const { return {s.hidden, "embed"}; }

  Graph& g;
  MixtureSpec s;
  std::vector<std::pair<Value, double>> terms_;
};

// Where the checkpoint has the parts of a mixture, behind a layer's name; `expert` has a star for the expert's number.
struct HfMixtureNames {
  std::string router = "mlp.gate.weight", expert = "mlp.experts.*.", gate = "gate_proj.weight", up = "up_proj.weight",
              down = "down_proj.weight";
  std::string correction = "mlp.gate.e_score_correction_bias", shared = "mlp.shared_experts.",
              shared_gate = "mlp.shared_expert_gate.weight";
};

inline void hf_map_mixture(HfMap& m, int64_t hidden, const HfMixtureNames& n = {}, const std::string& layer = "model.layers.*.",
                           const std::string& ours = "layers.*.mlp.") {
  m.tensor(layer + n.router).to(ours + "router.weight");
  m.tensor(layer + n.correction).to(ours + "router.correction");
  m.tensor(layer + n.shared_gate, {1, hidden}).to(ours + "shared_gate.weight");
  const std::pair<std::string, const char*> parts[] = {{n.gate, "gate"}, {n.up, "up"}, {n.down, "down"}};
  for (const auto& [theirs, part] : parts) {
    m.tensor(layer + n.expert + theirs).stack().to(ours + "experts." + part + ".weight");
    m.tensor(layer + n.shared + theirs).to(ours + "shared." + part + ".weight");
  }
}

// transformers adds the load-balancing loss only where output_router_logits asks for it.
inline void hf_router_loss(HfConfig& c) {
  if (c.importing()) {
    const double coefficient = c.json().number("router_aux_loss_coef", 0.001);
    c.put("moe_aux_loss_coeff", c.json().boolean("output_router_logits", false) ? coefficient : 0.0);
  } else if (c.number_of("moe_aux_loss_coeff") > 0) {
    c.json().set("router_aux_loss_coef", c.number_of("moe_aux_loss_coeff"));
    c.json().set("output_router_logits", true);
  }
  c.expect_number("router_jitter_noise", 0);
}

}  // namespace v1
}  // namespace nemo::sdk
