#include "tests/backend_cpu/golden.hpp"

namespace nemo::backend_cpu {
namespace {

struct AttentionCase {
  const char* name;
  double scale;
  int causal = 1, window = 0;
  double softcap = 0;
};

class Attention : public ::testing::TestWithParam<AttentionCase> {};

// Document numbers from cumulative lengths.
Array segments(const Golden& g, int64_t t) {
  if (!g.has("const.cu")) return {};
  const std::vector<double> cu = g.get("const.cu", I32).values();
  Array a(I32, {1, t});
  for (size_t i = 0; i + 1 < cu.size(); ++i)
    for (auto j = static_cast<int64_t>(cu[i]); j < static_cast<int64_t>(cu[i + 1]); ++j) a.set(j, static_cast<double>(i));
  return a;
}

TEST_P(Attention, output_lse_and_gradients_equal_the_golden_file) {
  const AttentionCase& p = GetParam();
  const Golden g(std::string("attention/") + p.name);
  const Attrs attrs{{"scale", p.scale}, {"causal", p.causal}, {"window", p.window}, {"softcap", p.softcap}};
  for (nemo_dtype d : {F32, F64}) {
    const Array q = g.get("in.q", d), k = g.get("in.k", d), v = g.get("in.v", d), seg = segments(g, k.shape()[1]);
    const Arrays y = device().apply("attention", {q, k, v, seg}, {Array(d, g.shape("out.o")), Array(d, g.shape("out.lse"))}, attrs);
    expect_close(y[0], g.get("out.o", d), kReduction, "o");
    expect_close(y[1], g.get("out.lse", d), kReduction, "lse");
    const Arrays grad = device().apply("attention_grad", {g.get("dout.o", d), q, k, v, y[0], y[1], seg},
                                       {Array(d, q.shape()), Array(d, k.shape()), Array(d, v.shape())}, attrs);
    expect_close(grad[0], g.get("din.q", d), kReduction, "dq");
    expect_close(grad[1], g.get("din.k", d), kReduction, "dk");
    expect_close(grad[2], g.get("din.v", d), kReduction, "dv");
  }
}

constexpr double kScale32 = 0.1767766952966369;
INSTANTIATE_TEST_SUITE_P(golden, Attention,
                         ::testing::Values(AttentionCase{"attn_causal_mha", kScale32}, AttentionCase{"attn_causal_gqa", 0.25},
                                           AttentionCase{"attn_causal_mqa", 0.125}, AttentionCase{"attn_full", kScale32, 0},
                                           AttentionCase{"attn_long", 0.125}, AttentionCase{"attn_sliding", kScale32, 1, 8},
                                           AttentionCase{"attn_sliding_long", kScale32, 1, 65},
                                           AttentionCase{"attn_softcap", kScale32, 1, 0, 2.0},
                                           AttentionCase{"attn_softcap_sliding", kScale32, 1, 9, 3.0}, AttentionCase{"attn_scale", 0.3},
                                           AttentionCase{"attn_mla_dims", 0.2041241452319315}, AttentionCase{"attn_decode", kScale32},
                                           AttentionCase{"attn_chunk_decode", kScale32}, AttentionCase{"attn_packed_causal", kScale32},
                                           AttentionCase{"attn_packed_full", kScale32, 0},
                                           AttentionCase{"attn_packed_sliding", kScale32, 1, 6}));

}  // namespace
}  // namespace nemo::backend_cpu
