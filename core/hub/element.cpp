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

// Bits of an element to and from a number that holds it; f64 alone needs a double.
template <nemo_dtype>
struct Element;
template <>
struct Element<NEMO_DTYPE_F32> {
  using Bits = float;
  static float load(float v) { return v; }
  static float store(float v) { return v; }
};
template <>
struct Element<NEMO_DTYPE_F64> {
  using Bits = double;
  static double load(double v) { return v; }
  static double store(double v) { return v; }
};
template <>
struct Element<NEMO_DTYPE_BF16> {
  using Bits = uint16_t;
  static float load(uint16_t v) { return checkpoint::float_of_bf16(v); }
  static uint16_t store(float v) { return checkpoint::bf16_of_float(v); }
};
template <>
struct Element<NEMO_DTYPE_F16> {
  using Bits = uint16_t;
  static float load(uint16_t v) { return float_of_f16(v); }
  static uint16_t store(float v) { return f16_of_float(v); }
};

template <nemo_dtype kFrom, nemo_dtype kTo>
void convert_all(const std::byte* in, std::byte* out, uint64_t count) {
  typename Element<kFrom>::Bits from;
  for (uint64_t i = 0; i < count; ++i) {
    std::memcpy(&from, in + i * sizeof from, sizeof from);
    const auto value = Element<kFrom>::load(from);
    const typename Element<kTo>::Bits to = Element<kTo>::store(static_cast<decltype(Element<kTo>::load({}))>(value));
    std::memcpy(out + i * sizeof to, &to, sizeof to);
  }
}

template <nemo_dtype kFrom>
void convert_from(const std::byte* in, std::byte* out, nemo_dtype to, uint64_t count) {
  switch (to) {
    case NEMO_DTYPE_F32:
      return convert_all<kFrom, NEMO_DTYPE_F32>(in, out, count);
    case NEMO_DTYPE_F64:
      return convert_all<kFrom, NEMO_DTYPE_F64>(in, out, count);
    case NEMO_DTYPE_BF16:
      return convert_all<kFrom, NEMO_DTYPE_BF16>(in, out, count);
    default:
      return convert_all<kFrom, NEMO_DTYPE_F16>(in, out, count);
  }
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
  if (from == to) {
    std::memcpy(out, in, count * element_bytes(word_of(from)));
    return;
  }
  (void)word_of(to);  // throws for what is no dtype of weights
  switch (from) {
    case NEMO_DTYPE_F32:
      return convert_from<NEMO_DTYPE_F32>(in, out, to, count);
    case NEMO_DTYPE_F64:
      return convert_from<NEMO_DTYPE_F64>(in, out, to, count);
    case NEMO_DTYPE_BF16:
      return convert_from<NEMO_DTYPE_BF16>(in, out, to, count);
    case NEMO_DTYPE_F16:
      return convert_from<NEMO_DTYPE_F16>(in, out, to, count);
    default:
      (void)word_of(from);
  }
}

}  // namespace nemo::hub
