#include "core/hub/element.hpp"

#include <array>
#include <bit>
#include <cmath>
#include <cstring>

#include "core/base/error.hpp"
#include "core/checkpoint/bf16.hpp"

namespace nemo::hub {
namespace {

struct Word {
  std::string_view word;
  size_t bytes;
  nemo_dtype dtype;
};
constexpr std::array kWords{
    Word{"F32", 4, NEMO_DTYPE_F32},
    Word{"BF16", 2, NEMO_DTYPE_BF16},
    Word{"F16", 2, NEMO_DTYPE_F16},
    Word{"F64", 8, NEMO_DTYPE_F64},
    Word{"I64", 8, 0},
    Word{"I32", 4, 0},
    Word{"I16", 2, 0},
    Word{"I8", 1, 0},
    Word{"U64", 8, 0},
    Word{"U32", 4, 0},
    Word{"U16", 2, 0},
    Word{"U8", 1, 0},
    Word{"BOOL", 1, 0},
    Word{"F8_E4M3", 1, 0},
    Word{"F8_E5M2", 1, 0},
    Word{"F8_E8M0", 1, 0},
};

struct Name {
  nemo_dtype dtype;
  std::string_view torch, ours;
};
constexpr std::array kNames{Name{NEMO_DTYPE_F32, "float32", "f32"}, Name{NEMO_DTYPE_BF16, "bfloat16", "bf16"},
                            Name{NEMO_DTYPE_F16, "float16", "f16"}, Name{NEMO_DTYPE_F64, "float64", "f64"}};

double load(const std::byte* at, nemo_dtype dtype) {
  uint16_t half = 0;
  float single = 0;
  double full = 0;
  switch (dtype) {
    case NEMO_DTYPE_F32:
      std::memcpy(&single, at, sizeof single);
      return single;
    case NEMO_DTYPE_F64:
      std::memcpy(&full, at, sizeof full);
      return full;
    default:
      std::memcpy(&half, at, sizeof half);
      return dtype == NEMO_DTYPE_BF16 ? checkpoint::float_of_bf16(half) : float_of_f16(half);
  }
}

void store(double value, std::byte* at, nemo_dtype dtype) {
  if (dtype == NEMO_DTYPE_F64) {
    std::memcpy(at, &value, sizeof value);
    return;
  }
  const auto single = static_cast<float>(value);
  if (dtype == NEMO_DTYPE_F32) {
    std::memcpy(at, &single, sizeof single);
    return;
  }
  const uint16_t half = dtype == NEMO_DTYPE_BF16 ? checkpoint::bf16_of_float(single) : f16_of_float(single);
  std::memcpy(at, &half, sizeof half);
}

}  // namespace

size_t element_bytes(std::string_view word) {
  for (const Word& w : kWords)
    if (w.word == word) return w.bytes;
  return 0;
}

nemo_dtype parameter_dtype(std::string_view word) {
  for (const Word& w : kWords)
    if (w.word == word) return w.dtype;
  return 0;
}

std::string_view word_of(nemo_dtype dtype) {
  for (const Word& w : kWords)
    if (w.dtype == dtype) return w.word;
  throw Error(Code::kUnsupported, "dtype " + std::to_string(dtype) + " is not written to safetensors");
}

std::string_view torch_name(nemo_dtype dtype) {
  for (const Name& n : kNames)
    if (n.dtype == dtype) return n.torch;
  throw Error(Code::kUnsupported, "dtype " + std::to_string(dtype) + " has no name in config.json");
}

nemo_dtype dtype_of_name(std::string_view name) {
  for (const Name& n : kNames)
    if (n.torch == name || n.ours == name) return n.dtype;
  throw Error(Code::kConfig, "'" + std::string(name) + "' is no dtype of weights; f32, bf16, f16 and f64 are");
}

float float_of_f16(uint16_t bits) {
  const uint32_t sign = uint32_t{bits} >> 15 << 31, exponent = bits >> 10 & 31, fraction = bits & 1023;
  if (exponent == 31) return std::bit_cast<float>(sign | 0x7f800000u | fraction << 13);
  if (exponent == 0) return std::copysign(std::ldexp(static_cast<float>(fraction), -24), sign != 0 ? -1.0f : 1.0f);
  return std::bit_cast<float>(sign | (exponent + 112) << 23 | fraction << 13);
}

uint16_t f16_of_float(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value), magnitude = bits & 0x7fffffffu;
  const auto sign = static_cast<uint16_t>(bits >> 16 & 0x8000u);
  if (magnitude > 0x7f800000u) return static_cast<uint16_t>(sign | 0x7e00u);
  if (magnitude >= 0x477ff000u) return static_cast<uint16_t>(sign | 0x7c00u);  // 65520 and above round to infinity
  if (magnitude < 0x38800000u)  // below 2^-14: a multiple of 2^-24, rounded by the current mode (nearest even)
    return static_cast<uint16_t>(sign | static_cast<uint16_t>(std::nearbyint(std::ldexp(std::bit_cast<float>(magnitude), 24))));
  const uint32_t rounded = magnitude + 0xfffu + (magnitude >> 13 & 1);
  return static_cast<uint16_t>(sign | ((rounded >> 13) - (112u << 10)));
}

void convert(const std::byte* in, nemo_dtype from, std::byte* out, nemo_dtype to, uint64_t count) {
  const size_t in_bytes = element_bytes(word_of(from)), out_bytes = element_bytes(word_of(to));
  if (from == to) {
    std::memcpy(out, in, count * in_bytes);
    return;
  }
  for (uint64_t i = 0; i < count; ++i) store(load(in + i * in_bytes, from), out + i * out_bytes, to);
}

}  // namespace nemo::hub
