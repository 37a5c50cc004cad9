// ssd_scan (Mamba-2), its form for generation and its gradient, by the recurrence. A head's state [p n] stays in cache: 4 p n flops per
// token and head forward. The gradient keeps the state at every chunk's begin, computes the states of a chunk again, and walks the chunk
// backwards: exact, with memory sqrt(s).
#include <array>

#include "kernels/arch.hpp"

#include "kernels/block.hpp"
#include "kernels/math.hpp"

namespace nemo::cpu::NEMO_CPU_NS {

namespace {

struct Shape {
  int64_t b, s, h, g, p, n, chunk;
  double dt_min, dt_max;
  bool skip, dt_bias, initial;

  // first: place of x among the inputs.
  Shape(const Node& node, size_t first)
      : b(node.size('b')),
        s(node.size('s')),
        h(node.size('h')),
        g(node.size('g')),
        p(node.size('p')),
        n(node.size('n')),
        chunk(1),
        dt_min(node.number("dt_min")),
        dt_max(node.number("dt_max")),
        skip(node.in(first + 5).present()),
        dt_bias(node.in(first + 6).present()),
        initial(node.in(first + 7).present()) {
    if (g == 0 || h % g != 0) node.refuse("the number of heads must be a multiple of the number of groups");
    for (const size_t i : {2, 5, 6, 7}) node.need_contiguous(node.in(first + i));
    while (chunk * chunk < s) ++chunk;
  }
  int64_t chunks() const { return (s + chunk - 1) / chunk; }
  int64_t state() const { return p * n; }
};

// Element offsets of a [b s h ..] tensor whose dimensions behind h are contiguous.
struct Steps {
  int64_t batch, position, head;
  explicit Steps(const Tensor& t) : batch(t.strides[0]), position(t.strides[1]), head(t.strides[2]) {}
  int64_t at(int64_t b, int64_t s, int64_t h) const { return b * batch + s * position + h * head; }
};

template <class C>
struct Step {
  C dt, slope, decay;  // slope = d dt / d raw dt
};

// What one head reads.
template <class T>
struct Head {
  using C = compute_t<T>;
  const T *x, *dt, *bm, *c;
  int64_t x_step, dt_step, bm_step, c_step;
  C a, skip, dt_bias, dt_min, dt_max;

  Step<C> step(int64_t t) const {
    const C raw = static_cast<C>(widen(dt[t * dt_step])) + dt_bias, soft = softplus_(raw);
    Step<C> r{soft, sigmoid_(raw), 0};
    if (soft < dt_min) r = {dt_min, 0, 0};
    if (dt_max > C(0) && soft > dt_max) r = {dt_max, 0, 0};
    r.decay = exp_(r.dt * a);
    return r;
  }
};

template <class T>
Head<T> head_of(const Launch& l, const Shape& s, const std::vector<Steps>& steps, int first, int64_t b, int64_t h) {
  using C = compute_t<T>;
  const int64_t g = h / (s.h / s.g);
  return {l.in<T>(first) + steps[0].at(b, 0, h),
          l.in<T>(first + 1) + steps[1].at(b, 0, h),
          l.in<T>(first + 3) + steps[2].at(b, 0, g),
          l.in<T>(first + 4) + steps[3].at(b, 0, g),
          steps[0].position,
          steps[1].position,
          steps[2].position,
          steps[3].position,
          -exp_(l.in<C>(first + 2)[h]),
          s.skip ? l.in<C>(first + 5)[h] : C(0),
          s.dt_bias ? l.in<C>(first + 6)[h] : C(0),
          static_cast<C>(s.dt_min),
          static_cast<C>(s.dt_max)};
}

// to = decay from + u bm^T, with u = dt x. to may be from.
template <class T, class C>
void advance(const Shape& s, const Head<T>& head, int64_t t, const Step<C>& step, const C* bm, const C* from, C* to) {
  const T* x = head.x + t * head.x_step;
  for (int64_t p = 0; p < s.p; ++p) {
    const C u = step.dt * widen(x[p]), decay = step.decay;
    const C* f = from + p * s.n;
    C* state = to + p * s.n;
#pragma omp simd
    for (int64_t n = 0; n < s.n; ++n) state[n] = decay * f[n] + u * bm[n];
  }
}

template <class C>
void start_state(const Launch& l, const Shape& s, int input, int64_t b, int64_t h, C* state) {
  if (!s.initial) return std::fill(state, state + s.state(), C(0));
  const C* from = l.in<C>(input) + (b * s.h + h) * s.state();
  std::copy(from, from + s.state(), state);
}

template <class T>
struct Backward {
  using C = compute_t<T>;
  Shape s;
  std::vector<Steps> in, out;  // x dt bm c; dx ddt dbm dc
  bool has_dfinal, has_dinitial;
  Steps dy;

  // A thread's private memory, in elements: states of a chunk (one more than its tokens), states at chunk begins, gradient of the state,
  // dbm and dc of a whole sequence, rows of bm and c.
  int64_t scratch() const { return (s.chunk + 1 + s.chunks() + 1) * s.state() + 2 * s.s * s.n + 2 * s.n; }

  // One head of batch entry b: adds into dbm, dc [s n]; sum[0..3) = da_log, dskip, ddt_bias.
  void head(const Launch& l, int64_t b, int64_t h, C* scratch, C* dbm, C* dc, C* sum) const {
    C *states = scratch, *begins = states + (s.chunk + 1) * s.state(), *g = begins + s.chunks() * s.state(),
      *bm = g + s.state() + 2 * s.s * s.n, *c = bm + s.n;
    const Head<T> at = head_of<T>(l, s, in, 1, b, h);
    start_state(l, s, 8, b, h, begins);
    for (int64_t k = 0; k + 1 < s.chunks(); ++k) {
      C* next = begins + (k + 1) * s.state();
      std::copy(begins + k * s.state(), next, next);
      for (int64_t t = k * s.chunk; t < (k + 1) * s.chunk; ++t) {
        load(at.bm + t * at.bm_step, s.n, bm);
        advance(s, at, t, at.step(t), bm, next, next);
      }
    }
    std::fill(g, g + s.state(), C(0));
    if (has_dfinal) std::copy(l.in<C>(9) + (b * s.h + h) * s.state(), l.in<C>(9) + (b * s.h + h + 1) * s.state(), g);
    for (int64_t k = s.chunks(); k-- > 0;) {
      const int64_t t0 = k * s.chunk, t1 = std::min(s.s, t0 + s.chunk);
      std::copy(begins + k * s.state(), begins + (k + 1) * s.state(), states);
      for (int64_t t = t0; t < t1; ++t) {
        load(at.bm + t * at.bm_step, s.n, bm);
        advance(s, at, t, at.step(t), bm, states + (t - t0) * s.state(), states + (t - t0 + 1) * s.state());
      }
      for (int64_t t = t1; t-- > t0;) {
        load(at.bm + t * at.bm_step, s.n, bm);
        load(at.c + t * at.c_step, s.n, c);
        token(l, at, b, h, t, states + (t - t0) * s.state(), g, bm, c, dbm + t * s.n, dc + t * s.n, sum);
      }
    }
    if (has_dinitial) std::copy(g, g + s.state(), l.out<C>(7) + (b * s.h + h) * s.state());
  }

  // before: state before token t, followed by the state behind it. g: gradient of the state behind token t, turned into that of the one
  // before it.
  void token(const Launch& l, const Head<T>& at, int64_t b, int64_t h, int64_t t, const C* before, C* g, const C* bm, const C* c, C* dbm,
             C* dc, C* sum) const {
    const C* behind = before + s.state();
    const Step<C> step = at.step(t);
    const T *up = l.in<T>(0) + dy.at(b, t, h), *x = at.x + t * at.x_step;
    T* dx = l.out<T>(0) + out[0].at(b, t, h);
    C ddecay = 0, ddt = 0, dskip = 0;
    for (int64_t p = 0; p < s.p; ++p) {
      const C d = widen(up[p]), value = widen(x[p]), u = step.dt * value, decay = step.decay;
      const C *row = before + p * s.n, *now = behind + p * s.n;
      C *gr = g + p * s.n, du = 0, dot = 0;
#pragma omp simd reduction(+ : du, dot)
      for (int64_t n = 0; n < s.n; ++n) {
        const C gn = gr[n] + d * c[n];
        dc[n] += d * now[n];
        dbm[n] += gn * u;
        du += gn * bm[n];
        dot += gn * row[n];
        gr[n] = decay * gn;
      }
      ddecay += dot;
      ddt += du * value;
      dskip += d * value;
      dx[p] = narrow<T>(step.dt * du + at.skip * d);
    }
    const C through = ddecay * step.decay;
    ddt = (ddt + through * at.a) * step.slope;
    l.out<T>(1)[out[1].at(b, t, h)] = narrow<T>(ddt);
    sum[0] += through * step.dt * at.a;
    sum[1] += dskip;
    sum[2] += ddt;
  }
};

std::vector<Steps> steps_of(const Node& node, bool inputs, std::initializer_list<size_t> places) {
  std::vector<Steps> steps;
  for (const size_t i : places) steps.emplace_back(inputs ? node.in(i) : node.out(i));
  return steps;
}

struct Forward {
  Shape s;
  std::vector<Steps> in;  // x dt bm c
  Steps y;

  Forward(const Node& node, Shape shape) : s(shape), in(steps_of(node, true, {0, 1, 3, 4})), y(node.out(0)) {
    node.need_contiguous(node.out(1));
  }
  int64_t scratch() const { return (2 * s.n + 63) / 16 * 16; }

  // One head of batch entry b over its first `count` tokens; y of the others is 0. scratch: rows of bm and c.
  template <class T, class C = compute_t<T>>
  void head(const Launch& l, int64_t b, int64_t h, int64_t count, C* scratch, C* state) const {
    C *bm = scratch, *c = bm + s.n;
    const Head<T> at = head_of<T>(l, s, in, 0, b, h);
    for (int64_t t = 0; t < count; ++t) {
      load(at.bm + t * at.bm_step, s.n, bm);
      load(at.c + t * at.c_step, s.n, c);
      advance(s, at, t, at.step(t), bm, state, state);
      T* to = l.out<T>(0) + y.at(b, t, h);
      for (int64_t p = 0; p < s.p; ++p) {
        const C* row = state + p * s.n;
        C sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t n = 0; n < s.n; ++n) sum += row[n] * c[n];
        to[p] = narrow<T>(sum + at.skip * widen(at.x[t * at.x_step + p]));
      }
    }
    for (int64_t t = count; t < s.s; ++t) std::fill_n(l.out<T>(0) + y.at(b, t, h), s.p, narrow<T>(C(0)));
  }
};

}  // namespace

NEMO_CPU_KERNEL(ssd_scan) {
  const Forward scan(node, Shape(node, 0));
  return with_type(node.compute(), [&](auto tag) {
    using T = decltype(tag);
    using C = compute_t<T>;
    return make_kernel(
        [=, &pool = device.pool](const Launch& l) {
          pool.each(scan.s.b * scan.s.h, [&](int64_t task, int part) {
            const int64_t b = task / scan.s.h, h = task % scan.s.h;
            C* state = l.out<C>(1) + task * scan.s.state();
            start_state(l, scan.s, 7, b, h, state);
            scan.head<T>(l, b, h, scan.s.s, l.workspace<C>() + part * scan.scratch(), state);
          });
        },
        align_up(static_cast<uint64_t>(scan.scratch() * device.pool.threads()) * sizeof(C)));
  });
}

NEMO_CPU_KERNEL(ssd_scan_cached) {
  const Forward scan(node, Shape(node, 0));
  node.need_contiguous(node.in(8));
  return with_type(node.compute(), [&](auto tag) {
    using T = decltype(tag);
    using C = compute_t<T>;
    return make_kernel(
        [=, &pool = device.pool](const Launch& l) {
          pool.each(scan.s.b * scan.s.h, [&](int64_t task, int part) {
            const int64_t b = task / scan.s.h, h = task % scan.s.h, count = std::clamp<int64_t>(l.in<int32_t>(8)[b], 0, scan.s.s);
            C* state = l.out<C>(1) + task * scan.s.state();
            if (l.in<int32_t>(7)[b] <= 0) std::fill(state, state + scan.s.state(), C(0));
            scan.head<T>(l, b, h, count, l.workspace<C>() + part * scan.scratch(), state);
          });
        },
        align_up(static_cast<uint64_t>(scan.scratch() * device.pool.threads()) * sizeof(C)));
  });
}

// A task is one group of one batch entry: the gradients of its bm and c gather over its heads in order.
NEMO_CPU_KERNEL(ssd_scan_grad) {
  const Shape s(node, 1);
  for (const size_t i : {2, 5, 6, 7}) node.need_contiguous(node.out(i));
  node.need_contiguous(node.in(9));
  const std::array<nemo_dtype, 3> types{node.out(2).dtype, node.out(5).dtype, node.out(6).dtype};
  return with_type(node.compute(), [&](auto tag) {
    using T = decltype(tag);
    using C = compute_t<T>;
    const Backward<T> backward{s,
                               steps_of(node, true, {1, 2, 4, 5}),
                               steps_of(node, false, {0, 1, 3, 4}),
                               node.in(9).present(),
                               node.out(7).present(),
                               Steps(node.in(0))};
    const uint64_t per_head = align_up(static_cast<uint64_t>(3 * (s.b + 1) * s.h) * sizeof(C));
    const int64_t scratch = (backward.scratch() + 15) / 16 * 16;
    return make_kernel(
        [=, &pool = device.pool](const Launch& l) {
          C *sums = l.workspace<C>(), *total = sums + 3 * s.b * s.h;
          std::fill(sums, sums + 3 * s.b * s.h, C(0));
          pool.each(s.b * s.g, [&](int64_t task, int part) {
            const int64_t b = task / s.g, g = task % s.g, heads = s.h / s.g;
            C* own = l.workspace<C>(per_head) + part * scratch;
            C *dbm = own + (s.chunk + 1 + s.chunks() + 1) * s.state(), *dc = dbm + s.s * s.n;
            std::fill(dbm, dbm + 2 * s.s * s.n, C(0));
            for (int64_t h = g * heads; h < (g + 1) * heads; ++h) backward.head(l, b, h, own, dbm, dc, sums + 3 * (b * s.h + h));
            for (int64_t t = 0; t < s.s; ++t) {
              store(dbm + t * s.n, s.n, l.out<T>(3) + backward.out[2].at(b, t, g), Write::overwrite);
              store(dc + t * s.n, s.n, l.out<T>(4) + backward.out[3].at(b, t, g), Write::overwrite);
            }
          });
          const int outputs[] = {2, 5, 6};
          for (int i = 0; i < 3; ++i) {
            if (types[i] == 0) continue;
            for (int64_t h = 0; h < s.h; ++h) {
              total[h] = 0;
              for (int64_t b = 0; b < s.b; ++b) total[h] += sums[3 * (b * s.h + h) + i];
            }
            store(total, s.h, types[i], l.out(outputs[i]), 0, l.write());
          }
        },
        per_head + align_up(static_cast<uint64_t>(scratch * device.pool.threads()) * sizeof(C)));
  });
}

}  // namespace nemo::cpu::NEMO_CPU_NS

#include "kernels/arch_end.hpp"
