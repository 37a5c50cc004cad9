// Groups of ranks: how they connect, and memory that they reach in each other.
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <fstream>

#include "collectives.hpp"
#include "peer_exchange.hpp"

namespace nemo::cuda {

namespace {

std::string read(const nemo_store_api& api, nemo_store* store, const std::string& key, int64_t timeout_ms) {
  std::string value;
  const nemo_sink sink{&value, [](void* ctx, const void* bytes, uint64_t n) -> nemo_error* {
                         static_cast<std::string*>(ctx)->append(static_cast<const char*>(bytes), n);
                         return nullptr;
                       }};
  sdk::check(api.get(store, sdk::to_str(key), timeout_ms, sink));
  return value;
}

// The first member makes the group's id; the others read it in the store.
Nccl::UniqueId agree_on_id(const nemo_group& raw, const Nccl& nccl) {
  const std::string key = sdk::to_string(raw.key) + "/nccl";
  Nccl::UniqueId id{};
  if (raw.rank == 0) {
    nccl.check(nccl.get_unique_id(&id), "ncclGetUniqueId");
    sdk::check(raw.store_api->set(raw.store, sdk::to_str(key), id.bytes, sizeof id.bytes));
    return id;
  }
  const std::string value = read(*raw.store_api, raw.store, key, raw.timeout_ms);
  if (value.size() != sizeof id.bytes) throw sdk::Error(NEMO_CODE_PEER_FAILED, "cuda backend: the id of group " + key + " is damaged");
  std::memcpy(id.bytes, value.data(), sizeof id.bytes);
  return id;
}

// The same for all processes of one start of one host.
std::string this_host() {
  char name[256] = "";
  gethostname(name, sizeof name - 1);
  std::string boot;
  std::ifstream("/proc/sys/kernel/random/boot_id") >> boot;
  return std::string(name) + " " + boot;
}

bool are_equal(const std::vector<std::string>& said) {
  return std::all_of(said.begin(), said.end(), [&](const std::string& s) { return s == said.front(); });
}

}  // namespace

Group::Group(const nemo_group& raw, const Nccl& library, const Transport& transport, SharedMemory& memory)
    : nccl(library),
      name(sdk::to_string(raw.name)),
      rank(static_cast<int>(raw.rank)),
      size(static_cast<int>(raw.size)),
      key_(sdk::to_string(raw.key)),
      store_api_(raw.store_api),
      store_(raw.store),
      timeout_ms_(raw.timeout_ms),
      memory_(memory),
      most_exchanged_(transport.most_exchanged),
      peer_exchange_(transport.peer_exchange) {
  Nccl::Config config;
  if (transport.collective_sms > 0) config.max_ctas = transport.collective_sms;
  const Nccl::UniqueId id = agree_on_id(raw, nccl);
  nccl.check(transport.collective_sms > 0 ? nccl.comm_init_rank_config(&comm, size, id, rank, &config)
                                          : nccl.comm_init_rank(&comm, size, id, rank),
             "connecting the ranks of '" + name + "'");
  constexpr int kMostOfHost = 64;  // members that ask each other
  if (!transport.engines) return;
  if (size <= kMostOfHost) engines_ = are_equal(all_say(nccl.has_windows() ? this_host() : "rank " + std::to_string(rank)));
  if (engines_) engines_ = are_equal(all_say(can_share() ? "yes" : "rank " + std::to_string(rank)));
  if (!engines_) warn("no copy engines (backend.copy_engine): its ranks are of several hosts or many, or NCCL cannot share their memory");
}

// Tried out: what a device, a driver and a library can do together is written nowhere.
bool Group::can_share() const {
  constexpr uint64_t kBytes = uint64_t{2} << 20;
  void* memory = nullptr;
  if (nccl.mem_alloc(&memory, kBytes) != 0) return false;
  Nccl::Window window = nullptr;
  const bool shared = nccl.window_register(comm, memory, kBytes, &window, Nccl::kSymmetric) == 0 && window != nullptr;
  if (shared) nccl.window_deregister(comm, window);
  nccl.mem_free(memory);
  return shared;
}

// Abort and not destroy: nothing is under way any more, and a group whose members have died must not be waited for.
Group::~Group() {
  for (const Room& r : rooms_) nccl.window_deregister(comm, r.window);
  if (comm != nullptr) nccl.comm_abort(comm);
  for (const Room& r : rooms_) nccl.mem_free(r.memory);
}

void Group::warn(const std::string& why) const {
  if (rank == 0) sdk::log(NEMO_LOG_WARNING, "backend:cuda", "collectives over '" + name + "' have " + why);
}

std::vector<std::string> Group::all_say(const std::string& what) const {
  const std::string prefix = key_ + "/says/" + std::to_string(said_++) + "/";
  sdk::check(store_api_->set(store_, sdk::to_str(prefix + std::to_string(rank)), what.data(), what.size()));
  std::vector<std::string> said;
  for (int r = 0; r < size; ++r) said.push_back(r == rank ? what : read(*store_api_, store_, prefix + std::to_string(r), timeout_ms_));
  return said;
}

Nccl::Window Group::share(void* memory, uint64_t bytes) const {
  Nccl::Window window = nullptr;
  nccl.check(nccl.window_register(comm, memory, bytes, &window, Nccl::kSymmetric), "memory shared over '" + name + "'");
  return window;
}

void Group::make_room(uint64_t bytes) const {
  if (peer_exchange_) {
    if (exchange() != nullptr && exchange()->bytes() >= bytes) return;
    if (auto made = PeerExchange::open(*this, bytes)) return exchanges_.push_back(std::move(made));
    peer_exchange_ = false;  // on all members
    warn("no own copies (backend.peer_exchange): its ranks cannot open each other's memory; NCCL's exchange is used");
  }
  if (!rooms_.empty() && rooms_.back().bytes >= bytes) return;
  Room r{nullptr, bytes, nullptr};
  if (nccl.mem_alloc(&r.memory, bytes) != 0)
    throw sdk::Error(NEMO_CODE_OUT_OF_MEMORY, "cuda backend: NCCL cannot allocate " + std::to_string(bytes) +
                                                  " bytes for what comes over '" + name + "'; backend.copy_engine = false does without");
  r.window = share(r.memory, bytes);
  rooms_.push_back(r);
}

// NCCL moves data by copy engines where its policy is to use no multiprocessors, and what is written lies in windows.
void Groups::join(const nemo_group& raw) {
  if (transport.engines) setenv("NCCL_CTA_POLICY", "2", 0);
  groups_[sdk::to_string(raw.name)] = std::make_unique<Group>(raw, Nccl::get(), transport, *memory_);
}

void* Groups::allocate_shared(uint64_t bytes) {
  constexpr uint64_t kWorthSharing = uint64_t{1} << 20;
  const auto able = std::find_if(groups_.begin(), groups_.end(), [](const auto& g) { return g.second->has_engines(); });
  return bytes < kWorthSharing || able == groups_.end() ? nullptr : memory_->allocate(able->second->nccl, bytes);
}

const Group& Groups::find(const Node& node) const {
  const auto found = groups_.find(node.string("mesh"));
  if (found == groups_.end()) node.refuse("no group of ranks '" + std::string(node.string("mesh")) + "' has been joined");
  return *found->second;
}

}  // namespace nemo::cuda
