#include "core/runtime/profile.hpp"

#include <algorithm>
#include <fstream>
#include <map>
#include <utility>

#include "core/base/error.hpp"
#include "core/ops/cost.hpp"

namespace nemo::runtime {
namespace {

using passes::Purpose;

struct Launched {
  std::string op, scope;
  ops::Cost cost;
  bool communicates = false;
  double begin = 0, ms = 0;
  bool second = false;  // stream
};

// Marks around launches; the first one stands before them.
class Marks {
 public:
  explicit Marks(Device& device) : device_(device) { next(); }
  void restart() {
    used_ = 0;
    next();
  }
  void next() {
    if (used_ == marks_.size()) marks_.push_back(device_.make_mark());
    device_.record(marks_[used_++]);
  }
  // Milliseconds between the marks, in order.
  [[nodiscard]] std::vector<double> times() const {
    std::vector<double> out;
    for (size_t i = 1; i < used_; ++i) out.push_back(device_.elapsed(marks_[i - 1], marks_[i]));
    return out;
  }

 private:
  Device& device_;
  std::vector<Mark> marks_;
  size_t used_ = 0;
};

class Profiler {
 public:
  Profiler(const Setup& setup, const RunContext& context, const ProfileOptions& options)
      : options_(options), tokenizer_(make_tokenizer(setup)), settings_(optimizer_settings(setup.section("optim"))) {
    EngineOptions engine;
    engine.purposes = {Purpose::kTrain};
    engine.facts = build_facts(setup, tokenizer_.get(), context.world);
    engine.keep = settings_.keep();
    engine.world = context.world;
    engine_ = std::make_unique<Engine>(setup, engine);
    engine_->check_fits(setup);
    const int64_t global = setup.section("data").get_int("global_batch_size");
    const Ranks& ranks = engine_->ranks();
    micro_batches_ = micro_batches_of_step(setup, *engine_);
    source_ = DataSource::open(setup, *context.host, tokenizer_.get(),
                               {"train", engine.facts, global, 0, 1, ranks.data_shard(), ranks.data_shards()});
    if (!source_) throw Error(Code::kConfig, "data plugin '" + setup.data->id + "' has no split 'train' with these settings");
    result_.device = engine_->device().name();
    result_.micro_batches = micro_batches_;
    result_.rank = ranks.rank(), result_.ranks = ranks.size();
    const double share = 1.0 / static_cast<double>(ranks.size());
    result_.tokens = static_cast<double>(global * engine.facts.seq_length) * share;
    result_.model_flops = engine_->model_flops() * static_cast<double>(micro_batches_) * share;
  }

  ProfileResult run() {
    Device& device = engine_->device();
    result_.ceilings = measure_ceilings(device, compute_type());
    if (quantizes()) result_.ceilings.narrow = measure_narrow_product(device, compute_type());
    result_.planned_bytes = engine_->report().total();
    engine_->allocate();
    engine_->state().initialize(1);
    optimizer_ = std::make_unique<Optimizer>(device, engine_->state(), settings_, engine_->sync());
    whole_steps();
    result_.measured_bytes = device.used_bytes().value_or(0);
    add(launches(Gradients::kOverwrite), 1);
    if (micro_batches_ > 1) add(launches(Gradients::kAccumulate), micro_batches_ - 1);
    std::vector<Launched> update = updates();
    add(update, 1);
    finish();
    if (options_.trace) write_trace(timeline(), update);
    return std::move(result_);
  }

 private:
  [[nodiscard]] bool quantizes() const {
    for (const graph::Op& op : engine_->compiled(Purpose::kTrain).graph.ops)
      if (op.name() == "linear_fp8") return true;
    return false;
  }
  // The arithmetic of most products: of the first linear; of its result where it is quantized.
  [[nodiscard]] graph::DType compute_type() const {
    const graph::Graph& g = engine_->compiled(Purpose::kTrain).graph;
    for (const graph::Op& op : g.ops)
      if (op.name().starts_with("linear")) return g.value(op.name() == "linear_fp8" ? op.outputs[0] : op.inputs[0]).dtype;
    return graph::DType::kF32;
  }

  void whole_steps() {
    constexpr int64_t kWarm = 3;  // eager, recorded, replayed
    std::vector<double> ms;
    for (int64_t s = 0; s < kWarm + options_.steps; ++s) {
      const auto start = std::chrono::steady_clock::now();
      whole_step(s + 1, [](Program& program, Gradients order, Last last) { program.run(order, last); });
      if (s >= kWarm) ms.push_back(std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count());
    }
    std::nth_element(ms.begin(), ms.begin() + static_cast<int64_t>(ms.size()) / 2, ms.end());
    result_.step_ms = ms[ms.size() / 2];
  }

  // `run` runs a micro-batch.
  void whole_step(int64_t step, const std::function<void(Program&, Gradients, Last)>& run) {
    Program& program = engine_->program(Purpose::kTrain);
    const graph::Graph& g = program.compiled().graph;
    int64_t tokens = 0;
    for (int64_t m = 0; m < micro_batches_; ++m) {
      const Batch& batch = ahead_ != nullptr ? *std::exchange(ahead_, nullptr) : source_->next();
      tokens += batch.unmasked_tokens;
      feed(engine_->device(), program, batch, 1, step * micro_batches_ + m);
      const Gradients order = m == 0 ? Gradients::kOverwrite : Gradients::kAccumulate;
      run(program, order, m + 1 == micro_batches_ ? Last::kYes : Last::kNo);
      optimizer_->add_loss(program.output("loss"), g.value(g.find_output("loss")).dtype, order);
    }
    engine_->sync().reduced();
    optimizer_->enqueue({1e-5, step, static_cast<double>(tokens)});
    ahead_ = &source_->next();  // while the device works, as a run does
    if (optimizer_->read().skipped) throw Error(Code::kInternal, "the gradient norm is not finite; profile needs a recipe that trains");
  }

  // The launches of one micro-batch, each measured apart: the best of two passes, the first of which warms up.
  std::vector<Launched> launches(Gradients order) {
    Program& program = engine_->program(Purpose::kTrain);
    Device& device = engine_->device();
    const graph::Graph& g = program.compiled().graph;
    std::vector<Launched> out;
    Marks marks(device);
    for (int pass = 0; pass < 2; ++pass) {
      out.clear();
      marks.restart();
      program.run_observed(order, [&](const graph::Op& op, const std::function<void()>& launch) {
        if (options_.ranges) device.begin_range(op.scope + "/" + op.row->name);
        launch();
        if (options_.ranges) device.end_range();
        marks.next();
        const bool adds = order == Gradients::kAccumulate || (op.attrs.contains("accumulate") && op.int_attr("accumulate") != 0);
        out.push_back({op.row->name, op.scope, ops::cost(g, op, adds), op.attrs.contains("mesh")});
      });
      take_times(out, marks);
    }
    return out;
  }

  std::vector<Launched> updates() {
    std::vector<Launched> out;
    Marks marks(engine_->device());
    const State& state = engine_->state();
    const auto width = [&](Role role) { return state.keeps(role) ? static_cast<double>(size_of(state.dtype(role))) : 0.0; };
    const double gradient = width(Role::kGradient);
    const double update = gradient + width(Role::kParameter) + 2 * (width(Role::kMaster) + width(Role::kExpAvg) + width(Role::kExpAvgSq)) +
                          (state.keeps(Role::kMaster) ? 0 : width(Role::kParameter));
    for (int pass = 0; pass < 2; ++pass) {
      out.clear();
      marks.restart();
      optimizer_->visit([&](std::string_view op, int64_t elements, const std::function<void()>& launch) {
        launch();
        marks.next();
        const double per_element = op == "sum_squares" ? gradient : op == "clip_coefficient" ? 8 : update;
        out.push_back({std::string(op), "optimizer", {0, per_element * static_cast<double>(elements)}});
      });
      engine_->sync().visit([&](std::string_view op, int64_t bytes, const std::function<void()>& launch) {
        launch();
        marks.next();
        out.push_back({std::string(op), "end of step", {0, static_cast<double>(bytes)}, true});
      });
      take_times(out, marks);
    }
    return out;
  }

  // The last micro-batch of one more step, its launches where and when they run.
  std::vector<Launched> timeline() {
    const graph::Graph& g = engine_->compiled(Purpose::kTrain).graph;
    std::vector<Launched> out;
    whole_step(1, [&](Program& program, Gradients order, Last last) {
      if (last == Last::kNo) return program.run(order, last);
      for (const Program::Span& span : program.run_timed(order, last)) {
        const std::string name = span.op != nullptr ? span.op->row->name : "sum of gradients";
        out.push_back({name, span.op != nullptr ? span.op->scope : "end of step",
                       span.op != nullptr ? ops::cost(g, *span.op, false) : ops::Cost{}, false, span.begin, span.end - span.begin,
                       span.second});
      }
    });
    return out;
  }

  static void take_times(std::vector<Launched>& launches, const Marks& marks) {
    const std::vector<double> times = marks.times();
    double at = 0;
    for (size_t i = 0; i < launches.size(); ++i) launches[i].begin = at, launches[i].ms = times[i], at += times[i];
  }

  // Attention has no ceiling but its own: no other product has its shape. Its fastest launch stands for it.
  [[nodiscard]] double ideal_of(const Launched& l, const std::map<std::string, double>& fastest) const {
    if (l.communicates) return 0;
    if (l.op.starts_with("attention")) return fastest.at(l.op);
    const double rate = l.op.ends_with("_fp8") ? result_.ceilings.narrow : result_.ceilings.product;
    return std::max(l.cost.flops / rate, l.cost.bytes / result_.ceilings.copy) * 1e3;
  }

  void add(const std::vector<Launched>& launches, int64_t times) {
    std::map<std::string, double> fastest;
    for (const Launched& l : launches) {
      const auto [at, fresh] = fastest.try_emplace(l.op, l.ms);
      at->second = std::min(at->second, l.ms);
    }
    const auto n = static_cast<double>(times);
    for (const Launched& l : launches) {
      auto row = std::find_if(result_.rows.begin(), result_.rows.end(), [&](const ProfileRow& r) { return r.op == l.op; });
      if (row == result_.rows.end()) row = result_.rows.insert(row, {l.op, l.communicates});
      row->launches += times;
      row->ms += n * l.ms;
      row->ideal += n * ideal_of(l, fastest);
      row->flops += n * l.cost.flops;
      row->bytes += n * l.cost.bytes;
    }
  }

  void finish() {
    std::sort(result_.rows.begin(), result_.rows.end(), [](const ProfileRow& a, const ProfileRow& b) { return a.ms > b.ms; });
  }

  void write_trace(const std::vector<Launched>& program, const std::vector<Launched>& update) const {
    std::filesystem::path path = *options_.trace;
    if (result_.ranks > 1) path.replace_filename(path.stem().string() + ".rank" + std::to_string(result_.rank) + path.extension().string());
    std::ofstream file(path);
    file << "{\"displayTimeUnit\":\"ms\",\"traceEvents\":[\n";
    const char* comma = "";
    double shift = 0, end = 0;
    for (const auto* part : {&program, &update}) {
      for (const Launched& l : *part) {
        char numbers[192];
        std::snprintf(numbers, sizeof numbers,
                      "\"ph\":\"X\",\"pid\":%lld,\"tid\":%d,\"ts\":%.3f,\"dur\":%.3f,\"args\":{\"gflop\":%.3f,\"mbyte\":%.3f,\"scope\":\"",
                      static_cast<long long>(result_.rank), l.second ? 1 : 0, (shift + l.begin) * 1e3, l.ms * 1e3, l.cost.flops * 1e-9,
                      l.cost.bytes * 1e-6);
        file << comma << "{\"name\":\"" << l.op << "\"," << numbers << l.scope << "\"}}";
        comma = ",\n";
      }
      for (const Launched& l : *part) end = std::max(end, shift + l.begin + l.ms);
      shift = end;
    }
    file << "\n]}\n";
    if (!file.flush()) throw Error(Code::kNotFound, "cannot write the trace " + path.string());
  }

  const ProfileOptions& options_;
  std::unique_ptr<text::Tokenizer> tokenizer_;
  OptimizerSettings settings_;
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<Optimizer> optimizer_;
  std::unique_ptr<DataSource> source_;
  const Batch* ahead_ = nullptr;
  int64_t micro_batches_ = 1;
  ProfileResult result_;
};

}  // namespace

double ProfileResult::kernel_ms() const {
  double sum = 0;
  for (const ProfileRow& row : rows) sum += row.ms;
  return sum;
}

double ProfileResult::communication_ms() const {
  double sum = 0;
  for (const ProfileRow& row : rows) sum += row.communicates ? row.ms : 0;
  return sum;
}

double ProfileResult::ideal_ms() const {
  double sum = 0;
  for (const ProfileRow& row : rows) sum += row.ideal;
  return sum;
}

ProfileResult profile(const Setup& setup, const RunContext& context, const ProfileOptions& options) {
  return Profiler(setup, context, options).run();
}

}  // namespace nemo::runtime
