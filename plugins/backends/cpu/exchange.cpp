// Rows of a mixture on their way to the ranks of their experts and back: exchanges whose sizes are data.
#include <algorithm>
#include <cstring>
#include <numeric>

#include "collectives.hpp"

namespace nemo::cpu {
namespace {

// Rows [0 n] sent to and [1 n] received from every rank.
struct Counts {
  const int32_t *sent, *received;
  Counts(const int32_t* counts, int ranks) : sent(counts), received(counts + ranks) {}
};

int64_t in_front_of(const int32_t* counts, int rank) { return std::accumulate(counts, counts + rank, int64_t{0}); }

// Rows of `bytes` that lie by rank, as `out` says, become the rows from every rank, as `in` says. Round i meets the ranks i in front and
// behind, so that no rank waits for one that is busy with a third.
void exchange_rows(Group& group, const char* sent, const int32_t* out, char* received, const int32_t* in, uint64_t bytes) {
  const int n = group.size, me = group.rank;
  if (out[me] > 0)
    std::memcpy(received + static_cast<uint64_t>(in_front_of(in, me)) * bytes, sent + static_cast<uint64_t>(in_front_of(out, me)) * bytes,
                static_cast<uint64_t>(out[me]) * bytes);
  for (int i = 1; i < n; ++i) {
    const int to = (me + i) % n, from = (me + n - i) % n;
    require(group.communicator->exchange(
                to, sent + static_cast<uint64_t>(in_front_of(out, to)) * bytes, static_cast<uint64_t>(out[to]) * bytes, from,
                received + static_cast<uint64_t>(in_front_of(in, from)) * bytes, static_cast<uint64_t>(in[from]) * bytes),
            group);
  }
}

uint64_t row_bytes(const Node& node) { return static_cast<uint64_t>(node.size('d')) * static_cast<uint64_t>(size_of(node.in(0).dtype)); }

}  // namespace

Prepared moe_exchange_plan(const Node& node, Group& group) {
  const int64_t rows = node.in(0).size(), room = node.out(0).size(), experts = node.integer("experts");
  if (node.integer("n") != group.size) node.refuse("n is not the number of ranks of '" + group.name + "'");
  node.need_contiguous(node.out(1));
  return make_kernel([=, &group](const Launch& l) {
    const int32_t* ids = l.in<int32_t>(0);
    int32_t *sent = l.out<int32_t>(1), *received = sent + group.size, *to = l.out<int32_t>(0);
    std::fill(sent, sent + group.size, 0);
    for (int64_t i = 0; i < rows; ++i) {
      const int64_t rank = ids[i] / experts;
      if (ids[i] < 0 || rank >= group.size)
        throw sdk::Error(NEMO_CODE_INVALID_ARGUMENT, "cpu backend: moe_exchange_plan: expert " + std::to_string(ids[i]) + " is on no rank");
      ++sent[rank];
    }
    require(group.communicator->all_to_all(sent, received, sizeof(int32_t)), group);
    const int64_t come = in_front_of(received, group.size);
    if (come > room)
      throw sdk::Error(NEMO_CODE_INVALID_ARGUMENT,
                       "rank " + std::to_string(group.rank) + " of '" + group.name + "' has room for " + std::to_string(room) +
                           " rows of experts, and " + std::to_string(come) +
                           " come; raise strategy.moe_expert_rank_capacity_factor, or set it to 0 for as many as can come");
    exchange_rows(group, l.in<char>(0), sent, l.out<char>(0), received, sizeof(int32_t));
    std::fill(to + come, to + room, -1);
  });
}

Prepared moe_exchange(const Node& node, Group& group) {
  const uint64_t bytes = row_bytes(node), room = static_cast<uint64_t>(node.out(0).size() * size_of(node.out(0).dtype));
  return make_kernel([=, &group](const Launch& l) {
    const Counts counts(l.in<int32_t>(1), group.size);
    exchange_rows(group, l.in<char>(0), counts.sent, l.out<char>(0), counts.received, bytes);
    const uint64_t come = static_cast<uint64_t>(in_front_of(counts.received, group.size)) * bytes;
    std::memset(l.out<char>(0) + come, 0, room - come);
  });
}

Prepared moe_exchange_back(const Node& node, Group& group) {
  const uint64_t bytes = row_bytes(node);
  return make_kernel([=, &group](const Launch& l) {
    const Counts counts(l.in<int32_t>(1), group.size);
    exchange_rows(group, l.in<char>(0), counts.received, l.out<char>(0), counts.sent, bytes);
  });
}

}  // namespace nemo::cpu
