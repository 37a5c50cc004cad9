// One table of nodes over every op of the backend; the tests of layout, dtype, threads and repetition run all of them.
#pragma once

#include <ostream>
#include <string>
#include <vector>

#include "tests/backend_cpu/device.hpp"

namespace nemo::backend_cpu {

// dense: like compute, but never laid out with strides.
enum class Role {
  compute,
  dense,
  positive,
  acc,
  positive_acc,
  grad,
  ids,
  permutation,
  rng,
  hyper,
  state,
  total,
  totals,
  e4m3,
  e5m2,
  absent
};

struct Operand {
  Role role = Role::absent;
  Shape shape;
  int64_t limit = 0;  // ids are drawn from [0, limit)
  double deviation = 1;
};

struct OpCase {
  std::string name, op;
  std::vector<Operand> inputs, outputs;
  Attrs attrs;
  bool accumulates = false;  // has outputs marked `+` that obey NEMO_LAUNCH_ACCUMULATE
  bool strided = false;      // takes rows with a stride
};

inline void PrintTo(const OpCase& c, std::ostream* out) { *out << c.name; }

const std::vector<OpCase>& op_cases();
// Ops of 8-bit floats, which compute in f32, bf16 and f16 only.
std::vector<OpCase> narrow_cases(nemo_dtype compute);

// Arrays for a case; random values are representable in bf16, so that all dtypes compute from the same numbers. Outputs hold values too.
Arrays make_inputs(const OpCase& c, nemo_dtype compute);
Arrays make_outputs(const OpCase& c, nemo_dtype compute);

}  // namespace nemo::backend_cpu
