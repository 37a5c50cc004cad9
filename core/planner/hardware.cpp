#include "core/planner/hardware.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/base/error.hpp"
#include "core/config/resolver.hpp"
#include "nemo/cpp/config.hpp"

namespace nemo::planner {
namespace {

using sdk::boolean;
using sdk::integer;
using sdk::list;
using sdk::number;
using sdk::Schema;
using sdk::string;

constexpr double kTera = 1e12, kGiga = 1e9, kMicro = 1e-6, kMilli = 1e-3, kMiB = 1 << 20;

const nemo_schema* device_schema() {
  static const Schema schema{{
      string("name", "", "the maker's name").required(),
      number("memory_gib", "", "memory that a program can take").required().min(0).unit("GiB"),
      number("overhead_gib", "1.0", "of it, taken by context and libraries").min(0).unit("GiB"),
      number("peak_tflops", "", "the maker's dense bf16 rate, which MFU is quoted against").required().min(0).unit("TFLOP/s"),
      number("memory_tb_s", "", "rate of a large copy, bytes read and written").required().min(0).unit("TB/s"),
      number("power_limit_w", "", "what the device may draw, averaged over milliseconds").required().min(1).unit("W"),
      number("product_w", "", "what large products would draw at full clock").required().min(1).unit("W"),
      number("other_w", "", "what everything else draws").required().min(1).unit("W"),
      number("spread", "0", "relative standard deviation of the speed of devices of this kind; the slowest sets the pace").min(0).max(1),
      number("launch_us", "2.0", "what a kernel takes beyond its work: start, tail, first bytes").min(0).unit("us"),
      number("micro_batch_us", "50", "feeding a micro-batch and reading its loss").min(0).unit("us"),
      number("step_ms", "0.5", "once a step: norm, hyperparameters, metrics").min(0).unit("ms"),
      list("fused_rows", NEMO_FIELD_STRING, "[]", "optional rows of ops.def that the backend has kernels for"),
  }};
  return schema.get();
}

const nemo_schema* products_schema() {
  static const Schema schema{{
      number("multiprocessors", "", "units that compute one tile at a time").required().min(1),
      number("bf16_tflops", "", "large products at full clock").required().min(0).unit("TFLOP/s"),
      number("fp8_tflops", "0", "likewise; 0: no fp8").min(0).unit("TFLOP/s"),
      number("f32_tflops", "0", "likewise").min(0).unit("TFLOP/s"),
      number("tile_us", "1.0", "filling and emptying a tile's pipeline").min(0).unit("us"),
      list("tile_m", NEMO_FIELD_FLOAT, "[128, 128, 64]", "rows of the tiles that the library has"),
      list("tile_n", NEMO_FIELD_FLOAT, "[256, 128, 128]", "their columns"),
      list("tile_efficiency", NEMO_FIELD_FLOAT, "[1.0, 0.9, 0.75]", "their rate, relative to the large products'"),
      list("grouped", NEMO_FIELD_FLOAT, "[1, 1, 1]",
           "rate of products of experts over that of plain ones: forward, input gradient, weight gradient"),
      number("workspace_mib", "32", "of the product library").min(0).unit("MiB"),
  }};
  return schema.get();
}

const nemo_schema* attention_schema() {
  static const Schema schema{{
      list("keys", NEMO_FIELD_FLOAT, "", "sequence lengths of the columns below").required(),
      list("d64_forward", NEMO_FIELD_FLOAT, "", "causal, visible pairs counted").required(),
      list("d64_backward", NEMO_FIELD_FLOAT, "", "likewise").required(),
      list("d128_forward", NEMO_FIELD_FLOAT, "", "likewise").required(),
      list("d128_backward", NEMO_FIELD_FLOAT, "", "likewise").required(),
      number("sustained", "1", "rate within a step over that of the short benchmarks behind these tables").min(0.1).max(1),
      list("behind_backward", NEMO_FIELD_FLOAT, "[1]",
           "of the backward, where keys are 1, 2, ... times the queries, over that where they are as many"),
  }};
  return schema.get();
}

const nemo_schema* network_schema() {
  static const Schema schema{{
      integer("devices_per_node", "8", "devices that the inner network joins").min(1),
      number("inside_gb_s", "", "what each device sends to others of its node, large messages").required().min(0).unit("GB/s"),
      number("inside_us", "10", "per hop").min(0).unit("us"),
      number("inside_half_mib", "4", "message that reaches half of the rate").min(0).unit("MiB"),
      number("between_gb_s", "", "what each device sends to other nodes").required().min(0).unit("GB/s"),
      number("between_us", "15", "per hop").min(0).unit("us"),
      number("between_half_mib", "2", "message that reaches half of the rate").min(0).unit("MiB"),
      number("copy_gb_s", "", "what a collective moves within its own device").required().min(0).unit("GB/s"),
      number("library_mib", "0", "memory of the communication library itself").min(0).unit("MiB"),
      number("group_mib", "196", "for each group that a rank is in").min(0).unit("MiB"),
      number("collectives_mib", "288", "and for a group's collectives").min(0).unit("MiB"),
      number("messages_mib", "62", "where there are messages from one rank to another").min(0).unit("MiB"),
      number("source_mib", "320", "for each rank that a group's messages come from").min(0).unit("MiB"),
      number("target_mib", "64", "for each rank that a group's messages go to").min(0).unit("MiB"),
      number("exchange_mib", "128", "largest reduce-scatter within a node that comes by copy engines, into a buffer; 0: none")
          .min(0)
          .unit("MiB"),
  }};
  return schema.get();
}

const nemo_schema* overlap_schema() {
  static const Schema schema{{
      boolean("streams", "true", "the backend runs collectives beside computation"),
      number("cost_us", "0", "what computation beside a collective loses, whatever the collective's size").min(0).unit("us"),
      number("cost", "0", "and the share of the collective's time that it loses").min(0).max(0.99),
  }};
  return schema.get();
}

std::filesystem::path locate(const std::string& name, std::span<const std::filesystem::path> folders) {
  if (std::filesystem::is_regular_file(name)) return name;
  std::string searched;
  for (const auto& folder : folders) {
    for (const std::string& file : {name, name + ".toml"})
      if (std::filesystem::is_regular_file(folder / file)) return folder / file;
    searched += (searched.empty() ? "" : ", ") + folder.string();
  }
  throw Error(Code::kConfig,
              "no hardware file '" + name + "'; it is neither a file nor in " + (searched.empty() ? "any folder" : searched));
}

std::vector<double> rates(const config::Section& attention, std::string_view path) {
  std::vector<double> out = attention.get_floats(path);
  if (out.size() != attention.get_floats("keys").size())
    throw config::fault_at(
        attention, path,
        "has " + std::to_string(out.size()) + " rates for " + std::to_string(attention.get_floats("keys").size()) + " lengths in keys");
  for (double& rate : out) rate *= kTera;
  return out;
}

void read_products(Hardware& h, const config::Section& products) {
  h.multiprocessors = products.get_float("multiprocessors");
  for (const auto& [dtype, field] : {std::pair{graph::DType::kBF16, "bf16_tflops"},
                                     {graph::DType::kF16, "bf16_tflops"},
                                     {graph::DType::kE4M3, "fp8_tflops"},
                                     {graph::DType::kE5M2, "fp8_tflops"},
                                     {graph::DType::kF32, "f32_tflops"}})
    h.product_rate[dtype] = products.get_float(field) * kTera;
  h.tile_overhead = products.get_float("tile_us") * kMicro;
  const auto grouped = products.get_floats("grouped");
  if (grouped.size() != 3 || *std::min_element(grouped.begin(), grouped.end()) <= 0)
    throw config::fault_at(products, "grouped", "must have three rates above 0");
  std::copy(grouped.begin(), grouped.end(), h.grouped_rate.begin());
  h.gemm_workspace = static_cast<int64_t>(products.get_float("workspace_mib") * kMiB);
  const auto m = products.get_floats("tile_m"), n = products.get_floats("tile_n"), e = products.get_floats("tile_efficiency");
  if (m.empty() || m.size() != n.size() || m.size() != e.size())
    throw config::fault_at(products, "tile_m", "tile_m, tile_n and tile_efficiency must have the same number of entries, 1 or more");
  for (size_t i = 0; i < m.size(); ++i) h.tiles.push_back({m[i], n[i], e[i]});
}

void read_network(Hardware& h, const config::Section& network) {
  h.devices_per_node = network.get_int("devices_per_node");
  const auto link = [&](const std::string& name) {
    return Hardware::Link{network.get_float(name + "_gb_s") * kGiga, network.get_float(name + "_us") * kMicro,
                          network.get_float(name + "_half_mib") * kMiB};
  };
  h.inside = link("inside"), h.between = link("between");
  h.copy_rate = network.get_float("copy_gb_s") * kGiga;
  const auto mib = [&](const char* field) { return static_cast<int64_t>(network.get_float(field) * kMiB); };
  h.message_memory = {mib("library_mib"),  mib("group_mib"),  mib("collectives_mib"),
                      mib("messages_mib"), mib("source_mib"), mib("target_mib")};
  h.most_exchanged = mib("exchange_mib");
}

}  // namespace

Hardware load_hardware(const std::string& name, std::span<const std::filesystem::path> folders) {
  const auto file = locate(name, folders);
  const config::Document document = config::Document::load(file, folders, {});
  config::Resolver resolver(document);
  resolver.add("device", "hardware", device_schema());
  resolver.add("products", "hardware", products_schema());
  resolver.add("attention", "hardware", attention_schema());
  resolver.add("network", "hardware", network_schema());
  resolver.add("overlap", "hardware", overlap_schema());
  const config::Configuration all = resolver.resolve();
  const config::Section &device = all.section("device"), &attention = all.section("attention"), &overlap = all.section("overlap");
  Hardware h;
  h.name = device.get_string("name"), h.file = file.string();
  h.memory_bytes = static_cast<int64_t>(device.get_float("memory_gib") * kMiB * 1024);
  h.overhead_bytes = static_cast<int64_t>(device.get_float("overhead_gib") * kMiB * 1024);
  h.peak_flops = device.get_float("peak_tflops") * kTera;
  h.memory_rate = device.get_float("memory_tb_s") * kTera;
  h.power_limit = device.get_float("power_limit_w"), h.product_power = device.get_float("product_w"),
  h.other_power = device.get_float("other_w");
  h.spread = device.get_float("spread");
  h.launch = device.get_float("launch_us") * kMicro;
  h.micro_batch_overhead = device.get_float("micro_batch_us") * kMicro;
  h.step_overhead = device.get_float("step_ms") * kMilli;
  for (const std::string& row : device.get_strings("fused_rows")) h.fused_rows.insert(graph::op_row(row).name);
  read_products(h, all.section("products"));
  h.attention_keys = attention.get_floats("keys");
  if (h.attention_keys.empty() || !std::is_sorted(h.attention_keys.begin(), h.attention_keys.end()))
    throw config::fault_at(attention, "keys", "must be ascending, one or more");
  for (const int64_t d : {64, 128}) {
    const std::string prefix = "d" + std::to_string(d) + "_";
    h.attention[d] = {rates(attention, prefix + "forward"), rates(attention, prefix + "backward")};
  }
  h.attention_sustained = attention.get_float("sustained");
  h.behind_backward = attention.get_floats("behind_backward");
  read_network(h, all.section("network"));
  h.streams = overlap.get_bool("streams"), h.overlap_fixed = overlap.get_float("cost_us") * kMicro,
  h.overlap_share = overlap.get_float("cost");
  return h;
}

}  // namespace nemo::planner
