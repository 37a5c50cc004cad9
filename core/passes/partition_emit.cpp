#include "core/passes/partition_emit.hpp"

#include <algorithm>
#include <array>
#include <map>
#include <numeric>

#include "core/base/error.hpp"

namespace nemo::passes {
namespace {

using graph::Attrs;
using graph::Dims;
using graph::Graph;
using graph::Op;
using graph::Parameter;
using graph::ValueId;
using graph::ValueKind;

class Emitter {
 public:
  Emitter(Graph& graph, const Rules& rules, const Decisions& decisions)
      : graph_(graph), rules_(rules), decisions_(decisions), known_(graph.values.size()) {
    current_.resize(known_);
    std::iota(current_.begin(), current_.end(), ValueId{0});
    conversions_.resize(known_);
    for (size_t v = 0; v < known_; ++v) global_.push_back(graph.values[v].dims);
  }

  void run() {
    localize_leaves();
    std::vector<Op> ops = std::move(graph_.ops);
    graph_.ops.clear();
    for (size_t i = 0; i < ops.size(); ++i) {
      emit_op(ops[i], decisions_.ops[i]);
    }
    for (auto& [name, id] : graph_.outputs) id = current_[id];
  }

 private:
  // One conversion of a value, for the consumers that need the same.
  struct Conversion {
    Placement needed;
    MeshMask copies;
    ValueId result;
  };

  // An exchange of rows as it was emitted.
  struct Routes {
    ValueId dealt_ids = 0, counts = 0;
  };

  [[nodiscard]] Dims dealt(ValueId value, const Placement& placement) const {
    return rules_.local(global_[value], placement, [&] { return "value '" + graph_.value(value).name + "'"; });
  }

  [[nodiscard]] Dims local(ValueId value, const Placement& placement) const {
    Dims dims = dealt(value, placement);
    if (decisions_.exchanged[value] < 0) return dims;
    const Exchange& exchange = exchange_of(value);
    const auto product = [&](const Dims& of) {
      int64_t n = 1;
      for (size_t d = 0; d < exchange.lead; ++d) n *= of[d].size;
      return n;
    };
    Placement as_dealt = placement;
    std::copy_n(exchange.dealt.begin(), exchange.lead, as_dealt.begin());
    const int64_t own = product(dealt(value, as_dealt)), here = product(dims);
    graph::Dim rows{here / own * rules_.room_for(own, exchange.mesh), "", {}};
    for (size_t d = 0; d < exchange.lead; ++d) rows.mesh.insert(rows.mesh.end(), dims[d].mesh.begin(), dims[d].mesh.end());
    dims.erase(dims.begin(), dims.begin() + static_cast<std::ptrdiff_t>(exchange.lead));
    dims.insert(dims.begin(), std::move(rows));
    return dims;
  }

  [[nodiscard]] const Exchange& exchange_of(ValueId value) const {
    return decisions_.exchanges[static_cast<size_t>(decisions_.exchanged[value])];
  }

  // Where dimension d of a value of the model is in this rank's.
  [[nodiscard]] int64_t local_dim(ValueId value, int d) const {
    if (decisions_.exchanged[value] < 0) return d;
    const int lead = static_cast<int>(exchange_of(value).lead);
    return d < lead ? 0 : d - lead + 1;
  }

  void localize_leaves() {
    for (size_t v = 1; v < known_; ++v)
      if (graph_.values[v].kind != ValueKind::kResult) graph_.values[v].dims = local(static_cast<ValueId>(v), decisions_.placed[v]);
    for (size_t p = 0; p < graph_.parameters.size(); ++p) {
      Parameter& parameter = graph_.parameters[p];
      parameter.dims = graph_.value(parameter.value).dims;
      parameter.gradient_partial = rules_.names(parameter.trainable ? decisions_.gradient_partial[p] : 0);
      if (parameter.trainable) check_shared_out(parameter, decisions_.gradient_partial[p]);
    }
  }

  // Ranks that share state out add up their gradients: each must have computed its own part.
  void check_shared_out(const Parameter& parameter, MeshMask partial) const {
    for (int m = 0; m < rules_.axes(); ++m)
      if (rules_.shares_out(m) && (partial & bit(m)) == 0 && rules_.is_context(m))
        throw Error(Code::kConfig,
                    "the strategy shares state out over mesh axis '" + rules_.name(m) + "', which splits sequences: parameter '" +
                        parameter.name + "' is used alike by all its ranks, so that its gradient would count " +
                        std::to_string(rules_.size(m)) + " times; set use_distributed_optimizer = false, or context_parallel_size = 1");
      else if (rules_.shares_out(m) && (partial & bit(m)) == 0)
        throw Error(Code::kConfig, "the strategy shares state out over mesh axis '" + rules_.name(m) + "': parameter '" + parameter.name +
                                       "' is used alike by all its ranks, so that its gradient would count " +
                                       std::to_string(rules_.size(m)) + " times; add the rule 'batch -> " + rules_.name(m) + "'");
  }

  // Appends an op that is not the model's, in the place of `like`. `result` preset: the op's only output.
  Op& append(std::string_view name, std::vector<ValueId> inputs, Attrs attrs, const Op& like, ValueId result = 0) {
    graph::OpRequest request{name, std::move(inputs), std::move(attrs), {}, {}};
    if (result != 0) request.preset_outputs = {result};
    Op op = graph::make_op(graph_, std::move(request), like.scope);
    op.block = like.block;
    graph_.ops.push_back(std::move(op));
    return graph_.ops.back();
  }

  ValueId result_like(ValueId source, Dims dims) {
    return graph_.add_value({ValueKind::kResult, "", graph_.value(source).dtype, std::move(dims), {}});
  }

  void emit_op(Op& op, const OpDecision& decision) {
    const Op like = op;
    for (size_t i = 0; i < op.inputs.size(); ++i)
      if (op.inputs[i] != 0) op.inputs[i] = convert(like, i, decision.inputs[i]);
    if (decision.form == OpForm::kVocabularyLoss) return emit_vocabulary_loss(op, decision);
    if (op.name() == "linear" && op.inputs[2] != 0 && decision.outputs[0].partial != 0)
      op.inputs[2] = share(op.inputs[2], decision.outputs[0].partial, like);
    if (op.name() == "embedding" && !decision.inputs[1].needed[0].empty())
      op.attrs["shard_offset"] = op.int_attr("shard_offset") + offset(op.inputs[1], 0, decision.inputs[1].needed[0]);
    if (op.name() == "attention" && op.int_attr("alibi") != 0 && !decision.inputs[0].needed[2].empty())
      op.attrs["alibi_first"] = op.int_attr("alibi_first") + offset(op.inputs[0], 2, decision.inputs[0].needed[2]);
    if (op.name() == "grouped_linear") localize_experts(op, decision, like);
    if (op.name() == "take_token") take_own_token(op, decision.inputs[0].needed[1]);
    const bool deals = op.name() == "moe_dispatch";
    if (op.name() == "moe_combine") bring_back(op, like);
    for (size_t o = 0; o < op.outputs.size(); ++o)
      if (const ValueId v = op.outputs[o]; v != 0)
        graph_.value(v).dims = deals ? dealt(v, decision.outputs[o].raw) : local(v, decision.outputs[o].raw);
    if (op.name() == "dropout") number_elements(op, decision);
    if (op.name() == "attention" && !decision.outputs[0].raw[1].empty())
      attend_in_context(op, decision.outputs[0].raw[1].front());
    else
      graph_.ops.push_back(std::move(op));
    for (size_t o = 0; o < like.outputs.size(); ++o)
      if (like.outputs[o] != 0) current_[like.outputs[o]] = complete(like, like.outputs[o], decision.outputs[o]);
    if (deals && decisions_.exchanged[like.outputs[0]] >= 0) send_rows(like);
  }

  // Rows as dealt go to the ranks that hold their experts.
  void send_rows(const Op& deal) {
    const ValueId rows = deal.outputs[0], ids = deal.outputs[1];
    const Exchange& exchange = exchange_of(rows);
    const int64_t ranks = rules_.size(exchange.mesh), experts = deal.int_attr("experts");
    if (experts % ranks != 0)
      throw Error(Code::kConfig, place_of(deal) + ": num_moe_experts = " + std::to_string(experts) + " cannot be split over the " +
                                     std::to_string(ranks) + " ranks of mesh axis '" + rules_.name(exchange.mesh) +
                                     "'; make expert_model_parallel_size a divisor of it");
    const Dims room = local(rows, exchange.dealt);
    const std::string& mesh = rules_.name(exchange.mesh);
    const std::vector<ValueId> plan = append("moe_exchange_plan", {current_[ids]},
                                             {{"mesh", mesh}, {"experts", experts / ranks}, {"r", room[0].size}, {"n", ranks}}, deal)
                                          .outputs;
    graph_.value(plan[0]).dims = {room[0]};
    const ValueId dealt_ids = current_[ids];
    current_[rows] =
        append("moe_exchange", {current_[rows], plan[1], dealt_ids}, {{"mesh", mesh}, {"r", room[0].size}}, deal, result_like(rows, room))
            .outputs[0];
    current_[ids] = plan[0];
    routes_[decisions_.exchanged[rows]] = {dealt_ids, plan[1]};
  }

  // The results of the experts' rows return to where the rows were dealt.
  void bring_back(Op& combine, const Op& like) {
    const ValueId rows = like.inputs[0];
    if (decisions_.exchanged[rows] < 0) return;
    const Exchange& exchange = exchange_of(rows);
    const Routes& routes = routes_.at(decisions_.exchanged[rows]);
    combine.inputs[0] = append("moe_exchange_back", {combine.inputs[0], routes.counts, routes.dealt_ids},
                               {{"mesh", rules_.name(exchange.mesh)}}, like, result_like(rows, dealt(rows, exchange.dealt)))
                            .outputs[0];
  }

  // Dimension 1 in `chunks` parts, of which the result has those of `take`.
  ValueId take(ValueId value, int64_t chunks, std::vector<double> chosen, const Op& like) {
    Dims dims = graph_.value(value).dims;
    dims[1].size = dims[1].size / chunks * static_cast<int64_t>(chosen.size());
    const ValueId result = result_like(value, std::move(dims));
    return append("take_chunks", {value}, {{"chunks", chunks}, {"take", std::move(chosen)}}, like, result).outputs[0];
  }

  void attend_in_context(Op& op, int m) {
    if (op.int_attr("alibi") != 0)
      throw Error(Code::kUnsupported, place_of(op) + ": attention with linear biases over mesh axis '" + rules_.name(m) +
                                          "' is not implemented; set context_parallel_size = 1");
    if (rules_.exchanges_heads(m)) return attend_to_heads(op, m);
    if (rules_.context() == "p2p") return attend_around_ring(op, m);
    if (op.int_attr("causal") != 0) return attend_to_chunks(op, m);
    attend_both_ways(op, m);
  }

  // Every query sees every key, wherever it lies; lengths count keys in order.
  void attend_both_ways(Op& op, int m) {
    if (op.inputs[5] != 0)
      throw Error(Code::kUnsupported, place_of(op) + ": attention with a bias over mesh axis '" + rules_.name(m) +
                                          "' is not implemented; set context_parallel_size = 1");
    if (op.inputs[6] != 0) {
      const int64_t c = rules_.size(m);
      require_two_chunks(op, m);
      std::vector<double> order;
      for (int64_t j = 0; j < 2 * c; ++j) order.push_back(static_cast<double>(j < c ? 2 * j : 2 * (2 * c - 1 - j) + 1));
      for (const size_t i : {1, 2}) op.inputs[i] = take(op.inputs[i], 2 * c, order, op);
    }
    graph_.ops.push_back(std::move(op));
  }

  // Inputs behind q, k and v that only other ways of finding keys can serve.
  void refuse_extras(const Op& op, int m, std::initializer_list<size_t> inputs, const std::string& instead) const {
    for (const size_t i : inputs)
      if (op.inputs[i] != 0)
        throw Error(Code::kUnsupported, place_of(op) + ": attention with '" + op.row->inputs[i].name + "' over mesh axis '" +
                                            rules_.name(m) + "' cannot be computed by " + rules_.context() + "; choose " + instead);
  }

  // Whole sequences for a part of the heads, or the other way round: `split` is cut, `join` is put together, over the ranks of m.
  ValueId exchange_dims(ValueId value, int m, size_t split, size_t join, const Op& like, ValueId result = 0) {
    const std::string& mesh = rules_.name(m);
    Dims dims = graph_.value(value).dims;
    dims[split].size /= rules_.size(m), dims[join].size *= rules_.size(m);
    dims[split].mesh.push_back(mesh);
    std::erase(dims[join].mesh, mesh);
    return append("all_to_all", {value},
                  {{"mesh", mesh}, {"split_dim", static_cast<int64_t>(split)}, {"concat_dim", static_cast<int64_t>(join)}}, like,
                  result != 0 ? result : result_like(value, std::move(dims)))
        .outputs[0];
  }

  // DeepSpeed Ulysses (Jacobs et al. 2023).
  void attend_to_heads(Op& op, int m) {
    refuse_extras(op, m, {4, 5}, "all_gather");
    const int64_t c = rules_.size(m);
    for (size_t i = 0; i < 2; ++i)
      if (const int64_t heads = graph_.value(op.inputs[i]).dims[2].size; heads % c != 0)
        throw Error(Code::kConfig, place_of(op) + ": the " + std::to_string(heads) + (i == 0 ? " query heads" : " key and value heads") +
                                       " of a rank cannot be dealt to the " + std::to_string(c) + " ranks of mesh axis '" + rules_.name(m) +
                                       "'; a2a needs a multiple, all_gather and p2p do not");
    const ValueId result = op.outputs[0];
    for (size_t i = 0; i < 3; ++i) op.inputs[i] = exchange_dims(op.inputs[i], m, 2, 1, op);
    if (op.inputs[3] != 0) {
      Dims dims = graph_.value(op.inputs[3]).dims;
      dims[1].size *= c;
      std::erase(dims[1].mesh, rules_.name(m));
      const ValueId whole = result_like(op.inputs[3], std::move(dims));
      op.inputs[3] = append("all_gather", {op.inputs[3]}, {{"mesh", rules_.name(m)}, {"dim", int64_t{1}}}, op, whole).outputs[0];
    }
    Dims dims = graph_.value(op.inputs[0]).dims;
    dims[3] = graph_.value(op.inputs[2]).dims[3];
    op.outputs[0] = result_like(result, dims);
    graph_.value(op.outputs[1]).dims = {dims[0], dims[2], dims[1]};
    const Op like = op;
    graph_.ops.push_back(std::move(op));
    exchange_dims(like.outputs[0], m, 1, 2, like, result);
  }

  void attend_around_ring(const Op& op, int m) {
    refuse_extras(op, m, {3, 4, 5, 6}, "all_gather or a2a");
    if (op.int_attr("window") != 0)
      throw Error(Code::kUnsupported, place_of(op) + ": attention with a window cannot be computed by p2p; choose all_gather or a2a");
    require_two_chunks(op, m);
    const Dims &q = graph_.value(op.outputs[0]).dims, &lse = graph_.value(op.outputs[1]).dims;
    Dims half = q, half_lse = lse;
    half[1].size /= 2, half_lse[2].size /= 2;
    std::vector<ValueId> inputs{take(op.inputs[0], 2, {0}, op), take(op.inputs[0], 2, {1}, op), op.inputs[1], op.inputs[2]};
    graph::OpRequest request{"ring_attention", std::move(inputs), op.attrs, {}, {}};
    for (const char* refused : {"window", "alibi", "alibi_first"})
      request.attrs.erase(refused);  // what a ring cannot compute was refused above
    request.attrs["ring"] = rules_.name(m), request.attrs["ranks"] = rules_.size(m), request.attrs["rank"] = rules_.coordinate(m);
    for (int i = 0; i < 2; ++i) {
      request.preset_outputs.push_back(result_like(op.outputs[0], half));
      request.preset_outputs.push_back(result_like(op.outputs[1], half_lse));
    }
    const std::vector<ValueId> o{request.preset_outputs[0], request.preset_outputs[2]};
    Op made = graph::make_op(graph_, std::move(request), op.scope);
    made.block = op.block;
    graph_.ops.push_back(std::move(made));
    join_halves(op, o);
  }

  void require_two_chunks(const Op& op, int m) const {
    if (graph_.value(op.inputs[0]).dims[1].size % 2 == 0) return;
    const int64_t c = rules_.size(m);
    throw Error(Code::kConfig, place_of(op) + ": sequences of " + std::to_string(global_[op.outputs[0]][1].size) + " tokens have no 2 x " +
                                   std::to_string(c) + " equal chunks for mesh axis '" + rules_.name(m) +
                                   "'; make seq_length a multiple of " + std::to_string(2 * c));
  }

  // Results for the two chunks of this rank's queries, put together as the op's result.
  void join_halves(const Op& op, const std::vector<ValueId>& chunks) {
    std::vector<ValueId> halves;
    for (size_t half = 0; half < 2; ++half) {
      const ValueId whole = result_like(chunks[half], graph_.value(op.outputs[0]).dims);
      Attrs attrs{{"chunks", int64_t{2}}, {"take", std::vector<double>{static_cast<double>(half)}}};
      halves.push_back(append("put_chunks", {chunks[half]}, std::move(attrs), op, whole).outputs[0]);
    }
    append("add", halves, {}, op, op.outputs[0]);
  }

  // Causal attention of this rank's two chunks of queries, each to all keys up to its own: as much work on every rank. Keys lie as they
  // were gathered, rank by rank; what the second chunk sees is put in order, and what the first one sees is the beginning of that.
  void attend_to_chunks(const Op& op, int m) {
    const int64_t c = rules_.size(m), r = rules_.coordinate(m);
    if (op.inputs[3] != 0)
      throw Error(Code::kUnsupported, place_of(op) + ": sequences of several documents (segments) cannot be split over mesh axis '" +
                                          rules_.name(m) + "'; pack whole documents only, or drop the rule seq -> " + rules_.name(m));
    require_two_chunks(op, m);
    std::vector<double> seen, first;
    for (int64_t j = 0; j < 2 * c - r; ++j) seen.push_back(static_cast<double>(j < c ? 2 * j : 2 * (2 * c - 1 - j) + 1));
    for (int64_t j = 0; j <= r; ++j) first.push_back(static_cast<double>(j));
    std::array<ValueId, 2> ordered{};
    for (size_t i = 0; i < 2; ++i) ordered[i] = take(op.inputs[i + 1], 2 * c, seen, op);
    std::vector<ValueId> results;
    for (int64_t half = 0; half < 2; ++half) {
      Op piece = op;
      piece.inputs[0] = take(op.inputs[0], 2, {static_cast<double>(half)}, op);
      for (size_t i = 0; i < 2; ++i) piece.inputs[i + 1] = half == 0 ? take(ordered[i], 2 * c - r, first, op) : ordered[i];
      for (size_t o = 0; o < 2; ++o) {
        Dims dims = graph_.value(op.outputs[o]).dims;
        dims[o == 0 ? 1 : 2].size /= 2;
        piece.outputs[o] = result_like(op.outputs[o], std::move(dims));
      }
      results.push_back(piece.outputs[0]);
      graph_.ops.push_back(std::move(piece));
    }
    join_halves(op, results);
  }

  // Where this rank's elements are within their samples, so that masks do not depend on the layout. Dimension 0 counts samples, which the
  // runtime numbers.
  void number_elements(Op& op, const OpDecision& decision) const {
    const Placement& placed = decision.outputs[0].raw;
    const Dims &whole = global_[op.outputs[0]], &mine = graph_.value(op.outputs[0]).dims;
    if (placed.size() < 2) return;
    int64_t inner = 1, mine_inner = 1;
    for (size_t d = 2; d < placed.size(); ++d) {
      inner *= whole[d].size, mine_inner *= mine[d].size;
      if (d > 2 && !placed[d].empty())
        refuse(op, 0, static_cast<int>(d), placed[d][0],
               "which dropout cannot draw for: only batch, seq and the dimension behind may be split");
    }
    number_positions(op, placed[1], mine[1].size);
    if (placed.size() < 3 || placed[2].empty()) return;
    op.attrs["inner_size"] = inner;
    op.attrs["inner_start"] = rules_.part(placed[2]) * mine_inner;
  }

  void number_positions(Op& op, const MeshIds& ids, int64_t mine) const {
    if (ids.empty()) return;
    if (!rules_.is_context(ids.front()) || rules_.exchanges_heads(ids.front())) {
      op.attrs["seq_start"] = rules_.part(ids) * mine;
      return;
    }
    const int64_t c = rules_.size(ids.front()), r = rules_.coordinate(ids.front());
    const MeshIds inner(ids.begin() + 1, ids.end());
    int64_t parts = 1;
    for (const int m : inner) parts *= rules_.size(m);
    const int64_t chunk = mine * parts / 2, first = r * chunk, second = (2 * c - 1 - r) * chunk, at = rules_.part(inner) * mine;
    if (parts == 1) {
      op.attrs["seq_start"] = first, op.attrs["seq_start2"] = second;
      return;
    }
    if (parts % 2 != 0) refuse(op, 0, 1, ids.back(), "which with two chunks a rank needs an even number of parts");
    op.attrs["seq_start"] = at < chunk ? first + at : second + at - chunk;
  }

  // A part of the sequence has the token or gives 0; the sum over the parts is the token.
  void take_own_token(Op& op, const MeshIds& ids) const {
    if (ids.empty()) return;
    const int64_t mine = graph_.value(op.inputs[0]).dims[1].size;
    int64_t index = op.int_attr("index"), at = rules_.part(ids) * mine;
    if (rules_.is_context(ids.front()) && !rules_.exchanges_heads(ids.front())) {  // two chunks, which lie side by side
      const int64_t c = rules_.size(ids.front()), r = rules_.coordinate(ids.front());
      const MeshIds inner(ids.begin() + 1, ids.end());
      int64_t parts = 1;
      for (const int m : inner) parts *= rules_.size(m);
      const int64_t chunk = mine * parts / 2, of = index / chunk, within = index % chunk;
      at = rules_.part(inner) * mine;
      index = of == r ? within : of == 2 * c - 1 - r ? chunk + within : -1;
    }
    op.attrs["index"] = index >= at && index < at + mine ? index - at : int64_t{-1};
    op.attrs["part"] = int64_t{1};
  }

  // Experts split over ranks: each has the rows of its own, the others give 0. A bias that several ranks of one expert add is shared out.
  void localize_experts(Op& op, const OpDecision& decision, const Op& like) {
    const MeshIds& split = decision.inputs[2].needed[0];
    if (!split.empty()) op.attrs["shard_offset"] = op.int_attr("shard_offset") + offset(op.inputs[2], 0, split);
    const MeshMask alike = decision.outputs[0].partial & ~mask_of({split});
    if (op.inputs[3] != 0 && alike != 0) op.inputs[3] = share(op.inputs[3], alike, like);
  }

  // First global index of this rank's part of dimension `d` of a value that is already local.
  [[nodiscard]] int64_t offset(ValueId value, size_t d, const MeshIds& ids) const {
    return rules_.part(ids) * graph_.value(value).dims[d].size;
  }

  // value / n, so that the sum over the ranks of `axes` is the value.
  ValueId share(ValueId value, MeshMask axes, const Op& like) {
    int64_t n = 1;
    for (int m = 0; m < rules_.axes(); ++m)
      if ((axes & bit(m)) != 0) n *= rules_.size(m);
    return append("scale", {value}, {{"alpha", 1.0 / static_cast<double>(n)}}, like).outputs[0];
  }

  // The collectives that turn a partial sum into the value as decided.
  ValueId complete(const Op& like, ValueId value, const OutputDecision& decision) {
    const ValueId model_value = value;
    Placement placement = decision.raw;
    for (int m = 0; m < rules_.axes(); ++m) {
      if ((decision.partial & bit(m)) == 0) continue;
      const int d = dimension_of(decision.final, m);
      if (d < 0) {
        value =
            append("all_reduce", {value}, {{"mesh", rules_.name(m)}}, like, result_like(value, local(model_value, placement))).outputs[0];
        continue;
      }
      placement[static_cast<size_t>(d)].push_back(m);
      const ValueId result = result_like(value, local(model_value, placement));
      value = append("reduce_scatter", {value}, {{"mesh", rules_.name(m)}, {"dim", local_dim(model_value, d)}}, like, result).outputs[0];
    }
    return value;
  }

  ValueId convert(const Op& op, size_t i, const InputDecision& decision) {
    const ValueId source = op.inputs[i];
    const bool differentiable = decisions_.differentiable[source];
    MeshMask complete_elsewhere = 0;
    for (const uint32_t p : decisions_.roots[source]) complete_elsewhere |= ~decisions_.gradient_partial[p];
    const MeshMask deferred = decisions_.roots[source].empty() ? 0 : ~complete_elsewhere;
    const MeshMask split = mask_of(decisions_.placed[source]) | mask_of(decision.needed);
    const MeshMask copies = differentiable ? decision.partial & ~deferred & ~split : 0;
    for (const Conversion& known : conversions_[source])
      if (known.needed == decision.needed && known.copies == copies) return known.result;
    const ValueId result = convert_along_axes(op, i, decision, copies);
    conversions_[source].push_back({decision.needed, copies, result});
    return result;
  }

  ValueId convert_along_axes(const Op& op, size_t i, const InputDecision& decision, MeshMask copies) {
    const ValueId source = op.inputs[i];
    ValueId value = current_[source];
    Placement placement = decisions_.placed[source];
    for (int m = rules_.axes() - 1; m >= 0; --m) {
      const int from = dimension_of(placement, m), to = dimension_of(decision.needed, m);
      if (from >= 0 && from != to) value = gather(op, i, value, placement, m, decision);
    }
    for (int m = 0; m < rules_.axes(); ++m) {
      const int from = dimension_of(placement, m), to = dimension_of(decision.needed, m);
      const bool slices = to >= 0 && from < 0;
      if ((copies & bit(m)) != 0 || (slices && decisions_.differentiable[source]))
        value = append("copy_to", {value}, {{"mesh", rules_.name(m)}}, op, result_like(value, graph_.value(value).dims)).outputs[0];
      if (slices) value = slice(op, i, value, placement, m, static_cast<size_t>(to));
    }
    return value;
  }

  [[noreturn]] void refuse(const Op& op, size_t i, int d, int m, const std::string& why) const {
    throw Error(Code::kUnsupported, place_of(op) + ": input '" + op.row->inputs[i].name + "' is split over mesh axis '" + rules_.name(m) +
                                        "' along axis '" + global_[op.inputs[i]][static_cast<size_t>(d)].axis + "', " + why +
                                        "; change the strategy's rules for this axis");
  }

  // The gradient of all_gather sums over the ranks, which is right only where each of them uses the gathered value for another part of the
  // op's work.
  ValueId gather(const Op& op, size_t i, ValueId value, Placement& placement, int m, const InputDecision& decision) {
    const int d = dimension_of(placement, m);
    if (decisions_.differentiable[op.inputs[i]] && (decision.partial & bit(m)) == 0)
      refuse(op, i, d, m, "the op needs it whole, and nothing else in the op is split over '" + rules_.name(m) + "'");
    MeshIds& ids = placement[static_cast<size_t>(d)];
    if (ids.back() != m) refuse(op, i, d, m, "which is not the innermost of the mesh axes along it, and only that can be gathered");
    ids.pop_back();
    const ValueId result = result_like(value, local(op.inputs[i], placement));
    return append("all_gather", {value}, {{"mesh", rules_.name(m)}, {"dim", local_dim(op.inputs[i], d)}}, op, result).outputs[0];
  }

  ValueId slice(const Op& op, size_t i, ValueId value, Placement& placement, int m, size_t d) {
    MeshIds& ids = placement[d];
    if (decisions_.exchanged[op.inputs[i]] >= 0) refuse(op, i, static_cast<int>(d), m, "but its rows are those of other ranks by then");
    if (!ids.empty() && ids.back() > m)
      refuse(op, i, static_cast<int>(d), ids.back(), "and would have to be split over '" + rules_.name(m) + "' outside it");
    ids.push_back(m);
    const Dims dims = local(op.inputs[i], placement);
    const ValueId result = result_like(value, dims);
    Attrs attrs{{"dim", static_cast<int64_t>(d)}, {"start", rules_.coordinate(m) * dims[d].size}, {"length", dims[d].size}};
    return append("slice", {value}, std::move(attrs), op, result).outputs[0];
  }

  ValueId reduce_over(ValueId value, const MeshIds& ids, std::string_view how, const Op& like) {
    for (const int m : ids) {
      Attrs attrs{{"mesh", rules_.name(m)}};
      if (how != "sum") attrs["op"] = std::string(how);
      value = append("all_reduce", {value}, std::move(attrs), like, result_like(value, graph_.value(value).dims)).outputs[0];
    }
    return value;
  }

  void emit_vocabulary_loss(const Op& op, const OpDecision& decision) {
    const ValueId logits = op.inputs[0], labels = op.inputs[1];
    const MeshIds& ids = decision.inputs[0].needed.back();
    const ValueId max = reduce_over(append("row_max", {logits}, {}, op).outputs[0], ids, "max", op);
    const int64_t first = offset(logits, graph_.value(logits).dims.size() - 1, ids);
    const std::vector<ValueId> parts = append("cross_entropy_parts", {logits, labels, max}, {{"shard_offset", first}}, op).outputs;
    const ValueId sumexp = reduce_over(parts[0], ids, "sum", op), target = reduce_over(parts[1], ids, "sum", op);
    Op join = op;
    join.row = &graph::op_row("cross_entropy_join");
    join.inputs = {sumexp, target, max, labels};
    std::erase_if(join.attrs, [&](const auto& attr) { return join.row->attribute(attr.first) == nullptr; });
    for (size_t o = 0; o < op.outputs.size(); ++o)
      if (op.outputs[o] != 0) graph_.value(op.outputs[o]).dims = local(op.outputs[o], decision.outputs[o].final);
    graph_.ops.push_back(std::move(join));
  }

  Graph& graph_;
  const Rules& rules_;
  const Decisions& decisions_;
  size_t known_;                                      // values of the model's graph
  std::vector<Dims> global_;                          // their whole dimensions
  std::vector<ValueId> current_;                      // the value that holds them now
  std::vector<std::vector<Conversion>> conversions_;  // of each, made so far
  std::map<int, Routes> routes_;                      // of the exchanges, by index
};

}  // namespace

void emit(Graph& graph, const Rules& rules, const Decisions& decisions) { Emitter(graph, rules, decisions).run(); }

}  // namespace nemo::passes
