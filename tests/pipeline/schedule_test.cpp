// Schedules against the closed formulas of their papers, and thousands of shapes against the checker.
#include <numeric>
#include <gmock/gmock.h>

#include "core/base/error.hpp"
#include "core/pipeline/simulate.hpp"

namespace nemo::pipeline {
namespace {

using testing::HasSubstr;

std::vector<StageTime> alike(const Shape& s, double forward, double input, double weight) {
  const double v = s.virtual_stages;
  return std::vector<StageTime>(static_cast<size_t>(s.stages()), {forward / v, input / v, weight / v, 0});
}

TEST(Schedules, every_shape_is_complete_in_order_and_free_of_deadlock) {
  int shapes = 0;
  for (int32_t p = 1; p <= 12; ++p)
    for (int32_t m = 1; m <= 40; ++m)
      for (int32_t v = 1; v <= 6; ++v)
        for (const Kind kind : {Kind::kGPipe, Kind::k1F1B, Kind::kInterleaved, Kind::kZeroBubble}) {
          const Shape shape{p, v, m};
          if ((kind == Kind::kInterleaved) != (v > 1) || (v > 1 && m % p != 0)) continue;
          ASSERT_EQ(find_fault(schedule(kind, shape), shape), "") << to_string(kind) << " p=" << p << " v=" << v << " m=" << m;
          ++shapes;
        }
  EXPECT_GT(shapes, 2000);
}

TEST(Schedules, gpipe_holds_every_micro_batch_and_idles_p_minus_1_times) {
  for (const auto& [p, m] : {std::pair{2, 3}, {4, 8}, {8, 8}, {5, 17}}) {
    const Shape s{p, 1, m};
    const Timeline line = simulate(schedule(Kind::kGPipe, s), s, alike(s, 1, 1.2, 0.8));
    EXPECT_NEAR(line.end, (m + p - 1) * 3.0, 1e-9);
    EXPECT_NEAR(line.bubble(), (p - 1.0) / m, 1e-9);
    for (const int32_t held : line.in_flight) EXPECT_EQ(held, m);
  }
}

TEST(Schedules, one_forward_one_backward_idles_as_gpipe_and_holds_p_minus_rank) {
  for (const auto& [p, m] : {std::pair{2, 3}, {4, 8}, {8, 3}, {5, 17}, {16, 64}}) {
    const Shape s{p, 1, m};
    const Timeline line = simulate(schedule(Kind::k1F1B, s), s, alike(s, 1, 1.2, 0.8));
    EXPECT_NEAR(line.bubble(), (p - 1.0) / m, 1e-9) << p << " " << m;
    for (int32_t r = 0; r < p; ++r) EXPECT_EQ(line.in_flight[static_cast<size_t>(r)], std::min(m, p - r));
  }
}

TEST(Schedules, interleaving_divides_the_bubble_by_the_virtual_stages) {
  for (const auto& [p, v, m] : {std::tuple{2, 2, 4}, {4, 3, 8}, {8, 8, 16}, {4, 5, 32}, {8, 2, 8}}) {
    const Shape s{p, v, m};
    const Timeline line = simulate(schedule(Kind::kInterleaved, s), s, alike(s, 1, 1, 1));
    EXPECT_NEAR(line.bubble(), (p - 1.0) / (double(v) * m), 1e-9) << p << " " << v << " " << m;
    // Chunks in flight on the first rank, Narayanan et al. 2021: p micro-batches (1 + (p - 1) / (p v)) of p v chunks.
    EXPECT_EQ(line.in_flight[0], std::min(m * v, (p - 1) * 2 + (v - 1) * p + 1));
    EXPECT_NEAR(line.in_flight[0] / double(v), std::min(double(m), p * (1 + (p - 1.0) / (p * double(v)))), 1e-9);
  }
}

TEST(Schedules, weight_gradients_fill_the_bubble_of_zb_h1) {
  for (const auto& [p, m] : {std::pair{2, 4}, {4, 8}, {8, 16}, {5, 17}, {16, 64}}) {
    const Shape s{p, 1, m};
    const Timeline line = simulate(schedule(Kind::kZeroBubble, s), s, alike(s, 1, 1, 1));
    EXPECT_NEAR(line.end - 3.0 * m, (p - 1) * (1 + 1 - 1.0), 1e-9) << p << " " << m;  // (p - 1) (F + B - 2 W), B = both gradients
    for (const int32_t held : line.in_flight) EXPECT_LE(held, std::min(m, p));
  }
}

TEST(Schedules, a_slow_stage_sets_the_pace) {
  const Shape s{4, 1, 32};
  auto times = alike(s, 1, 1, 1);
  times[2] = {1.5, 1.5, 1.5, 0};
  const Timeline line = simulate(schedule(Kind::k1F1B, s), s, times);
  EXPECT_GE(line.end, 32 * 4.5);
  EXPECT_LE(line.end, 32 * 4.5 + 3 * 3.0 + 1e-9);
}

TEST(Schedules, slots_are_as_many_as_micro_batches_are_held) {
  const Shape s{4, 3, 8};
  const auto lists = schedule(Kind::kInterleaved, s);
  const Timeline line = simulate(lists, s, alike(s, 1, 1, 1));
  for (size_t r = 0; r < lists.size(); ++r) EXPECT_LE(slot_count(lists[r]), line.in_flight[r] + 1);
}

TEST(Schedules, slots_of_chunks_of_many_sizes_are_sound_and_take_no_more_than_alike_ones) {
  for (const Kind kind : {Kind::kGPipe, Kind::k1F1B, Kind::kInterleaved, Kind::kZeroBubble})
    for (const auto& [p, m] : {std::pair{2, 4}, {4, 8}, {8, 64}}) {
      const Shape s{p, kind == Kind::kInterleaved ? 4 : 1, m};
      auto lists = schedule(kind, s);
      for (const std::vector<int64_t>& bytes : {std::vector<int64_t>{10, 20, 20, 20}, {20, 20, 20, 50}, {7, 3, 5, 11}}) {
        const std::vector<int64_t> used(bytes.begin(), bytes.begin() + s.virtual_stages);
        for (Actions& list : lists) {
          const int64_t alike = slot_count(list) * *std::max_element(used.begin(), used.end());
          const std::vector<int64_t> slots = fit_slots(list, used);
          EXPECT_EQ(slot_count(list), static_cast<int32_t>(slots.size()));
          EXPECT_LE(std::accumulate(slots.begin(), slots.end(), int64_t{0}), alike);
          for (const Action& a : list) EXPECT_GE(slots[static_cast<size_t>(a.slot)], used[static_cast<size_t>(a.chunk)]);
        }
        EXPECT_EQ(find_fault(lists, s), "");
      }
    }
}

TEST(Schedules, a_large_last_chunk_makes_few_slots_large) {
  auto list = schedule(Kind::kInterleaved, Shape{8, 4, 64}, 7);  // the last rank: backward right behind the last chunk's forward
  const std::vector<int64_t> slots = fit_slots(list, {1, 1, 1, 100});
  EXPECT_LE(4 * std::count(slots.begin(), slots.end(), 100), static_cast<std::ptrdiff_t>(slots.size()));
}

TEST(Schedules, a_list_that_only_goes_forward_keeps_its_slots) {
  Actions list{{Phase::kForward, 0, 0, 0}, {Phase::kForward, 0, 1, 0}};
  EXPECT_EQ(fit_slots(list, {3, 5}), (std::vector<int64_t>{5}));
}

std::string refusal(Kind kind, const Shape& shape) {
  try {
    (void)schedule(kind, shape);
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), Code::kConfig);
    return e.what();
  }
  return "";
}

TEST(Schedules, shapes_that_they_do_not_serve_are_refused_with_the_numbers) {
  EXPECT_THAT(refusal(Kind::kInterleaved, {4, 2, 10}),
              testing::AllOf(HasSubstr("4 ranks"), HasSubstr("10 micro-batches"), HasSubstr("2 are left over")));
  EXPECT_THAT(refusal(Kind::kInterleaved, {4, 1, 8}), HasSubstr("2 or more virtual stages"));
  EXPECT_THAT(refusal(Kind::k1F1B, {4, 2, 8}), HasSubstr("only 'interleaved'"));
  EXPECT_THAT(refusal(Kind::kGPipe, {4, 1, 0}), HasSubstr("at least 1"));
  EXPECT_THROW((void)parse_kind("dualpipe"), Error);
}

struct Broken {
  const char* what;
  std::vector<Actions> lists;
  const char* fault;
};

TEST(Checker, names_what_is_wrong) {
  using enum Phase;
  const Shape one{1, 1, 2}, two{2, 1, 2};
  const Actions good{{kForward, 0, 0, 0}, {kForward, 1, 0, 1}, {kBackward, 0, 0, 0}, {kBackward, 1, 0, 1}};
  EXPECT_EQ(find_fault({good}, one), "");
  EXPECT_EQ(find_fault({good, good}, two), "");
  EXPECT_THAT(find_fault({good}, two), HasSubstr("1 lists for 2 ranks"));
  EXPECT_THAT(find_fault({{good[0], good[1], good[2]}}, one), HasSubstr("does not compute all of micro-batch 1"));
  EXPECT_THAT(find_fault({{good[2], good[0], good[1], good[3]}}, one), HasSubstr("before its forward"));
  EXPECT_THAT(find_fault({{good[0], good[0], good[2], good[3]}}, one), HasSubstr("second time"));
  EXPECT_THAT(find_fault({{good[0], {kForward, 1, 0, 0}, good[2], good[3]}}, one), HasSubstr("slot 0 still holds micro-batch 0"));
  EXPECT_THAT(find_fault({{good[0], good[1], {kBackward, 0, 0, 1}, good[3]}}, one), HasSubstr("its activations lie in 0"));
  EXPECT_THAT(find_fault({{good[0], {kBackwardWeight, 0, 0, 0}, good[1], good[3]}}, one), HasSubstr("before its input gradient"));
  const Actions reversed{{kForward, 1, 0, 0}, {kForward, 0, 0, 1}, {kBackward, 1, 0, 0}, {kBackward, 0, 0, 1}};
  EXPECT_THAT(find_fault({good, reversed}, two), HasSubstr("not asked for in the order"));
  const Actions eager{{kForward, 0, 0, 0}, {kBackward, 0, 0, 0}, {kForward, 1, 0, 0}, {kBackward, 1, 0, 0}};
  const Actions late{{kForward, 0, 0, 0}, {kForward, 1, 0, 1}, {kBackward, 0, 0, 0}, {kBackward, 1, 0, 1}};
  EXPECT_THAT(find_fault({eager, late}, two), HasSubstr("deadlock"));
}

}  // namespace
}  // namespace nemo::pipeline
