#include "core/runtime/convert.hpp"

#include <bit>
#include <cmath>
#include <cstring>

#include "core/base/error.hpp"

namespace nemo::runtime {
namespace {

uint16_t to_bf16(float x) {
  const auto bits = std::bit_cast<uint32_t>(x);
  if (std::isnan(x)) return static_cast<uint16_t>((bits >> 16) | 0x40);
  return static_cast<uint16_t>((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
}

// IEEE binary16: a sum with 0.5, whose last place is that of the subnormal numbers, rounds what is below the smallest normal one.
uint16_t to_f16(float x) {
  const auto bits = std::bit_cast<uint32_t>(x);
  const uint32_t u = bits & 0x7FFFFFFF, sign = (bits >> 16) & 0x8000;
  if (u > 0x7F800000) return static_cast<uint16_t>(sign | 0x7E00);
  if (u >= 0x47800000) return static_cast<uint16_t>(sign | 0x7C00);
  if (u < 0x38800000) return static_cast<uint16_t>(sign | (std::bit_cast<uint32_t>(std::bit_cast<float>(u) + 0.5F) - 0x3F000000));
  return static_cast<uint16_t>(sign | (((u + 0xFFF + ((u >> 13) & 1)) >> 13) - (112U << 10)));
}

float from_f16(uint16_t h) {
  const uint32_t magnitude = (h & 0x7FFFU) << 13, sign = (h & 0x8000U) << 16;
  const uint32_t finite = std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude) * 0x1p112F);
  return std::bit_cast<float>(((h & 0x7C00) == 0x7C00 ? magnitude | 0x7F800000 : finite) | sign);
}

[[noreturn]] void unsupported(graph::DType dtype) {
  throw Error(Code::kUnsupported, "parameters cannot be kept in " + std::string(to_string(dtype)));
}

}  // namespace

void from_f32(std::span<const float> in, graph::DType dtype, std::byte* out) {
  switch (dtype) {
    case graph::DType::kF32:
      std::memcpy(out, in.data(), in.size_bytes());
      return;
    case graph::DType::kF64:
      for (size_t i = 0; i < in.size(); ++i) reinterpret_cast<double*>(out)[i] = in[i];
      return;
    case graph::DType::kBF16:
      for (size_t i = 0; i < in.size(); ++i) reinterpret_cast<uint16_t*>(out)[i] = to_bf16(in[i]);
      return;
    case graph::DType::kF16:
      for (size_t i = 0; i < in.size(); ++i) reinterpret_cast<uint16_t*>(out)[i] = to_f16(in[i]);
      return;
    default:
      unsupported(dtype);
  }
}

void to_f32(const std::byte* in, graph::DType dtype, std::span<float> out) {
  switch (dtype) {
    case graph::DType::kF32:
      std::memcpy(out.data(), in, out.size_bytes());
      return;
    case graph::DType::kF64:
      for (size_t i = 0; i < out.size(); ++i) out[i] = static_cast<float>(reinterpret_cast<const double*>(in)[i]);
      return;
    case graph::DType::kBF16:
      for (size_t i = 0; i < out.size(); ++i)
        out[i] = std::bit_cast<float>(static_cast<uint32_t>(reinterpret_cast<const uint16_t*>(in)[i]) << 16);
      return;
    case graph::DType::kF16:
      for (size_t i = 0; i < out.size(); ++i) out[i] = from_f16(reinterpret_cast<const uint16_t*>(in)[i]);
      return;
    default:
      unsupported(dtype);
  }
}

}  // namespace nemo::runtime
