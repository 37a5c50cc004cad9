#include "attention_packed.hpp"

#include <algorithm>
#include <array>
#include <span>

#include "attention_own.hpp"
#include "attention_pattern.hpp"

namespace nemo::cuda {

namespace {

constexpr int64_t kTokens = 256, kLeast = 8, kLeastTokens = 64, kMostOffset = 0x7fffffff;

// Elements from the first of a tensor to behind its last position.
int64_t extent(const AttentionSpec& p, const Heads& x) { return (p.b - 1) * x.batch + p.s * x.position; }

// A tensor with its heads and their features.
struct Laid {
  Heads x;
  int64_t heads, features;
};

// 16-byte aligned, positions one behind the other with all their heads, offsets within 31 bits.
bool lies_well(const AttentionSpec& p, const Laid& t) {
  const Heads& x = t.x;
  if (x.batch % 8 != 0 || x.position % 8 != 0 || x.head % 8 != 0) return false;
  return x.head >= t.features && x.position >= (t.heads - 1) * x.head + t.features && (p.b == 1 || x.batch >= p.s * x.position) &&
         extent(p, x) <= kMostOffset;
}

bool takes(const AttentionSpec& p, std::initializer_list<Laid> tensors) {
  if (p.dtype != NEMO_DTYPE_BF16 && p.dtype != NEMO_DTYPE_F16) return false;
  if (!p.segments || p.extended() || p.softcap > 0 || p.d % 16 != 0 || p.e % 16 != 0 || p.d > 256 || p.e > 256) return false;
  if (p.b == 0 || p.s < kLeastTokens || p.s != p.t || p.b * p.s * p.h > kMostOffset) return false;
  return std::ranges::all_of(tensors, [&](const Laid& t) { return lies_well(p, t); });
}

// The plan's sequences in place of rows.
AttentionSpec by_sequences(AttentionSpec p) {
  p.b = most_sequences(p);
  return p;
}

int64_t per_kv_head(const AttentionSpec& p) { return p.h / p.g; }

// The lists of find_runs, in the workspace.
struct Lists {
  int64_t most;
  int tensors;
  uint64_t one() const { return align_up(static_cast<uint64_t>(most + 1) * sizeof(int32_t)); }
  uint64_t bytes() const { return static_cast<uint64_t>(tensors + 4) * one(); }
  int32_t* at(char* base, int i) const { return reinterpret_cast<int32_t*>(base + static_cast<uint64_t>(i) * one()); }

  int32_t* lengths(char* base) const { return at(base, 0); }
  int32_t* gate(char* base) const { return at(base, 2); }
  int32_t* row_starts(char* base) const { return at(base, 3); }
  int32_t* starts(char* base, int tensor) const { return at(base, 4 + tensor); }

  void find(const AttentionSpec& p, const int32_t* segments, std::span<const Heads> heads, char* base, cudaStream_t stream) const {
    PackedRuns runs{};
    runs.segments = segments;
    runs.b = static_cast<int32_t>(p.b), runs.s = static_cast<int32_t>(p.s), runs.h = static_cast<int32_t>(p.h);
    runs.most = static_cast<int32_t>(most), runs.tensors = tensors;
    runs.lengths = lengths(base), runs.first = at(base, 1), runs.gate = gate(base), runs.row_starts = row_starts(base);
    for (int t = 0; t < tensors; ++t) runs.heads[t] = heads[static_cast<size_t>(t)], runs.starts[t] = starts(base, t);
    find_runs(runs, stream);
  }
};

uint64_t row_bytes(const AttentionSpec& p) { return align_up(static_cast<uint64_t>(p.b * p.s * p.h) * sizeof(float)); }

// The sequences' lengths and the begins of `n` tensors and of the rows of f32, in the order of the addresses.
struct PackedPattern : Pattern {
  std::array<CudnnGraph::Id, kMostPackedTensors> starts{};
  CudnnGraph::Id row_starts = -1;

  PackedPattern(std::shared_ptr<const Cudnn> cudnn, const AttentionSpec& by_rows, int n)
      : Pattern(std::move(cudnn), by_sequences(by_rows)) {
    const auto queries = list(0), keys = list(0);
    set_lengths(queries, keys);
    row_starts = list(1);
    for (int i = 0; i < n; ++i) starts[static_cast<size_t>(i)] = list(1);
  }
  CudnnGraph::Id rows() {
    const AttentionSpec& p = spec();
    return graph.memory(kF32, sizes.rows, {p.h * p.s, 1, p.h, 1}, row_starts);
  }
};

void* writable(const void* p) { return const_cast<void*>(p); }

bool aligned(std::initializer_list<const void*> pointers) {
  return std::ranges::all_of(pointers, [](const void* p) { return reinterpret_cast<uintptr_t>(p) % 16 == 0; });
}

// The lists' addresses as PackedPattern names them.
void add_lists(std::vector<void*>& to, const Lists& lists, char* base) {
  to.insert(to.end(), {lists.lengths(base), lists.lengths(base), lists.row_starts(base)});
  for (int t = 0; t < lists.tensors; ++t) to.push_back(lists.starts(base, t));
}

class ForwardKernel final : public nemo_kernel {
 public:
  ForwardKernel(const AttentionForward& p, std::shared_ptr<const CudnnPlan> plan) : forward_(p, std::move(plan)) {}
  uint64_t workspace() const { return forward_.workspace(); }
  void run(const Launch& l) const override {
    forward_.run({l.in(0), l.in(1), l.in(2), l.in<int32_t>(3), l.out(0), l.out<float>(1)}, l.stream(), l.workspace<char>());
  }

 private:
  mutable PackedForward forward_;
};

// Offsets in the workspace behind the lists. all_dk, all_dv: as dk and dv with every query head.
struct BackwardLayout {
  uint64_t lse, sums, gathered, all_dk, all_dv, plan, total;
  BackwardLayout(const AttentionBackward& p, const Lists& lists, const CudnnPlan& made) {
    const AttentionSpec& s = p.spec;
    const auto floats = [&](const Heads& x, int64_t times) {
      return align_up(static_cast<uint64_t>(extent(s, x) * times) * sizeof(float));
    };
    const bool grouped = s.h != s.g;
    lse = lists.bytes();
    sums = lse + row_bytes(s);
    gathered = sums + row_bytes(s);
    all_dk = gathered + floats(p.dq, 1);
    all_dv = all_dk + (grouped ? floats(p.dk, per_kv_head(s)) : 0);
    plan = all_dv + (grouped ? floats(p.dv, per_kv_head(s)) : 0);
    total = std::max(plan + made.workspace(), sums + own_backward_workspace(p));
  }
};

class BackwardKernel final : public nemo_kernel {
 public:
  BackwardKernel(const AttentionBackward& p, std::shared_ptr<const CudnnPlan> plan) : backward_(p, std::move(plan)) {}
  uint64_t workspace() const { return backward_.workspace(); }
  void run(const Launch& l) const override {
    backward_.run({l.in(0), l.in(1), l.in(2), l.in(3), l.in(4), l.in<float>(5), l.in<int32_t>(6), l.out(0), l.out(1), l.out(2)}, l.stream(),
                  l.workspace<char>());
  }

 private:
  mutable PackedBackward backward_;
};

template <class Kernel>
Prepared prepared(std::unique_ptr<Kernel> kernel) {
  const uint64_t workspace = kernel->workspace();
  return {std::move(kernel), workspace};
}

}  // namespace

struct PackedForward::Parts {
  AttentionForward problem;
  Lists lists;
  CudnnBinding binding;
};

PackedForward::PackedForward(const AttentionForward& p, std::shared_ptr<const CudnnPlan> plan)
    : parts_(std::make_unique<Parts>(Parts{p, {most_sequences(p.spec), 4}, CudnnBinding(std::move(plan))})) {}

PackedForward::~PackedForward() = default;

uint64_t PackedForward::workspace() const {
  return parts_->lists.bytes() + row_bytes(parts_->problem.spec) + parts_->binding.plan().workspace();
}

void PackedForward::run(ForwardPointers x, cudaStream_t stream, void* workspace) {
  const AttentionForward& p = parts_->problem;
  const AttentionSpec& s = p.spec;
  const Lists& lists = parts_->lists;
  if (!aligned({x.q, x.k, x.v, x.o})) return own_forward(p, x, stream);
  char* const base = static_cast<char*>(workspace);
  auto* rows = reinterpret_cast<float*>(base + lists.bytes());
  const Heads heads[] = {p.q, p.k, p.v, p.o};
  lists.find(s, x.segments, heads, base, stream);
  std::vector<void*> addresses;
  add_lists(addresses, lists, base);
  addresses.insert(addresses.end(), {writable(x.q), writable(x.k), writable(x.v), x.o, rows});
  parts_->binding.execute(stream, addresses, base + lists.bytes() + row_bytes(s));
  rows_to_heads(rows, x.lse, s.b, s.s, s.h, stream);
  x.gate = lists.gate(base);
  own_forward(p, x, stream);
}

struct PackedBackward::Parts {
  AttentionBackward problem;
  Lists lists;
  BackwardLayout layout;
  CudnnBinding binding;

  std::vector<void*> addresses(const BackwardPointers& x, char* base) const {
    std::vector<void*> all;
    add_lists(all, lists, base);
    all.insert(all.end(), {writable(x.dout), writable(x.q), writable(x.k), writable(x.v), writable(x.o), base + layout.lse, x.dq, x.dk,
                           x.dv, base + layout.sums, base + layout.gathered});
    if (problem.spec.h != problem.spec.g) all.insert(all.end(), {base + layout.all_dk, base + layout.all_dv});
    return all;
  }
};

PackedBackward::PackedBackward(const AttentionBackward& p, std::shared_ptr<const CudnnPlan> plan) {
  const Lists lists{most_sequences(p.spec), 8};
  const BackwardLayout layout(p, lists, *plan);
  parts_ = std::make_unique<Parts>(Parts{p, lists, layout, CudnnBinding(std::move(plan))});
}

PackedBackward::~PackedBackward() = default;

uint64_t PackedBackward::workspace() const { return parts_->layout.total; }

void PackedBackward::run(BackwardPointers x, cudaStream_t stream, void* workspace) {
  const AttentionBackward& p = parts_->problem;
  const AttentionSpec& s = p.spec;
  const BackwardLayout& layout = parts_->layout;
  char* const base = static_cast<char*>(workspace);
  if (!aligned({x.dout, x.q, x.k, x.v, x.o, x.dq, x.dk, x.dv})) return own_backward(p, x, stream, base);
  const Heads heads[] = {p.dout, p.q, p.k, p.v, p.o, p.dq, p.dk, p.dv};
  parts_->lists.find(s, x.segments, heads, base, stream);
  heads_to_rows(x.lse, reinterpret_cast<float*>(base + layout.lse), s.b, s.s, s.h, stream);
  parts_->binding.execute(stream, parts_->addresses(x, base), base + layout.plan);
  x.gate = parts_->lists.gate(base);
  own_backward(p, x, stream, base + layout.sums);
}

bool packed_takes(const AttentionForward& p) {
  const AttentionSpec& s = p.spec;
  return takes(s, {{p.q, s.h, s.d}, {p.k, s.g, s.d}, {p.v, s.g, s.e}, {p.o, s.h, s.e}});
}
bool packed_takes(const AttentionBackward& p) {
  const AttentionSpec& s = p.spec;
  return takes(s, {{p.dout, s.h, s.e},
                   {p.q, s.h, s.d},
                   {p.k, s.g, s.d},
                   {p.v, s.g, s.e},
                   {p.o, s.h, s.e},
                   {p.dq, s.h, s.d},
                   {p.dk, s.g, s.d},
                   {p.dv, s.g, s.e}});
}

int64_t most_sequences(const AttentionSpec& s) { return s.b * std::max(kLeast, s.s / kTokens); }

std::shared_ptr<const CudnnPlan> build_packed_forward(std::shared_ptr<const Cudnn> cudnn, const AttentionForward& f) {
  const AttentionSpec& p = f.spec;
  PackedPattern a(std::move(cudnn), p, 4);
  const auto q = a.tensor(p.h, p.s, p.d, f.q, a.starts[0]), kt = a.transposed(p.g, p.t, p.d, f.k, a.starts[1]);
  const auto v = a.tensor(p.g, p.t, p.e, f.v, a.starts[2]), o = a.tensor(p.h, p.s, p.e, f.o, a.starts[3]), lse = a.rows();
  add_forward(a, {q, kt, v, o, lse});
  return a.graph.build();
}

std::shared_ptr<const CudnnPlan> build_packed_backward(std::shared_ptr<const Cudnn> cudnn, const AttentionBackward& f) {
  const AttentionSpec& p = f.spec;
  PackedPattern a(std::move(cudnn), p, 8);
  BackwardTensors x;
  x.dout = a.tensor(p.h, p.s, p.e, f.dout, a.starts[0]), x.q = a.tensor(p.h, p.s, p.d, f.q, a.starts[1]);
  x.kt = a.transposed(p.g, p.t, p.d, f.k, a.starts[2]), x.vt = a.transposed(p.g, p.t, p.e, f.v, a.starts[3]);
  x.o = a.tensor(p.h, p.s, p.e, f.o, a.starts[4]), x.lse = a.rows(), x.dq = a.tensor(p.h, p.s, p.d, f.dq, a.starts[5]);
  x.dk = a.tensor(p.g, p.t, p.d, f.dk, a.starts[6]), x.dv = a.tensor(p.g, p.t, p.e, f.dv, a.starts[7]), x.sums = a.rows();
  x.k = f.k, x.k_starts = a.starts[2];
  const int64_t n = a.spec().b, wide = per_kv_head(p);
  x.gathered = a.graph.memory(kF32, {n, p.h, p.s, p.d}, {f.dq.batch, f.dq.head, f.dq.position, 1}, a.starts[5]);
  if (wide > 1) {
    x.all_dk = a.graph.memory(a.type, {n, p.h, p.t, p.d}, {f.dk.batch * wide, f.dk.head, f.dk.position * wide, 1}, a.starts[6]);
    x.all_dv = a.graph.memory(a.type, {n, p.h, p.t, p.e}, {f.dv.batch * wide, f.dv.head, f.dv.position * wide, 1}, a.starts[7]);
  }
  add_backward(a, x);
  return a.graph.build();
}

Prepared packed_forward(const AttentionForward& p, std::shared_ptr<const CudnnPlan> plan) {
  return prepared(std::make_unique<ForwardKernel>(p, std::move(plan)));
}

Prepared packed_backward(const AttentionBackward& p, std::shared_ptr<const CudnnPlan> plan) {
  return prepared(std::make_unique<BackwardKernel>(p, std::move(plan)));
}

}  // namespace nemo::cuda
