// Laws of attention on CUDA: cuDNN's and the own kernels give what the CPU backend gives in f32.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <map>

#include "tests/backend_cuda/attention_rig.hpp"

namespace nemo::attention_test {
namespace {

constexpr nemo_dtype F32 = NEMO_DTYPE_F32, BF16 = NEMO_DTYPE_BF16, I32 = NEMO_DTYPE_I32;

struct Case {
  const char* name;
  int64_t b, s, t, h, g, d, e;
  int causal = 1, window = 0;
  double softcap = 0;
  int documents = 0;  // of a packed sequence; -n: runs of n tokens whose numbers are 0 and 1 in turn, so that equal ones meet again
  Layout layout = Layout::dense;
  bool by_cudnn = true;  // cuDNN is expected to take it
};

void PrintTo(const Case& c, std::ostream* out) { *out << c.name; }

Attrs attrs_of(const Case& c) {
  return {{"scale", 1 / std::sqrt(static_cast<double>(c.d))}, {"causal", c.causal}, {"window", c.window}, {"softcap", c.softcap}};
}

Array segments_of(const Case& c) {
  if (c.documents == 0) return {};
  Array a(I32, {c.b, c.t});
  for (int64_t i = 0; i < c.b * c.t; ++i) {
    const double x = static_cast<double>(i % c.t) / static_cast<double>(c.t);
    a.set(i, c.documents < 0 ? static_cast<double>(i % c.t / -c.documents % 2) : std::floor(x * x * c.documents));
  }
  return a;
}

// q, k, v, dout: drawn once per case and dtype, for drawing takes longer than the kernels.
const Arrays& inputs_of(const Case& c, nemo_dtype dtype) {
  static std::map<std::pair<std::string, nemo_dtype>, Arrays> kept;
  Arrays& a = kept[{c.name, dtype}];
  if (!a.empty()) return a;
  const Shape shapes[] = {{c.b, c.s, c.h, c.d}, {c.b, c.t, c.g, c.d}, {c.b, c.t, c.g, c.e}, {c.b, c.s, c.h, c.e}};
  for (uint64_t i = 0; i < 4; ++i) a.push_back(backend_cpu::normal_array(BF16, shapes[i], i + 1).as(dtype));
  return a;
}

// o, lse, dq, dk, dv.
Arrays attention(const Backend& backend, const Case& c, nemo_dtype dtype, Layout layout) {
  const Arrays& in = inputs_of(c, dtype);
  const Array &q = in[0], &k = in[1], &v = in[2], &dout = in[3];
  const Array segments = segments_of(c), o(dtype, {c.b, c.s, c.h, c.e}), lse(F32, {c.b, c.h, c.s});
  auto forward = backend.prepare("attention", {q, k, v, segments}, {o, lse}, attrs_of(c), layout);
  forward->launch();
  Arrays result = forward->read();
  auto backward = backend.prepare("attention_grad", {dout, q, k, v, result[0], result[1], segments},
                                  {Array(dtype, q.shape()), Array(dtype, k.shape()), Array(dtype, v.shape())}, attrs_of(c), layout);
  backward->launch();
  for (Array& a : backward->read()) result.push_back(std::move(a));
  return result;
}

// |a - b| / |b|; infinite where one is not finite and the other differs.
double distance(const Array& a, const Array& b) {
  double difference = 0, size = 0;
  for (int64_t i = 0; i < a.size(); ++i) {
    const double x = a.get(i), y = b.get(i);
    if (x == y) continue;
    if (!std::isfinite(x) || !std::isfinite(y)) return INFINITY;
    difference += (x - y) * (x - y);
    size += y * y;
  }
  return difference == 0 ? 0 : std::sqrt(difference / size);
}

// bf16 has 8 bits: one rounding is 2^-9 / sqrt(3) = 1.1e-3 of the norm; o is rounded weights times values, rounded; the gradients go
// through rounded o, weights and dS. f32 sums of up to 1024 terms.
void expect_close(const Arrays& got, const Arrays& want, nemo_dtype dtype) {
  const char* names[] = {"o", "lse", "dq", "dk", "dv"};
  const double rounded[] = {4e-3, 1e-5, 8e-3, 8e-3, 8e-3};
  for (size_t i = 0; i < want.size(); ++i) EXPECT_LT(distance(got[i], want[i]), dtype == BF16 ? rounded[i] : 1e-5) << names[i];
}

const Case kCases[] = {
    {"causal_64", 2, 256, 256, 4, 4, 64, 64},
    {"causal_64_long", 1, 1024, 1024, 2, 2, 64, 64},
    {"causal_128_grouped_fused", 2, 384, 384, 8, 2, 128, 128, 1, 0, 0, 0, Layout::fused},
    {"full_64_cross", 1, 192, 320, 4, 2, 64, 64, 0},
    {"causal_128_chunk", 1, 128, 384, 4, 1, 128, 128},
    {"causal_64_many_keys_before", 2, 1024, 2560, 4, 1, 64, 64},
    {"causal_128_few_keys_before", 1, 1024, 1088, 2, 2, 128, 128},
    {"causal_64_ragged_length", 2, 200, 200, 4, 2, 64, 64},
    {"window_64", 1, 512, 512, 4, 4, 64, 64, 1, 100},
    {"window_128_grouped", 1, 512, 512, 4, 2, 128, 128, 1, 128, 0, 0, Layout::fused},
    {"causal_96", 1, 256, 256, 4, 4, 96, 96},
    {"causal_192_128", 1, 256, 256, 4, 4, 192, 128},
    {"causal_256", 1, 256, 256, 2, 1, 256, 256},
    {"causal_64_long_grouped", 1, 2048, 2048, 4, 1, 64, 64, 1, 0, 0, 0, Layout::fused},
    {"window_96", 1, 512, 512, 2, 2, 96, 96, 1, 130},
    {"window_192_128_grouped", 1, 384, 384, 4, 2, 192, 128, 1, 90},
    {"window_256", 1, 384, 384, 2, 1, 256, 256, 1, 200},
    {"window_full", 1, 256, 256, 2, 2, 64, 64, 0, 60, 0, 0, Layout::dense, false},
    {"softcap_128", 1, 256, 256, 4, 2, 128, 128, 1, 0, 3.0, 0, Layout::fused, false},
    {"softcap_window_256", 1, 200, 200, 2, 1, 256, 256, 1, 64, 5.0, 0, Layout::dense, false},
    {"packed_64", 2, 512, 512, 4, 4, 64, 64, 1, 0, 0, 5},
    {"packed_64_long_grouped", 2, 2048, 2048, 8, 2, 64, 64, 1, 0, 0, 6},
    {"packed_64_one_document", 2, 512, 512, 4, 2, 64, 64, 1, 0, 0, 1},
    {"packed_64_ragged_length", 3, 200, 200, 4, 2, 64, 64, 1, 0, 0, 3, Layout::fused},
    {"packed_128_full_grouped", 1, 384, 384, 4, 2, 128, 128, 0, 0, 0, 4, Layout::fused},
    {"packed_window_96", 1, 384, 384, 2, 2, 96, 96, 1, 50, 0, 3},
    {"packed_128_grouped", 2, 512, 512, 4, 2, 128, 128, 1, 0, 0, 7, Layout::fused},
    {"packed_192_128", 1, 256, 256, 2, 2, 192, 128, 1, 0, 0, 4},
    {"packed_256", 1, 256, 256, 2, 1, 256, 256, 1, 0, 0, 3},
    {"packed_64_more_than_planned", 2, 512, 512, 4, 2, 64, 64, 1, 0, 0, 300},
    {"packed_64_numbers_again", 2, 512, 512, 4, 2, 64, 64, 1, 0, 0, -40},
    {"packed_softcap_64", 1, 256, 256, 2, 2, 64, 64, 1, 0, 3.0, 3, Layout::dense, false},
    {"odd_40", 1, 77, 77, 3, 1, 40, 24, 1, 0, 0, 0, Layout::odd, false},
    {"odd_256", 1, 70, 130, 2, 2, 256, 200, 1, 0, 0, 0, Layout::odd, false},
    {"one_query", 1, 1, 65, 4, 2, 64, 64, 1, 0, 0, 0, Layout::dense, false},
    {"more_queries_than_keys", 1, 130, 70, 2, 2, 64, 64, 1, 0, 0, 0, Layout::dense, false},
};

#define SKIP_WITHOUT_GPU() \
  std::string reason;      \
  if (Backend::devices("cuda", reason) == 0) GTEST_SKIP() << "no GPU: " << reason

const Backend& cpu() {
  static const Backend b("cpu");
  return b;
}
// What the CPU backend gives in f32, computed once per case: several laws compare with it.
const Arrays& reference(const Case& c) {
  static std::map<std::string, Arrays> kept;
  Arrays& a = kept[c.name];
  if (a.empty()) a = attention(cpu(), c, F32, Layout::dense);
  return a;
}
const Backend& with_cudnn() {
  static const Backend b("cuda");
  return b;
}
const Backend& own() {
  static const Backend b("cuda", {.cudnn = false});
  return b;
}
const Backend& deterministic() {
  static const Backend b("cuda", {.deterministic = true});
  return b;
}

class Attention : public ::testing::TestWithParam<Case> {};

TEST_P(Attention, equals_the_cpu_backend_with_cudnn) {
  SKIP_WITHOUT_GPU();
  take_log();
  const Case& c = GetParam();
  const Arrays got = attention(with_cudnn(), c, BF16, c.layout);
  expect_close(got, reference(c), BF16);
  const std::string log = take_log();
  if (c.by_cudnn) {
    EXPECT_EQ(log, "");
  }
}

TEST_P(Attention, equals_the_cpu_backend_with_own_kernels) {
  SKIP_WITHOUT_GPU();
  const Case& c = GetParam();
  const Arrays& want = reference(c);
  expect_close(attention(own(), c, BF16, c.layout), want, BF16);
  expect_close(attention(own(), c, F32, c.layout), want, F32);
}

bool same_bits(const Arrays& a, const Arrays& b) {
  for (size_t i = 0; i < a.size(); ++i)
    if (a[i].content() != b[i].content()) return false;
  return true;
}

TEST_P(Attention, gives_the_same_bits_twice_where_deterministic) {
  SKIP_WITHOUT_GPU();
  const Case& c = GetParam();
  for (const Backend* backend : {&own(), &deterministic()}) {
    const Arrays first = attention(*backend, c, BF16, c.layout);
    for (int i = 0; i < 3; ++i) EXPECT_TRUE(same_bits(attention(*backend, c, BF16, c.layout), first));
  }
  expect_close(attention(deterministic(), c, BF16, c.layout), reference(c), BF16);
}

INSTANTIATE_TEST_SUITE_P(cuda, Attention, ::testing::ValuesIn(kCases), [](const auto& info) { return std::string(info.param.name); });

TEST(AttentionCapture, a_replayed_graph_gives_what_a_launch_gives) {
  SKIP_WITHOUT_GPU();
  const Shape shape{2, 256, 4, 64};
  const Array x = backend_cpu::normal_array(BF16, shape, 5);
  for (const Backend* backend : {&with_cudnn(), &own()}) {
    auto eager =
        backend->prepare("attention", {x, x, x, {}}, {Array(BF16, shape), Array(F32, {2, 4, 256})}, {{"scale", 0.125}}, Layout::dense);
    eager->launch();
    const Arrays want = eager->read();
    auto captured =
        backend->prepare("attention", {x, x, x, {}}, {Array(BF16, shape), Array(F32, {2, 4, 256})}, {{"scale", 0.125}}, Layout::dense);
    ASSERT_TRUE(captured->launch_captured());
    EXPECT_TRUE(same_bits(captured->read(), want));
    const Arrays in{x, x, x, x, want[0], want[1], {}}, out{Array(BF16, shape), Array(BF16, shape), Array(BF16, shape)};
    auto backward = backend->prepare("attention_grad", in, out, {{"scale", 0.125}}, Layout::dense);
    backward->launch();
    auto backward_captured = backend->prepare("attention_grad", in, out, {{"scale", 0.125}}, Layout::dense);
    ASSERT_TRUE(backward_captured->launch_captured());
    const Arrays a = backward->read(), b = backward_captured->read();
    for (size_t i = 0; i < 3; ++i) EXPECT_LT(distance(b[i], a[i]), 1e-3);
  }
}

TEST(AttentionCapture, a_replayed_graph_follows_what_is_packed) {
  SKIP_WITHOUT_GPU();
  const Shape shape{2, 512, 4, 64};
  const Array x = backend_cpu::normal_array(BF16, shape, 5), y = x.as(F32), lse(F32, {2, 4, 512});
  const auto by = [](int64_t length) {
    Array a(I32, {2, 512});
    for (int64_t i = 0; i < a.size(); ++i) a.set(i, static_cast<double>(i % 512 / length));
    return a;
  };
  // 8 documents a row are planned: 4, all of the row, 64 (more than planned), 5.
  auto packed = with_cudnn().prepare("attention", {x, x, x, by(128)}, {Array(BF16, shape), lse}, {{"scale", 0.125}}, Layout::dense);
  ASSERT_TRUE(packed->launch_captured());
  for (const int64_t length : {128, 512, 8, 110}) {
    packed->write(3, by(length));
    packed->replay();
    auto want = cpu().prepare("attention", {y, y, y, by(length)}, {Array(F32, shape), lse}, {{"scale", 0.125}}, Layout::dense);
    want->launch();
    const Arrays a = packed->read(), b = want->read();
    EXPECT_LT(distance(a[0], b[0]), 4e-3) << length;
    EXPECT_LT(distance(a[1], b[1]), 1e-5) << length;
  }
}

}  // namespace
}  // namespace nemo::attention_test
