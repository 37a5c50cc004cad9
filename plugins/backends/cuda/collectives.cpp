#include "collectives.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include "backend.hpp"
#include "exchange.hpp"
#include "parts_sum.hpp"
#include "peer_exchange.hpp"

namespace nemo::cuda {
namespace {

using sdk::size_of;

int type_of(const Node& node, nemo_dtype dtype) {
  switch (dtype) {
    case NEMO_DTYPE_F32:
      return Nccl::kFloat32;
    case NEMO_DTYPE_F64:
      return Nccl::kFloat64;
    case NEMO_DTYPE_BF16:
      return Nccl::kBfloat16;
    case NEMO_DTYPE_F16:
      return Nccl::kFloat16;
    case NEMO_DTYPE_I32:
      return Nccl::kInt32;
    case NEMO_DTYPE_I64:
      return Nccl::kInt64;
    case NEMO_DTYPE_U8:
      return Nccl::kUint8;
    default:
      node.refuse("elements of this type cannot be moved between ranks");
  }
}

int reduction_of(const Node& node) {
  if (node.string("op") == "max") return Nccl::kMax;
  if (node.string("op") != "sum") node.refuse("op is neither sum nor max");
  return Nccl::kSum;
}

// A part cut along one dimension: [outer][inner] elements, which are [outer][ranks][inner] in the whole.
struct Cut {
  int64_t outer = 1, inner = 1;
};

Cut cut(const Node& node, const Tensor& part, const Tensor& whole, const Group& group) {
  const int64_t dim = node.integer("dim");
  if (dim < 0 || dim >= part.rank()) node.refuse("dim " + std::to_string(dim) + " is not a dimension");
  if (whole.size() != part.size() * group.size) node.refuse("the whole tensor is not a part for every one of the ranks");
  Cut c;
  for (int64_t d = 0; d < part.rank(); ++d) (d < dim ? c.outer : c.inner) *= part.shape[static_cast<size_t>(d)];
  return c;
}

// Every outer slice is a collective of its own; NCCL runs a group of them as one.
template <class Each>
void for_outer(const Group& g, const Cut& c, const char* what, Each&& each) {
  if (c.outer > 1) g.nccl.check(g.nccl.group_start(), what);
  for (int64_t o = 0; o < c.outer; ++o) g.nccl.check(each(o), std::string(what) + " over '" + g.name + "'");
  if (c.outer > 1) g.nccl.check(g.nccl.group_end(), what);
}

Prepared all_reduce(const Node& node, const Group& g) {
  const int type = type_of(node, node.in(0).dtype), op = reduction_of(node);
  const auto n = static_cast<size_t>(node.in(0).size());
  return make_kernel([=, &g](const Launch& l) {
    g.nccl.check(g.nccl.all_reduce(l.in(0), l.out(0), n, type, op, g.comm, l.stream()), "all_reduce over '" + g.name + "'");
  });
}

Prepared all_gather(const Node& node, const Group& g) {
  const Cut c = cut(node, node.in(0), node.out(0), g);
  const int type = type_of(node, node.in(0).dtype);
  const int64_t row = c.inner * size_of(node.in(0).dtype);
  return make_kernel([=, &g](const Launch& l) {
    g.reach(l.out(0), l.stream());
    for_outer(g, c, "all_gather", [&](int64_t o) {
      return g.nccl.all_gather(l.in<char>(0) + o * row, l.out<char>(0) + o * row * g.size, static_cast<size_t>(c.inner), type, g.comm,
                               l.stream());
    });
  });
}

constexpr int64_t kLeastExchanged = int64_t{4} << 20;  // bytes: copies are slow to begin

bool exchanges(const Node& node, const Group& g, const Cut& c) {
  const int64_t bytes = node.in(0).size() * size_of(node.in(0).dtype);
  return g.has_engines() && g.nccl.all_to_all != nullptr && node.string("op") == "sum" && can_sum_parts(node.in(0).dtype) &&
         bytes <= g.most_exchanged() && bytes / c.outer >= kLeastExchanged;
}

// A reduction that leaves the multiprocessors to others: every rank gets all parts of its own by copy engines, then adds them.
Prepared exchange_and_sum(const Node& node, const Group& g, const Cut& c) {
  const nemo_dtype dtype = node.out(0).dtype;
  const int type = type_of(node, dtype);
  const int64_t row = c.inner * size_of(dtype), whole = row * g.size;
  g.make_room(static_cast<uint64_t>(c.outer * whole));
  if (const PeerExchange* exchange = g.exchange(); exchange != nullptr)
    return make_kernel([=, &g](const Launch& l) {
      const PeerExchange& e = *exchange;
      e.run(l.in(0), c.outer, row, l.stream());
      for (int64_t o = 0; o < c.outer; ++o) {
        const Parts parts{e.part(0, c.outer, row) + o * row, c.outer * c.inner, g.size, g.rank, l.in<char>(0) + o * whole + g.rank * row};
        sum_parts(parts, l.out<char>(0) + o * row, c.inner, dtype, l.stream());
      }
    });
  return make_kernel([=, &g](const Launch& l) {
    g.reach(l.in(0), l.stream());
    for_outer(g, c, "reduce_scatter", [&](int64_t o) {
      return g.nccl.all_to_all(l.in<char>(0) + o * whole, g.room() + o * whole, static_cast<size_t>(c.inner), type, g.comm, l.stream());
    });
    for (int64_t o = 0; o < c.outer; ++o) {
      const Parts parts{g.room() + o * whole, c.inner, g.size, g.rank, g.room() + o * whole + g.rank * row};
      sum_parts(parts, l.out<char>(0) + o * row, c.inner, dtype, l.stream());
    }
  });
}

Prepared reduce_scatter(const Node& node, const Group& g) {
  const Cut c = cut(node, node.out(0), node.in(0), g);
  const int type = type_of(node, node.out(0).dtype), op = reduction_of(node);
  if (exchanges(node, g, c)) return exchange_and_sum(node, g, c);
  const int64_t row = c.inner * size_of(node.out(0).dtype);
  return make_kernel([=, &g](const Launch& l) {
    for_outer(g, c, "reduce_scatter", [&](int64_t o) {
      return g.nccl.reduce_scatter(l.in<char>(0) + o * row * g.size, l.out<char>(0) + o * row, static_cast<size_t>(c.inner), type, op,
                                   g.comm, l.stream());
    });
  });
}

// Rows of `width` bytes, [rows][parts] and [parts][rows], copied into each other part by part.
void copy_rows(char* to, size_t to_pitch, const char* from, size_t from_pitch, size_t width, size_t rows, cudaStream_t stream) {
  check(cudaMemcpy2DAsync(to, to_pitch, from, from_pitch, width, rows, cudaMemcpyDeviceToDevice, stream), "copy of a part");
}

Prepared all_to_all(const Node& node, const Group& g) {
  const Tensor &x = node.in(0), &y = node.out(0);
  const int64_t split = node.integer("split_dim"), join = node.integer("concat_dim"), n = g.size;
  if (split < 0 || split >= x.rank() || join < 0 || join >= y.rank() || x.shape[static_cast<size_t>(split)] % n != 0 ||
      x.size() != y.size())
    node.refuse("dimension split_dim cannot be split over " + std::to_string(n) + " ranks");
  const auto bytes = static_cast<size_t>(x.size() * size_of(x.dtype)), part = bytes / static_cast<size_t>(n);
  size_t from_rows = 1, to_rows = 1;
  for (int64_t d = 0; d < split; ++d) from_rows *= static_cast<size_t>(x.shape[static_cast<size_t>(d)]);
  for (int64_t d = 0; d < join; ++d) to_rows *= static_cast<size_t>(y.shape[static_cast<size_t>(d)]);
  const size_t from_width = part / from_rows, to_width = part / to_rows, second = align_up(bytes);
  return make_kernel(
      [=, &g](const Launch& l) {
        char *sent = l.workspace<char>(), *received = l.workspace<char>(second);
        const auto ranks = static_cast<size_t>(n);
        for (size_t p = 0; p < ranks; ++p)
          copy_rows(sent + p * part, from_width, l.in<char>(0) + p * from_width, from_width * ranks, from_width, from_rows, l.stream());
        g.nccl.check(g.nccl.group_start(), "all_to_all");
        for (size_t p = 0; p < ranks; ++p) {
          g.nccl.check(g.nccl.send(sent + p * part, part, Nccl::kUint8, static_cast<int>(p), g.comm, l.stream()), "all_to_all");
          g.nccl.check(g.nccl.receive(received + p * part, part, Nccl::kUint8, static_cast<int>(p), g.comm, l.stream()), "all_to_all");
        }
        g.nccl.check(g.nccl.group_end(), "all_to_all over '" + g.name + "'");
        for (size_t p = 0; p < ranks; ++p)
          copy_rows(l.out<char>(0) + p * to_width, to_width * ranks, received + p * part, to_width, to_width, to_rows, l.stream());
      },
      2 * second);
}

int peer_of(const Node& node, const Group& g) {
  const int64_t peer = g.rank + node.integer("offset");
  if (peer < 0 || peer >= g.size) node.refuse("rank " + std::to_string(peer) + " is outside the group");
  return static_cast<int>(peer);
}

Prepared send(const Node& node, const Group& g) {
  const auto bytes = static_cast<size_t>(node.in(0).size() * size_of(node.in(0).dtype));
  return make_kernel([&g, bytes, to = peer_of(node, g)](const Launch& l) {
    g.nccl.check(g.nccl.send(l.in(0), bytes, Nccl::kUint8, to, g.comm, l.stream()), "send over '" + g.name + "'");
  });
}

Prepared receive(const Node& node, const Group& g) {
  const auto bytes = static_cast<size_t>(node.out(0).size() * size_of(node.out(0).dtype));
  return make_kernel([&g, bytes, from = peer_of(node, g)](const Launch& l) {
    g.nccl.check(g.nccl.receive(l.out(0), bytes, Nccl::kUint8, from, g.comm, l.stream()), "recv over '" + g.name + "'");
  });
}

// Every rank sends before any receives; NCCL runs both at once.
Prepared ring_shift(const Node& node, const Group& g) {
  const auto bytes = static_cast<size_t>(node.in(0).size() * size_of(node.in(0).dtype));
  return make_kernel([&g, bytes, to = (g.rank + 1) % g.size, from = (g.rank + g.size - 1) % g.size](const Launch& l) {
    g.nccl.check(g.nccl.group_start(), "ring_shift");
    g.nccl.check(g.nccl.send(l.in(0), bytes, Nccl::kUint8, to, g.comm, l.stream()), "ring_shift");
    g.nccl.check(g.nccl.receive(l.out(0), bytes, Nccl::kUint8, from, g.comm, l.stream()), "ring_shift");
    g.nccl.check(g.nccl.group_end(), "ring_shift over '" + g.name + "'");
  });
}

using PrepareCollective = Prepared (*)(const Node&, const Group&);
constexpr std::array<std::pair<std::string_view, PrepareCollective>, 10> kCollectives{{{"all_reduce", all_reduce},
                                                                                       {"all_gather", all_gather},
                                                                                       {"reduce_scatter", reduce_scatter},
                                                                                       {"all_to_all", all_to_all},
                                                                                       {"send", send},
                                                                                       {"recv", receive},
                                                                                       {"ring_shift", ring_shift},
                                                                                       {"moe_exchange_plan", moe_exchange_plan},
                                                                                       {"moe_exchange", moe_exchange},
                                                                                       {"moe_exchange_back", moe_exchange_back}}};

nemo_error* join(nemo_backend* backend, const nemo_group* raw) {
  return sdk::guard([&] {
    backend->make_current();
    backend->groups.join(*raw);
  });
}

}  // namespace

bool is_collective(std::string_view op) {
  return std::any_of(kCollectives.begin(), kCollectives.end(), [&](const auto& c) { return c.first == op; });
}

Prepared prepare_collective(std::string_view op, const Node& node, const Groups& groups) {
  for (const Tensor* t : {&node.in(0), &node.out(0)}) node.need_contiguous(*t);
  const auto found = std::find_if(kCollectives.begin(), kCollectives.end(), [&](const auto& c) { return c.first == op; });
  return found->second(node, groups.find(node));
}

const nemo_collectives_api& collectives_api() {
  static const nemo_collectives_api api{sizeof(nemo_collectives_api), 0, join};
  return api;
}

}  // namespace nemo::cuda
