#include "core/planner/planner.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

#include "core/base/error.hpp"
#include "core/ops/cost.hpp"
#include "core/planner/message_memory.hpp"
#include "core/planner/role.hpp"
#include "core/planner/streams.hpp"
#include "core/planner/warnings.hpp"

namespace nemo::planner {
namespace {

using pipeline::Shape;
using pipeline::StageTime;
using pipeline::Timeline;

constexpr int64_t kMostActions = 1 << 21;  // simulated; longer runs are continued in a straight line

constexpr double kPowerOfClock = 2.2;  // dynamic power goes with clock and voltage squared, which falls with the clock, less at the low end

// The axis that splits tokens of a sequence and nothing of the model: context parallelism. Empty: none.
std::string context_of(const passes::Plan& plan) {
  const auto splits_features = [&](const std::string& axis) {
    return std::any_of(plan.rules.begin(), plan.rules.end(),
                       [&](const auto& r) { return r.second == axis && r.first != "seq" && r.first != "batch"; });
  };
  for (const auto& [logical, axis] : plan.rules)
    if (logical == "seq" && plan.axis_size(axis) > 1 && !splits_features(axis)) return axis;
  return "";
}

class Planner {
 public:
  Planner(const Request& request, const Hardware& hardware) : request_(request), h_(hardware), context_(context_of(request.plan)) {}

  Report run() {
    describe();
    build();
    compile_roles();
    throttle();
    run_pipeline();
    exchange_gradients();
    update();
    fill_memory();
    return std::move(report_);
  }

 private:
  struct Compiled {
    std::unique_ptr<passes::Compiled> program;
    RoleLoad load;
    std::string kind;
  };
  [[nodiscard]] const passes::Plan& plan() const { return request_.plan; }
  // Ranks that share the optimizer state out.
  [[nodiscard]] int64_t shards() const { return plan().group_size(plan().zero_axis()); }

  void describe() {
    Report& r = report_;
    r.mesh = plan().mesh;
    for (const passes::MeshAxis& axis : r.mesh) r.world *= axis.size;
    r.data_ranks = plan().batch_ranks();
    const int64_t together = request_.facts.micro_batch_size * r.data_ranks;
    if (request_.global_batch_size % together != 0)
      throw Error(Code::kConfig,
                  "data.global_batch_size = " + std::to_string(request_.global_batch_size) +
                      " is no multiple of micro_batch_size x data ranks = " + std::to_string(request_.facts.micro_batch_size) + " x " +
                      std::to_string(r.data_ranks) + " = " + std::to_string(together));
    r.micro_batches = request_.global_batch_size / together;
    if (!plan().pipeline.mesh.empty()) r.pipeline_ranks = plan().axis_size(plan().pipeline.mesh);
    r.virtual_stages = plan().pipeline.virtual_stages;
    r.tokens = static_cast<double>(request_.global_batch_size * request_.facts.seq_length);
    r.peak_flops = h_.peak_flops;
    const int64_t parts = 2 * (context_.empty() ? 1 : plan().axis_size(context_));
    if (parts > 2 && request_.facts.seq_length % parts != 0)
      throw Error(Code::kConfig, "data.seq_length = " + std::to_string(request_.facts.seq_length) + " is no multiple of 2 x " +
                                     std::to_string(parts / 2) + " ('" + context_ + "'), which balanced causal parts need");
  }

  // The forward graph that partition starts from, with the batch of all data ranks, and the model's counts.
  void build() {
    graph::BuildFacts facts = request_.facts;
    graph::Graph one = request_.build(facts);
    report_.model_flops =
        ops::model_flops(one) / static_cast<double>(facts.micro_batch_size) * static_cast<double>(request_.global_batch_size);
    for (const graph::Parameter& p : one.parameters) report_.parameters += graph::element_count(p.global_dims);
    facts.micro_batch_size *= report_.data_ranks;
    forward_ = report_.data_ranks == 1 ? std::move(one) : request_.build(facts);
    if (report_.pipeline_ranks * report_.virtual_stages > 1)
      report_.blocks = passes::deal_blocks(static_cast<int64_t>(forward_.blocks.size()), plan().pipeline, report_.pipeline_ranks);
  }

  [[nodiscard]] std::string kind_of(int64_t rank) const {
    std::string kind;
    const auto stages = static_cast<int64_t>(report_.blocks.size());
    for (int64_t s = rank; s < stages; s += report_.pipeline_ranks)
      kind += std::to_string(report_.blocks[static_cast<size_t>(s)]) + (s == 0 ? "first " : s + 1 == stages ? "last " : " ");
    return kind;
  }

  void compile_roles() {
    passes::CompileOptions options;
    options.plan = plan();
    options.precision = request_.precision;
    options.recompute = request_.recompute;
    options.regather = request_.regather;
    options.edit = request_.edit;
    options.supports = [this](std::string_view op) { return h_.fused_rows.contains(op); };
    // Of ranks along a sequence, whose chunks are as much work, the last one's keys are the most awkward.
    if (!context_.empty()) options.coordinates[context_] = plan().axis_size(context_) - 1;
    for (int64_t rank = 0; rank < report_.pipeline_ranks; ++rank) {
      const std::string kind = kind_of(rank);
      const auto known = std::find_if(compiled_.begin(), compiled_.end(), [&](const Compiled& c) { return c.kind == kind; });
      role_of_.push_back(static_cast<size_t>(known - compiled_.begin()));
      if (known != compiled_.end()) continue;
      if (piped()) options.coordinates[plan().pipeline.mesh] = rank;
      Compiled one{std::make_unique<passes::Compiled>(passes::compile(forward_, passes::Purpose::kTrain, options)), {}, kind};
      one.load = load_of(*one.program, plan(), request_.precision.gradient, h_, actions_of(rank));
      compiled_.push_back(std::move(one));
    }
  }

  // Of a step, or of as many micro-batches as show its end.
  [[nodiscard]] pipeline::Actions actions_of(int64_t rank) const {
    if (!piped()) return {};
    const Shape shape{static_cast<int32_t>(report_.pipeline_ranks), static_cast<int32_t>(report_.virtual_stages),
                      static_cast<int32_t>(std::min(report_.micro_batches, 4 * report_.pipeline_ranks))};
    return pipeline::schedule(pipeline::parse_kind(plan().pipeline.schedule), shape, static_cast<int32_t>(rank));
  }

  [[nodiscard]] const Compiled& at(int64_t rank) const { return compiled_[role_of_[static_cast<size_t>(rank)]]; }
  [[nodiscard]] bool piped() const { return !report_.blocks.empty(); }

  std::vector<StageTime> stage_times(double (*seconds)(const PhaseLoad&)) {
    std::vector<StageTime> times;
    const Group group = group_of(plan(), {plan().pipeline.mesh}, h_.devices_per_node);
    for (size_t s = 0; s < report_.blocks.size(); ++s) {
      const auto chunk = static_cast<int64_t>(s) / report_.pipeline_ranks;
      const Compiled& role = at(static_cast<int64_t>(s) % report_.pipeline_ranks);
      const auto& phases = role.load.chunks[static_cast<size_t>(chunk)];
      times.push_back({seconds(phases[0]), seconds(phases[1]), seconds(phases[2]),
                       transfer_time(h_, group, role.load.sent_bytes[static_cast<size_t>(chunk)])});
    }
    return times;
  }

  Timeline simulate(int64_t micro_batches, const std::vector<StageTime>& times) {
    const Shape shape{static_cast<int32_t>(report_.pipeline_ranks), static_cast<int32_t>(report_.virtual_stages),
                      static_cast<int32_t>(micro_batches)};
    lists_ = pipeline::schedule(pipeline::parse_kind(plan().pipeline.schedule), shape);
    return pipeline::simulate(lists_, shape, times);
  }

  static double with_exposed(const PhaseLoad& load) { return load.seconds(); }
  static double without(const PhaseLoad& load) { return load.compute; }

  // Seconds that a rank computes for one micro-batch.
  [[nodiscard]] double busy(int64_t rank, double (*seconds)(const PhaseLoad&)) const {
    double sum = 0;
    for (const auto& phases : at(rank).load.chunks)
      for (const PhaseLoad& load : phases) sum += seconds(load);
    return sum;
  }

  // A device that would draw more than its limit, averaged over a micro-batch, lowers its clock; what computes takes longer.
  void throttle() {
    for (Compiled& role : compiled_) {
      double all = 0, energy = 0;
      for (const auto& phases : role.load.chunks)
        for (const PhaseLoad& load : phases) {
          all += load.seconds();
          energy += load.ideal_products * h_.product_power + (load.seconds() - load.ideal_products) * h_.other_power;
        }
      const double drawn = all > 0 ? energy / all : 0;
      const double slower = drawn > h_.power_limit ? std::pow(drawn / h_.power_limit, 1 / kPowerOfClock) : 1;
      for (auto& phases : role.load.chunks)
        for (PhaseLoad& load : phases) {
          const double bound = load.products + load.attention;
          load.compute += bound * (slower - 1);
          load.products *= slower;
        }
    }
  }

  void run_pipeline() {
    const auto m = static_cast<double>(report_.micro_batches);
    slowest_ = 0;
    for (int64_t r = 1; r < report_.pipeline_ranks; ++r)
      if (busy(r, with_exposed) > busy(slowest_, with_exposed)) slowest_ = r;
    report_.split.compute = m * busy(slowest_, without);
    report_.split.exposed = m * busy(slowest_, with_exposed) - report_.split.compute;
    if (report_.world > 1)  // the largest of n normal deviations
      report_.split.spread = report_.split.compute * h_.spread * std::sqrt(2 * std::log(static_cast<double>(report_.world)));
    report_.split.host = m * h_.micro_batch_overhead + h_.step_overhead;
    for (const auto& [axis, load] : at(slowest_).load.axes) add_traffic({axis}, {load.bytes * m, load.seconds * m, load.exposed * m});
    count_products();
    if (!piped()) return;
    const int64_t most =
        kMostActions / (report_.pipeline_ranks * report_.virtual_stages * 3) / report_.pipeline_ranks * report_.pipeline_ranks;
    const auto times = stage_times(with_exposed);
    const int64_t part = std::min(report_.micro_batches, std::max(most, 4 * report_.pipeline_ranks));
    const Timeline line = simulate(part, times);
    // Beyond the simulated part the pipeline is full: every further micro-batch takes the slowest rank's time.
    const double end = line.end + static_cast<double>(report_.micro_batches - part) * busy(slowest_, with_exposed);
    report_.split.bubble = std::max(0.0, end - m * busy(slowest_, with_exposed));
    report_.bubble = report_.split.bubble / (m * busy(slowest_, with_exposed));
    double sent = 0;
    for (const double bytes : at(slowest_).load.sent_bytes) sent += bytes;
    double seconds = 0;
    for (const StageTime& t : times) seconds = std::max(seconds, t.transfer);
    add_traffic({plan().pipeline.mesh}, {2 * sent * m, 2 * seconds * m * static_cast<double>(report_.virtual_stages), 0});
  }

  void count_products() {
    double real = 0, ideal = 0;
    for (const auto& phases : at(slowest_).load.chunks)
      for (const PhaseLoad& load : phases) real += load.products, ideal += load.large_products;
    for (const Compiled& role : compiled_) report_.expert_room = std::max(report_.expert_room, role.load.room);
    report_.product_share = real > 0 ? ideal / real : 1;
  }

  void add_traffic(const std::vector<std::string>& axes, const AxisLoad& load) {
    const Group g = group_of(plan(), axes, h_.devices_per_node);
    std::string name;
    for (const std::string& a : axes) name += (name.empty() ? "" : "+") + a;
    report_.traffic.push_back({name, g.size, g.nodes(), load.bytes, load.seconds, load.exposed});
  }

  // Once a step: sums of gradients over the ranks that saw other tokens.
  void exchange_gradients() {
    const auto exposed = [](const Compiled& role) {
      double sum = 0;
      for (const auto& [axes, load] : role.load.exchange) sum += load.exposed;
      return sum;
    };
    const auto most =
        std::max_element(compiled_.begin(), compiled_.end(), [&](const Compiled& a, const Compiled& b) { return exposed(a) < exposed(b); });
    for (const auto& [axes, load] : most->load.exchange) {
      add_traffic(split_axes(axes), load);
      report_.split.exposed += load.exposed;
    }
  }

  // Norm over the gradients, then AdamW over what the rank owns.
  void update() {
    const auto& precision = request_.precision;
    const auto size = [](graph::DType dtype) { return static_cast<double>(graph::size_of(dtype)); };
    const double moments = request_.keep == runtime::Keep::kTwoMoments ? 2 : 1;
    const double owned = size(precision.gradient) + size(precision.parameter) +
                         (precision.has_master() ? 2 * size(precision.master) : size(precision.parameter)) +
                         2 * moments * size(precision.moment);
    AxisLoad back;
    for (const Compiled& role : compiled_) {
      const double elements = static_cast<double>(role.program->layout.trainable) / static_cast<double>(shards());
      const double norm = elements * size(precision.gradient) / h_.memory_rate, step = elements * owned / h_.memory_rate;
      report_.split.optimizer = std::max(report_.split.optimizer, norm + step);
      if (const AxisLoad one = gather(role, step / elements); one.exposed > back.exposed) back = one;
    }
    if (back.seconds > 0) add_traffic(split_axes(plan().zero_axis()), back);
    report_.split.exposed += back.exposed;
    const Group everyone{report_.world, std::min(report_.world, h_.devices_per_node)};
    report_.split.optimizer += message_time(h_, everyone, Message::kAllReduce, 8);
  }

  // ZeRO-1: parameters of each unit come back beside the update of the next. `pace`: seconds that the update of an owned element takes.
  AxisLoad gather(const Compiled& role, double pace) {
    AxisLoad load;
    const std::vector<double> units = gathered_units(*role.program, plan());
    if (units.empty()) return load;
    const Group g = group_of(plan(), split_axes(plan().zero_axis()), h_.devices_per_node);
    TwoStreams time({h_.overlap_fixed, h_.overlap_share});
    double update = 0;
    for (const double n : units) {
      const double bytes = n * static_cast<double>(graph::size_of(request_.precision.parameter));
      const double seconds = message_time(h_, g, Message::kAllGather, bytes), computed = n / static_cast<double>(g.size) * pace;
      time.compute(computed);
      update += computed;
      if (h_.streams)
        time.beside(seconds, "");
      else
        time.between(seconds, "");
      load.seconds += seconds;
      load.bytes += message_volume(g, Message::kAllGather, bytes);
    }
    time.wait_for_all();
    load.exposed = time.now() - update;
    return load;
  }

  void fill_memory() {
    for (int64_t rank = 0; rank < report_.pipeline_ranks; ++rank) {
      if (rank > 0 && role_of_[static_cast<size_t>(rank)] == role_of_[static_cast<size_t>(rank - 1)]) {
        report_.roles.back().last_rank = rank;
        continue;
      }
      Role role{rank, rank, at(rank).program->layout.total, memory_of(rank)};
      report_.roles.push_back(std::move(role));
    }
    if (request_.judge) add_warnings(report_, request_, h_);
  }

  runtime::MemoryReport memory_of(int64_t rank) {
    const passes::Compiled& program = *at(rank).program;
    const runtime::Share share{plan().zero_stage(), 0, shards()};
    const auto state = [&](runtime::Role role) {
      return runtime::state_bytes(role, request_.keep, program.layout, request_.precision, share);
    };
    int64_t held = 0;
    if (piped()) {
      const auto slots = pipeline::fit_slots(lists_[static_cast<size_t>(rank)], program.memory.slot_bytes);
      held = std::accumulate(slots.begin(), slots.end(), int64_t{0});
    }
    runtime::MemoryReport out;
    out.rows = {{"parameters", state(runtime::Role::kParameter)},
                {"master weights", state(runtime::Role::kMaster)},
                {"gradients", state(runtime::Role::kGradient)},
                {"optimizer first moment", state(runtime::Role::kExpAvg)},
                {"optimizer second moment", state(runtime::Role::kExpAvgSq)},
                {"activations", piped() ? passes::pipeline_arena_bytes(program) : program.memory.arena_bytes},
                {"micro-batches in flight", held},
                {"kernel workspace", at(rank).load.workspace},
                {"batch", program.memory.input_bytes},
                {"communication buffers", message_memory(h_, plan(), program, request_.precision.gradient)},
                {"backend libraries", h_.overhead_bytes}};
    out.at_peak = program.memory.at_peak;
    out.device_bytes = h_.memory_bytes;
    out.device_name = h_.name;
    return out;
  }

  const Request& request_;
  const Hardware& h_;
  const std::string context_;
  Report report_;
  graph::Graph forward_;
  std::vector<Compiled> compiled_;
  std::vector<size_t> role_of_;  // by pipeline rank: index into compiled_
  std::vector<pipeline::Actions> lists_;
  int64_t slowest_ = 0;
};

}  // namespace

const Role& Report::largest() const {
  return *std::max_element(roles.begin(), roles.end(), [](const Role& a, const Role& b) { return a.memory.total() < b.memory.total(); });
}

bool Report::fits() const { return largest().memory.fits(); }

Report make_report(const Request& request, const Hardware& hardware) { return Planner(request, hardware).run(); }

}  // namespace nemo::planner
