#include "core/hub/mxfp4.hpp"

#include <array>
#include <cmath>
#include <limits>

#include "core/base/error.hpp"
#include "core/hub/box.hpp"
#include "core/hub/element.hpp"

namespace nemo::hub {
namespace {

constexpr int64_t kGroup = 32, kGroupBytes = 16;
constexpr uint8_t kNoNumber = 255;
constexpr std::array<float, 16> kE2m1{0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0F, -0.5, -1, -1.5, -2, -3, -4, -6};

// Both numbers of every byte, times a power of two.
template <class T>
void unpack(const uint8_t* bytes, const std::array<T, 16>& numbers, T* out) {
  for (int64_t i = 0; i < kGroupBytes; ++i) {
    out[2 * i] = numbers[bytes[i] & 15];
    out[2 * i + 1] = numbers[bytes[i] >> 4];
  }
}

// Products by scale: what 16 bits of a number and 8 of a scale can be.
template <class T>
std::vector<std::array<T, 16>> products(nemo_dtype dtype) {
  std::vector<std::array<T, 16>> table(kNoNumber);
  for (int scale = 0; scale < kNoNumber; ++scale)
    for (size_t i = 0; i < kE2m1.size(); ++i) {
      const float value = std::ldexp(kE2m1[i], scale - 127);
      convert(reinterpret_cast<const std::byte*>(&value), NEMO_DTYPE_F32,
              reinterpret_cast<std::byte*>(&table[static_cast<size_t>(scale)][i]), dtype, 1);
    }
  return table;
}

template <class T>
bool unpack_groups(const std::byte* blocks, const std::byte* scales, uint64_t groups, nemo_dtype dtype, std::byte* out) {
  const std::vector<std::array<T, 16>> table = products<T>(dtype);
  for (uint64_t g = 0; g < groups; ++g) {
    const auto scale = static_cast<uint8_t>(scales[g]);
    if (scale == kNoNumber) return false;
    unpack(reinterpret_cast<const uint8_t*>(blocks) + g * kGroupBytes, table[scale], reinterpret_cast<T*>(out) + g * kGroup);
  }
  return true;
}

}  // namespace

void PackedTensor::expert(int64_t index, const std::string& name, std::vector<std::byte>& out, std::vector<std::byte>& work) const {
  const int64_t rows = tensor.shape[2], columns = tensor.shape[1], groups = rows * (columns / kGroup);
  const size_t element = element_bytes(tensor.dtype);
  const uint64_t first = static_cast<uint64_t>(index * groups), bytes = static_cast<uint64_t>(rows * columns) * element;
  out.resize(bytes), work.resize(bytes);
  const std::byte *packed = blocks_file->data(*blocks) + first * kGroupBytes, *scale = scales_file->data(*scales) + first;
  const bool good = element == 2 ? unpack_groups<uint16_t>(packed, scale, static_cast<uint64_t>(groups), NEMO_DTYPE_BF16, work.data())
                                 : unpack_groups<float>(packed, scale, static_cast<uint64_t>(groups), NEMO_DTYPE_F32, work.data());
  if (!good)
    throw Error(Code::kDataLoss, scales_file->path().string() + ": tensor " + name + "_scales has a scale of 255, which is no number");
  gather(work.data(), Box{{rows, columns}, {0, 0}, {rows, columns}, {1, 0}}, element, out.data());
}

void PackedTensor::release() const {
  blocks_file->release(*blocks);
  scales_file->release(*scales);
}

PackedTensor packed_tensor(const std::string& name, const ModelFiles::Entry& blocks, const ModelFiles::Entry& scales,
                           std::string_view word) {
  const std::vector<int64_t>& shape = blocks.tensor->shape;
  const std::string is = " is " + describe(blocks.tensor->dtype, shape);
  if (blocks.tensor->dtype != "U8" || shape.size() != 4 || shape[3] != kGroupBytes)
    throw Error(Code::kDataLoss,
                blocks.file->path().string() + ": tensor " + name + "_blocks" + is + "; MXFP4 has U8 [experts rows groups 16]");
  const std::vector<int64_t> scale_shape(shape.begin(), shape.end() - 1);
  if (scales.tensor->dtype != "U8" || scales.tensor->shape != scale_shape)
    throw Error(Code::kDataLoss, scales.file->path().string() + ": tensor " + name + "_scales is " +
                                     describe(scales.tensor->dtype, scales.tensor->shape) + ", but " + name + "_blocks" + is +
                                     " and needs U8 " + describe("", scale_shape));
  PackedTensor packed{{}, blocks.file, scales.file, blocks.tensor, scales.tensor};
  packed.tensor.dtype = word;
  packed.tensor.shape = {shape[0], shape[2] * kGroup, shape[1]};
  packed.tensor.begin = blocks.tensor->begin;
  packed.tensor.bytes = blocks.tensor->bytes * 2 * element_bytes(word);
  return packed;
}

}  // namespace nemo::hub
