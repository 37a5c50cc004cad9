// cast, accumulate_grad, slice and concat: pure memory traffic.
#include "kernels/device.cuh"

namespace nemo::cuda {

namespace {

constexpr int kDims = 6;

struct CopyArgs {
  int64_t shape[kDims], from[kDims], to[kDims];  // outer dimensions, innermost first; strides in units
  int dims;
  int64_t rows, units;  // units of the contiguous run
};

template <class U>
__global__ void copy_kernel(const U* source, U* target, const CopyArgs a) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= a.rows * a.units) return;
  int64_t row = i / a.units;
  int64_t s = i - row * a.units, t = s;
  for (int d = 0; d < a.dims; ++d) {
    const int64_t next = row / a.shape[d], at = row - next * a.shape[d];
    s += at * a.from[d];
    t += at * a.to[d];
    row = next;
  }
  target[t] = source[s];
}

// Copies a tensor into (a part of) another. Everything in bytes until the launch knows the alignment.
struct StridedCopy {
  CopyArgs args{};
  int64_t from_offset = 0, to_offset = 0;

  void run(const char* source, char* target, cudaStream_t stream) const {
    source += from_offset;
    target += to_offset;
    if (source == target || args.rows * args.units == 0) return;
    uint64_t bits = reinterpret_cast<uintptr_t>(source) | reinterpret_cast<uintptr_t>(target) | static_cast<uint64_t>(args.units);
    for (int d = 0; d < args.dims; ++d) bits |= static_cast<uint64_t>(args.from[d]) | static_cast<uint64_t>(args.to[d]);
    if (bits % 16 == 0) return as<uint4>(source, target, stream);
    if (bits % 4 == 0) return as<uint32_t>(source, target, stream);
    if (bits % 2 == 0) return as<uint16_t>(source, target, stream);
    as<uint8_t>(source, target, stream);
  }

 private:
  template <class U>
  void as(const char* source, char* target, cudaStream_t stream) const {
    CopyArgs a = args;
    constexpr int64_t width = sizeof(U);
    for (int d = 0; d < a.dims; ++d) a.from[d] /= width, a.to[d] /= width;
    a.units /= width;
    copy_kernel<U><<<grid_of(a.rows * a.units, 256), 256, 0, stream>>>(reinterpret_cast<const U*>(source), reinterpret_cast<U*>(target), a);
  }
};

StridedCopy strided_copy(const Node& node, const std::vector<int64_t>& shape, const Tensor& from, const Tensor& to) {
  StridedCopy c;
  const int64_t width = size_of(from.dtype);
  size_t outer = shape.size();
  int64_t run = 1;
  while (outer > 0 && (shape[outer - 1] == 1 || (from.strides[outer - 1] == run && to.strides[outer - 1] == run))) run *= shape[--outer];
  c.args.units = run * width;
  c.args.rows = 1;
  for (size_t i = outer; i-- > 0;) {
    if (shape[i] == 1) continue;
    if (c.args.dims == kDims) node.refuse("copies have at most 6 strided dimensions");
    const int d = c.args.dims++;
    c.args.shape[d] = shape[i];
    c.args.from[d] = from.strides[i] * width;
    c.args.to[d] = to.strides[i] * width;
    c.args.rows *= shape[i];
  }
  return c;
}

size_t checked_dim(const Node& node) {
  const int64_t dim = node.integer("dim"), rank = node.in(0).rank();
  if (dim < 0 || dim >= rank) node.refuse("dim " + std::to_string(dim) + " is not a dimension");
  return static_cast<size_t>(dim);
}

struct ConvertArgs {
  int64_t rows, cols, ld_in, ld_out;
  bool add;
};

// 8 elements per thread where N = 8.
template <class A, class B, int N>
__global__ void convert_kernel(const A* x, B* y, const ConvertArgs a) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x, vectors = a.cols / N;
  if (i >= a.rows * vectors) return;
  const int64_t row = a.rows == 1 ? 0 : i / vectors, at = (i - row * vectors) * N;
  float v[N];
  load<N>(x + row * a.ld_in + at, v);
  B* to = y + row * a.ld_out + at;
  if (a.add) {
    float old[N];
    load<N>(to, old);
#pragma unroll
    for (int e = 0; e < N; ++e) v[e] += old[e];
  }
  store<N>(to, v);
}

Prepared convert(const Node& node) {
  const Tensor &x = node.in(0), &y = node.out(0);
  if (!is_floating(x.dtype) || !is_floating(y.dtype)) node.refuse("converts between f32, bf16 and f16 only");
  const Aligned layout = node.align({&x, &y});
  const bool can_add = node.has_attribute("accumulate");
  return with_type(x.dtype, [&](auto from) {
    return with_type(y.dtype, [&](auto to) {
      using A = decltype(from);
      using B = decltype(to);
      return make_kernel([=](const Launch& l) {
        const ConvertArgs a{layout.rows, layout.cols, layout.ld[0], layout.ld[1], can_add && l.write() == Write::accumulate};
        const bool strides = a.rows == 1 || (a.ld_in % 8 == 0 && a.ld_out % 8 == 0);
        if (a.cols % 8 == 0 && strides && aligned16(l.in(0)) && aligned16(l.out(0)))
          convert_kernel<A, B, 8><<<grid_of(a.rows * a.cols / 8, 256), 256, 0, l.stream()>>>(l.in<A>(0), l.out<B>(0), a);
        else
          convert_kernel<A, B, 1><<<grid_of(a.rows * a.cols, 256), 256, 0, l.stream()>>>(l.in<A>(0), l.out<B>(0), a);
      });
    });
  });
}

}  // namespace

NEMO_CUDA_KERNEL(zeros) {
  node.need_contiguous(node.out(0));
  const auto bytes = static_cast<size_t>(node.out(0).size() * sdk::size_of(node.out(0).dtype));
  return make_kernel([bytes](const Launch& l) { check(cudaMemsetAsync(l.out(0), 0, bytes, l.stream()), "zeros"); });
}

NEMO_CUDA_KERNEL(cast) { return convert(node); }
NEMO_CUDA_KERNEL(accumulate_grad) { return convert(node); }

NEMO_CUDA_KERNEL(slice) {
  const Tensor &x = node.in(0), &y = node.out(0);
  const size_t dim = checked_dim(node);
  const int64_t start = node.integer("start"), length = node.integer("length");
  std::vector<int64_t> expected = x.shape;
  expected[dim] = length;
  if (x.dtype != y.dtype || y.shape != expected || start < 0 || length < 0 || start + length > x.shape[dim])
    node.refuse("the output is not that slice");
  StridedCopy copy = strided_copy(node, y.shape, x, y);
  copy.from_offset = start * x.strides[dim] * size_of(x.dtype);
  return make_kernel([copy](const Launch& l) { copy.run(l.in<char>(0), l.out<char>(0), l.stream()); });
}

NEMO_CUDA_KERNEL(concat) {
  const Tensor& y = node.out(0);
  const size_t dim = checked_dim(node);
  std::vector<StridedCopy> copies;
  int64_t start = 0;
  for (size_t i = 0; i < 3 && node.in(i).present(); ++i) {
    const Tensor& x = node.in(i);
    std::vector<int64_t> expected = y.shape;
    if (x.rank() == y.rank()) expected[dim] = x.shape[dim];
    if (x.dtype != y.dtype || x.shape != expected) node.refuse("the inputs differ in more than dimension " + std::to_string(dim));
    copies.push_back(strided_copy(node, x.shape, x, y));
    copies.back().to_offset = start * y.strides[dim] * size_of(x.dtype);
    start += x.shape[dim];
  }
  if (start != y.shape[dim]) node.refuse("the inputs do not add up to the output");
  return make_kernel([copies](const Launch& l) {
    for (size_t i = 0; i < copies.size(); ++i) copies[i].run(l.in<char>(static_cast<int>(i)), l.out<char>(0), l.stream());
  });
}

}  // namespace nemo::cuda
