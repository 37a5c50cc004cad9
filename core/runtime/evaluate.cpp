#include "core/runtime/evaluate.hpp"

#include <algorithm>

#include "core/base/error.hpp"
#include "core/runtime/snapshot.hpp"
#include "core/runtime/train_loop.hpp"

namespace nemo::runtime {

std::unique_ptr<DataSource> open_validation(const Setup& setup, const nemo_host_api& host, const text::Tokenizer* tokenizer,
                                            const Engine& engine) {
  const int64_t global = setup.section("data").get_int("global_batch_size");
  const int64_t samples = setup.section("trainer").get_int("limit_val_batches") * global;
  return DataSource::open(setup, host, tokenizer,
                          {"validation", engine.facts(), global, samples, setup.section("job").get_int("seed"), engine.ranks().data_shard(),
                           engine.ranks().data_shards()});
}

namespace {

double read_loss(Device& device, const std::byte* at, graph::DType dtype) {
  if (dtype == graph::DType::kF64) {
    double value = 0;
    device.copy_out(&value, at, sizeof value);
    return value;
  }
  float value = 0;
  device.copy_out(&value, at, sizeof value);
  return value;
}

// 0 on ranks without the last stage.
double staged_loss(Engine& engine, PipelineProgram& program, const Batch& batch, int64_t seed, int64_t counter) {
  double loss = 0;
  const graph::Graph& g = program.compiled().graph;
  program.run({.batch = [&](int32_t) -> const Batch& { return batch; },
               .loss = [&](const std::byte* at, int32_t) { loss = read_loss(engine.device(), at, g.value(g.find_output("loss")).dtype); },
               .seed = seed,
               .first_sample = [&](int32_t) { return counter; }});
  return loss;
}

}  // namespace

double read_scalar(Device& device, const Program& program, std::string_view output) {
  const graph::Graph& g = program.compiled().graph;
  const graph::ValueId v = g.find_output(output);
  return read_loss(device, program.address(v), g.value(v).dtype);
}

double mean_loss(const Setup& setup, Engine& engine, DataSource& source, int64_t seed) {
  const int64_t global = setup.section("data").get_int("global_batch_size");
  int64_t batches = setup.section("trainer").get_int("limit_val_batches");
  if (const int64_t samples = source.num_samples(); samples >= 0) batches = std::min(batches, std::max<int64_t>(samples / global, 1));
  const int64_t turns = batches * global / (engine.facts().micro_batch_size * engine.ranks().data_shards());
  Batch counts;  // of all turns together, for a loss that needs them before the first
  source.seek(0);
  if (engine.counts_batches()) {
    for (int64_t i = 0; i < turns; ++i) counts.unmasked_tokens += source.next().unmasked_tokens;
    (void)engine.count_batches({&counts, 1}, batches * global);
    source.seek(0);
  }
  PipelineProgram* staged = engine.pipeline(passes::Purpose::kEvaluate);
  double loss = 0;
  int64_t tokens = 0;
  for (int64_t i = 0; i < turns; ++i) {
    Batch with_counts;
    const Batch* next = &source.next();
    if (engine.counts_batches()) {
      with_counts = *next;
      with_counts.fields.insert(counts.fields.begin(), counts.fields.end());
      next = &with_counts;
    }
    const Batch& batch = *next;
    if (staged != nullptr) {
      loss += staged_loss(engine, *staged, batch, seed, i);
    } else {
      Program& program = engine.program(passes::Purpose::kEvaluate);
      feed(engine.device(), program, batch, seed, i);
      program.run();
      loss += read_scalar(engine.device(), program, "loss");
    }
    tokens += batch.unmasked_tokens;
  }
  if (staged != nullptr) loss = engine.sum_over(engine.plan().pipeline.mesh, loss);  // the last stage has it
  return loss / std::max(engine.sum_over_data(static_cast<double>(tokens)), 1.0);
}

double validate_checkpoint(const Setup& setup, const RunContext& context, const std::filesystem::path& checkpoint) {
  const checkpoint::Reader reader(checkpoint, checkpoint::Verify::kSizes);
  const auto tokenizer =
      std::filesystem::exists(checkpoint / "tokenizer") ? text::load_tokenizer(checkpoint / "tokenizer") : make_tokenizer(setup);
  EngineOptions options;
  options.purposes = {passes::Purpose::kEvaluate};
  options.facts = build_facts(setup, tokenizer.get(), context.world);
  options.world = context.world;
  Engine engine(setup, options);
  engine.check_fits(setup);
  const auto source = open_validation(setup, *context.host, tokenizer.get(), engine);
  if (!source) throw Error(Code::kConfig, "the recipe's data has no validation split");
  engine.allocate();
  const Progress progress = restore(reader, engine.state(), engine.device(), Restore::kParameters);
  return mean_loss(setup, engine, *source, progress.seed);
}

}  // namespace nemo::runtime
