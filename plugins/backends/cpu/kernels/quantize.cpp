// amax, quantize and recent_amax: 8-bit floats with one scale per tensor; the reference of the CUDA backend, which gives the same bits.
#include "kernels/arch.hpp"

#include <limits>

#include "kernels/block.hpp"

namespace nemo::cpu::NEMO_CPU_NS {

namespace {

struct Format {
  nemo_dtype dtype;
  float largest;
};

Format format_of(const Node& node) {
  const std::string_view name = node.string("dtype");
  if (name == "e4m3") return {NEMO_DTYPE_E4M3, 448.0f};
  if (name == "e5m2") return {NEMO_DTYPE_E5M2, 57344.0f};
  node.refuse("dtype must be e4m3 or e5m2");
}

float scale_of(float amax, float largest, float shrink) {
  if (!(amax > 0) || std::isinf(amax)) return 1;
  return std::min(largest / amax * shrink, std::numeric_limits<float>::max());
}

// Non-negative floats are ordered as their bits are.
void raise_to(std::atomic<uint32_t>& top, float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  uint32_t seen = top.load();
  while (bits > seen && !top.compare_exchange_weak(seen, bits)) {
  }
}

// The largest |x|; NaN, and infinities where they do not count, aside.
float largest_of(const float* x, int64_t n, float limit) {
  float top = 0;
#pragma omp simd reduction(max : top)
  for (int64_t i = 0; i < n; ++i) {
    const float size = std::fabs(x[i]);
    const float counted = size <= limit ? size : 0;
    top = counted > top ? counted : top;
  }
  return top;
}

template <class Q>
void encode(const float* x, int64_t n, float scale, uint8_t* q) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    if constexpr (std::is_same_v<Q, e4m3>)
      q[i] = round_to_e4m3(x[i] * scale).bits;
    else
      q[i] = round_to_e5m2(x[i] * scale).bits;
  }
}

void encode(nemo_dtype dtype, const float* x, int64_t n, float scale, uint8_t* q) {
  dtype == NEMO_DTYPE_E4M3 ? encode<e4m3>(x, n, scale, q) : encode<e5m2>(x, n, scale, q);
}

struct Copies {
  Matrix x;
  nemo_dtype type;
  Format format;
  int64_t rows, cols;

  // Rows [begin, end) in strips of kBlock columns; `top` becomes the largest finite |x| of them.
  void rows_of(const void* from, float scale, uint8_t* q, uint8_t* qt, int64_t begin, int64_t end, float& top) const {
    float values[kBlock];
    uint8_t bytes[kBlock];
    for (int64_t r = begin; r < end; ++r)
      for (int64_t c = 0; c < cols; c += kBlock) {
        const int64_t n = std::min(kBlock, cols - c);
        load(type, from, r * x.ld + c, n, values);
        top = std::max(top, largest_of(values, n, std::numeric_limits<float>::max()));
        encode(format.dtype, values, n, scale, bytes);
        if (q != nullptr) std::copy(bytes, bytes + n, q + r * cols + c);
        if (qt != nullptr)
          for (int64_t i = 0; i < n; ++i) qt[(c + i) * rows + r] = bytes[i];
      }
  }
};

float amax_of(Pool& pool, nemo_dtype type, const void* x, const Aligned& layout) {
  std::atomic<uint32_t> top{0};
  pool.split(layout.rows, row_grain(layout.cols), [&](int64_t begin, int64_t end, int) {
    float values[kBlock], most = 0;
    for (int64_t r = begin; r < end; ++r)
      for (int64_t c = 0; c < layout.cols; c += kBlock) {
        const int64_t n = std::min(kBlock, layout.cols - c);
        load(type, x, r * layout.ld[0] + c, n, values);
        most = std::max(most, largest_of(values, n, std::numeric_limits<float>::infinity()));
      }
    raise_to(top, most);
  });
  return std::bit_cast<float>(top.load());
}

// A kernel, and then the largest magnitude of its first `count` outputs into output `place`.
Prepared with_amax(const Node& node, Device& device, Prepare prepare, int count, int place) {
  Prepared made = prepare(node, device);
  std::vector<Aligned> layouts;
  layouts.reserve(static_cast<size_t>(count));
  for (int i = 0; i < count; ++i) layouts.push_back(node.align({&node.out(static_cast<size_t>(i))}));
  std::shared_ptr<nemo_kernel> kernel = std::move(made.kernel);
  return make_kernel(
      [=, type = node.compute(), &pool = device.pool](const Launch& l) {
        kernel->run(l);
        float top = 0;
        for (int i = 0; i < count; ++i) top = std::max(top, amax_of(pool, type, l.out(i), layouts[static_cast<size_t>(i)]));
        *l.out<float>(place) = top;
      },
      made.workspace);
}

}  // namespace

Prepared prepare_glu(const Node& node, Device& device);
Prepared prepare_glu_grad(const Node& node, Device& device);
Prepared prepare_rms_norm(const Node& node, Device& device);
Prepared prepare_add_rms_norm(const Node& node, Device& device);
Prepared prepare_rms_norm_grad_add(const Node& node, Device& device);

NEMO_CPU_KERNEL(glu_amax) { return with_amax(node, device, prepare_glu, 1, 1); }
NEMO_CPU_KERNEL(glu_grad_amax) { return with_amax(node, device, prepare_glu_grad, 2, 2); }
NEMO_CPU_KERNEL(rms_norm_amax) { return with_amax(node, device, prepare_rms_norm, 1, 2); }
NEMO_CPU_KERNEL(add_rms_norm_amax) { return with_amax(node, device, prepare_add_rms_norm, 1, 3); }
NEMO_CPU_KERNEL(rms_norm_grad_add_amax) { return with_amax(node, device, prepare_rms_norm_grad_add, 1, 2); }

NEMO_CPU_KERNEL(amax) {
  const Aligned layout = node.align({&node.in(0)});
  const nemo_dtype type = node.compute();
  if (type == NEMO_DTYPE_F64) node.refuse("f64 is not quantized");
  return make_kernel([=, &pool = device.pool](const Launch& l) { *l.out<float>(0) = amax_of(pool, type, l.in(0), layout); });
}

NEMO_CPU_KERNEL(quantize) {
  const Copies copies{node.matrix(node.in(0), node.group_rank('a')), node.compute(), format_of(node), node.size('a'), node.size('k')};
  if (copies.type == NEMO_DTYPE_F64) node.refuse("f64 is not quantized");
  for (size_t i = 0; i < 2; ++i) {
    if (node.out(i).present() && node.out(i).dtype != copies.format.dtype)
      node.refuse("the results must have the dtype that the attribute names");
    node.need_contiguous(node.out(i));
  }
  node.need_contiguous(node.in(1));
  node.need_contiguous(node.out(3));
  const bool row_wise = node.out(0).present(), turned = node.out(1).present(), keeps = node.out(3).present();
  if (keeps && node.out(3).dtype != NEMO_DTYPE_F32) node.refuse("the history must be f32");
  const int64_t index = node.integer("index"), depth = keeps ? node.size('h') : 0;
  if (index < 0 || index >= node.size('t')) node.refuse("index is not one of the tensors");
  const float shrink = std::ldexp(1.0f, -static_cast<int>(node.integer("margin")));
  return make_kernel([=, &pool = device.pool](const Launch& l) {
    const float scale = scale_of(l.in<float>(1)[index], copies.format.largest, shrink);
    *l.out<float>(2) = 1.0f / scale;
    std::atomic<uint32_t> top{0};
    pool.split(copies.rows, row_grain(copies.cols), [&](int64_t begin, int64_t end, int) {
      float most = 0;
      copies.rows_of(l.in(0), scale, row_wise ? l.out<uint8_t>(0) : nullptr, turned ? l.out<uint8_t>(1) : nullptr, begin, end, most);
      raise_to(top, most);
    });
    if (keeps) {
      float& seen = l.out<float>(3)[index * depth];
      seen = std::max(seen, std::bit_cast<float>(top.load()));
    }
  });
}

NEMO_CPU_KERNEL(recent_amax) {
  node.need_contiguous(node.in(0));
  node.need_contiguous(node.out(0));
  if (node.in(0).dtype != NEMO_DTYPE_F32) node.refuse("the history must be f32");
  const int64_t tensors = node.size('t'), length = node.size('h');
  const std::string_view algorithm = node.string("algorithm");
  if (algorithm != "max" && algorithm != "most_recent") node.refuse("algorithm must be max or most_recent");
  const int64_t counted = algorithm == "max" ? length : 1;
  return make_kernel([=](const Launch& l) {
    float* rows = l.out<float>(1);
    if (l.in(0) != l.out(1)) std::copy(l.in<float>(0), l.in<float>(0) + tensors * length, rows);
    for (int64_t t = 0; t < tensors; ++t) {
      float* row = rows + t * length;
      l.out<float>(0)[t] = *std::max_element(row, row + counted);
      std::copy_backward(row, row + length - 1, row + length);
      row[0] = 0;
    }
  });
}

}  // namespace nemo::cpu::NEMO_CPU_NS

#include "kernels/arch_end.hpp"
