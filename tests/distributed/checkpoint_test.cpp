// A checkpoint belongs to no layout: saved by some ranks, read by others, and by plain h5py.
#include <gtest/gtest.h>

#include <cstdlib>

#include "core/checkpoint/boxes.hpp"
#include "core/checkpoint/reader.hpp"
#include "tests/distributed/runner.hpp"

namespace nemo::distributed_test {
namespace {

namespace fs = std::filesystem;

Overrides with(Overrides a, const Overrides& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

const Overrides kSaves{"checkpoint.keep_top_k=1", "checkpoint.save_last=true"};
const Overrides kFsdp4{"strategy.plugin=fsdp", "trainer.devices=4"};
const Overrides kZero2{"strategy.plugin=zero1", "trainer.devices=2"};
const Overrides kTensor8{"strategy.plugin=megatron", "strategy.tensor_model_parallel_size=2", "trainer.devices=8",
                         "data.micro_batch_size=1"};
const Overrides kTensor2{"strategy.plugin=megatron", "strategy.tensor_model_parallel_size=2", "trainer.devices=2"};

std::string steps(int n) { return "trainer.max_steps=" + std::to_string(n); }

fs::path newest(const Folder& folder, const std::string& run) {
  fs::path last;
  for (const auto& entry : fs::directory_iterator(folder.path() / run / "checkpoints")) last = std::max(last, entry.path());
  return last;
}

// All tensors of a checkpoint, as raw values by path.
std::map<std::string, std::vector<float>> tensors(const fs::path& path) {
  const checkpoint::Reader reader(path);
  std::map<std::string, std::vector<float>> out;
  for (const std::string group : {checkpoint::kParameters, checkpoint::kExpAvg, checkpoint::kExpAvgSq})
    for (const std::string& name : reader.names(group)) {
      const checkpoint::TensorInfo info = reader.info(group, name);
      std::vector<float>& values = out[group + "/" + name];
      values.resize(checkpoint::element_count(info.shape));
      reader.read(group, {name, info.dtype, info.shape, values.data()});
    }
  return out;
}

TEST(Checkpoint, initial_weights_are_the_same_bits_for_every_layout) {
  const Folder folder;
  (void)train(folder, "llama", "one", with(kSaves, {steps(0)}));
  const auto one = tensors(newest(folder, "one"));
  ASSERT_FALSE(one.empty());
  int n = 0;
  for (const Overrides& layout : {kZero2, kFsdp4, kTensor2, kTensor8}) {
    const std::string run = "run" + std::to_string(n++);
    (void)train(folder, "llama", run, with(with(kSaves, layout), {steps(0)}));
    EXPECT_EQ(tensors(newest(folder, run)), one) << layout[0];
  }
}

TEST(Checkpoint, initial_experts_are_the_same_bits_on_whatever_ranks_they_lie) {
  const Folder folder;
  (void)train(folder, "mixtral", "one", with(kSaves, {steps(0)}));
  const auto one = tensors(newest(folder, "one"));
  ASSERT_FALSE(one.empty());
  for (const char* ranks : {"2", "4"}) {
    const std::string run = std::string("run") + ranks;
    (void)train(folder, "mixtral", run,
                with(kSaves, {steps(0), "strategy.plugin=megatron", std::string("strategy.expert_model_parallel_size=") + ranks,
                              std::string("trainer.devices=") + ranks}));
    EXPECT_EQ(tensors(newest(folder, run)), one) << ranks;
  }
}

TEST(Checkpoint, a_run_goes_on_under_any_other_layout) {
  const Folder folder;
  const std::vector<Step> one = train(folder, "gpt", "one", {steps(15)});
  Overrides moving = with(kSaves, {"checkpoint.async=true"});
  (void)train(folder, "gpt", "moving", with(with(moving, kFsdp4), {steps(3)}));
  (void)train(folder, "gpt", "moving", with(with(moving, kZero2), {steps(6)}));
  (void)train(folder, "gpt", "moving", with(moving, {steps(9)}));
  (void)train(folder, "gpt", "moving", with(with(moving, kTensor8), {steps(12)}));
  const std::vector<Step> moved = train(folder, "gpt", "moving", with(with(moving, kFsdp4), {steps(15)}));
  const Difference d = difference(one, moved);
  std::printf("fsdp4 > zero1x2 > 1 > tp2 dp4 > fsdp4, 3 steps each: loss %.2e, grad norm %.2e\n", d.loss, d.grad_norm);
  EXPECT_LE(d.loss, 1e-5);
  EXPECT_LE(d.grad_norm, 1e-5);
}

// Copies run while the next step computes, writing while further ones do.
TEST(Checkpoint, a_save_beside_the_training_has_the_state_of_its_step) {
  const Folder folder;
  // Little work and much state, so that an update that did not wait would come in between.
  const Overrides every = {"checkpoint.keep_top_k=9", "checkpoint.monitor=loss", "checkpoint.every_n_steps=2", "model.hidden_size=1024",
                           "data.seq_length=2",       "data.micro_batch_size=1", "data.global_batch_size=2",   steps(8)};
  for (const Overrides& layout : {Overrides{}, kZero2}) {
    const std::string name = layout.empty() ? "one" : "two";
    (void)train(folder, "llama", name, with(every, layout));
    (void)train(folder, "llama", name + "beside", with(with(every, layout), {"checkpoint.async=true"}));
    size_t compared = 0;
    for (const auto& entry : fs::directory_iterator(folder.path() / name / "checkpoints")) {
      const fs::path beside = folder.path() / (name + "beside") / "checkpoints" / entry.path().filename();
      EXPECT_EQ(tensors(entry.path()), tensors(beside)) << entry.path();
      ++compared;
    }
    EXPECT_EQ(compared, 4U);
  }
}

// The token table lies on the first and on the last stage; one of them saves it.
TEST(Checkpoint, a_tied_table_on_two_stages_is_saved_once_and_loaded_by_one_rank) {
  const Folder folder;
  const Overrides common = with(kSaves, {"data.micro_batch_size=1", "model.share_embeddings_and_output_weights=true"});
  const Overrides stages = with(common, {"strategy.plugin=megatron", "strategy.pipeline_model_parallel_size=2", "trainer.devices=2"});
  for (const char* model : {"gpt", "llama"}) {
    const std::string one = std::string(model) + "1", moving = std::string(model) + "2";
    const std::vector<Step> alone = train(folder, model, one, with(common, {steps(6)}));
    (void)train(folder, model, moving, with(stages, {steps(3)}));
    (void)train(folder, model, moving, with(common, {steps(4)}));
    const Difference d = difference(alone, train(folder, model, moving, with(stages, {steps(6)})));
    EXPECT_LE(d.loss, 1e-5) << model;
    EXPECT_LE(d.grad_norm, 1e-5) << model;
  }
}

// Delayed scaling remembers what each rank has seen: a run that stops and goes on is the same run, under stages and under split layers.
TEST(Checkpoint, every_rank_keeps_the_magnitudes_that_it_has_seen) {
  const Folder folder;
  const Overrides common = with(kSaves, {"precision.plugin=fp8", "precision.recipe=delayed", "precision.amax_history_len=8",
                                         "strategy.plugin=megatron", "trainer.devices=2", "data.micro_batch_size=1"});
  for (const char* layout : {"strategy.pipeline_model_parallel_size=2", "strategy.tensor_model_parallel_size=2"}) {
    const std::string name = std::string(layout).substr(9, 6);
    const std::vector<Step> whole = train(folder, "llama", name + "whole", with(common, {layout, steps(6)}));
    (void)train(folder, "llama", name + "parts", with(common, {layout, steps(3)}));
    const std::vector<Step> parts = train(folder, "llama", name + "parts", with(common, {layout, steps(6)}));
    const Difference d = difference(whole, parts);
    EXPECT_EQ(d.loss, 0) << layout;
    EXPECT_EQ(d.grad_norm, 0) << layout;
  }
}

TEST(Checkpoint, plain_h5py_reads_the_tensors_of_many_ranks) {
  const char* chosen = std::getenv("NEMO_TEST_PYTHON");
  const std::string python = chosen == nullptr ? "python3" : chosen;
  if (std::system((python + " -c 'import h5py' 2> /dev/null").c_str()) != 0) GTEST_SKIP() << python << " has no h5py";
  const Folder folder;
  (void)train(folder, "llama", "run", with(with(kSaves, kTensor8), {steps(1)}));
  const fs::path file = newest(folder, "run") / "checkpoint.h5";
  const auto read = tensors(newest(folder, "run"));
  const std::string name = "layers.0.mlp.down.weight";
  double sum = 0;
  for (const float v : read.at("parameters/" + name)) sum += v;
  const std::string script = python + " -c \"import h5py; d = h5py.File('" + file.string() + "')['parameters/" + name +
                             "'][...]; assert d.shape == (32, 64), d.shape; assert abs(float(d.astype('f8').sum()) - (" +
                             std::to_string(sum) + ")) < 1e-4\"";
  EXPECT_EQ(std::system(script.c_str()), 0) << script;
}

// Every element of [first, first + count) is in exactly one box, in order.
TEST(Boxes, cover_a_run_once_and_in_order) {
  const std::vector<int64_t> shape{3, 4, 5};
  for (int64_t first = 0; first < 60; ++first)
    for (int64_t count = 0; first + count <= 60; ++count) {
      const auto boxes = checkpoint::boxes_of(shape, first, count);
      EXPECT_LE(boxes.size(), 5U);
      int64_t at = first;
      for (const checkpoint::Box& b : boxes) {
        EXPECT_EQ(b.offset, at - first);
        for (int64_t i = 0; i < b.elements(); ++i) {
          const int64_t z = i % b.size[2], y = i / b.size[2] % b.size[1], x = i / b.size[2] / b.size[1];
          ASSERT_EQ(((b.start[0] + x) * 4 + b.start[1] + y) * 5 + b.start[2] + z, at++);
        }
      }
      ASSERT_EQ(at, first + count);
    }
}

}  // namespace
}  // namespace nemo::distributed_test
