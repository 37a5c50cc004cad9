#include "core/dist/environment.hpp"

#include <charconv>

#include "core/base/error.hpp"

namespace nemo::dist {
namespace {

std::string text(const Lookup& lookup, const char* name) {
  const char* value = lookup(name);
  return value == nullptr ? "" : value;
}

int64_t number(const Lookup& lookup, const char* name, int64_t low, int64_t high) {
  const std::string value = text(lookup, name);
  int64_t n = 0;
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), n);
  if (error != std::errc() || end != value.data() + value.size() || n < low || n > high)
    throw Error(Code::kConfig, "environment variable " + std::string(name) + " = '" + value + "': expected a number from " +
                                   std::to_string(low) + " to " + std::to_string(high));
  return n;
}

int64_t number_or(const Lookup& lookup, const char* name, int64_t preset, int64_t low, int64_t high) {
  return lookup(name) == nullptr ? preset : number(lookup, name, low, high);
}

constexpr int64_t kMostRanks = 1 << 20;

Environment from_torchrun(const Lookup& lookup) {
  Environment e;
  e.world_size = number(lookup, "WORLD_SIZE", 1, kMostRanks);
  e.rank = number(lookup, "RANK", 0, e.world_size - 1);
  e.local_rank = number_or(lookup, "LOCAL_RANK", 0, 0, e.world_size - 1);
  e.local_size = number_or(lookup, "LOCAL_WORLD_SIZE", 1, 1, e.world_size);
  return e;
}

Environment from_slurm(const Lookup& lookup) {
  Environment e;
  e.world_size = number(lookup, "SLURM_NTASKS", 1, kMostRanks);
  e.rank = number(lookup, "SLURM_PROCID", 0, e.world_size - 1);
  e.local_rank = number_or(lookup, "SLURM_LOCALID", 0, 0, e.world_size - 1);
  e.local_size = number_or(lookup, "SLURM_NTASKS_PER_NODE", 1, 1, e.world_size);
  e.master_addr = first_host(text(lookup, lookup("SLURM_STEP_NODELIST") != nullptr ? "SLURM_STEP_NODELIST" : "SLURM_NODELIST"));
  e.master_port = static_cast<uint16_t>(20000 + number_or(lookup, "SLURM_JOB_ID", 0, 0, INT64_MAX) % 20000);
  return e;
}

}  // namespace

std::string first_host(const std::string& list) {
  const size_t open = list.find('['), comma = list.find(',');
  if (open == std::string::npos || comma < open) return list.substr(0, comma);
  const size_t end = list.find_first_of(",-]", open);
  return list.substr(0, open) + list.substr(open + 1, end - open - 1);
}

std::optional<Environment> read_environment(const Lookup& lookup) {
  const bool torchrun = lookup("RANK") != nullptr && lookup("WORLD_SIZE") != nullptr;
  const bool slurm = lookup("SLURM_PROCID") != nullptr && lookup("SLURM_NTASKS") != nullptr && lookup("SLURM_STEP_ID") != nullptr;
  if (!torchrun && !slurm) return std::nullopt;
  Environment e = torchrun ? from_torchrun(lookup) : from_slurm(lookup);
  if (e.world_size == 1) return std::nullopt;
  if (lookup("MASTER_ADDR") != nullptr) e.master_addr = text(lookup, "MASTER_ADDR");
  if (lookup("MASTER_PORT") != nullptr) e.master_port = static_cast<uint16_t>(number(lookup, "MASTER_PORT", 1, 65535));
  if (e.master_addr.empty() || e.master_port == 0 || (torchrun && lookup("MASTER_ADDR") == nullptr))
    throw Error(Code::kConfig, "WORLD_SIZE = " + std::to_string(e.world_size) +
                                   ", but MASTER_ADDR and MASTER_PORT do not say where rank 0 is; set both, or start the run with srun, "
                                   "torchrun or trainer.devices alone");
  if (lookup("NEMO_STORE_FD") != nullptr) e.store_fd = static_cast<int>(number(lookup, "NEMO_STORE_FD", 3, 1 << 20));
  e.own_launcher = lookup("NEMO_LAUNCHER") != nullptr;
  return e;
}

std::optional<Node> read_node(const Lookup& lookup) {
  if (lookup("NODE_RANK") == nullptr || lookup("MASTER_ADDR") == nullptr || lookup("MASTER_PORT") == nullptr) return std::nullopt;
  return Node{number(lookup, "NODE_RANK", 0, kMostRanks), text(lookup, "MASTER_ADDR"),
              static_cast<uint16_t>(number(lookup, "MASTER_PORT", 1, 65535))};
}

}  // namespace nemo::dist
