// Generation's convolution and scans against those of whole sequences: rows of a batch get their tokens in pieces of different lengths.
#include <cmath>

#include <gtest/gtest.h>

#include "tests/backend_cpu/device.hpp"

namespace nemo::backend_cpu {
namespace {

constexpr nemo_dtype F64 = NEMO_DTYPE_F64, I32 = NEMO_DTYPE_I32;
constexpr int64_t kRows = 2, kTokens = 23;

int64_t width(const Array& a) { return a.size() / (a.shape()[0] * a.shape()[1]); }

// Row b's tokens [start[b], start[b] + count[b]) of [rows, tokens, ..], and garbage behind them.
Array piece(const Array& whole, const std::vector<int64_t>& start, const std::vector<int64_t>& count, int64_t columns) {
  Shape shape = whole.shape();
  shape[1] = columns;
  Array out(whole.dtype(), shape);
  const int64_t row = width(whole);
  for (int64_t b = 0; b < kRows; ++b)
    for (int64_t i = 0; i < columns * row; ++i)
      out.set(b * columns * row + i,
              i < count[static_cast<size_t>(b)] * row ? whole.get((b * kTokens + start[static_cast<size_t>(b)]) * row + i) : 1e6);
  return out;
}

// An op over sequences, with its cached form: `sequences` of its inputs have tokens, the others are weights.
struct Form {
  std::string op;
  Arrays inputs;
  std::vector<bool> has_tokens;
  Array memory;  // of the cached form, holding garbage
  Attrs attrs;
};

Form convolution(int64_t taps) {
  return {"causal_conv1d",
          {normal_array(F64, {kRows, kTokens, 7, 11}, 1), normal_array(F64, {7, 11, taps}, 2), normal_array(F64, {7, 11}, 3)},
          {true, false, false},
          normal_array(F64, {kRows, std::max<int64_t>(taps - 1, 1), 7, 11}, 4),
          {{"kind", "silu"}}};
}

Form ssd() {
  return {"ssd_scan",
          {normal_array(F64, {kRows, kTokens, 4, 6}, 1), normal_array(F64, {kRows, kTokens, 4}, 2), normal_array(F64, {4}, 3),
           normal_array(F64, {kRows, kTokens, 2, 5}, 4), normal_array(F64, {kRows, kTokens, 2, 5}, 5), normal_array(F64, {4}, 6),
           normal_array(F64, {4}, 7)},
          {true, true, false, true, true, false, false},
          normal_array(F64, {kRows, 4, 6, 5}, 8),
          {{"dt_min", 0.1}, {"dt_max", 2.0}}};
}

Form selective() {
  return {"selective_scan",
          {normal_array(F64, {kRows, kTokens, 21}, 1), normal_array(F64, {kRows, kTokens, 21}, 2), normal_array(F64, {21, 5}, 3),
           normal_array(F64, {kRows, kTokens, 5}, 4), normal_array(F64, {kRows, kTokens, 5}, 5), normal_array(F64, {21}, 6),
           normal_array(F64, {21}, 7)},
          {true, true, false, true, true, false, false},
          normal_array(F64, {kRows, 21, 5}, 8),
          {}};
}

Array whole_result(const Form& f) {
  Arrays inputs = f.inputs, outputs{Array(F64, f.inputs[0].shape())};
  if (f.op != "causal_conv1d") {
    inputs.emplace_back();
    outputs.push_back(f.memory);
  }
  return device().apply(f.op, inputs, outputs, f.attrs)[0];
}

using Counts = std::vector<std::vector<int64_t>>;  // per run, per row

void expect_same_in_pieces(const Form& f, const Counts& runs) {
  const Array want = whole_result(f);
  Array memory = f.memory;
  std::vector<int64_t> start(kRows, 0);
  const int64_t row = width(want);
  for (const std::vector<int64_t>& count : runs) {
    const int64_t columns = std::max<int64_t>(1, *std::max_element(count.begin(), count.end()));
    Arrays inputs;
    for (size_t i = 0; i < f.inputs.size(); ++i)
      inputs.push_back(f.has_tokens[i] ? piece(f.inputs[i], start, count, columns) : f.inputs[i]);
    inputs.emplace_back(I32, Shape{kRows}, std::vector<double>(start.begin(), start.end()));
    inputs.emplace_back(I32, Shape{kRows}, std::vector<double>(count.begin(), count.end()));
    Shape shape = want.shape();
    shape[1] = columns;
    Arrays outputs{Array(F64, shape), memory};
    device().run(f.op + "_cached", inputs, outputs, f.attrs);
    memory = outputs[1];
    for (int64_t b = 0; b < kRows; ++b) {
      const auto at = static_cast<size_t>(b);
      for (int64_t i = 0; i < count[at] * row; ++i)
        ASSERT_NEAR(outputs[0].get(b * columns * row + i), want.get((b * kTokens + start[at]) * row + i), 1e-12)
            << f.op << ", row " << b << ", token " << start[at] + i / row;
      start[at] += count[at];
    }
  }
}

const std::vector<Counts>& cuts() {
  static const std::vector<Counts> cuts{
      {{kTokens, 5}}, {{1, 8}, {1, 0}, {1, 1}, {0, 1}, {12, 2}, {1, 1}, {0, 0}, {1, 1}}, {{2, 1}, {0, 1}, {2, 0}, {2, 3}, {2, 16}}};
  return cuts;
}

TEST(CachedState, of_a_convolution_gives_what_the_whole_sequence_gives_however_it_is_cut) {
  for (const int64_t taps : {1, 2, 4, 16})
    for (const Counts& runs : cuts()) expect_same_in_pieces(convolution(taps), runs);
}

TEST(CachedState, of_a_scan_gives_what_the_whole_sequence_gives_however_it_is_cut) {
  for (const Counts& runs : cuts()) {
    expect_same_in_pieces(ssd(), runs);
    expect_same_in_pieces(selective(), runs);
  }
}

TEST(CachedState, a_row_without_tokens_keeps_its_memory) {
  for (const Form& f : {convolution(4), ssd(), selective()}) {
    Arrays inputs;
    for (size_t i = 0; i < f.inputs.size(); ++i) inputs.push_back(f.has_tokens[i] ? piece(f.inputs[i], {0, 0}, {1, 0}, 1) : f.inputs[i]);
    inputs.emplace_back(I32, Shape{kRows}, std::vector<double>{3, 3});
    inputs.emplace_back(I32, Shape{kRows}, std::vector<double>{1, 0});
    Shape shape = f.inputs[0].shape();
    shape[1] = 1;
    Arrays outputs{Array(F64, shape), f.memory};
    device().run(f.op + "_cached", inputs, outputs, f.attrs);
    const int64_t half = f.memory.size() / kRows;
    for (int64_t i = 0; i < half; ++i) ASSERT_EQ(outputs[1].get(half + i), f.memory.get(half + i)) << f.op;
    bool moved = false;
    for (int64_t i = 0; i < half; ++i) moved = moved || outputs[1].get(i) != f.memory.get(i);
    EXPECT_TRUE(moved) << f.op;
  }
}

}  // namespace
}  // namespace nemo::backend_cpu
