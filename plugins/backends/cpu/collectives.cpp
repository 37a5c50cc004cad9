#include "collectives.hpp"

#include <dlfcn.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <filesystem>

#include "backend.hpp"

namespace nemo::cpu {
namespace {

constexpr const char* kLibrary = "libnemo_gloo.so";

// lib/nemo/plugins/<this plugin> -> lib/nemo/libnemo_gloo.so
std::filesystem::path library_path() {
  Dl_info info{};
  if (dladdr(reinterpret_cast<const void*>(&collectives_api), &info) == 0) return kLibrary;
  return std::filesystem::absolute(info.dli_fname).parent_path().parent_path() / kLibrary;
}

Connect open_library() {
  const std::string path = library_path().string();
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    const char* why = dlerror();
    throw sdk::Error(NEMO_CODE_NOT_FOUND, "cpu backend: several ranks need Gloo, and " + path + " cannot be opened (" +
                                              (why == nullptr ? "" : why) +
                                              "); install libgloo-dev and build again (it is left out where CMake does not find Gloo)");
  }
  const auto connect = reinterpret_cast<Connect>(dlsym(library, kConnectFunction));
  if (connect == nullptr) throw sdk::Error(NEMO_CODE_NOT_FOUND, "cpu backend: " + path + " is of another build");
  return connect;
}

Rendezvous rendezvous_of(const nemo_group& raw) {
  const std::string prefix = sdk::to_string(raw.key) + "/";
  return {[prefix, &raw](const std::string& key, const std::vector<char>& value) {
            sdk::check(raw.store_api->set(raw.store, sdk::to_str(prefix + key), value.data(), value.size()));
          },
          [prefix, &raw](const std::string& key) {
            std::vector<char> value;
            const nemo_sink sink{&value, [](void* ctx, const void* bytes, uint64_t n) -> nemo_error* {
                                   const char* p = static_cast<const char*>(bytes);
                                   static_cast<std::vector<char>*>(ctx)->insert(static_cast<std::vector<char>*>(ctx)->end(), p, p + n);
                                   return nullptr;
                                 }};
            sdk::check(raw.store_api->get(raw.store, sdk::to_str(prefix + key), raw.timeout_ms, sink));
            return value;
          }};
}

// A tensor cut along one dimension: [outer][count][inner bytes].
struct Cut {
  int64_t outer = 1;
  uint64_t inner = 1;
};

Cut cut(const Node& node, const Tensor& t, int64_t dim) {
  if (dim < 0 || dim >= t.rank()) node.refuse("dim " + std::to_string(dim) + " is not a dimension");
  Cut c;
  c.inner = static_cast<uint64_t>(size_of(t.dtype));
  for (int64_t d = 0; d < t.rank(); ++d) {
    if (d < dim) c.outer *= t.shape[static_cast<size_t>(d)];
    if (d >= dim) c.inner *= static_cast<uint64_t>(t.shape[static_cast<size_t>(d)]);
  }
  return c;
}

uint64_t bytes_of(const Tensor& t) { return static_cast<uint64_t>(t.size() * size_of(t.dtype)); }

// parts [n][outer][inner] <-> whole [outer][n][inner]
void join_parts(const char* parts, char* whole, int n, const Cut& c) {
  for (int64_t o = 0; o < c.outer; ++o)
    for (int p = 0; p < n; ++p)
      std::memcpy(whole + (static_cast<uint64_t>(o) * n + p) * c.inner, parts + (static_cast<uint64_t>(p) * c.outer + o) * c.inner,
                  c.inner);
}
void split_parts(const char* whole, char* parts, int n, const Cut& c) {
  for (int64_t o = 0; o < c.outer; ++o)
    for (int p = 0; p < n; ++p)
      std::memcpy(parts + (static_cast<uint64_t>(p) * c.outer + o) * c.inner, whole + (static_cast<uint64_t>(o) * n + p) * c.inner,
                  c.inner);
}

Reduction reduction_of(const Node& node) {
  if (node.string("op") == "max") return Reduction::max;
  if (node.string("op") != "sum") node.refuse("op is neither sum nor max");
  return Reduction::sum;
}

Prepared all_reduce(const Node& node, Group& group) {
  const Reduction op = reduction_of(node);
  return make_kernel([&group, op, n = node.in(0).size(), dtype = node.in(0).dtype, bytes = bytes_of(node.in(0))](const Launch& l) {
    if (l.in(0) != l.out(0)) std::memcpy(l.out(0), l.in(0), bytes);
    require(group.communicator->all_reduce(l.out(0), n, dtype, op), group);
  });
}

Prepared all_gather(const Node& node, Group& group) {
  const Cut c = cut(node, node.in(0), node.integer("dim"));
  const uint64_t bytes = bytes_of(node.in(0));
  if (bytes_of(node.out(0)) != bytes * static_cast<uint64_t>(group.size)) node.refuse("the output is not the inputs of all ranks");
  const bool direct = c.outer == 1;
  return make_kernel(
      [=, &group](const Launch& l) {
        char* parts = direct ? l.out<char>(0) : l.workspace<char>();
        require(group.communicator->all_gather(l.in(0), parts, bytes), group);
        if (!direct) join_parts(parts, l.out<char>(0), group.size, c);
      },
      direct ? 0 : bytes * static_cast<uint64_t>(group.size));
}

// Rank r sends the part of rank r + i and adds what rank r - i sends: the order of the sum is the rank's own, and the same in every run.
Prepared reduce_scatter(const Node& node, Group& group) {
  const Tensor &x = node.in(0), &y = node.out(0);
  const Reduction op = reduction_of(node);
  const Cut c = cut(node, y, node.integer("dim"));
  const uint64_t bytes = bytes_of(y);
  if (bytes_of(x) != bytes * static_cast<uint64_t>(group.size)) node.refuse("the input is not a part for every rank");
  if (y.dtype != NEMO_DTYPE_F32 && y.dtype != NEMO_DTYPE_F64 && y.dtype != NEMO_DTYPE_BF16) node.refuse("reduces f32, f64 and bf16 only");
  const bool direct = c.outer == 1;
  const uint64_t packed = direct ? 0 : align_up(bytes * static_cast<uint64_t>(group.size));
  return make_kernel(
      [=, &group, n = y.size(), dtype = y.dtype](const Launch& l) {
        const char* parts = direct ? l.in<char>(0) : l.workspace<char>();
        if (!direct) split_parts(l.in<char>(0), l.workspace<char>(), group.size, c);
        char* sum = l.out<char>(0);
        const char* mine = parts + static_cast<uint64_t>(group.rank) * bytes;
        if (mine != sum) std::memcpy(sum, mine, bytes);
        for (int i = 1; i < group.size; ++i) {
          const int to = (group.rank + i) % group.size, from = (group.rank - i + group.size) % group.size;
          char* received = l.workspace<char>(packed);
          require(group.communicator->exchange(to, parts + static_cast<uint64_t>(to) * bytes, bytes, from, received, bytes), group);
          with_type(dtype, [&](auto tag) {
            using T = decltype(tag);
            T* s = reinterpret_cast<T*>(sum);
            const T* r = reinterpret_cast<const T*>(received);
            for (int64_t e = 0; e < n; ++e)
              s[e] = narrow<T>(op == Reduction::sum ? widen(s[e]) + widen(r[e]) : std::max(widen(s[e]), widen(r[e])));
          });
        }
      },
      packed + bytes);
}

Prepared all_to_all(const Node& node, Group& group) {
  const Tensor &x = node.in(0), &y = node.out(0);
  const int64_t split = node.integer("split_dim"), join = node.integer("concat_dim");
  const uint64_t bytes = bytes_of(x), part = bytes / static_cast<uint64_t>(group.size);
  if (split < 0 || split >= x.rank() || x.shape[static_cast<size_t>(split)] % group.size != 0 || bytes_of(y) != bytes)
    node.refuse("dimension split_dim cannot be split over " + std::to_string(group.size) + " ranks");
  Cut from = cut(node, x, split);
  from.inner /= static_cast<uint64_t>(group.size);
  Cut to = cut(node, y, join);
  to.inner /= static_cast<uint64_t>(group.size);
  return make_kernel(
      [=, &group](const Launch& l) {
        char *sent = l.workspace<char>(), *received = l.workspace<char>(align_up(bytes));
        split_parts(l.in<char>(0), sent, group.size, from);
        require(group.communicator->all_to_all(sent, received, part), group);
        join_parts(received, l.out<char>(0), group.size, to);
      },
      2 * align_up(bytes));
}

int peer_of(const Node& node, const Group& group) {
  const int64_t peer = group.rank + node.integer("offset");
  if (peer < 0 || peer >= group.size) node.refuse("rank " + std::to_string(peer) + " is outside the group");
  return static_cast<int>(peer);
}

Prepared send(const Node& node, Group& group) {
  return make_kernel([&group, to = peer_of(node, group), bytes = bytes_of(node.in(0))](const Launch& l) {
    require(group.communicator->send(to, l.in(0), bytes), group);
  });
}

Prepared receive(const Node& node, Group& group) {
  return make_kernel([&group, from = peer_of(node, group), bytes = bytes_of(node.out(0))](const Launch& l) {
    require(group.communicator->receive(from, l.out(0), bytes), group);
  });
}

Prepared ring_shift(const Node& node, Group& group) {
  const int to = (group.rank + 1) % group.size, from = (group.rank + group.size - 1) % group.size;
  return make_kernel([&group, to, from, bytes = bytes_of(node.in(0))](const Launch& l) {
    require(group.communicator->exchange(to, l.in(0), bytes, from, l.out(0), bytes), group);
  });
}

using PrepareCollective = Prepared (*)(const Node&, Group&);
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
  return sdk::guard([&] { backend->groups.join(*raw); });
}

}  // namespace

void require(const char* fault, const Group& group) {
  if (fault != nullptr) throw sdk::Error(NEMO_CODE_PEER_FAILED, "cpu backend: a collective over '" + group.name + "' failed: " + fault);
}

void Groups::join(const nemo_group& raw) {
  static const Connect connect = open_library();
  auto group = std::make_unique<Group>();
  group->name = sdk::to_string(raw.name);
  group->rank = static_cast<int>(raw.rank);
  group->size = static_cast<int>(raw.size);
  const Rendezvous rendezvous = rendezvous_of(raw);
  std::string fault;
  group->communicator.reset(connect(&rendezvous, group->rank, group->size, raw.timeout_ms, &fault));
  if (!group->communicator)
    throw sdk::Error(NEMO_CODE_PEER_FAILED, "cpu backend: cannot connect the ranks of '" + group->name + "': " + fault);
  groups_[group->name] = std::move(group);
}

Group& Groups::find(const Node& node) const {
  const auto found = groups_.find(node.string("mesh"));
  if (found == groups_.end()) node.refuse("no group of ranks '" + std::string(node.string("mesh")) + "' has been joined");
  return *found->second;
}

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

}  // namespace nemo::cpu
