#include "core/runtime/engine.hpp"

#include <algorithm>

#include "core/ops/cost.hpp"
#include "core/passes/build.hpp"
#include "core/passes/positions.hpp"

namespace nemo::runtime {
namespace {

constexpr int64_t kPrefillChunk = 64;  // tokens of a prompt read at once: enough for matrix products, few enough that all their logits fit

passes::Recompute recompute_of(const Setup& setup) {
  const std::string& word = setup.section("trainer").get_string("recompute");
  return word == "full" ? passes::Recompute::kFull : word == "selective" ? passes::Recompute::kSelective : passes::Recompute::kNone;
}

// One process per device: the CPU is one device for all of them.
int64_t device_index(const Setup& setup, const dist::World* world) {
  if (world == nullptr) return 0;
  int64_t count = 0;
  nemo_str reason{};
  plugin::check(setup.backend->api<nemo_backend_api>().device_count(setup.backend->host, &setup.section("backend"), &count, &reason));
  const int64_t local = world->environment().local_rank;
  if (count == 1) return 0;
  if (local >= count)
    throw config::fault_at(setup.section("trainer"), "devices",
                           "rank " + std::to_string(world->rank()) + " is process " + std::to_string(local) + " of its node, which has " +
                               std::to_string(count) + " devices");
  return local;
}

graph::Graph forward_graph(const Setup& setup, const graph::BuildFacts& facts) {
  return placed(setup.section("model"), [&] { return passes::build(*setup.model, &setup.section("model"), facts); });
}

}  // namespace

passes::Plan make_plan(const Setup& setup, const dist::World* world) {
  const config::Section& trainer = setup.section("trainer");
  const int64_t devices = world == nullptr ? trainer.get_int("devices") : world->environment().local_size;
  const int64_t ranks = world == nullptr ? devices * trainer.get_int("num_nodes") : world->size();
  return placed(setup.section("strategy"), [&] { return passes::make_plan(*setup.strategy, &setup.section("strategy"), ranks, devices); });
}

Engine::Engine(const Setup& setup, EngineOptions options) : options_(std::move(options)) {
  const dist::World* world = options_.world;
  // One process that infers needs no layout, whatever the recipe trains with.
  if (world != nullptr || options_.purposes.contains(passes::Purpose::kTrain)) plan_ = make_plan(setup, world);
  ranks_ = std::make_unique<Ranks>(plan_, options_.world);
  precision_ = placed(setup.section("precision"), [&] { return passes::make_precision(*setup.precision, &setup.section("precision")); });
  device_ = std::make_unique<Device>(*setup.backend, &setup.section("backend"), device_index(setup, world));
  ranks_->join_groups(*device_);
  if (world == nullptr && ranks_->size() > 1) device_->plan_only();

  passes::CompileOptions compile_options;
  compile_options.plan = plan_;
  compile_options.coordinates = ranks_->coordinates();
  compile_options.precision = precision_;
  compile_options.recompute = options_.recompute.value_or(recompute_of(setup));
  compile_options.regather = setup.section("trainer").get_bool("regather");
  compile_options.context = options_.facts.seq_length;
  compile_options.prefill_chunk = std::min(options_.facts.seq_length, kPrefillChunk);
  compile_options.supports = [this](std::string_view op) { return device_->supports(op); };
  compile_options.observe = options_.observe;
  compile_options.state = &state_layout_;
  if (setup.peft != nullptr)
    compile_options.edit = [&](graph::Graph& g) {
      placed(setup.section("peft"), [&] { passes::edit(g, *setup.peft, &setup.section("peft"), options_.facts); });
    };

  graph::BuildFacts global = options_.facts;
  global.micro_batch_size *= ranks_->data_shards();
  const graph::Graph forward = forward_graph(setup, global);
  model_flops_ = ops::model_flops(forward);
  counts_batches_ = forward.find_input("batch_counts") != 0;
  const auto compile = [&](const graph::Graph& graph, Entries& entries) {
    for (const passes::Purpose purpose : options_.purposes) {
      Entry entry;
      entry.compiled = std::make_unique<passes::Compiled>(passes::compile(graph, purpose, compile_options));
      prepare(purpose, entry, setup.section("data").get_int("global_batch_size") / std::max<int64_t>(1, global.micro_batch_size));
      entries.emplace(purpose, std::move(entry));
    }
  };
  compile(forward, programs_);
  if (options_.short_sequences == 0) return;
  graph::BuildFacts short_facts = global;
  short_facts.seq_length = options_.short_sequences;
  graph::Graph with_short_positions = forward;
  passes::take_positions(with_short_positions, forward_graph(setup, short_facts));
  compile(with_short_positions, short_programs_);
}

int64_t short_sequences(const Setup& setup, const graph::BuildFacts& facts) {
  return passes::first_context(
      [&](int64_t seq) {
        graph::BuildFacts of = facts;
        of.seq_length = seq;
        return forward_graph(setup, of);
      },
      facts.seq_length);
}

void Engine::prepare(passes::Purpose purpose, Entry& entry, int64_t micro_batches) {
  const passes::Stages& stages = entry.compiled->stages;
  if (!stages.cut()) {
    entry.program = std::make_unique<Program>(*device_, *entry.compiled);
    return;
  }
  pipeline::Actions actions;
  if (purpose == passes::Purpose::kTrain) {
    const pipeline::Shape shape{static_cast<int32_t>(stages.ranks), stages.chunks(),
                                static_cast<int32_t>(std::max<int64_t>(1, micro_batches))};
    actions = pipeline::schedule(pipeline::parse_kind(plan_.pipeline.schedule), shape, static_cast<int32_t>(stages.rank));
  } else if (purpose == passes::Purpose::kEvaluate) {
    for (int32_t c = 0; c < stages.chunks(); ++c) actions.push_back({pipeline::Phase::kForward, 0, c, 0});
  } else {
    throw Error(Code::kUnsupported, "program '" + std::string(to_string(purpose)) +
                                        "' cannot run in pipeline stages; use a strategy that keeps the model whole");
  }
  entry.pipeline = std::make_unique<PipelineProgram>(*device_, *entry.compiled, *ranks_, std::move(actions));
}

Program& Engine::program(passes::Purpose purpose) {
  const Entry& entry = programs_.at(purpose);
  if (!entry.program)
    throw Error(Code::kUnsupported,
                "program '" + std::string(to_string(purpose)) + "' is cut into pipeline stages, which this command does not run");
  return *entry.program;
}

Program& Engine::program(passes::Purpose purpose, int64_t tokens) {
  return is_short(tokens) ? *short_programs_.at(purpose).program : program(purpose);
}

int64_t Engine::largest(int64_t (*of)(const Entry&)) const {
  int64_t most = 0;
  for (const Entries* entries : {&programs_, &short_programs_})
    for (const auto& [purpose, entry] : *entries) most = std::max(most, of(entry));
  return most;
}

MemoryReport Engine::report() const {
  const passes::FlatLayout& layout = first().compiled->layout;
  const auto state = [&](Role role) { return state_bytes(role, options_.keep, layout, precision_, share_of(*ranks_)); };
  MemoryReport report;
  report.rows = {{"parameters", state(Role::kParameter)},
                 {"master weights", state(Role::kMaster)},
                 {"gradients", state(Role::kGradient)},
                 {"optimizer first moment", state(Role::kExpAvg)},
                 {"optimizer second moment", state(Role::kExpAvgSq)},
                 {"activations", largest([](const Entry& e) { return e.arena_bytes(); })},
                 {"micro-batches in flight", largest([](const Entry& e) { return e.pipeline ? e.pipeline->slots_bytes() : 0; })},
                 {"kept state", state_layout_.bytes},
                 {"kernel workspace", largest([](const Entry& e) { return e.workspace_bytes(); })},
                 {"batch", largest([](const Entry& e) { return e.compiled->memory.input_bytes; })},
                 {"backend libraries", device_->overhead_bytes()}};
  report.device_bytes = device_->memory_bytes();
  report.device_name = device_->name();
  const auto peak = std::max_element(programs_.begin(), programs_.end(), [](const auto& a, const auto& b) {
    return a.second.compiled->memory.arena_bytes < b.second.compiled->memory.arena_bytes;
  });
  report.at_peak = peak->second.compiled->memory.at_peak;
  return report;
}

void Engine::check_fits(const Setup& setup) const {
  const MemoryReport mine = report();
  if (mine.fits()) return;
  std::string advice;
  const auto try_settings = [&](const std::string& words, int64_t micro_batch, passes::Recompute recompute) {
    EngineOptions other = options_;
    other.observe = nullptr;
    other.world = nullptr;  // a plan alone: groups are joined once
    other.facts.micro_batch_size = micro_batch;
    other.recompute = recompute;
    const MemoryReport report = Engine(setup, other).report();
    if (report.fits()) advice += "  " + words + " would take " + gib(report.total()) + "\n";
  };
  try_settings("trainer.recompute=selective", options_.facts.micro_batch_size, passes::Recompute::kSelective);
  try_settings("trainer.recompute=full", options_.facts.micro_batch_size, passes::Recompute::kFull);
  if (options_.facts.micro_batch_size > 1) try_settings("data.micro_batch_size=1", 1, passes::Recompute::kNone);
  if (options_.facts.micro_batch_size > 1) try_settings("data.micro_batch_size=1 trainer.recompute=full", 1, passes::Recompute::kFull);
  if (advice.empty())
    advice =
        "  no change of micro batch or recompute is enough: the parameters and their optimizer state need more devices (strategy.plugin) "
        "or a smaller model\n";
  throw Error(Code::kOutOfMemory, "the run does not fit into the device's memory\n" + render(mine) + "settings that fit\n" + advice);
}

void Engine::allocate() {
  state_ = std::make_unique<State>(*device_, first().compiled->graph.parameters, first().compiled->layout, precision_, options_.keep,
                                   *ranks_, first().compiled->stages.elsewhere);
  if (state_->keeps(Role::kGradient)) sync_ = std::make_unique<GradientSync>(*device_, *state_, *ranks_);
  arena_ = device_->allocate(largest([](const Entry& e) { return e.arena_bytes(); }), "activations");
  workspace_ = device_->allocate(largest([](const Entry& e) { return e.workspace_bytes(); }), "workspace");
  slots_ = device_->allocate(largest([](const Entry& e) { return e.pipeline ? e.pipeline->slots_bytes() : 0; }), "micro-batches in flight");
  inputs_ = device_->allocate(largest([](const Entry& e) { return e.compiled->memory.input_bytes; }), "batch");
  kept_ = device_->allocate(state_layout_.bytes, "kept state");
  if (state_layout_.bytes > 0) device_->zero(kept_.data(), state_layout_.bytes);
  const Bases bases{arena_.data(),
                    state_->data(Role::kParameter),
                    state_->keeps(Role::kGradient) ? state_->data(Role::kGradient) : nullptr,
                    inputs_.data(),
                    workspace_.data(),
                    kept_.data()};
  bind(programs_, bases);
  bind(short_programs_, bases);
}

void Engine::bind(Entries& entries, const Bases& bases) {
  for (auto& [purpose, entry] : entries) {
    if (entry.program) entry.program->bind(bases);
    if (entry.program && purpose == passes::Purpose::kTrain && sync_) sync_->overlap_with(*entry.program);
    if (entry.pipeline) entry.pipeline->bind(bases, slots_.data());
    if (entry.pipeline && purpose == passes::Purpose::kTrain && sync_) sync_->overlap_with(*entry.pipeline);
  }
}

int64_t Engine::count_batches(std::span<Batch> batches, int64_t sequences) {
  int64_t mine = 0;
  for (const Batch& batch : batches) mine += batch.unmasked_tokens;
  const auto labels = static_cast<int64_t>(sum_over_data(static_cast<double>(mine)));
  for (Batch& batch : batches) batch.fields["batch_counts"] = {static_cast<int32_t>(labels), static_cast<int32_t>(sequences)};
  return labels;
}

double Engine::sum_over_data(double mine) { return ranks_->data_shards() == 1 ? mine : sum_over(data_axes(plan_), mine); }

double Engine::sum_over(const std::string& axes, double mine) {
  if (number_.bytes() == 0) number_ = device_->allocate(sizeof mine, "a number summed over ranks");
  const auto [found, fresh] = number_sums_.try_emplace(axes);
  const TensorSpec number{graph::DType::kF64, {1}, {}};
  for (const std::string& axis : ranks_->axes())
    if (fresh && passes::Plan::in_group(axes, axis))
      found->second.push_back(device_->prepare("all_reduce", "totals", {number}, {number}, {{"mesh", axis}}));
  device_->copy_in(number_.data(), &mine, sizeof mine);
  for (const PreparedKernel& sum : found->second) {
    const void* const input = number_.data();
    void* const output = number_.data();
    nemo_launch launch{};
    launch.struct_size = sizeof launch;
    launch.inputs = &input;
    launch.outputs = &output;
    device_->launch(sum.kernel.get(), launch);
  }
  device_->copy_out(&mine, number_.data(), sizeof mine);
  return mine;
}

}  // namespace nemo::runtime
