// core/planner/hardware.hpp - a device and its network as numbers, read from a TOML file (docs/planning.md explains the fields).
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <map>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "core/graph/graph.hpp"
#include "core/ops/work.hpp"

namespace nemo::planner {

// Rates are in units per second: FLOP/s, bytes/s; times in seconds; sizes in bytes.
struct Hardware {
  std::string name;
  std::string file;
  int64_t memory_bytes = 0;    // usable by a program
  int64_t overhead_bytes = 0;  // context and libraries
  int64_t gemm_workspace = 0;
  // Of the communication library: itself, where there is more than one rank; for each group that a rank is in; for such a group's
  // collectives; where there are messages between two ranks at all; and for each rank that a group's messages come from, or go to.
  struct MessageMemory {
    int64_t library = 0, group = 0, collectives = 0, messages = 0, source = 0, target = 0;
  };
  MessageMemory message_memory;
  int64_t most_exchanged = 0;  // bytes of the largest reduction within a node that copy engines bring into a buffer of its size; 0: none
  double peak_flops = 0;       // the maker's dense bf16 figure, for MFU
  double memory_rate = 0;      // copy, reads and writes counted
  double power_limit = 0;      // watts
  double product_power = 0, other_power = 0;  // drawn at full clock by products at the full rate, and by everything else
  double spread = 0;                          // relative standard deviation of devices' speeds
  double launch = 0;                          // per kernel
  double step_overhead = 0;                   // per optimizer step
  double micro_batch_overhead = 0;
  std::set<std::string, std::less<>> fused_rows;  // optional rows of ops.def that the backend has

  struct Tile {
    double m, n, efficiency;
  };
  double multiprocessors = 0;
  std::map<graph::DType, double> product_rate;  // large products, sustained
  double tile_overhead = 0;
  std::array<double, 3> grouped_rate{1, 1, 1};  // of products of experts over that of plain ones: forward, input gradient, weight gradient
  std::vector<Tile> tiles;

  struct AttentionRates {
    std::vector<double> forward, backward;  // by the entries of `attention_keys`
  };
  std::vector<double> attention_keys;
  std::map<int64_t, AttentionRates> attention;  // by head size
  double attention_sustained = 1;               // within a step, over these rates of short benchmarks
  // Causal attention of queries that stand behind many keys: its backward's rate over that of as many keys as queries, by keys / queries
  // from 1 on. Empty: 1.
  std::vector<double> behind_backward;

  struct Link {
    double rate = 0;       // bytes/s that each device sends, large messages
    double latency = 0;    // per hop
    double half_size = 0;  // message size at which half of the rate is reached
  };
  int64_t devices_per_node = 1;
  Link inside, between;  // a node's own network; that between nodes
  double copy_rate = 0;  // bytes/s at which a collective moves the part that stays on its device
  bool streams = true;   // the backend runs collectives beside computation
  // What computation beside a collective loses: seconds, and a share of the collective's time.
  double overlap_fixed = 0, overlap_share = 0;
};

// `name` is a path or the name of a shipped file ("h100", "h100.toml"), looked up in `folders`. Throws nemo::Error(kConfig) with every
// fault of the file, or with the folders that were searched.
[[nodiscard]] Hardware load_hardware(const std::string& name, std::span<const std::filesystem::path> folders);

// Seconds of the computing part of `work` on one device; 0 for collectives.
[[nodiscard]] double compute_time(const Hardware& hardware, const ops::Work& work);
// FLOP/s of a large product of its kind. Throws nemo::Error(kConfig) where the file has none.
[[nodiscard]] double product_rate(const Hardware& hardware, const ops::Product& product);
[[nodiscard]] double product_time(const Hardware& hardware, const ops::Product& product);
// FLOP/s of causal attention of this shape (visible pairs counted).
[[nodiscard]] double attention_rate(const Hardware& hardware, int64_t head_dim, int64_t queries, int64_t keys, bool backward);

}  // namespace nemo::planner
