#include "core/runtime/convert.hpp"

#include <bit>
#include <cmath>
#include <cstring>

#include "core/base/error.hpp"
#include "core/base/f16.hpp"

namespace nemo::runtime {
namespace {

uint16_t to_bf16(float x) {
  const auto bits = std::bit_cast<uint32_t>(x);
  if (std::isnan(x)) return static_cast<uint16_t>((bits >> 16) | 0x40);
  return static_cast<uint16_t>((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
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
      for (size_t i = 0; i < in.size(); ++i) reinterpret_cast<uint16_t*>(out)[i] = f16_of_float(in[i]);
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
      for (size_t i = 0; i < out.size(); ++i) out[i] = float_of_f16(reinterpret_cast<const uint16_t*>(in)[i]);
      return;
    default:
      unsupported(dtype);
  }
}

}  // namespace nemo::runtime
