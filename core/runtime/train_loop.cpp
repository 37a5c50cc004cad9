#include "core/runtime/train_loop.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "core/checkpoint/leftovers.hpp"
#include "core/config/render.hpp"
#include "core/runtime/evaluate.hpp"
#include "core/runtime/run_folder.hpp"

namespace nemo::runtime {

using passes::Purpose;

namespace {

class Stopwatch {
 public:
  // Milliseconds since the last lap.
  double lap() {
    const auto now = std::chrono::steady_clock::now();
    const double ms = std::chrono::duration<double, std::milli>(now - last_).count();
    last_ = now;
    return ms;
  }

 private:
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

const double* find(const Metrics& metrics, std::string_view name) {
  for (const auto& [key, value] : metrics)
    if (key == name) return &value;
  return nullptr;
}

int64_t parameter_count(const graph::Graph& graph) {
  int64_t n = 0;
  for (const graph::Parameter& p : graph.parameters) n += element_count(p.global_dims);
  return n;
}

EngineOptions engine_options(const Setup& setup, const RunContext& context, const text::Tokenizer* tokenizer) {
  EngineOptions options;
  options.purposes = {Purpose::kTrain};
  if (setup.section("trainer").get_int("val_check_interval") > 0) options.purposes.insert(Purpose::kEvaluate);
  options.facts = build_facts(setup, tokenizer, context.world);
  options.keep = optimizer_settings(setup.section("optim")).keep();
  options.observe = context.observe;
  options.world = context.world;
  return options;
}

}  // namespace

OptimizerSettings optimizer_settings(const config::Section& optim) {
  OptimizerSettings s;
  s.kind = optim.get_string("optimizer") == "sgd" ? OptimizerSettings::Kind::kSgd : OptimizerSettings::Kind::kAdamW;
  const std::vector<double> betas = optim.get_floats("betas");
  if (betas.size() != 2) throw config::fault_at(optim, "betas", "expected two numbers, found " + std::to_string(betas.size()));
  s.beta1 = betas[0], s.beta2 = betas[1];
  s.eps = optim.get_float("eps");
  s.weight_decay = optim.get_float("weight_decay");
  s.decay_all = optim.get_string("decay") == "all";
  s.momentum = optim.get_float("momentum");
  s.nesterov = optim.get_bool("nesterov");
  s.clip_grad_norm = optim.get_float("clip_grad_norm");
  return s;
}

LrSchedule lr_schedule(const config::Section& optim, int64_t max_steps) {
  LrSchedule s;
  const std::string& type = optim.get_string("schedule.type");
  s.type = type == "cosine"   ? LrSchedule::Type::kCosine
           : type == "linear" ? LrSchedule::Type::kLinear
           : type == "wsd"    ? LrSchedule::Type::kWsd
                              : LrSchedule::Type::kConstant;
  s.lr = optim.get_float("lr");
  s.min_lr = optim.get_float("schedule.min_lr");
  s.warmup_steps = optim.get_int("schedule.warmup_steps");
  s.decay_steps = optim.get_int("schedule.decay_steps");
  s.constant_steps = optim.get_int("schedule.constant_steps");
  s.max_steps = max_steps;
  return s;
}

// The share of one data-parallel rank.
int64_t share_of(const Setup& setup, const dist::World* world, int64_t global) {
  const int64_t ranks = make_plan(setup, world).batch_ranks();
  if (global % ranks == 0) return global / ranks;
  throw config::fault_at(
      setup.section("data"), "global_batch_size",
      std::to_string(global) + " sequences cannot be divided equally among " + std::to_string(ranks) + " data-parallel ranks");
}

graph::BuildFacts build_facts(const Setup& setup, const text::Tokenizer* tokenizer, const dist::World* world) {
  const config::Section& data = setup.section("data");
  const int64_t global = data.get_int("global_batch_size");
  int64_t micro = data.get_int("micro_batch_size");
  if (micro == 0) micro = share_of(setup, world, global);
  if (global % micro != 0)
    throw config::fault_at(data, "global_batch_size",
                           std::to_string(global) + " is no multiple of micro_batch_size = " + std::to_string(micro) +
                               "; gradient accumulation needs whole micro-batches");
  const int64_t vocabulary = tokenizer == nullptr ? 0 : tokenizer->vocab_size() + added_tokens(setup);
  return {micro, data.get_int("seq_length"), vocabulary, batch_fields(setup), encoder_seq_length(setup), true};
}

TrainLoop::TrainLoop(const Setup& setup, RunContext context)
    : setup_(setup),
      context_(std::move(context)),
      tokenizer_(make_tokenizer(setup)),
      max_steps_(setup.section("trainer").get_int("max_steps")) {
  global_batch_size_ = setup.section("data").get_int("global_batch_size");
  engine_ = std::make_unique<Engine>(setup, engine_options(setup, context_, tokenizer_.get()));
  micro_batches_ = micro_batches_of_step(setup, *engine_);
  schedule_ = lr_schedule(setup.section("optim"), max_steps_);
  scaler_ = std::make_unique<LossScaler>(engine_->precision().loss_scaling);
  directory_ = run_folder(setup);
  progress_.seed = setup.section("job").get_int("seed");
}

int64_t micro_batches_of_step(const Setup& setup, const Engine& engine) {
  const int64_t global = setup.section("data").get_int("global_batch_size");
  const int64_t micro = engine.facts().micro_batch_size, shards = engine.ranks().data_shards();
  if (global % (micro * shards) == 0) return global / (micro * shards);
  throw config::fault_at(setup.section("data"), "global_batch_size",
                         std::to_string(global) + " is no multiple of micro_batch_size = " + std::to_string(micro) + " times " +
                             std::to_string(shards) + " data-parallel ranks; every rank needs the same number of whole micro-batches");
}

void TrainLoop::meet(const char* name) const {
  if (context_.world != nullptr) context_.world->meet(name);
}

void TrainLoop::note(const char* doing) const {
  if (context_.world != nullptr) context_.world->note(doing, progress_.step + 1);
}

void TrainLoop::start_loggers() {
  if (!is_chief()) return;
  loggers_ = std::make_unique<LoggerSet>(
      setup_, RunFacts{directory_.filename().string(), directory_, config::to_toml(setup_.configuration), progress_.step + 1, max_steps_},
      context_.warn);
}

Outcome TrainLoop::run() {
  engine_->check_fits(setup_);
  open_sources();
  if (is_chief()) prepare_folder();
  meet("folder");
  const std::string where = engine_->ranks().size() == 1 ? "" : std::to_string(engine_->ranks().size()) + " ranks, each a ";
  context_.info("training " + setup_.model->id + ", " + std::to_string(parameter_count(engine_->compiled(Purpose::kTrain).graph)) +
                " parameters, on " + where + engine_->device().name() + "; planned memory " + gib(engine_->report().total()));
  planned_bytes_ = engine_->report().total();
  engine_->allocate();
  optimizer_ =
      std::make_unique<Optimizer>(engine_->device(), engine_->state(), optimizer_settings(setup_.section("optim")), engine_->sync());
  for (Mark& mark : marks_) mark = engine_->device().make_mark();
  saver_ = std::make_unique<Saver>(engine_->device(), engine_->ranks(),
                                   setup_.section("checkpoint").get_bool("async") ? Saver::Mode::kBackground : Saver::Mode::kForeground);
  const bool resumed = resume();
  if (saves()) saver_->reserve(snapshot());
  start_loggers();
  bool saved = resumed && progress_.step >= max_steps_;
  while (progress_.step < max_steps_ && !stop_) {
    const int64_t n = progress_.step + 1;
    Metrics metrics = step(n);
    const bool validates = validation_ && (due("trainer", "val_check_interval", n) || n == max_steps_);
    if (validates) metrics.emplace_back("val_loss", validate());
    if (loggers_ && (due("trainer", "log_every_n_steps", n) || validates || n == max_steps_)) loggers_->metrics(n, metrics);
    saved = due("checkpoint", "every_n_steps", n) || n == max_steps_;
    if (saved) save_checkpoint(metrics);
    tell_saved();
  }
  const bool interrupted = progress_.step < max_steps_;
  if (!saved) save_checkpoint({});
  saver_->wait();
  tell_saved();
  if (most_bytes_ > 0)
    context_.info("device memory: planned " + gib(planned_bytes_) + ", measured " +
                  gib(std::max(most_bytes_, engine_->device().used_bytes().value_or(0))));
  if (loggers_)
    loggers_->finish(interrupted ? "interrupted" : "done", "step " + std::to_string(progress_.step) + " of " + std::to_string(max_steps_));
  return interrupted ? Outcome::kInterrupted : Outcome::kDone;
}

bool TrainLoop::due(const char* section, const char* every, int64_t step) const {
  const int64_t n = setup_.section(section).get_int(every);
  return n > 0 && step % n == 0;
}

void TrainLoop::open_sources() {
  const Ranks& ranks = engine_->ranks();
  const SourceOptions options{"train",        engine_->facts(),   global_batch_size_, max_steps_ * global_batch_size_,
                              progress_.seed, ranks.data_shard(), ranks.data_shards()};
  train_ = DataSource::open(setup_, *context_.host, tokenizer_.get(), options);
  if (!train_) throw Error(Code::kConfig, "data plugin '" + setup_.data->id + "' has no split 'train' with these settings");
  if (setup_.section("trainer").get_int("val_check_interval") > 0)
    validation_ = open_validation(setup_, *context_.host, tokenizer_.get(), *engine_);
}

void TrainLoop::prepare_folder() {
  const std::string& policy = setup_.section("checkpoint").get_string("resume");
  if (policy == "never") move_aside(directory_, context_.info);
  make_run_folder(directory_, config::to_toml(setup_.configuration));
}

bool TrainLoop::resume() {
  const checkpoint::Store store(directory_ / "checkpoints");
  const auto entry = store.latest_good();
  if (entry) {
    const int64_t seed = progress_.seed;
    progress_ = restore(checkpoint::Reader(entry->path, checkpoint::Verify::kSizes), engine_->state(), engine_->device(),
                        Restore::kEverything, kept());
    if (scaler_->active() && progress_.loss_scale) scaler_->restore(*progress_.loss_scale);
    if (progress_.seed != seed)
      throw config::fault_at(setup_.section("job"), "seed",
                             std::to_string(seed) + " is not that of the run so far, " + std::to_string(progress_.seed) + " (" +
                                 entry->path.string() + "); give the run another job.name, or set checkpoint.resume = \"never\"");
    train_->seek(progress_.consumed_samples);
    meet("resume");  // nobody reads any more
    if (is_chief()) checkpoint::remove_leftovers(directory_ / "checkpoints");
    if (is_chief()) prune(store);  // what a run that was killed between saving and pruning has left
    context_.info("resumed from " + entry->path.string() + " at step " + std::to_string(progress_.step));
    return true;
  }
  if (setup_.section("checkpoint").get_string("resume") == "must")
    throw config::fault_at(setup_.section("checkpoint"), "resume", "there is no checkpoint in " + (directory_ / "checkpoints").string());
  engine_->state().initialize(progress_.seed);
  return false;
}

const Batch& TrainLoop::take_batch() {
  if (ahead_failed_) std::rethrow_exception(std::exchange(ahead_failed_, nullptr));
  return ahead_ != nullptr ? *std::exchange(ahead_, nullptr) : train_->next();
}

// Reads the next step's first batch while the device works on this one.
void TrainLoop::fetch_ahead() {
  try {
    ahead_ = &train_->next();
  } catch (...) {
    ahead_failed_ = std::current_exception();
  }
}

// Enqueues forward and backward of one global batch; returns its unmasked tokens.
int64_t TrainLoop::accumulate(StepTimes& times) {
  if (PipelineProgram* staged = engine_->pipeline(Purpose::kTrain)) return accumulate_staged(*staged, times);
  Program& program = engine_->program(Purpose::kTrain);
  const graph::Graph& g = program.compiled().graph;
  const graph::DType loss = g.value(g.find_output("loss")).dtype;
  int64_t tokens = 0;
  const Ranks& ranks = engine_->ranks();
  const int64_t first_sample = progress_.consumed_samples + ranks.data_shard() * (global_batch_size_ / ranks.data_shards());
  for (int64_t m = 0; m < micro_batches_; ++m) {
    Stopwatch watch;
    note("reading a batch");
    const Batch& batch = take_batch();
    tokens += batch.unmasked_tokens;
    feed(engine_->device(), program, batch, progress_.seed, first_sample + m * engine_->facts().micro_batch_size, scaler_->scale());
    if (m == 0) times.data = watch.lap(), engine_->device().record(marks_[0]);  // later ones: while the device works
    const Gradients order = m == 0 ? Gradients::kOverwrite : Gradients::kAccumulate;
    note("computing a micro-batch");
    program.run(order, m + 1 == micro_batches_ ? Last::kYes : Last::kNo);
    optimizer_->add_loss(program.output("loss"), loss, order);
  }
  engine_->sync().reduced();
  engine_->device().record(marks_[1]);
  return tokens;
}

// The same in pipeline stages: the schedule says which micro-batch is next, so batches are kept until the step is done.
int64_t TrainLoop::accumulate_staged(PipelineProgram& program, StepTimes& times) {
  Stopwatch watch;
  std::vector<Batch> batches;
  int64_t tokens = 0;
  for (int64_t m = 0; m < micro_batches_; ++m) {
    note("reading a batch");
    batches.push_back(take_batch());
    tokens += batches.back().unmasked_tokens;
  }
  times.data = watch.lap();
  engine_->device().record(marks_[0]);
  note("computing micro-batches");
  const Ranks& ranks = engine_->ranks();
  const graph::Graph& g = program.compiled().graph;
  const graph::DType loss = program.has_loss() ? g.value(g.find_output("loss")).dtype : graph::DType::kNone;
  const int64_t first_sample = progress_.consumed_samples + ranks.data_shard() * (global_batch_size_ / ranks.data_shards());
  Gradients order = Gradients::kOverwrite;
  program.run({.batch = [&](int32_t m) -> const Batch& { return batches[static_cast<size_t>(m)]; },
               .loss =
                   [&](const std::byte* at, int32_t) {
                     optimizer_->add_loss(at, loss, order);
                     order = Gradients::kAccumulate;
                   },
               .seed = progress_.seed,
               .loss_scale = scaler_->scale(),
               .first_sample = [&](int32_t m) { return first_sample + m * engine_->facts().micro_batch_size; }});
  program.sum_shared();
  engine_->device().record(marks_[1]);
  return tokens;
}

Metrics TrainLoop::step(int64_t n) {
  Stopwatch whole;
  StepTimes times;
  const int64_t tokens = accumulate(times);
  // Steps that overflowed have changed nothing: neither the schedule nor the optimizer counts them.
  const int64_t updates = n - scaler_->state().skipped_steps;
  const double lr = schedule_.at(updates - 1), loss_scale = scaler_->scale();
  note("updating");
  saver_->before_update();
  optimizer_->enqueue({lr, updates, static_cast<double>(tokens), loss_scale, context_.interrupted->load()});
  engine_->device().record(marks_[2]);
  if (n < max_steps_) fetch_ahead();
  const Optimizer::Report report = optimizer_->read();
  stop_ = report.stop || (engine_->ranks().size() == 1 && context_.interrupted->load());
  const double mean = report.loss / std::max(report.tokens, 1.0);
  if (!scaler_->update(!report.skipped))
    throw Error(Code::kInternal,
                "step " + std::to_string(n) + ": the gradient norm is not finite (loss " + std::to_string(mean) +
                    (scaler_->active() ? ", loss scale " + std::to_string(loss_scale) : "") +
                    "); lower optim.lr, raise optim.schedule.warmup_steps, or check the data. Checkpoints saved so far are intact");
  times.compute = engine_->device().elapsed(marks_[0], marks_[1]);
  times.optimizer = engine_->device().elapsed(marks_[1], marks_[2]);
  progress_.step = n;
  progress_.consumed_samples += global_batch_size_;
  const double ms = whole.lap();
  const double processed = static_cast<double>(global_batch_size_ * engine_->facts().seq_length);
  watch_memory();
  Metrics metrics{{"loss", mean},
                  {"grad_norm", report.norm},
                  {"lr", lr},
                  {"tokens_per_s", processed / ms * 1e3},
                  {"step_ms", ms},
                  {"data_ms", times.data},
                  {"compute_ms", times.compute},
                  {"optimizer_ms", times.optimizer},
                  {"model_tflops",
                   engine_->model_flops() * static_cast<double>(micro_batches_) / static_cast<double>(engine_->ranks().size()) / ms / 1e9},
                  {"consumed_samples", static_cast<double>(progress_.consumed_samples)},
                  {"memory_planned", static_cast<double>(planned_bytes_)}};
  if (engine_->ranks().size() > 1)
    metrics.emplace_back("tokens_per_s_per_device", processed / ms * 1e3 / static_cast<double>(engine_->ranks().size()));
  if (report.skipped) std::erase_if(metrics, [](const auto& m) { return m.first == "grad_norm"; });  // not a number
  if (scaler_->active()) {
    metrics.emplace_back("loss_scale", loss_scale);
    metrics.emplace_back("skipped", static_cast<double>(scaler_->state().skipped_steps));
  }
  if (save_ms_ > 0) metrics.emplace_back("save_ms", std::exchange(save_ms_, 0));
  if (most_bytes_ > 0) metrics.emplace_back("memory_measured", static_cast<double>(most_bytes_));
  return metrics;
}

// Memory in use grows until programs are recorded: by the third step.
void TrainLoop::watch_memory() {
  constexpr int64_t kSteps = 3;
  if (watched_steps_++ < kSteps) most_bytes_ = std::max(most_bytes_, engine_->device().used_bytes().value_or(0));
}

double TrainLoop::validate() {
  note("validating");
  return mean_loss(setup_, *engine_, *validation_, progress_.seed);
}

void TrainLoop::save_checkpoint(const Metrics& metrics) {
  if (!saves()) return;  // nothing would be kept
  Stopwatch watch;
  progress_.metrics.clear();
  for (const char* name : {"loss", "val_loss"})
    if (const double* value = find(metrics, name)) progress_.metrics[name] = *value;
  if (scaler_->active()) progress_.loss_scale = scaler_->state();
  note("saving a checkpoint");
  tell_saved();
  saver_->save(snapshot());
  if (!setup_.section("checkpoint").get_bool("async")) tell_saved();
  save_ms_ = watch.lap();
}

bool TrainLoop::saves() const {
  const config::Section& rule = setup_.section("checkpoint");
  return rule.get_int("keep_top_k") != 0 || rule.get_bool("save_last");
}

Snapshot TrainLoop::snapshot() const {
  const checkpoint::Store store(directory_ / "checkpoints");
  return take_snapshot(store.path_of(progress_.step), engine_->state(), engine_->ranks(), progress_, setup_, tokenizer_.get(), kept());
}

// Of a checkpoint that has become visible since the last call.
void TrainLoop::tell_saved() {
  const auto path = saver_->finished();
  if (!path || !is_chief()) return;
  prune(checkpoint::Store(directory_ / "checkpoints"));
  loggers_->text(progress_.step, "saved " + path->string());
}

void TrainLoop::prune(const checkpoint::Store& store) const {
  const config::Section& settings = setup_.section("checkpoint");
  store.prune({settings.get_int("keep_top_k"), settings.get_string("monitor"),
               settings.get_string("mode") == "max" ? checkpoint::Mode::kMax : checkpoint::Mode::kMin,
               settings.get_bool("save_last") ? 1 : 0});
}

}  // namespace nemo::runtime
