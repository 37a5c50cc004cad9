// Laws of a case: the CUDA backend against the CPU backend on the same inputs.
#pragma once

#include <set>
#include <string>

#include "tests/backend_cpu/golden.hpp"
#include "tests/backend_cpu/op_cases.hpp"
#include "tests/backend_cuda/gpu.hpp"

namespace nemo::backend_cuda {

using backend_cpu::BF16;
using backend_cpu::expect_close;
using backend_cpu::F32;
using backend_cpu::F64;
using backend_cpu::make_inputs;
using backend_cpu::make_outputs;
using backend_cpu::OpCase;
using backend_cpu::Role;
using backend_cpu::Tolerance;

// f32: 1e-4 of the largest value. bf16: both sides compute in f32 from the same inputs, so a result may differ by the rounding of its store
// (2^-8 of it, for two roundings to neighbours); where an intermediate is stored in bf16 on one side only (probabilities of attention,
// logits of the fused loss, products before their bias in some of cuBLASLt's kernels), by 2^-8 of the largest value per such store.
inline Tolerance budget(const OpCase& c, nemo_dtype dtype) {
  if (dtype != BF16) return {1e-4, 0};
  if (c.op == "attention" || c.op == "attention_grad") return {4.0 / 256, 0};
  if (c.op == "linear_cross_entropy" || c.op == "linear_cross_entropy_train") return {3.0 / 256, 0};
  if (c.op == "linear_activation" || c.op == "linear_dgrad_activation") return {2.0 / 256, 1.01 / 128};
  if (c.op == "linear" && c.inputs[2].role != Role::absent) return {1.0 / 256, 1.01 / 128};
  return {1e-4, 1.01 / 128};
}

inline Arrays on_cpu(const OpCase& c, nemo_dtype dtype, uint32_t flags = 0) {
  static const backend_cpu::Device cpu(0);
  Arrays outputs = make_outputs(c, dtype);
  cpu.run(c.op, make_inputs(c, dtype), outputs, c.attrs, flags);
  return outputs;
}

inline Arrays on_gpu(const OpCase& c, nemo_dtype dtype, uint32_t flags = 0, How how = How::eager) {
  Arrays outputs = make_outputs(c, dtype);
  gpu()->run(c.op, make_inputs(c, dtype), outputs, c.attrs, flags, how);
  return outputs;
}

inline void expect_agreement(const Arrays& got, const Arrays& want, const OpCase& c, nemo_dtype dtype, const std::string& what) {
  for (size_t i = 0; i < want.size(); ++i)
    if (want[i].present()) expect_close(got[i], want[i], budget(c, dtype), what + ", output " + std::to_string(i));
}

inline void expect_same_bits(const Arrays& got, const Arrays& want, const std::string& what) {
  for (size_t i = 0; i < want.size(); ++i) EXPECT_EQ(got[i].content() == want[i].content(), true) << what << ", output " << i;
}

inline std::string name_of(nemo_dtype d) { return d == BF16 ? "bf16" : "f32"; }

// What this backend still lacks: ops of the CPU backend without a kernel here, and cases of an op that its kernel refuses. An entry whose
// kernel exists fails the tests: it must go.
inline const std::set<std::string>& missing_ops() {
  static const std::set<std::string> ops{};
  return ops;
}
inline const std::set<std::string>& refused_cases() {
  static const std::set<std::string> cases{};
  return cases;
}
inline bool is_missing(const OpCase& c) { return missing_ops().count(c.op) != 0 || refused_cases().count(c.name) != 0; }

#define NEMO_NEEDS_GPU()                                                  \
  do {                                                                    \
    std::string reason;                                                   \
    if (device_count(&reason) == 0) GTEST_SKIP() << "no GPU: " << reason; \
  } while (false)

}  // namespace nemo::backend_cuda
