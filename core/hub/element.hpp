// core/hub/element.hpp - element types of safetensors files, and conversions between the floating point ones.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "nemo/abi.h"

namespace nemo::hub {

// Bytes of one element of a safetensors dtype ("F32", "BF16", "BOOL" ...); 0 for a word that the format does not have.
[[nodiscard]] size_t element_bytes(std::string_view word);
// The dtype of ours; 0 where a parameter cannot be of it.
[[nodiscard]] nemo_dtype parameter_dtype(std::string_view word);
// "F32", "F64", "BF16" or "F16".
[[nodiscard]] std::string_view word_of(nemo_dtype dtype);
// "float32" ..., as config.json names it. Throws Error(kConfig) for another word.
[[nodiscard]] std::string_view torch_name(nemo_dtype dtype);
[[nodiscard]] nemo_dtype dtype_of_name(std::string_view name);  // "float32", "f32", "bf16" ...

[[nodiscard]] float float_of_f16(uint16_t bits);
// Round to nearest, ties to even; overflow becomes infinity.
[[nodiscard]] uint16_t f16_of_float(float value);

// Elements of `from` as elements of `to`; both of f32, f64, bf16, f16. Through f32 unless one is f64.
void convert(const std::byte* in, nemo_dtype from, std::byte* out, nemo_dtype to, uint64_t count);

}  // namespace nemo::hub
