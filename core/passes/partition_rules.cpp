#include "core/passes/partition_rules.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <set>
#include <span>
#include <sstream>

#include "core/base/error.hpp"
#include "core/base/nearest.hpp"

namespace nemo::passes {
namespace {

using graph::Dim;
using graph::Dims;
using graph::Graph;
using graph::Value;

// The words of docs/architecture.md, and the two that name no logical axis.
const std::vector<std::string> kGlossary{"batch", "seq",       "embed",   "heads", "kv_heads", "head_dim", "mlp",
                                         "vocab", "positions", "experts", "state", "fused",    ""};

bool in_glossary(const std::string& axis) { return std::find(kGlossary.begin(), kGlossary.end(), axis) != kGlossary.end(); }

bool splits_tokens(std::string_view axis) { return axis == "batch" || axis == "seq"; }

// The model or data setting that an axis' size comes from.
std::string_view setting_of(std::string_view axis) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 7> settings{{{"heads", "num_attention_heads"},
                                                                                   {"kv_heads", "num_query_groups"},
                                                                                   {"mlp", "ffn_hidden_size"},
                                                                                   {"vocab", "the padded vocabulary size"},
                                                                                   {"seq", "seq_length"},
                                                                                   {"batch", "the micro batch size"},
                                                                                   {"experts", "num_moe_experts"}}};
  for (const auto& [name, setting] : settings)
    if (name == axis) return setting;
  return "the model's size of this axis";
}

std::string suggestion(std::string_view word, std::span<const std::string> known) {
  const std::string near = nearest_name(word, known);
  return near.empty() ? "" : "; did you mean '" + near + "'?";
}

}  // namespace

MeshMask mask_of(const Placement& placement) {
  MeshMask mask = 0;
  for (const MeshIds& ids : placement)
    for (const int m : ids) mask |= bit(m);
  return mask;
}

int dimension_of(const Placement& placement, int m) {
  for (size_t d = 0; d < placement.size(); ++d)
    if (std::find(placement[d].begin(), placement[d].end(), m) != placement[d].end()) return static_cast<int>(d);
  return -1;
}

Rules::Rules(const Graph& graph, const Plan& plan, const Coordinates& coordinates) : plan_(plan) {
  if (plan.mesh.size() > 64)
    throw Error(Code::kConfig, "the device mesh has " + std::to_string(plan.mesh.size()) + " axes; at most 64 are possible");
  for (const MeshAxis& axis : plan.mesh) {
    const auto found = coordinates.find(axis.name);
    coordinates_.push_back(found == coordinates.end() ? 0 : found->second);
    if (coordinates_.back() < 0 || coordinates_.back() >= axis.size)
      throw Error(Code::kInvalidArgument, "rank coordinate " + std::to_string(coordinates_.back()) + " is outside mesh axis '" + axis.name +
                                              "' of size " + std::to_string(axis.size));
  }
  std::set<std::string_view> present, feature_axes;
  for (const Value& value : graph.values)
    for (const Dim& dim : value.dims) present.insert(dim.axis);
  for (const auto& [axis, mesh] : plan.rules) {
    (void)find(mesh, "rule '" + axis + " -> " + mesh + "'");
    if (!in_glossary(axis) && !present.contains(axis))
      throw Error(Code::kConfig, "strategy rule '" + axis + " -> " + mesh + "': no value of the model has axis '" + axis + "'" +
                                     suggestion(axis, kGlossary));
    const bool deals = axis == "experts" && plan.axis_size(mesh) > 1 &&
                       std::find(plan.rules.begin(), plan.rules.end(), std::pair(std::string("batch"), mesh)) != plan.rules.end();
    if (deals && !present.contains(axis))
      throw Error(Code::kConfig, "the strategy splits experts over mesh axis '" + mesh + "' of size " +
                                     std::to_string(plan.axis_size(mesh)) +
                                     ", but the model has no experts; set expert_model_parallel_size to 1 or choose a mixture of experts");
    if (!splits_tokens(axis)) feature_axes.insert(mesh);
  }
  for (const auto& [axis, mesh] : plan.rules)
    if (const int m = find(mesh, axis); size(m) > 1) rules_.push_back({axis, m, feature_axes.contains(mesh)});
  std::istringstream shared_out(plan.zero_axis());
  for (std::string axis; std::getline(shared_out, axis, ',');) (void)find(axis, "state shared out");
}

int Rules::find(std::string_view mesh, std::string_view used_by) const {
  std::vector<std::string> known;
  for (size_t m = 0; m < plan_.mesh.size(); ++m) {
    if (plan_.mesh[m].name == mesh) return static_cast<int>(m);
    known.push_back(plan_.mesh[m].name);
  }
  std::string list;
  for (const std::string& name : known) list += (list.empty() ? "" : ", ") + name;
  throw Error(Code::kConfig, "strategy " + std::string(used_by) + ": the device mesh has no axis '" + std::string(mesh) +
                                 "' (it has: " + (list.empty() ? "none" : list) + ")" + suggestion(mesh, known));
}

bool Rules::active() const {
  return std::any_of(plan_.mesh.begin(), plan_.mesh.end(), [](const MeshAxis& axis) { return axis.size > 1; });
}

void Rules::check_axes(const Graph& graph) const {
  std::set<std::string_view> known;
  for (const Value& value : graph.values)
    for (const Dim& dim : value.dims) {
      if (known.contains(dim.axis)) continue;
      const bool ruled = std::any_of(plan_.rules.begin(), plan_.rules.end(), [&](const auto& rule) { return rule.first == dim.axis; });
      if (!ruled && !in_glossary(dim.axis))
        throw Error(Code::kInvalidArgument, "axis '" + dim.axis + "' of " + (value.name.empty() ? "a result" : "'" + value.name + "'") +
                                                " is in no strategy rule and not in the glossary of axis names" +
                                                suggestion(dim.axis, kGlossary));
      known.insert(dim.axis);
    }
}

Placement Rules::place(const Dims& dims, bool input) const {
  Placement placement(dims.size());
  MeshMask used = 0;
  for (const Rule& rule : rules_) {
    if (input && rule.axis == "seq" && rule.features) continue;
    for (size_t d = 0; d < dims.size(); ++d) {
      if (dims[d].axis != rule.axis || (used & bit(rule.mesh)) != 0) continue;
      placement[d].push_back(rule.mesh);
      used |= bit(rule.mesh);
    }
  }
  for (MeshIds& ids : placement) std::sort(ids.begin(), ids.end());
  return placement;
}

Dims Rules::local(const Dims& global, const Placement& placement, const std::function<std::string()>& owner) const {
  Dims dims = global;
  for (size_t d = 0; d < dims.size(); ++d)
    for (const int m : placement[d]) {
      if (dims[d].size % size(m) != 0)
        throw Error(Code::kConfig, owner() + ": axis '" + dims[d].axis + "' of size " + std::to_string(global[d].size) +
                                       " cannot be split over mesh axis '" + name(m) + "' of size " + std::to_string(size(m)) + "; make " +
                                       std::string(setting_of(dims[d].axis)) + " a multiple of it or " + name(m) + " smaller");
      dims[d].size /= size(m);
      dims[d].mesh.push_back(name(m));
    }
  return dims;
}

bool Rules::is_context(int m) const {
  return std::any_of(rules_.begin(), rules_.end(), [&](const Rule& r) { return r.mesh == m && r.axis == "seq" && !r.features; }) &&
         std::none_of(rules_.begin(), rules_.end(), [&](const Rule& r) { return r.mesh == m && r.axis != "seq"; });
}

int Rules::exchange_axis() const {
  for (const Rule& experts : rules_)
    for (const Rule& batch : rules_)
      if (experts.axis == "experts" && batch.axis == "batch" && experts.mesh == batch.mesh) return experts.mesh;
  return -1;
}

int64_t Rules::room_for(int64_t own, int m) const {
  const int64_t all = own * size(m);
  if (plan_.expert_capacity == 0) return all;
  return std::min(all, static_cast<int64_t>(std::ceil(static_cast<double>(own) * plan_.expert_capacity)));
}

int64_t Rules::part(const MeshIds& ids) const {
  int64_t index = 0;
  for (const int m : ids) index = index * size(m) + coordinate(m);
  return index;
}

std::vector<std::string> Rules::names(MeshMask mask) const {
  std::vector<std::string> names;
  for (; mask != 0; mask &= mask - 1) names.push_back(name(std::countr_zero(mask)));
  return names;
}

}  // namespace nemo::passes
