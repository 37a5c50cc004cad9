#include "tests/backend_cpu/array.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <random>
#include <stdexcept>

#include "nemo/cpp/node.hpp"

namespace nemo::backend_cpu {

namespace {

int64_t width(nemo_dtype d) { return sdk::size_of(d); }

int64_t product(const Shape& s) {
  int64_t n = 1;
  for (int64_t d : s) n *= d;
  return n;
}

Shape dense_strides(const Shape& shape) {
  Shape strides(shape.size(), 1);
  for (size_t i = shape.size(); i-- > 1;) strides[i - 1] = strides[i] * shape[i];
  return strides;
}

template <class T>
T read(const char* p) {
  T v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
template <class T>
void write(char* p, T v) {
  std::memcpy(p, &v, sizeof v);
}

// Round to nearest even, by comparing the neighbours.
uint16_t to_bf16(double x) {
  const auto f = static_cast<float>(x);
  const uint32_t bits = std::bit_cast<uint32_t>(f), low = bits & 0xffffu;
  const auto down = static_cast<uint16_t>(bits >> 16);
  if (std::isnan(f)) return static_cast<uint16_t>(down | 0x40u);
  if (low > 0x8000u || (low == 0x8000u && (down & 1u))) return static_cast<uint16_t>(down + 1);
  return down;
}

// A float of few bits, by its definition: sign, exponent, mantissa. Codes of non-negative numbers are in the order of their values.
struct Narrow {
  int mantissa, bias;
  uint32_t largest, nan;  // codes of the largest finite number and of NaN
  bool infinite;          // larger numbers become infinity instead of the largest one

  double value(uint32_t code) const {
    const uint32_t exponent = code >> mantissa, fraction = code & ((1u << mantissa) - 1);
    if (code > largest) return infinite && code == largest + 1 ? INFINITY : NAN;
    if (exponent == 0) return std::ldexp(fraction, 1 - bias - mantissa);
    return std::ldexp(fraction + (1u << mantissa), static_cast<int>(exponent) - bias - mantissa);
  }
  // Round to nearest even, by comparing the neighbours.
  uint32_t code(double x) const {
    if (std::isnan(x)) return nan;
    if (x >= value(largest)) return !infinite || x < value(largest) + (value(largest) - value(largest - 1)) / 2 ? largest : largest + 1;
    uint32_t low = 0, high = largest;
    while (high - low > 1) (value((low + high) / 2) <= x ? low : high) = (low + high) / 2;
    const double below = x - value(low), above = value(high) - x;
    return below < above || (below == above && low % 2 == 0) ? low : high;
  }
};

const Narrow& narrow(nemo_dtype d) {
  static const Narrow f16{10, 15, 0x7bff, 0x7e00, true}, e4m3{3, 7, 0x7e, 0x7f, false}, e5m2{2, 15, 0x7b, 0x7f, false};
  return d == NEMO_DTYPE_F16 ? f16 : d == NEMO_DTYPE_E4M3 ? e4m3 : e5m2;
}
bool is_narrow(nemo_dtype d) { return d == NEMO_DTYPE_F16 || d == NEMO_DTYPE_E4M3 || d == NEMO_DTYPE_E5M2; }

double get_narrow(nemo_dtype d, const char* p) {
  const uint32_t sign_bit = d == NEMO_DTYPE_F16 ? 0x8000u : 0x80u;
  const uint32_t bits = d == NEMO_DTYPE_F16 ? read<uint16_t>(p) : read<uint8_t>(p);
  const double size = narrow(d).value(bits & (sign_bit - 1));
  return bits & sign_bit ? -size : size;
}
void set_narrow(nemo_dtype d, char* p, double x) {
  const uint32_t bits = narrow(d).code(std::fabs(static_cast<float>(x)));
  if (d == NEMO_DTYPE_F16)
    write(p, static_cast<uint16_t>(bits | (std::signbit(x) ? 0x8000u : 0u)));
  else
    write(p, static_cast<uint8_t>(bits | (std::signbit(x) ? 0x80u : 0u)));
}

}  // namespace

Array::Array(nemo_dtype dtype, Shape shape) : dtype_(dtype), shape_(std::move(shape)), strides_(dense_strides(shape_)) {
  bytes_.resize(static_cast<size_t>(product(shape_) * width(dtype)));
}

Array::Array(nemo_dtype dtype, Shape shape, const std::vector<double>& values) : Array(dtype, std::move(shape)) {
  if (static_cast<int64_t>(values.size()) != size()) throw std::invalid_argument("number of values and shape disagree");
  for (int64_t i = 0; i < size(); ++i) set(i, values[static_cast<size_t>(i)]);
}

int64_t Array::size() const { return present() ? product(shape_) : 0; }

int64_t Array::offset(int64_t i) const {
  int64_t at = 0;
  for (size_t d = shape_.size(); d-- > 0; i /= shape_[d]) at += i % shape_[d] * strides_[d];
  return at;
}

double Array::get(int64_t i) const {
  const char* p = data() + offset(i) * width(dtype_);
  if (is_narrow(dtype_)) return get_narrow(dtype_, p);
  switch (dtype_) {
    case NEMO_DTYPE_F32:
      return read<float>(p);
    case NEMO_DTYPE_F64:
      return read<double>(p);
    case NEMO_DTYPE_BF16:
      return std::bit_cast<float>(static_cast<uint32_t>(read<uint16_t>(p)) << 16);
    case NEMO_DTYPE_I64:
      return static_cast<double>(read<int64_t>(p));
    default:
      return read<int32_t>(p);
  }
}

void Array::set(int64_t i, double v) {
  char* p = data() + offset(i) * width(dtype_);
  if (is_narrow(dtype_)) return set_narrow(dtype_, p, v);
  switch (dtype_) {
    case NEMO_DTYPE_F32:
      return write(p, static_cast<float>(v));
    case NEMO_DTYPE_F64:
      return write(p, v);
    case NEMO_DTYPE_BF16:
      return write(p, to_bf16(v));
    case NEMO_DTYPE_I64:
      return write(p, static_cast<int64_t>(v));
    default:
      return write(p, static_cast<int32_t>(v));
  }
}

std::vector<double> Array::values() const {
  std::vector<double> v(static_cast<size_t>(size()));
  for (int64_t i = 0; i < size(); ++i) v[static_cast<size_t>(i)] = get(i);
  return v;
}

std::vector<char> Array::content() const {
  std::vector<char> out;
  for (int64_t i = 0; i < size(); ++i) {
    const char* p = data() + offset(i) * width(dtype_);
    out.insert(out.end(), p, p + width(dtype_));
  }
  return out;
}

Array Array::as(nemo_dtype dtype) const { return present() ? Array(dtype, shape_, values()) : Array(); }

Array Array::strided() const {
  if (shape_.size() < 2) return *this;
  // As a slice [.., 2 : 2 + last] of a tensor whose last two dimensions are merged and wider, as q within a fused qkv buffer.
  Array out;
  out.dtype_ = dtype_;
  out.shape_ = shape_;
  out.strides_ = dense_strides(shape_);
  const size_t rows = shape_.size() >= 4 ? shape_.size() - 2 : shape_.size() - 1;  // [b s h d]: the token's h*d elements stay together
  int64_t stride = 1;
  for (size_t i = rows; i < shape_.size(); ++i) stride *= shape_[i];
  stride += 5;
  for (size_t i = rows; i-- > 0; stride *= shape_[i]) out.strides_[i] = stride;
  out.bytes_.assign(static_cast<size_t>((stride + 8) * width(dtype_)), '\x7f');
  out.base_ = 2 * width(dtype_);
  for (int64_t i = 0; i < size(); ++i)
    std::memcpy(out.data() + out.offset(i) * width(dtype_), data() + offset(i) * width(dtype_), static_cast<size_t>(width(dtype_)));
  return out;
}

nemo_tensor Array::describe() const {
  nemo_tensor t{};
  t.struct_size = sizeof t;
  t.dtype = dtype_;
  t.t.device = {1, 0};
  t.t.ndim = static_cast<int32_t>(shape_.size());
  t.t.shape = const_cast<int64_t*>(shape_.data());
  t.t.strides = const_cast<int64_t*>(strides_.data());
  return t;
}

std::vector<double> normal(int64_t n, uint64_t seed, double deviation) {
  std::mt19937_64 bits(seed * 7919 + 13);
  std::normal_distribution<double> draw(0, deviation);
  std::vector<double> v(static_cast<size_t>(n));
  for (double& x : v) x = draw(bits);
  return v;
}

Array normal_array(nemo_dtype dtype, const Shape& shape, uint64_t seed, double deviation) {
  return Array(dtype, shape, normal(product(shape), seed, deviation));
}

}  // namespace nemo::backend_cpu
