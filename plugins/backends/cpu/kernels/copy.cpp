// cast, accumulate_grad, slice and concat: pure memory traffic.
#include "kernels/arch.hpp"

#include "kernels/block.hpp"

namespace nemo::cpu::NEMO_CPU_NS {

namespace {

// Copies tensor after tensor into (parts of) another: outer dimensions by stride, the contiguous tail as bytes.
struct StridedCopy {
  std::vector<int64_t> shape, from, to;  // outer dimensions; strides in bytes
  int64_t rows = 1, bytes = 0, from_offset = 0, to_offset = 0;

  void run(Pool& pool, const char* source, char* target) const {
    pool.split(rows, std::max<int64_t>(1, 65536 / std::max<int64_t>(bytes, 1)), [&](int64_t begin, int64_t end, int) {
      for (int64_t row = begin; row < end; ++row) {
        int64_t rest = row;
        const char* s = source + from_offset;
        char* t = target + to_offset;
        for (size_t i = shape.size(); i-- > 0; rest /= shape[i]) s += rest % shape[i] * from[i], t += rest % shape[i] * to[i];
        if (s != t) std::memcpy(t, s, static_cast<size_t>(bytes));
      }
    });
  }
};

StridedCopy strided_copy(const std::vector<int64_t>& shape, const Tensor& from, const Tensor& to, int64_t width) {
  StridedCopy c;
  size_t outer = shape.size();
  int64_t run = 1;
  while (outer > 0 && (shape[outer - 1] == 1 || (from.strides[outer - 1] == run && to.strides[outer - 1] == run))) run *= shape[--outer];
  c.bytes = run * width;
  for (size_t i = 0; i < outer; ++i) {
    c.shape.push_back(shape[i]);
    c.from.push_back(from.strides[i] * width);
    c.to.push_back(to.strides[i] * width);
    c.rows *= shape[i];
  }
  return c;
}

size_t checked_dim(const Node& node) {
  const int64_t dim = node.integer("dim"), rank = node.in(0).rank();
  if (dim < 0 || dim >= rank) node.refuse("dim " + std::to_string(dim) + " is not a dimension");
  return static_cast<size_t>(dim);
}

}  // namespace

NEMO_CPU_KERNEL(cast) {
  const Tensor &x = node.in(0), &y = node.out(0);
  if (!is_floating(x.dtype) || !is_floating(y.dtype)) node.refuse("casts between f32, f64, bf16 and f16 only");
  const Aligned a = node.align({&x, &y});
  return make_kernel([=, from = x.dtype, to = y.dtype, &pool = device.pool](const Launch& l) {
    const bool wide = from == NEMO_DTYPE_F64 || to == NEMO_DTYPE_F64;
    auto run = [&]<class C>(C, int64_t row, int64_t begin, int64_t end) {
      C buffer[kBlock];
      for (int64_t i = begin; i < end; i += kBlock) {
        const int64_t n = std::min(kBlock, end - i);
        load(from, l.in(0), row * a.ld[0] + i, n, buffer);
        store(buffer, n, to, l.out(0), row * a.ld[1] + i);
      }
    };
    auto part = [&](int64_t row, int64_t begin, int64_t end) { wide ? run(double{}, row, begin, end) : run(float{}, row, begin, end); };
    if (a.rows == 1)
      pool.split(a.cols, kGrain, [&](int64_t begin, int64_t end, int) { part(0, begin, end); });
    else
      pool.split(a.rows, row_grain(a.cols), [&](int64_t begin, int64_t end, int) {
        for (int64_t r = begin; r < end; ++r) part(r, 0, a.cols);
      });
  });
}

NEMO_CPU_KERNEL(zeros) {
  node.need_contiguous(node.out(0));
  const int64_t bytes = node.out(0).size() * size_of(node.out(0).dtype);
  return make_kernel([bytes, &pool = device.pool](const Launch& l) {
    pool.split(bytes, 1 << 18,
               [&](int64_t begin, int64_t end, int) { std::memset(l.out<char>(0) + begin, 0, static_cast<size_t>(end - begin)); });
  });
}

NEMO_CPU_KERNEL(accumulate_grad) {
  const Aligned a = node.align({&node.in(0), &node.out(0)});
  const nemo_dtype grad = node.out(0).dtype;
  return with_type(node.compute(), [&](auto tag) {
    using T = decltype(tag);
    using C = compute_t<T>;
    return make_kernel([=, &pool = device.pool](const Launch& l) {
      pool.split(a.rows * a.cols, kGrain, [&](int64_t begin, int64_t end, int) {
        C buffer[kBlock];
        for (int64_t i = begin; i < end;) {
          const int64_t row = i / a.cols, col = i % a.cols, n = std::min({kBlock, end - i, a.cols - col});
          load(l.in<T>(0) + row * a.ld[0] + col, n, buffer);
          store(buffer, n, grad, l.out(0), row * a.ld[1] + col, l.write());
          i += n;
        }
      });
    });
  });
}

NEMO_CPU_KERNEL(slice) {
  const Tensor &x = node.in(0), &y = node.out(0);
  const size_t dim = checked_dim(node);
  const int64_t start = node.integer("start"), length = node.integer("length");
  std::vector<int64_t> expected = x.shape;
  expected[dim] = length;
  if (x.dtype != y.dtype || y.shape != expected || start < 0 || length < 0 || start + length > x.shape[dim])
    node.refuse("the output is not that slice");
  StridedCopy copy = strided_copy(y.shape, x, y, size_of(x.dtype));
  copy.from_offset = start * x.strides[dim] * size_of(x.dtype);
  return make_kernel([copy, &pool = device.pool](const Launch& l) { copy.run(pool, l.in<char>(0), l.out<char>(0)); });
}

NEMO_CPU_KERNEL(concat) {
  const Tensor& y = node.out(0);
  const size_t dim = checked_dim(node);
  std::vector<StridedCopy> copies;
  int64_t start = 0;
  for (size_t i = 0; i < 3 && node.in(i).present(); ++i) {
    const Tensor& x = node.in(i);
    std::vector<int64_t> expected = y.shape;
    if (x.rank() == y.rank()) expected[dim] = x.shape[dim];
    if (x.dtype != y.dtype || x.shape != expected) node.refuse("the inputs differ in more than dimension " + std::to_string(dim));
    copies.push_back(strided_copy(x.shape, x, y, size_of(x.dtype)));
    copies.back().to_offset = start * y.strides[dim] * size_of(x.dtype);
    start += x.shape[dim];
  }
  if (start != y.shape[dim]) node.refuse("the inputs do not add up to the output");
  return make_kernel([copies, &pool = device.pool](const Launch& l) {
    for (size_t i = 0; i < copies.size(); ++i) copies[i].run(pool, l.in<char>(static_cast<int>(i)), l.out<char>(0));
  });
}

}  // namespace nemo::cpu::NEMO_CPU_NS

#include "kernels/arch_end.hpp"
