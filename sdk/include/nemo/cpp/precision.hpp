// nemo/cpp/precision.hpp - what precision plugins with 16-bit parameters share: the dtypes of gradients and optimizer moments as settings.
#pragma once

#include "nemo/cpp/config.hpp"
#include "nemo/precision.h"

namespace nemo::sdk {
inline namespace v1 {

// Settings grad_dtype, exp_avg_dtype, exp_avg_sq_dtype, in front of `others`. With bf16 for all three and bf16 parameters training state is
// 12 bytes per parameter (2 parameter, 2 gradient, 4 master, 2 + 2 moments) instead of 18.
inline std::vector<Field> with_state_dtypes(std::vector<Field> others = {}) {
  const auto dtype = [](std::string_view path, std::string_view doc) {
    return choice(path, "\"f32\"", {{"f32", "4 bytes"}, {"bf16", "2 bytes, 8 bits of mantissa"}}, doc);
  };
  std::vector<Field> fields;
  fields.push_back(dtype("grad_dtype", "gradients summed over micro-batches; bf16 rounds after every micro-batch"));
  fields.push_back(dtype("exp_avg_dtype", "first moment of AdamW, momentum of SGD"));
  fields.push_back(dtype("exp_avg_sq_dtype", "second moment of AdamW; bf16 stands still where 1 - beta2 is below 2^-8, so beta2 <= 0.99"));
  for (Field& f : others) fields.push_back(std::move(f));
  return fields;
}

// bf16 or f16 (`half`) parameters and activations, f32 master weights, the rest as set.
inline void mixed_policy(const Config& settings, nemo_dtype half, nemo_precision_policy* out) {
  const auto dtype = [&](std::string_view path) { return settings.string(path) == "bf16" ? NEMO_DTYPE_BF16 : NEMO_DTYPE_F32; };
  out->parameter = half;
  out->compute = half;
  out->master = NEMO_DTYPE_F32;
  out->gradient = dtype("grad_dtype");
  out->moment = dtype("exp_avg_dtype");
  out->second_moment = dtype("exp_avg_sq_dtype");
}

}  // namespace v1
}  // namespace nemo::sdk
