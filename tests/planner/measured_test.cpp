// Plans against what was measured: our own single-GPU rows (tests/bench/results/train_h100.txt), and published rows of the reference system
// (NVIDIA/dgxc-benchmarking v25.04, bf16, H100). One hardware file serves all rows.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>

#include "tests/planner/planned.hpp"

namespace nemo::planner_test {
namespace {

struct Row {
  const char* name;
  double measured;  // tokens per second and GPU
  const char* recipe;
  std::string settings;
};

const std::string kOne = "strategy.plugin=single trainer.devices=1 trainer.num_nodes=1 ";
const std::string kPadded = kOne + "model.make_vocab_size_divisible_by=128 ";

std::string batch(int64_t micro, int64_t global) {
  return "data.micro_batch_size=" + std::to_string(micro) + " data.global_batch_size=" + std::to_string(global) + " ";
}
std::string nodes(int64_t n) { return "trainer.devices=8 trainer.num_nodes=" + std::to_string(n) + " "; }

// Our rows were measured on 2026-11-23, by a backend that had not learnt these rows yet.
planner::Hardware of_that_day() {
  planner::Hardware h = hardware();
  for (const char* row : {"linear_activation", "linear_dgrad_activation"}) h.fused_rows.erase(row);
  return h;
}

void check(const char* title, const std::vector<Row>& rows, double tolerance, const planner::Hardware& on = hardware()) {
  std::printf("%-28s%14s%14s%10s%8s%10s%10s%10s\n", title, "tokens/s/GPU", "planned", "error", "MFU", "bubble", "exposed", "GiB");
  for (const Row& row : rows) {
    const planner::Report r = planned(row.recipe, row.settings, on);
    const double error = r.tokens_per_second_per_device() / row.measured - 1;
    std::printf("%-28s%14.0f%14.0f%9.1f%%%7.1f%%%9.1f%%%9.1f%%%10.1f\n", row.name, row.measured, r.tokens_per_second_per_device(),
                100 * error, 100 * r.mfu(), 100 * r.bubble, 100 * r.split.exposed / r.step_seconds(),
                static_cast<double>(r.largest().memory.total()) / (1 << 30));
    EXPECT_LE(std::abs(error), tolerance) << row.name;
  }
}

TEST(Measured, one_gpu_step_times_are_planned_within_7_percent) {
  check("one H100, ours",
        {{"GPT-2 124M 64 x 1024", 554593, "gpt2_124m", kPadded + batch(64, 64)},
         {"GPT-2 124M 128 x 1024", 576929, "gpt2_124m", kPadded + batch(128, 128)},
         {"GPT-2 1558M 16 x 1024", 48104, "gpt2_124m",
          kPadded + batch(16, 16) + "model.num_layers=48 model.hidden_size=1600 model.num_attention_heads=25"},
         {"Llama 3.2 1B 16 x 2048", 71960, "llama32_1b", kOne + batch(16, 16) + "data.seq_length=2048"},
         {"Llama 3.2 1B 4 x 8192", 58465, "llama32_1b", kOne + batch(4, 4)}},
        0.07, of_that_day());
}

// Before the backward of queries behind many keys was cut in two; rates of one plan from the same file.
planner::Hardware in_one_plan() {
  planner::Hardware h = hardware();
  h.behind_backward = {1, 318.0 / 401, 357.0 / 401, 370.0 / 401};
  return h;
}

// tests/bench/results/two_h100.txt: collectives ran on the stream of the computation, so nothing was hidden.
planner::Hardware without_overlap() {
  planner::Hardware h = in_one_plan();
  h.streams = false;
  return h;
}

// No constant of the hardware file belongs to a strategy; those of collectives are of microbenchmarks.
TEST(Measured, two_gpus_are_planned_within_7_percent) {
  const std::string two = "trainer.devices=2 trainer.num_nodes=1 data.seq_length=8192 " + batch(2, 8),
                    megatron = "strategy.plugin=megatron ";
  check("two H100, ours",
        {{"one device", 58418, "llama32_1b", kOne + "data.seq_length=8192 " + batch(2, 8)},
         {"ddp", 56204, "llama32_1b", two + "strategy.plugin=ddp"},
         {"zero1", 56679, "llama32_1b", two + "strategy.plugin=zero1"},
         {"fsdp", 53354, "llama32_1b", two + "strategy.plugin=fsdp"},
         {"tp2+sp", 48115, "llama32_1b", two + megatron + "strategy.tensor_model_parallel_size=2"},
         {"cp2", 49269, "llama32_1b", two + megatron + "strategy.context_parallel_size=2"},
         {"pp2", 43087, "llama32_1b", two + megatron + "strategy.pipeline_model_parallel_size=2"}},
        0.07, without_overlap());
  const std::string later = "trainer.devices=2 trainer.num_nodes=1 data.seq_length=8192 " + batch(2, 16),
                    longer = "data.seq_length=32768 " + batch(1, 4),
                    far = "trainer.devices=2 trainer.num_nodes=1 " + longer + megatron + "strategy.context_parallel_size=2";
  check("two H100, second table",
        {{"one device", 58266, "llama32_1b", kOne + "data.seq_length=8192 " + batch(2, 16)},
         {"zero1", 57459, "llama32_1b", later + "strategy.plugin=zero1"},
         {"ddp", 57249, "llama32_1b", later + "strategy.plugin=ddp"},
         {"fsdp", 54737, "llama32_1b", later + "strategy.plugin=fsdp"},
         {"tp2+sp", 48820, "llama32_1b", later + megatron + "strategy.tensor_model_parallel_size=2"},
         {"cp2", 50403, "llama32_1b", later + megatron + "strategy.context_parallel_size=2"},
         {"one device, 32k", 33265, "llama32_1b", kOne + longer},
         {"cp2, 32k", 28280, "llama32_1b", far}},
        0.07, in_one_plan());
  check("two H100, later",
        {{"fsdp", 54294, "llama32_1b", later + "strategy.plugin=fsdp"},
         {"one device, 32k", 33436, "llama32_1b", kOne + longer},
         {"cp2, 32k", 31495, "llama32_1b", far}},
        0.07);
}

// The reference sums gradients in bf16 (grad_reduce_in_fp32 = False in all its performance recipes).
const std::string kNarrow = "precision.grad_dtype=bf16 trainer.recompute=none ";

// Collectives by copy engines, measured after the constants of overlap stood, which are those of NCCL's kernels.
TEST(Measured, two_gpus_with_copy_engines_are_planned_within_7_percent) {
  planner::Hardware engines = hardware();
  engines.most_exchanged = int64_t{128} << 20;
  const std::string two = "trainer.devices=2 trainer.num_nodes=1 data.seq_length=8192 " + batch(2, 16),
                    tensor = two + "strategy.plugin=megatron strategy.tensor_model_parallel_size=2 ";
  check("two H100, copy engines",
        {{"zero1", 57971, "llama32_1b", two + "strategy.plugin=zero1"},
         {"fsdp", 55299, "llama32_1b", two + "strategy.plugin=fsdp"},
         {"tp2+sp", 49695, "llama32_1b", tensor},
         {"halves take turns", 50826, "llama32_1b", tensor + "strategy.tp_comm_overlap=true"}},
        0.07, engines);
}

// Layers, width and experts of Mixtral 8x7B on the recipe of Llama 3 8B, which has the same blocks otherwise; routers balanced, as theirs
// were. One expert a rank makes their products plain ones.
TEST(Measured, a_published_mixture_is_planned_within_10_percent) {
  planner::Hardware theirs = hardware();
  theirs.grouped_rate = {1, 1, 1};
  const Row row{"Mixtral 8x7B, 64", 5640, "llama3_8b",
                "strategy.plugin=megatron model.plugin=mixtral model.vocab_size=32000 data.seq_length=4096 " + nodes(8) + batch(1, 256) +
                    "strategy.pipeline_model_parallel_size=4 strategy.virtual_pipeline_model_parallel_size=8 "
                    "strategy.expert_model_parallel_size=8 strategy.moe_expert_rank_capacity_factor=1.2 " +
                    kNarrow};
  check("products as the library's", {row}, 0.10, theirs);
  const auto rate = [&](const planner::Hardware& on) { return planned(row.recipe, row.settings, on).tokens_per_second_per_device(); };
  EXPECT_LT(rate(hardware()), rate(theirs)) << "our products of experts are slower than the library's";
}

TEST(Measured, published_rows_of_many_gpus_are_planned_within_10_percent) {
  const std::string narrow = kNarrow, eight = "strategy.plugin=megatron strategy.context_parallel_size=2 " + narrow;
  check("H100, published",
        {{"Llama 3 8B, 8", 10682, "llama3_8b", eight + nodes(1) + batch(1, 128)},
         {"Llama 3 8B, 128", 10630, "llama3_8b", eight + nodes(16) + batch(1, 2048)},
         {"Llama 3 70B, 64", 1118, "llama3_70b", nodes(8) + batch(1, 128) + narrow},
         {"Llama 3 70B, 2048", 1118, "llama3_70b", nodes(256) + batch(1, 4096) + narrow},
         {"Llama 3.1 405B, 512", 206, "llama31_405b", nodes(64) + batch(1, 256) + narrow},
         {"Llama 3.1 405B, 1024", 206, "llama31_405b", nodes(128) + batch(1, 512) + narrow},
         {"Llama 3.1 405B, 2048", 206 * 0.995, "llama31_405b", nodes(256) + batch(1, 1024) + narrow},
         {"Nemotron 4 15B, 16", 6159, "nemotron4_15b", nodes(2) + batch(2, 64) + narrow},
         {"Nemotron 4 15B, 2048", 6159 * 0.957, "nemotron4_15b", nodes(256) + batch(2, 8192) + narrow},
         {"Nemotron 4 340B, 256", 235, "nemotron4_340b", nodes(32) + batch(1, 64) + narrow},
         {"Nemotron 4 340B, 2048", 235 * 0.984, "nemotron4_340b", nodes(256) + batch(1, 512) + narrow},
         {"GPT-3 175B, 128", 493, "gpt3_175b", nodes(16) + batch(1, 256) + narrow},
         {"GPT-3 175B, 2048", 493 * 0.979, "gpt3_175b", nodes(256) + batch(1, 4096) + narrow}},
        0.10);
}

// The larger models wait longer for tensor parallel collectives of the forward, which the reference makes smaller: see below.
TEST(Measured, published_rows_in_8_bits_are_planned_within_10_percent_where_forward_collectives_are_few) {
  const std::string narrow = " precision.plugin=fp8 " + kNarrow, eight = "strategy.plugin=megatron strategy.context_parallel_size=2 ";
  check("H100, published, fp8",
        {{"Llama 3 8B, 8", 14049, "llama3_8b", eight + nodes(1) + batch(1, 128) + narrow},
         {"Nemotron 4 15B, 16", 8275, "nemotron4_15b", nodes(2) + batch(2, 64) + narrow},
         {"GPT-3 175B, 128", 728, "gpt3_175b", nodes(16) + batch(1, 256) + narrow}},
        0.10);
}

// Two things that the reference does and we do not, priced by the plan's own figures: the gathers among tensor ranks, half of what
// tensor and sequence parallelism sends, move 8 bits instead of 16, and parameters come back under the next forward.
double with_their_overlap(const planner::Report& r) {
  double seconds = r.step_seconds();
  for (const planner::Traffic& t : r.traffic)
    if (t.axes == "tp") seconds -= t.exposed / 2 / 2;
  const std::string shared = r.traffic.back().axes;  // the gather of parameters comes last
  EXPECT_EQ(shared.substr(0, 2), "dp");
  return r.tokens / (seconds - r.traffic.back().exposed) / static_cast<double>(r.world);
}

// As planned these are out by 11 to 16 %, for a plan is of our program.
TEST(Measured, published_rows_in_8_bits_of_many_forward_collectives_are_met_within_10_percent_with_what_we_lack) {
  const std::string narrow = " precision.plugin=fp8 " + kNarrow;
  std::printf("%-28s%14s%14s%10s%24s\n", "H100, published, fp8", "tokens/s/GPU", "planned", "error", "with their overlap");
  for (const Row& row :
       {Row{"Llama 3 70B, 64", 1664, "llama3_70b",
            nodes(8) + batch(1, 256) + narrow + "strategy.pipeline_model_parallel_size=8 strategy.context_parallel_size=1"},
        {"Llama 3.1 405B, 1024", 328, "llama31_405b", nodes(128) + batch(1, 1536) + narrow},
        {"Nemotron 4 340B, 256", 349, "nemotron4_340b", nodes(32) + batch(1, 64) + narrow}}) {
    const planner::Report r = planned(row.recipe, row.settings);
    const double rate = r.tokens_per_second_per_device(), theirs = with_their_overlap(r);
    std::printf("%-28s%14.0f%14.0f%9.1f%%%14.0f%9.1f%%\n", row.name, row.measured, rate, 100 * (rate / row.measured - 1), theirs,
                100 * (theirs / row.measured - 1));
    EXPECT_LT(rate, row.measured) << row.name;
    EXPECT_NEAR(theirs / row.measured, 1, 0.10) << row.name;
  }
}

// tests/bench/results/train_h100.txt and two_h100.txt (17:15), as the device counts it. pp2 was measured when both ranks kept a buffer of
// 0.979 GiB for gradients of the tied table, which now come into the dead arena.
TEST(Measured, memory_is_planned_within_3_percent) {
  struct Memory {
    const char* name;
    double gib;
    const char* recipe;
    std::string settings;
  };
  const std::string xl = kPadded + batch(16, 64) + "model.num_layers=48 model.hidden_size=1600 model.num_attention_heads=25 ",
                    one = kOne + batch(4, 16) + "data.seq_length=8192 ", narrow = "precision.grad_dtype=bf16",
                    two = "trainer.devices=2 trainer.num_nodes=1 data.seq_length=8192 " + batch(2, 16),
                    megatron = "strategy.plugin=megatron strategy.";
  planner::Hardware of_nccl = hardware();  // before reductions came by copy engines
  of_nccl.most_exchanged = 0;
  std::printf("%-28s%14s%14s%10s\n", "memory", "measured", "planned", "error");
  for (const Memory& row :
       {Memory{"GPT-2 124M 128 x 1024", 40.91, "gpt2_124m", kPadded + batch(128, 128)},
        {"GPT-2 1558M 16 x 1024", 65.98, "gpt2_124m", xl},
        {"with bf16 gradients", 63.37, "gpt2_124m", xl + narrow},
        {"Llama 3.2 1B 4 x 8192", 62.16, "llama32_1b", one},
        {"with bf16 gradients", 60.84, "llama32_1b", one + narrow},
        {"in fp8", 58.85, "llama32_1b", kOne + batch(4, 4) + "data.seq_length=8192 precision.plugin=fp8"},
        {"ddp on two, 2 x 8192", 43.53, "llama32_1b", two + "strategy.plugin=ddp"},
        {"zero1", 36.62, "llama32_1b", two + "strategy.plugin=zero1"},
        {"fsdp", 35.21, "llama32_1b", two + "strategy.plugin=fsdp"},
        {"tp2+sp", 23.36, "llama32_1b", two + megatron + "tensor_model_parallel_size=2"},
        {"cp2", 27.65, "llama32_1b", two + megatron + "context_parallel_size=2"},
        {"cp2, 1 x 32768", 37.66, "llama32_1b", two + "data.seq_length=32768 " + batch(1, 4) + megatron + "context_parallel_size=2"},
        {"pp2", 35.71 - 0.979, "llama32_1b", two + megatron + "pipeline_model_parallel_size=2"}}) {
    const double gib = static_cast<double>(planned(row.recipe, row.settings, of_nccl).largest().memory.total()) / (1 << 30);
    std::printf("%-28s%14.2f%14.2f%9.1f%%\n", row.name, row.gib, gib, 100 * (gib / row.gib - 1));
    EXPECT_NEAR(gib / row.gib, 1, 0.01) << row.name;
  }
  const planner::Report pipeline = planned("llama32_1b", two + megatron + "pipeline_model_parallel_size=2");
  EXPECT_NEAR(static_cast<double>(pipeline.roles.at(1).memory.total()) / (1 << 30), 27.84 - 0.979, 0.01 * 27);
}

// tests/bench/results/nccl_memory_two_h100.txt: MiB of ranks 0 and 1. Buckets of gradients are larger than what copy engines bring.
TEST(Measured, memory_of_messages_follows_groups_and_peers) {
  const auto mib = [](const std::string& settings, size_t role) {
    const planner::Report r = planned("llama32_1b", "trainer.devices=2 strategy.plugin=" + settings);
    for (const auto& row : r.roles.at(role).memory.rows)
      if (row.name == "communication buffers") return row.bytes >> 20;
    return int64_t{0};
  };
  EXPECT_EQ(mib("zero1", 0), 392 + 474);
  const int64_t two_groups = 392 + 474 + 198 + 62;  // the second one's ring is not needed: it only has messages
  EXPECT_NEAR(mib("megatron strategy.pipeline_model_parallel_size=2", 0), two_groups + 320 + 320 + 64,
              3);  // sums of the tied table come back
  EXPECT_NEAR(mib("megatron strategy.pipeline_model_parallel_size=2", 1), two_groups + 320 + 64 + 64, 3);
}

// Layouts that ran on 80 GB, with gradients in bf16 as theirs.
TEST(Measured, published_layouts_fit_their_device) {
  const std::string eight = "strategy.plugin=megatron strategy.context_parallel_size=2 ";
  for (const auto& [recipe, settings] : {std::pair{"llama3_8b", eight + nodes(1) + batch(1, 128)},
                                         {"llama3_70b", nodes(8) + batch(1, 128)},
                                         {"llama31_405b", nodes(64) + batch(1, 256)},
                                         {"llama31_405b", nodes(128) + batch(1, 512)},
                                         {"nemotron4_15b", nodes(2) + batch(2, 64)},
                                         {"nemotron4_15b", nodes(256) + batch(2, 8192)},
                                         {"nemotron4_340b", nodes(32) + batch(1, 64)},
                                         {"gpt3_175b", nodes(16) + batch(1, 256)}}) {
    const planner::Report r = planned(recipe, settings + kNarrow);
    EXPECT_TRUE(r.fits()) << recipe << " " << runtime::gib(r.largest().memory.total());
  }
}

}  // namespace
}  // namespace nemo::planner_test
