// The product of one tile by Hopper's warpgroup products: C[128 x 256] = A B over a reduction of any length, in steps of 64, with four
// buffers in shared memory filled two steps ahead by cp.async. Two warpgroups of 64 x 256. An operand lies in shared memory as it lies in
// global memory, in rows of 128 bytes whose 16-byte pieces are exchanged by the row's number modulo 8: `along`, rows of C by reduction;
// `across`, blocks of 64 columns of C, each reduction by columns. All loads are of 16 bytes: the caller sees to the alignment.
#pragma once

#include "kernels/grouped_tile.cuh"

namespace nemo::cuda::grouped::wide {

constexpr int kRows = 128, kCols = 256, kDepth = 64, kStages = 4, kThreads = 256;
constexpr int kLine = 128, kBlock = 64 * kLine;                     // bytes of a row, of 64 rows
constexpr int kBytesA = 2 * kBlock, kStage = kBytesA + 4 * kBlock;  // of A, of A and B
constexpr int kSharedBytes = kStages * kStage + 1024;               // buffers begin at a multiple of 1024
constexpr int kAhead = 2;

__device__ __forceinline__ uint32_t shared_base(const void* memory) {
  return (static_cast<uint32_t>(__cvta_generic_to_shared(memory)) + 1023u) & ~1023u;
}
// bytes: 16, or 0 where nothing is read and zeros are written.
__device__ __forceinline__ void fetch(uint32_t to, const void* from, int bytes) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(bytes));
}

// kLines rows of C by 64 of the reduction. A thread loads piece threadIdx.x % 8 of rows threadIdx.x / 8 + 32 j, from step to step 64
// elements on. Addresses are what a step costs most beside the products: they only ever advance.
template <class H, int kLines>
struct Along {
  static constexpr int kCount = kLines / 32;
  const H* next[kCount];  // of the step that is loaded next
  int bytes[kCount];      // 0: there is no such row
  int64_t left;           // of the reduction, from the thread's piece of that step on

  static __device__ int line(int j) { return static_cast<int>(threadIdx.x) / 8 + 32 * j; }
  // row(line): its begin, nullptr where there is none; safe: any address.
  template <class Row>
  __device__ Along(const Row& row, const H* safe, int64_t reduced) {
    const int piece = static_cast<int>(threadIdx.x) % 8;
    left = reduced - piece * 8;
#pragma unroll
    for (int j = 0; j < kCount; ++j) {
      const H* begin = row(line(j));
      next[j] = begin != nullptr ? begin + piece * 8 : safe, bytes[j] = begin != nullptr ? 16 : 0;
    }
  }
  __device__ void load(uint32_t tile, int) {
    const uint32_t to = tile + line(0) * kLine + (static_cast<int>(threadIdx.x) % 8 ^ line(0) % 8) * 16;
#pragma unroll
    for (int j = 0; j < kCount; ++j) {
      fetch(to + j * 32 * kLine, next[j], left > 0 ? bytes[j] : 0);
      next[j] += kDepth;
    }
    left -= kDepth;
  }
};

// 64 of the reduction by kColumns columns of C. A thread loads 8 columns from threadIdx.x % (kColumns / 8) * 8 on, of every kStep-th row.
template <class H, int kColumns>
struct Across {
  static constexpr int kPieces = kColumns / 8, kStep = kThreads / kPieces, kCount = kDepth / kStep;
  static_assert(kStep % 8 == 0);
  const H* next;   // the thread's columns of its next row
  int64_t stride;  // from there to the one after
  int left;        // rows of the reduction from that one on
  int bytes;       // 0: the columns lie outside

  static __device__ int piece() { return static_cast<int>(threadIdx.x) % kPieces; }
  static __device__ int first() { return static_cast<int>(threadIdx.x) / kPieces; }
  static __device__ uint32_t place(uint32_t tile) {
    return tile + piece() / 8 * kBlock + first() * kLine + (piece() % 8 ^ first() % 8) * 16;
  }
  // inside: columns that exist from `base` on.
  __device__ Across(const H* base, int64_t ld, int64_t reduced, int64_t inside)
      : next(base + first() * ld + piece() * 8),
        stride(kStep * ld),
        left(static_cast<int>(reduced) - first()),
        bytes(inside > piece() * 8 ? 16 : 0) {}
  __device__ void load(uint32_t tile, int) {
    const uint32_t to = place(tile);
#pragma unroll
    for (int j = 0; j < kCount; ++j) {
      fetch(to + j * kStep * kLine, next, left > j * kStep ? bytes : 0);
      next += stride;
    }
    left -= kDepth;
  }
};

// The same with rows looked up in `order`, a step ahead.
template <class H, int kColumns>
struct Ordered {
  using Plain = Across<H, kColumns>;
  static constexpr int kStep = Plain::kStep, kCount = Plain::kCount;
  const H* base;
  const int32_t* order;  // of the thread's next row
  int ld, left, bytes;
  int32_t rows[kCount];  // numbers of those of the step that is loaded next

  __device__ Ordered(const H* from, int64_t pitch, const int32_t* list, int32_t reduced, int64_t inside)
      : base(from + Plain::piece() * 8),
        order(list + Plain::first()),
        ld(static_cast<int>(pitch)),
        left(reduced - Plain::first()),
        bytes(inside > Plain::piece() * 8 ? 16 : 0) {
    look_up(left);
  }
  __device__ void load(uint32_t tile, int) {
    if (left + Plain::first() >= 2 * kDepth)  // this step and the next are whole
      step<true>(tile);
    else
      step<false>(tile);
  }

 private:
  // there: rows from the first one that is looked up on.
  __device__ void look_up(int there) {
#pragma unroll
    for (int j = 0; j < kCount; ++j) rows[j] = there > j * kStep ? order[j * kStep] : 0;
    order += kDepth;
  }
  template <bool whole>
  __device__ __forceinline__ void step(uint32_t tile) {
    const uint32_t to = Plain::place(tile);
#pragma unroll
    for (int j = 0; j < kCount; ++j)
      fetch(to + j * kStep * kLine, base + static_cast<int64_t>(rows[j]) * ld, whole || left > j * kStep ? bytes : 0);
    left -= kDepth;
    look_up(whole ? kDepth : left);
  }
};

// Where a warpgroup's operand of one product lies: 128-byte exchange, 1024 bytes between groups of 8 rows, kBlock between blocks of
// columns.
__device__ __forceinline__ uint64_t describe(uint32_t at) {
  return static_cast<uint64_t>((at & 0x3ffffu) >> 4) | static_cast<uint64_t>(kBlock >> 4) << 16 | static_cast<uint64_t>(1024 >> 4) << 32 |
         uint64_t{1} << 62;
}
// Bytes from one 16 of the reduction to the next.
template <Lay lay>
constexpr int kAdvance = lay == Lay::along ? 32 : 16 * kLine;

// c[4 n + 2 half + i]: row 16 (warp of the group) + lane / 4 + 8 half, column 8 n + 2 (lane % 4) + i.
using Sums = float[128];

template <class H, int kTurnA, int kTurnB>
__device__ __forceinline__ void multiply(Sums& c, uint64_t a, uint64_t b) {
  if constexpr (std::is_same_v<H, __half>) {
    asm volatile(
        "{\n.reg .pred p;\nsetp.ne.b32 p, %132, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n256k16.f32.f16.f16 {"
        "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
        "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
        "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
        "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, "
        "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, "
        "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, "
        "%96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, "
        "%112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127"
        "}, %128, %129, p, 1, 1, %130, %131;\n}"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]), "+f"(c[4]), "+f"(c[5]), "+f"(c[6]), "+f"(c[7]), "+f"(c[8]), "+f"(c[9]),
          "+f"(c[10]), "+f"(c[11]), "+f"(c[12]), "+f"(c[13]), "+f"(c[14]), "+f"(c[15]), "+f"(c[16]), "+f"(c[17]), "+f"(c[18]), "+f"(c[19]),
          "+f"(c[20]), "+f"(c[21]), "+f"(c[22]), "+f"(c[23]), "+f"(c[24]), "+f"(c[25]), "+f"(c[26]), "+f"(c[27]), "+f"(c[28]), "+f"(c[29]),
          "+f"(c[30]), "+f"(c[31]), "+f"(c[32]), "+f"(c[33]), "+f"(c[34]), "+f"(c[35]), "+f"(c[36]), "+f"(c[37]), "+f"(c[38]), "+f"(c[39]),
          "+f"(c[40]), "+f"(c[41]), "+f"(c[42]), "+f"(c[43]), "+f"(c[44]), "+f"(c[45]), "+f"(c[46]), "+f"(c[47]), "+f"(c[48]), "+f"(c[49]),
          "+f"(c[50]), "+f"(c[51]), "+f"(c[52]), "+f"(c[53]), "+f"(c[54]), "+f"(c[55]), "+f"(c[56]), "+f"(c[57]), "+f"(c[58]), "+f"(c[59]),
          "+f"(c[60]), "+f"(c[61]), "+f"(c[62]), "+f"(c[63]), "+f"(c[64]), "+f"(c[65]), "+f"(c[66]), "+f"(c[67]), "+f"(c[68]), "+f"(c[69]),
          "+f"(c[70]), "+f"(c[71]), "+f"(c[72]), "+f"(c[73]), "+f"(c[74]), "+f"(c[75]), "+f"(c[76]), "+f"(c[77]), "+f"(c[78]), "+f"(c[79]),
          "+f"(c[80]), "+f"(c[81]), "+f"(c[82]), "+f"(c[83]), "+f"(c[84]), "+f"(c[85]), "+f"(c[86]), "+f"(c[87]), "+f"(c[88]), "+f"(c[89]),
          "+f"(c[90]), "+f"(c[91]), "+f"(c[92]), "+f"(c[93]), "+f"(c[94]), "+f"(c[95]), "+f"(c[96]), "+f"(c[97]), "+f"(c[98]), "+f"(c[99]),
          "+f"(c[100]), "+f"(c[101]), "+f"(c[102]), "+f"(c[103]), "+f"(c[104]), "+f"(c[105]), "+f"(c[106]), "+f"(c[107]), "+f"(c[108]),
          "+f"(c[109]), "+f"(c[110]), "+f"(c[111]), "+f"(c[112]), "+f"(c[113]), "+f"(c[114]), "+f"(c[115]), "+f"(c[116]), "+f"(c[117]),
          "+f"(c[118]), "+f"(c[119]), "+f"(c[120]), "+f"(c[121]), "+f"(c[122]), "+f"(c[123]), "+f"(c[124]), "+f"(c[125]), "+f"(c[126]),
          "+f"(c[127])
        : "l"(a), "l"(b), "n"(kTurnA), "n"(kTurnB), "r"(1));
  } else {
    asm volatile(
        "{\n.reg .pred p;\nsetp.ne.b32 p, %132, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n256k16.f32.bf16.bf16 {"
        "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
        "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
        "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
        "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, "
        "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, "
        "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, "
        "%96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, "
        "%112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127"
        "}, %128, %129, p, 1, 1, %130, %131;\n}"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]), "+f"(c[4]), "+f"(c[5]), "+f"(c[6]), "+f"(c[7]), "+f"(c[8]), "+f"(c[9]),
          "+f"(c[10]), "+f"(c[11]), "+f"(c[12]), "+f"(c[13]), "+f"(c[14]), "+f"(c[15]), "+f"(c[16]), "+f"(c[17]), "+f"(c[18]), "+f"(c[19]),
          "+f"(c[20]), "+f"(c[21]), "+f"(c[22]), "+f"(c[23]), "+f"(c[24]), "+f"(c[25]), "+f"(c[26]), "+f"(c[27]), "+f"(c[28]), "+f"(c[29]),
          "+f"(c[30]), "+f"(c[31]), "+f"(c[32]), "+f"(c[33]), "+f"(c[34]), "+f"(c[35]), "+f"(c[36]), "+f"(c[37]), "+f"(c[38]), "+f"(c[39]),
          "+f"(c[40]), "+f"(c[41]), "+f"(c[42]), "+f"(c[43]), "+f"(c[44]), "+f"(c[45]), "+f"(c[46]), "+f"(c[47]), "+f"(c[48]), "+f"(c[49]),
          "+f"(c[50]), "+f"(c[51]), "+f"(c[52]), "+f"(c[53]), "+f"(c[54]), "+f"(c[55]), "+f"(c[56]), "+f"(c[57]), "+f"(c[58]), "+f"(c[59]),
          "+f"(c[60]), "+f"(c[61]), "+f"(c[62]), "+f"(c[63]), "+f"(c[64]), "+f"(c[65]), "+f"(c[66]), "+f"(c[67]), "+f"(c[68]), "+f"(c[69]),
          "+f"(c[70]), "+f"(c[71]), "+f"(c[72]), "+f"(c[73]), "+f"(c[74]), "+f"(c[75]), "+f"(c[76]), "+f"(c[77]), "+f"(c[78]), "+f"(c[79]),
          "+f"(c[80]), "+f"(c[81]), "+f"(c[82]), "+f"(c[83]), "+f"(c[84]), "+f"(c[85]), "+f"(c[86]), "+f"(c[87]), "+f"(c[88]), "+f"(c[89]),
          "+f"(c[90]), "+f"(c[91]), "+f"(c[92]), "+f"(c[93]), "+f"(c[94]), "+f"(c[95]), "+f"(c[96]), "+f"(c[97]), "+f"(c[98]), "+f"(c[99]),
          "+f"(c[100]), "+f"(c[101]), "+f"(c[102]), "+f"(c[103]), "+f"(c[104]), "+f"(c[105]), "+f"(c[106]), "+f"(c[107]), "+f"(c[108]),
          "+f"(c[109]), "+f"(c[110]), "+f"(c[111]), "+f"(c[112]), "+f"(c[113]), "+f"(c[114]), "+f"(c[115]), "+f"(c[116]), "+f"(c[117]),
          "+f"(c[118]), "+f"(c[119]), "+f"(c[120]), "+f"(c[121]), "+f"(c[122]), "+f"(c[123]), "+f"(c[124]), "+f"(c[125]), "+f"(c[126]),
          "+f"(c[127])
        : "l"(a), "l"(b), "n"(kTurnA), "n"(kTurnB), "r"(1));
  }
}

// Ends with a barrier: shared memory is free.
template <Lay lay_a, Lay lay_b, class H, class A, class B>
__device__ __forceinline__ void multiply_tile(Sums& c, uint32_t shared, A& a, B& b, int steps) {
  const uint32_t group = threadIdx.x / 128;
  const auto load = [&](int step) {
    if (step < steps) {
      const uint32_t at = shared + step % kStages * kStage;
      a.load(at, step);
      b.load(at + kBytesA, step);
    }
    commit_loads();
  };
  for (int step = 0; step < kAhead; ++step) load(step);
  for (int step = 0; step < steps; ++step) {
    wait_for_loads<kAhead - 1>();
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
    __syncthreads();  // the step has come, and all products up to step - 2 are done: every group has waited for them
    const uint32_t at = shared + step % kStages * kStage;
    const uint32_t at_a = at + group * kBlock, at_b = at + kBytesA;
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
#pragma unroll
    for (int k = 0; k < kDepth / 16; ++k)
      multiply<H, lay_a == Lay::across, lay_b == Lay::across>(c, describe(at_a + k * kAdvance<lay_a>),
                                                              describe(at_b + k * kAdvance<lay_b>));
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
    load(step + kAhead);
    asm volatile("wgmma.wait_group.sync.aligned 1;" ::: "memory");
  }
  asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory");
  wait_for_loads<0>();
  __syncthreads();
}

// f(row, column, value, value of the next column) for all of this thread's pairs.
template <class F>
__device__ __forceinline__ void each_pair(const Sums& c, const F& f) {
  const int lane = static_cast<int>(threadIdx.x) % 32, row = static_cast<int>(threadIdx.x) / 32 * 16 + lane / 4;
#pragma unroll
  for (int n = 0; n < 32; ++n)
#pragma unroll
    for (int half = 0; half < 2; ++half) f(row + 8 * half, 8 * n + lane % 4 * 2, c[4 * n + 2 * half], c[4 * n + 2 * half + 1]);
}

}  // namespace nemo::cuda::grouped::wide
