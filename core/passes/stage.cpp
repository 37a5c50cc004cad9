#include "core/passes/stage.hpp"

#include <algorithm>
#include <map>
#include <numeric>
#include <set>

#include "core/base/error.hpp"

namespace nemo::passes {

using namespace graph;

namespace {

std::string joined(const std::vector<int64_t>& numbers) {
  std::string out;
  for (const int64_t n : numbers) out += (out.empty() ? "" : " ") + std::to_string(n);
  return out;
}

// Dealt as an uneven list or ends say, checked.
class Dealer {
 public:
  Dealer(int64_t blocks, const Pipeline& pipeline, int64_t ranks)
      : blocks_(blocks), pipeline_(pipeline), ranks_(ranks), stages_(ranks * pipeline.virtual_stages) {}

  std::vector<int64_t> run() {
    if (!pipeline_.layers.empty()) return as_listed();
    std::vector<int64_t> dealt(static_cast<size_t>(stages_), 0);
    int64_t rest = blocks_ + pipeline_.count_embedding + pipeline_.count_loss, open = stages_;
    if (pipeline_.first_layers > 0) rest -= pipeline_.first_layers + pipeline_.count_embedding, --open;
    if (pipeline_.last_layers > 0) rest -= pipeline_.last_layers + pipeline_.count_loss, --open;
    if (open < 0 || rest < 0 || (open == 0 ? rest != 0 : rest % open != 0)) refuse(rest, open);
    const int64_t each = open == 0 ? 0 : rest / open;
    std::fill(dealt.begin(), dealt.end(), each);
    dealt.front() = pipeline_.first_layers > 0 ? pipeline_.first_layers : each - pipeline_.count_embedding;
    if (pipeline_.last_layers > 0)
      dealt.back() = pipeline_.last_layers;
    else
      dealt.back() -= pipeline_.count_loss;
    if (*std::min_element(dealt.begin(), dealt.end()) < 0 || (each < 1 && open > 0 && stages_ > 1)) refuse(rest, open);
    return dealt;
  }

 private:
  [[noreturn]] void refuse(int64_t rest, int64_t open) const {
    throw Error(Code::kConfig,
                std::to_string(blocks_) + " blocks cannot be dealt to " + std::to_string(stages_) + " pipeline stages (" +
                    std::to_string(ranks_) + " ranks x " + std::to_string(pipeline_.virtual_stages) + " virtual): " + std::to_string(rest) +
                    " for " + std::to_string(open) +
                    " equal stages. Change the pipeline's size or virtual stages, set the blocks of the first or last stage, "
                    "count embedding and loss as blocks, or list the blocks of every stage");
  }

  [[nodiscard]] std::vector<int64_t> as_listed() const {
    const auto& layers = pipeline_.layers;
    const int64_t sum = std::accumulate(layers.begin(), layers.end(), int64_t{0});
    if (static_cast<int64_t>(layers.size()) != stages_ || sum != blocks_ || *std::min_element(layers.begin(), layers.end()) < 0)
      throw Error(Code::kConfig, "the list of blocks per pipeline stage (" + joined(layers) + ") has " + std::to_string(layers.size()) +
                                     " entries that add up to " + std::to_string(sum) + "; needed are " + std::to_string(stages_) +
                                     " entries, none negative, that add up to the model's " + std::to_string(blocks_) + " blocks");
    return layers;
  }

  int64_t blocks_;
  const Pipeline& pipeline_;
  int64_t ranks_, stages_;
};

class Cutter {
 public:
  Cutter(const Graph& whole, Stages stages) : whole_(whole), out_(std::move(stages)), uses_(analyse_uses(whole)) {}

  Stages run(Graph& result) {
    find_stages();
    find_natures();
    find_crossings();
    graph_.blocks = whole_.blocks;
    graph_.gradient_dtype = whole_.gradient_dtype;
    find_parameters();
    for (int32_t c = 0; c < out_.chunks(); ++c) emit_chunk(c);
    result = std::move(graph_);
    return std::move(out_);
  }

 private:
  enum class Nature : uint8_t { kParameters, kFields, kMixed };
  [[nodiscard]] int64_t stages() const { return static_cast<int64_t>(out_.blocks.size()); }

  // Ops outside blocks go with the block in front of them; those before all blocks with the first stage, behind all with the last.
  void find_stages() {
    std::vector<int64_t> of_block(whole_.blocks.size(), 0);
    size_t b = 0;
    for (int64_t s = 0; s < stages(); ++s)
      for (int64_t k = 0; k < out_.blocks[static_cast<size_t>(s)]; ++k) of_block[b++] = s;
    const auto& ops = whole_.ops;
    stage_.resize(ops.size(), 0);
    int64_t at = 0;
    for (size_t i = 0; i < ops.size(); ++i)
      stage_[i] = at = ops[i].block < 0 ? at : std::max(at, of_block[static_cast<size_t>(ops[i].block)]);
    for (size_t i = ops.size(); i-- > 0 && ops[i].block < 0;) stage_[i] = stages() - 1;
  }

  void find_natures() {
    nature_.resize(whole_.values.size(), Nature::kMixed);
    trainable_.resize(whole_.values.size(), false);
    for (size_t v = 1; v < whole_.values.size(); ++v) {
      const Value& value = whole_.values[v];
      if (value.kind == ValueKind::kParameter) {
        nature_[v] = Nature::kParameters;
        for (const uint32_t p : value.members) trainable_[v] = trainable_[v] || whole_.parameters[p].trainable;
      } else if (value.kind == ValueKind::kInput) {
        nature_[v] = Nature::kFields;
      }
    }
    for (const Op& op : whole_.ops) {
      Nature nature = Nature::kMixed;
      bool first = true, trainable = false;
      for (const ValueId v : op.inputs) {
        if (v == 0) continue;
        nature = first || nature == nature_[v] ? nature_[v] : Nature::kMixed;
        trainable = trainable || trainable_[v];
        first = false;
      }
      for (const ValueId v : op.outputs)
        if (v != 0) nature_[v] = nature, trainable_[v] = trainable;
    }
  }

  // crossing_[b]: what stage b hands to stage b + 1, by value id.
  void find_crossings() {
    crossing_.resize(static_cast<size_t>(stages()));
    for (ValueId v = 1; v < whole_.values.size(); ++v) {
      if (whole_.value(v).kind != ValueKind::kResult || nature_[v] != Nature::kMixed || uses_.producer[v] < 0) continue;
      const int64_t made = stage_[static_cast<size_t>(uses_.producer[v])];
      int64_t last = made;
      for (const int32_t reader : uses_.readers[v]) last = std::max(last, stage_[static_cast<size_t>(reader)]);
      for (int64_t b = made; b < last; ++b) crossing_[static_cast<size_t>(b)].push_back(v);
    }
  }

  // Which pipeline ranks read each parameter, through values made of parameters alone too.
  void find_parameters() {
    std::vector<std::set<int64_t>> ranks(whole_.parameters.size());
    for (size_t i = 0; i < whole_.ops.size(); ++i)
      if (const int64_t rank = stage_[i] % out_.ranks; !remade(whole_.ops[i]))
        for (const ValueId v : whole_.ops[i].inputs) note_reader(v, rank, ranks);
    for (uint32_t p = 0; p < whole_.parameters.size(); ++p) {
      if (!ranks[p].contains(out_.rank)) {
        out_.elsewhere.push_back(whole_.parameters[p].name);
        continue;
      }
      const auto index = static_cast<uint32_t>(graph_.parameters.size());
      Value value = whole_.value(whole_.parameters[p].value);
      value.members = {index};
      Parameter parameter = whole_.parameters[p];
      parameter.value = parameters_[whole_.parameters[p].value] = graph_.add_value(std::move(value));
      graph_.parameters.push_back(std::move(parameter));
      graph_.parameters.back().counted_elsewhere = *ranks[p].begin() != out_.rank;
      if (ranks[p].size() > 1) out_.shared.push_back({index, {ranks[p].begin(), ranks[p].end()}});
    }
  }

  // Ops whose results every stage computes for itself.
  [[nodiscard]] bool remade(const Op& op) const {
    return std::all_of(op.outputs.begin(), op.outputs.end(), [&](ValueId v) { return v == 0 || nature_[v] != Nature::kMixed; });
  }

  void note_reader(ValueId v, int64_t rank, std::vector<std::set<int64_t>>& ranks) const {
    if (v == 0 || nature_[v] != Nature::kParameters) return;
    for (const uint32_t p : whole_.value(v).members) ranks[p].insert(rank);
    if (whole_.value(v).kind != ValueKind::kResult || uses_.producer[v] < 0) return;
    for (const ValueId input : whole_.ops[static_cast<size_t>(uses_.producer[v])].inputs) note_reader(input, rank, ranks);
  }

  void emit_chunk(int32_t chunk) {
    const int64_t stage = chunk * out_.ranks + out_.rank;
    const std::string at = "." + std::to_string(chunk) + ".";
    mapped_.clear();
    if (stage > 0) {
      const auto& received = crossing_[static_cast<size_t>(stage - 1)];
      for (size_t k = 0; k < received.size(); ++k) {
        const Value& v = whole_.value(received[k]);
        const ValueId input = graph_.add_input("recv" + at + std::to_string(k), v.dtype, v.dims);
        mapped_[received[k]] = input;
        out_.receives.push_back({input, 0, chunk, trainable_[received[k]]});
      }
    }
    for (size_t i = 0; i < whole_.ops.size(); ++i)
      if (stage_[i] == stage && !remade(whole_.ops[i])) copy(whole_.ops[i], whole_.ops[i].block);
    for (const auto& [name, v] : whole_.outputs)
      if (const int32_t p = uses_.producer[v]; p >= 0 && stage_[static_cast<size_t>(p)] == stage)
        graph_.outputs.emplace_back(name, here(v, -1));
    if (stage + 1 == stages()) return;
    const auto& sent = crossing_[static_cast<size_t>(stage)];
    for (size_t k = 0; k < sent.size(); ++k) {
      const ValueId v = mapped_.at(sent[k]);
      graph_.outputs.emplace_back("send" + at + std::to_string(k), v);
      out_.sends.push_back({v, 0, chunk, trainable_[sent[k]]});
    }
  }

  // The value of the whole model's graph in this chunk; made anew where it is of parameters or batch fields alone.
  ValueId here(ValueId v, int32_t block) {
    if (v == 0) return 0;
    if (whole_.value(v).kind == ValueKind::kParameter) return parameters_.at(v);
    if (const auto known = mapped_.find(v); known != mapped_.end()) return known->second;
    if (whole_.value(v).kind != ValueKind::kResult) return mapped_[v] = graph_.add_value(whole_.value(v));
    copy(whole_.ops[static_cast<size_t>(uses_.producer[v])], block);
    return mapped_.at(v);
  }

  void copy(const Op& op, int32_t block) {
    Op made = op;
    made.block = block;
    for (ValueId& v : made.inputs) v = here(v, block);
    for (ValueId& v : made.outputs)
      if (v != 0) v = mapped_[v] = graph_.add_value(whole_.value(v));
    graph_.ops.push_back(std::move(made));
  }

  const Graph& whole_;
  Stages out_;
  const Uses uses_;
  Graph graph_;
  std::vector<int64_t> stage_;  // of each op
  std::vector<Nature> nature_;  // of each value
  std::vector<bool> trainable_;
  std::vector<std::vector<ValueId>> crossing_;
  std::map<ValueId, ValueId> parameters_, mapped_;  // whole graph -> this one; the second for the chunk at hand
};

}  // namespace

std::vector<int64_t> deal_blocks(int64_t blocks, const Pipeline& pipeline, int64_t ranks) { return Dealer(blocks, pipeline, ranks).run(); }

Stages stage(Graph& graph, const Plan& plan, int64_t rank) {
  Stages stages;
  if (plan.pipeline.mesh.empty()) return stages;
  stages.ranks = plan.axis_size(plan.pipeline.mesh);
  if (stages.ranks * plan.pipeline.virtual_stages == 1) return stages;
  if (rank < 0 || rank >= stages.ranks)
    throw Error(Code::kInvalidArgument,
                "pipeline rank " + std::to_string(rank) + " of " + std::to_string(stages.ranks) + " along '" + plan.pipeline.mesh + "'");
  stages.rank = rank;
  stages.blocks = deal_blocks(static_cast<int64_t>(graph.blocks.size()), plan.pipeline, stages.ranks);
  Graph cut;
  stages = Cutter(graph, std::move(stages)).run(cut);
  graph = std::move(cut);
  return stages;
}

}  // namespace nemo::passes
