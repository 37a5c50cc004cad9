// selective_scan (Mamba-1), its form for generation and its gradient, by the recurrence. A task is a block of channels whose states lie
// side by side, so that loops run over channels: state [n][channels]. The gradient computes states again chunk by chunk, as ssd_scan's
// does.
#include "kernels/arch.hpp"

#include "kernels/block.hpp"
#include "kernels/math.hpp"

namespace nemo::cpu::NEMO_CPU_NS {

namespace {

constexpr int64_t kLanes = 16;  // channels of one task

struct Shape {
  int64_t b, s, h, n, chunk;
  int64_t x, dt, bm, c;  // steps from token to token
  bool skip, dt_bias, initial;

  Shape(const Node& node, size_t first)
      : b(node.size('b')),
        s(node.size('s')),
        h(node.size('h')),
        n(node.size('n')),
        chunk(1),
        x(node.matrix(node.in(first), 2).ld),
        dt(node.matrix(node.in(first + 1), 2).ld),
        bm(node.matrix(node.in(first + 3), 2).ld),
        c(node.matrix(node.in(first + 4), 2).ld),
        skip(node.in(first + 5).present()),
        dt_bias(node.in(first + 6).present()),
        initial(node.in(first + 7).present()) {
    for (const size_t i : {2, 5, 6, 7}) node.need_contiguous(node.in(first + i));
    while (chunk * chunk < s) ++chunk;
  }
  int64_t chunks() const { return (s + chunk - 1) / chunk; }
  int64_t blocks() const { return (h + kLanes - 1) / kLanes; }
  int64_t state() const { return n * kLanes; }
};

// A block of `lanes` channels of one batch entry. Unused lanes hold zeros.
template <class T>
struct Block {
  using C = compute_t<T>;
  const Shape& s;
  const Launch& l;
  int first;
  int64_t b, h0, lanes;
  C a[kLanes * 256], skip[kLanes] = {}, bias[kLanes] = {}, x[kLanes] = {}, dt[kLanes] = {}, slope[kLanes] = {};

  Block(const Shape& shape, const Launch& launch, int first_input, int64_t task)
      : s(shape),
        l(launch),
        first(first_input),
        b(task / shape.blocks()),
        h0(task % shape.blocks() * kLanes),
        lanes(std::min(kLanes, shape.h - h0)) {
    std::fill(a, a + s.state(), C(0));
    for (int64_t i = 0; i < lanes; ++i) {
      for (int64_t n = 0; n < s.n; ++n) a[n * kLanes + i] = -exp_(l.in<C>(first + 2)[(h0 + i) * s.n + n]);
      if (s.skip) skip[i] = l.in<C>(first + 5)[h0 + i];
      if (s.dt_bias) bias[i] = l.in<C>(first + 6)[h0 + i];
    }
  }

  int64_t token(int64_t t) const { return b * s.s + t; }
  const T* bm(int64_t t) const { return l.in<T>(first + 3) + token(t) * s.bm; }
  const T* c(int64_t t) const { return l.in<T>(first + 4) + token(t) * s.c; }

  void read(int64_t t) {
    const T *from = l.in<T>(first) + token(t) * s.x + h0, *step = l.in<T>(first + 1) + token(t) * s.dt + h0;
    for (int64_t i = 0; i < lanes; ++i) x[i] = widen(from[i]), dt[i] = widen(step[i]);
#pragma omp simd
    for (int64_t i = 0; i < kLanes; ++i) {
      const C raw = dt[i] + bias[i];
      slope[i] = sigmoid_(raw);
      dt[i] = softplus_(raw);
    }
  }

  // From the states of all channels; zeros where there are none.
  void start(const C* from, C* state) const {
    std::fill(state, state + s.state(), C(0));
    if (from == nullptr) return;
    for (int64_t i = 0; i < lanes; ++i)
      for (int64_t n = 0; n < s.n; ++n) state[n * kLanes + i] = from[(b * s.h + h0 + i) * s.n + n];
  }

  // Reads token t and moves the state over it; `to` may be `from`.
  void advance(int64_t t, const C* from, C* to) {
    read(t);
    const T* row = bm(t);
    for (int64_t n = 0; n < s.n; ++n) {
      const C b_n = widen(row[n]);
#pragma omp simd
      for (int64_t i = 0; i < kLanes; ++i) to[n * kLanes + i] = exp_(dt[i] * a[n * kLanes + i]) * from[n * kLanes + i] + dt[i] * x[i] * b_n;
    }
  }
};

void check_width(const Node& node) {
  if (node.size('n') > 256) node.refuse("at most 256 states per channel");
}

template <class T>
struct Backward {
  using C = compute_t<T>;
  Shape s;
  int64_t dy, dx, ddt;
  bool has_dfinal, has_dinitial;

  // Per thread, in elements: states of a chunk, at chunk begins, and the gradient of the state and of a.
  int64_t scratch() const { return (s.chunk + 1 + s.chunks() + 2) * s.state(); }

  // One block: dbm, dc [s n] gather; sums [n + 2][lanes] = da_log, dskip, ddt_bias.
  void block(const Launch& l, int64_t task, C* scratch, C* dbm, C* dc, C* sums) const {
    Block<T> at(s, l, 1, task);
    C *states = scratch, *begins = states + (s.chunk + 1) * s.state(), *g = begins + s.chunks() * s.state();
    at.start(s.initial ? l.in<C>(8) : nullptr, begins);
    for (int64_t k = 0; k + 1 < s.chunks(); ++k) {
      C* next = begins + (k + 1) * s.state();
      std::copy(begins + k * s.state(), next, next);
      for (int64_t t = k * s.chunk; t < (k + 1) * s.chunk; ++t) at.advance(t, next, next);
    }
    std::fill(g, g + s.state(), C(0));
    for (int64_t i = 0; has_dfinal && i < at.lanes; ++i)
      for (int64_t n = 0; n < s.n; ++n) g[n * kLanes + i] = l.in<C>(9)[(at.b * s.h + at.h0 + i) * s.n + n];
    for (int64_t k = s.chunks(); k-- > 0;) {
      const int64_t t0 = k * s.chunk, t1 = std::min(s.s, t0 + s.chunk);
      std::copy(begins + k * s.state(), begins + (k + 1) * s.state(), states);
      for (int64_t t = t0; t < t1; ++t) at.advance(t, states + (t - t0) * s.state(), states + (t - t0 + 1) * s.state());
      for (int64_t t = t1; t-- > t0;) token(l, at, t, states + (t - t0) * s.state(), g, dbm + t * s.n, dc + t * s.n, sums);
    }
    for (int64_t i = 0; has_dinitial && i < at.lanes; ++i)
      for (int64_t n = 0; n < s.n; ++n) l.out<C>(7)[(at.b * s.h + at.h0 + i) * s.n + n] = g[n * kLanes + i];
  }

  void token(const Launch& l, Block<T>& at, int64_t t, const C* before, C* g, C* dbm, C* dc, C* sums) const {
    at.read(t);
    const T *up = l.in<T>(0) + at.token(t) * dy + at.h0, *bm = at.bm(t), *c = at.c(t);
    C d[kLanes] = {}, du[kLanes] = {}, step[kLanes] = {};
    for (int64_t i = 0; i < at.lanes; ++i) d[i] = widen(up[i]);
    for (int64_t n = 0; n < s.n; ++n) {
      const C b_n = widen(bm[n]), c_n = widen(c[n]);
      const C *a = at.a + n * kLanes, *from = before + n * kLanes, *now = from + s.state();
      C *gn = g + n * kLanes, *da = sums + n * kLanes, db_n = 0, dc_n = 0;
#pragma omp simd reduction(+ : db_n, dc_n)
      for (int64_t i = 0; i < kLanes; ++i) {
        const C grad = gn[i] + d[i] * c_n, decay = exp_(at.dt[i] * a[i]), through = grad * from[i] * decay;
        dc_n += d[i] * now[i];
        db_n += grad * at.dt[i] * at.x[i];
        du[i] += grad * b_n;
        step[i] += through * a[i];
        da[i] += through * at.dt[i] * a[i];
        gn[i] = decay * grad;
      }
      dbm[n] += db_n;
      dc[n] += dc_n;
    }
    C *dskip = sums + s.state(), *dbias = dskip + kLanes;
    for (int64_t i = 0; i < at.lanes; ++i) {
      const C raw = (step[i] + du[i] * at.x[i]) * at.slope[i];
      l.out<T>(0)[at.token(t) * dx + at.h0 + i] = narrow<T>(at.dt[i] * du[i] + at.skip[i] * d[i]);
      l.out<T>(1)[at.token(t) * ddt + at.h0 + i] = narrow<T>(raw);
      dskip[i] += d[i] * at.x[i];
      dbias[i] += raw;
    }
  }
};

// Moves `state` over the block's first `count` tokens, writes their y (0 behind them) and the state to output 1.
template <class T, class C>
void scan(const Launch& l, Block<T>& at, int64_t count, C* state, int64_t ldy) {
  const Shape& s = at.s;
  for (int64_t t = 0; t < s.s; ++t) {
    T* to = l.out<T>(0) + at.token(t) * ldy + at.h0;
    if (t >= count) {
      std::fill_n(to, at.lanes, narrow<T>(C(0)));
      continue;
    }
    at.advance(t, state, state);
    C y[kLanes] = {};
    for (int64_t n = 0; n < s.n; ++n) {
      const C c_n = widen(at.c(t)[n]);
#pragma omp simd
      for (int64_t i = 0; i < kLanes; ++i) y[i] += state[n * kLanes + i] * c_n;
    }
    for (int64_t i = 0; i < at.lanes; ++i) to[i] = narrow<T>(y[i] + at.skip[i] * at.x[i]);
  }
  for (int64_t i = 0; i < at.lanes; ++i)
    for (int64_t n = 0; n < s.n; ++n) l.out<C>(1)[(at.b * s.h + at.h0 + i) * s.n + n] = state[n * kLanes + i];
}

}  // namespace

NEMO_CPU_KERNEL(selective_scan) {
  check_width(node);
  const Shape s(node, 0);
  const int64_t ldy = node.matrix(node.out(0), 2).ld;
  node.need_contiguous(node.out(1));
  return with_type(node.compute(), [&](auto tag) {
    using T = decltype(tag);
    using C = compute_t<T>;
    return make_kernel(
        [=, &pool = device.pool](const Launch& l) {
          pool.each(s.b * s.blocks(), [&](int64_t task, int part) {
            Block<T> at(s, l, 0, task);
            C* state = l.workspace<C>() + part * s.state();
            at.start(s.initial ? l.in<C>(7) : nullptr, state);
            scan(l, at, s.s, state, ldy);
          });
        },
        align_up(static_cast<uint64_t>(s.state() * device.pool.threads()) * sizeof(C)));
  });
}

NEMO_CPU_KERNEL(selective_scan_cached) {
  check_width(node);
  const Shape s(node, 0);
  const int64_t ldy = node.matrix(node.out(0), 2).ld;
  node.need_contiguous(node.out(1));
  node.need_contiguous(node.in(8));
  return with_type(node.compute(), [&](auto tag) {
    using T = decltype(tag);
    using C = compute_t<T>;
    return make_kernel(
        [=, &pool = device.pool](const Launch& l) {
          pool.each(s.b * s.blocks(), [&](int64_t task, int part) {
            Block<T> at(s, l, 0, task);
            C* state = l.workspace<C>() + part * s.state();
            at.start(l.in<int32_t>(7)[at.b] > 0 ? l.out<C>(1) : nullptr, state);
            scan(l, at, std::clamp<int64_t>(l.in<int32_t>(8)[at.b], 0, s.s), state, ldy);
          });
        },
        align_up(static_cast<uint64_t>(s.state() * device.pool.threads()) * sizeof(C)));
  });
}

// bm and c serve all channels: a batch entry's blocks gather into partials of their own thread, which are added in order of threads.
NEMO_CPU_KERNEL(selective_scan_grad) {
  check_width(node);
  const Shape s(node, 1);
  for (const size_t i : {2, 5, 6, 7}) node.need_contiguous(node.out(i));
  node.need_contiguous(node.in(9));
  const int64_t lddb = node.matrix(node.out(3), 2).ld, lddc = node.matrix(node.out(4), 2).ld;
  const nemo_dtype da_type = node.out(2).dtype, dskip_type = node.out(5).dtype, dbias_type = node.out(6).dtype;
  return with_type(node.compute(), [&](auto tag) {
    using T = decltype(tag);
    using C = compute_t<T>;
    const Backward<T> backward{s,
                               node.matrix(node.in(0), 2).ld,
                               node.matrix(node.out(0), 2).ld,
                               node.matrix(node.out(1), 2).ld,
                               node.in(9).present(),
                               node.out(7).present()};
    const int64_t per_block = (s.n + 2) * kLanes, gathered = 2 * s.s * s.n;
    const uint64_t sums_bytes = align_up(static_cast<uint64_t>(s.blocks() * per_block) * sizeof(C));
    const uint64_t gather_bytes = align_up(static_cast<uint64_t>(gathered * device.pool.threads()) * sizeof(C));
    return make_kernel(
        [=, &pool = device.pool](const Launch& l) {
          C *sums = l.workspace<C>(), *gather = l.workspace<C>(sums_bytes), *scratch = l.workspace<C>(sums_bytes + gather_bytes);
          std::fill(sums, sums + s.blocks() * per_block, C(0));
          for (int64_t b = 0; b < s.b; ++b) {
            std::fill(gather, gather + gathered * pool.threads(), C(0));
            pool.each(s.blocks(), [&](int64_t block, int part) {
              C* own = gather + part * gathered;
              backward.block(l, b * s.blocks() + block, scratch + part * backward.scratch(), own, own + s.s * s.n,
                             sums + block * per_block);
            });
            for (int part = 1; part < pool.threads(); ++part)
              for (int64_t i = 0; i < gathered; ++i) gather[i] += gather[part * gathered + i];
            for (int64_t t = 0; t < s.s; ++t) {
              store(gather + t * s.n, s.n, l.out<T>(3) + (b * s.s + t) * lddb, Write::overwrite);
              store(gather + (s.s + t) * s.n, s.n, l.out<T>(4) + (b * s.s + t) * lddc, Write::overwrite);
            }
          }
          C row[256];
          for (int64_t h = 0; h < s.h; ++h) {
            const C* own = sums + h / kLanes * per_block + h % kLanes;
            for (int64_t n = 0; n < s.n; ++n) row[n] = own[n * kLanes];
            store(row, s.n, da_type, l.out(2), h * s.n, l.write());
            if (dskip_type != 0) store(own + s.state(), 1, dskip_type, l.out(5), h, l.write());
            if (dbias_type != 0) store(own + s.state() + kLanes, 1, dbias_type, l.out(6), h, l.write());
          }
        },
        sums_bytes + gather_bytes + align_up(static_cast<uint64_t>(backward.scratch() * device.pool.threads()) * sizeof(C)));
  });
}

}  // namespace nemo::cpu::NEMO_CPU_NS

#include "kernels/arch_end.hpp"
