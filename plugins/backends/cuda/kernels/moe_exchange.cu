// Packing and unpacking of the rows that travel between ranks of experts, and the exchange between the two (exchange.hpp).
#include "../exchange.hpp"
#include "../mixture_fault.hpp"
#include "kernels/device.cuh"

namespace nemo::cuda {

namespace {

constexpr int kMostRanks = 1024;

// Rows of `units` units; `cap` rows of each rank in the buffers.
struct Rows {
  int64_t cap, units;
  int ranks;
};

// Rows before those of rank p.
__device__ __forceinline__ int64_t in_front(const int32_t* counts, int p) {
  int64_t sum = 0;
  for (int i = 0; i < p; ++i) sum += counts[i];
  return sum;
}

// packed[p][j] = rows[in_front(p) + j] for j < counts[p].
template <class U>
__global__ void pack_kernel(const Rows r, const U* rows, const int32_t* counts, U* packed) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= r.cap * r.units) return;
  const int p = static_cast<int>(blockIdx.y);
  const int64_t j = i / r.units;
  if (j < counts[p]) packed[p * r.cap * r.units + i] = rows[in_front(counts, p) * r.units + i];
}

// The other way; rows behind those that have come become `behind`.
template <class U>
__global__ void unpack_kernel(const Rows r, const U* packed, const int32_t* counts, int64_t room, U behind, U* rows) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= room * r.units) return;
  int64_t j = i / r.units;
  const int64_t unit = i - j * r.units;
  for (int p = 0; p < r.ranks; ++p) {
    if (j < counts[p]) {
      rows[i] = j < r.cap ? packed[(p * r.cap + j) * r.units + unit] : behind;
      return;
    }
    j -= counts[p];
  }
  rows[i] = behind;
}

// sent[p] = rows whose expert lies on rank p; ids ascend. One block.
__global__ void count_kernel(const int32_t* ids, int64_t rows, int64_t experts, int ranks, int32_t* sent, int* fault) {
  const auto below = [&](int64_t id) {  // rows with a smaller id
    int64_t low = 0, high = rows;
    while (low < high) {
      const int64_t middle = (low + high) / 2;
      ids[middle] < id ? low = middle + 1 : high = middle;
    }
    return low;
  };
  for (int p = static_cast<int>(threadIdx.x); p < ranks; p += static_cast<int>(blockDim.x))
    sent[p] = static_cast<int32_t>(below((p + 1) * experts) - below(p * experts));
  if (threadIdx.x == 0 && rows > 0 && (ids[0] < 0 || ids[rows - 1] >= ranks * experts)) *fault = static_cast<int>(kExchangeFault);
}

__global__ void room_kernel(const int32_t* received, int ranks, int64_t room, int* fault) {
  if (in_front(received, ranks) > room) *fault = static_cast<int>(kExchangeFault);
}

struct Exchange {
  const Group& group;
  Rows rows;
  int64_t bytes;  // of a row

  uint64_t half() const { return align_up(static_cast<uint64_t>(rows.cap * bytes * rows.ranks)); }
  uint64_t workspace() const { return 2 * half(); }

  // Units of U of which rows consist and at whose multiples they begin.
  template <class U>
  void run(const void* from, const int32_t* out, void* to, const int32_t* in, int64_t room, U behind, char* workspace,
           cudaStream_t stream) const {
    Rows r = rows;
    r.units = bytes / static_cast<int64_t>(sizeof(U));
    char *sent = workspace, *received = workspace + half();
    const dim3 grid(grid_of(r.cap * r.units, 256), static_cast<unsigned>(r.ranks));
    if (r.cap * r.units > 0) pack_kernel<U><<<grid, 256, 0, stream>>>(r, static_cast<const U*>(from), out, reinterpret_cast<U*>(sent));
    swap(sent, received, static_cast<size_t>(r.cap * bytes), stream);
    if (room * r.units > 0)
      unpack_kernel<U><<<grid_of(room * r.units, 256), 256, 0, stream>>>(r, reinterpret_cast<const U*>(received), in, room, behind,
                                                                         static_cast<U*>(to));
  }
  // `part` bytes to and from every rank.
  void swap(const char* sent, char* received, size_t part, cudaStream_t stream) const {
    const Nccl& nccl = group.nccl;
    nccl.check(nccl.group_start(), "exchange of rows");
    for (int p = 0; p < rows.ranks; ++p) {
      nccl.check(nccl.send(sent + static_cast<size_t>(p) * part, part, Nccl::kUint8, p, group.comm, stream), "exchange of rows");
      nccl.check(nccl.receive(received + static_cast<size_t>(p) * part, part, Nccl::kUint8, p, group.comm, stream), "exchange of rows");
    }
    nccl.check(nccl.group_end(), "exchange of rows over '" + group.name + "'");
  }
  void run_rows(const void* from, const int32_t* out, void* to, const int32_t* in, int64_t room, char* workspace,
                cudaStream_t stream) const {
    if (bytes % 16 == 0 && aligned16(from) && aligned16(to)) return run<uint4>(from, out, to, in, room, uint4{}, workspace, stream);
    run<uint16_t>(from, out, to, in, room, uint16_t{}, workspace, stream);
  }
};

// Rows dealt and room for those that come; as many rows as one rank can send another, the same on every rank.
Exchange exchange_of(const Node& node, const Group& g, int64_t dealt, int64_t room, int64_t bytes) {
  if (g.size > kMostRanks) node.refuse("more than " + std::to_string(kMostRanks) + " ranks of experts");
  return {g, {std::min(dealt, room), 0, g.size}, bytes};
}

class PlanKernel final : public nemo_kernel {
 public:
  PlanKernel(const Node& node, const Group& g)
      : rows_(node.in(0).size()),
        room_(node.out(0).size()),
        experts_(node.integer("experts")),
        exchange_(exchange_of(node, g, rows_, room_, sizeof(int32_t))) {
    if (node.integer("n") != g.size) node.refuse("n is not the number of ranks of '" + g.name + "'");
    node.need_contiguous(node.out(1));
  }
  uint64_t workspace() const { return exchange_.workspace(); }
  void run(const Launch& l) const override {
    const int ranks = exchange_.rows.ranks;
    auto* sent = l.out<int32_t>(1);
    int32_t* received = sent + ranks;
    count_kernel<<<1, 256, 0, l.stream()>>>(l.in<int32_t>(0), rows_, experts_, ranks, sent, device->fault);
    exchange_.swap(reinterpret_cast<const char*>(sent), reinterpret_cast<char*>(received), sizeof(int32_t), l.stream());
    room_kernel<<<1, 1, 0, l.stream()>>>(received, ranks, room_, device->fault);
    exchange_.run<int32_t>(l.in(0), sent, l.out(0), received, room_, -1, l.workspace<char>(), l.stream());
  }

 private:
  int64_t rows_, room_, experts_;
  Exchange exchange_;
};

int64_t row_bytes(const Node& node) { return node.size('d') * size_of(node.in(0).dtype); }

}  // namespace

Prepared moe_exchange_plan(const Node& node, const Group& group) {
  auto kernel = std::make_unique<PlanKernel>(node, group);
  const uint64_t workspace = kernel->workspace();
  return {std::move(kernel), workspace};
}

Prepared moe_exchange(const Node& node, const Group& group) {
  const int64_t room = node.out(0).shape[0];
  const Exchange e = exchange_of(node, group, node.in(2).size(), room, row_bytes(node));
  return make_kernel(
      [=](const Launch& l) {
        const auto* counts = l.in<int32_t>(1);
        e.run_rows(l.in(0), counts, l.out(0), counts + e.rows.ranks, room, l.workspace<char>(), l.stream());
      },
      e.workspace());
}

Prepared moe_exchange_back(const Node& node, const Group& group) {
  const int64_t dealt = node.in(2).size();
  const Exchange e = exchange_of(node, group, dealt, node.in(0).shape[0], row_bytes(node));
  return make_kernel(
      [=](const Launch& l) {
        const auto* counts = l.in<int32_t>(1);
        e.run_rows(l.in(0), counts + e.rows.ranks, l.out(0), counts, dealt, l.workspace<char>(), l.stream());
      },
      e.workspace());
}

}  // namespace nemo::cuda
