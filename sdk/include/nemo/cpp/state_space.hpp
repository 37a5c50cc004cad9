// nemo/cpp/state_space.hpp - the Mamba-2 mixer for model plugins: settings, graph, and its names in Hugging Face checkpoints.
// Dao & Gu 2024, "Transformers are SSMs".
//
// Parameters under NAME: {z, x}.weight [heads head_dim embed], {b, c}.weight [kv_heads state embed], dt.weight [heads embed], each with
// .bias where the projections have one; conv_{x, b, c}.{weight [.. 4], bias}; A_log, D, dt_bias [heads]; norm.weight [heads head_dim];
// out.{weight [embed heads head_dim], bias}. Groups carry the word kv_heads: they are shared by heads as keys are.
#pragma once

#include <cmath>
#include <cstdio>

#include "nemo/cpp/hf.hpp"
#include "nemo/cpp/model.hpp"

namespace nemo::sdk {
inline namespace v1 {

inline std::vector<Field> mamba_fields(std::string_view head_dim = "64", std::string_view groups = "8") {
  return {
      integer("mamba_num_heads", "0", "heads of the state-space layers; 0 = mamba_expand * hidden_size / mamba_head_dim")
          .min(0)
          .changes_checkpoint(),
      integer("mamba_head_dim", head_dim, "elements of such a head").min(1).changes_checkpoint(),
      integer("mamba_num_groups", groups, "groups of heads that share B and C").min(1).changes_checkpoint(),
      integer("mamba_state_dim", "128", "states per element").min(1).changes_checkpoint(),
      integer("mamba_conv_kernel", "4", "taps of the causal convolution").min(1).max(16).changes_checkpoint(),
      number("mamba_expand", "2", "inner width / hidden_size").min(0).changes_checkpoint(),
      boolean("mamba_conv_bias", "true", "biases of the convolution").changes_checkpoint(),
      boolean("mamba_proj_bias", "false", "biases of the projections").changes_checkpoint(),
      number("mamba_dt_min", "0", "smallest time step").min(0).changes_checkpoint(),
      number("mamba_dt_max", "0", "largest time step; 0 = no limit").min(0).changes_checkpoint(),
  };
}

// For models whose norm behind the scan is not always of one reach.
inline Field mamba_norm_field() {
  return choice("mamba_norm", "\"groups\"",
                {{"groups", "over each of the mamba_num_groups groups, as Mamba-2's own kernels, Megatron and transformers 5.23"},
                 {"whole", "over all heads of a token, as transformers before 5.23"}},
                "reach of the norm behind the scan")
      .changes_checkpoint();
}

struct MambaSpec {
  int64_t hidden, heads, head, groups, state, kernel;
  bool conv_bias, proj_bias;
  double dt_min, dt_max, epsilon;
  Init in, out;
  int64_t norm_groups = 1;

  MambaSpec(const Config& c, int64_t hidden_size, double eps, Init weights, Init output)
      : hidden(hidden_size),
        heads(c.integer("mamba_num_heads")),
        head(c.integer("mamba_head_dim")),
        groups(c.integer("mamba_num_groups")),
        state(c.integer("mamba_state_dim")),
        kernel(c.integer("mamba_conv_kernel")),
        conv_bias(c.boolean("mamba_conv_bias")),
        proj_bias(c.boolean("mamba_proj_bias")),
        dt_min(c.number("mamba_dt_min")),
        dt_max(c.number("mamba_dt_max")),
        epsilon(eps),
        in(weights),
        out(output) {
    if (heads == 0) heads = int64_t(c.number("mamba_expand") * double(hidden)) / head;
    if (heads == 0) config_fault("mamba_head_dim", "mamba_head_dim is larger than mamba_expand * hidden_size");
    require_divides("mamba_num_groups", groups, "mamba_num_heads", heads);
  }
  int64_t inner() const { return heads * head; }
  int64_t shared() const { return groups * state; }
  // Rows of in_proj and channels of the convolution.
  int64_t projected() const { return 2 * inner() + 2 * shared() + heads; }
  int64_t convolved() const { return inner() + 2 * shared(); }
};

// Sequences of several documents would leak from one into the next.
inline void require_unpacked(Graph& g) {
  if (g.input("segments") != kNone)
    throw Error(NEMO_CODE_UNSUPPORTED, "state-space layers do not stop at document borders yet; turn packing with segments off in [data]");
}

class Mamba2Mixer {
 public:
  Mamba2Mixer(Graph& graph, const MambaSpec& spec) : g(graph), s(spec) {}

  Value build(const std::string& name, Value x) {
    const Graph::Scope scope(g, "mamba");
    const Value z = project(name + ".z", x, {heads(), head_dim()});
    const Value u = convolve(name + ".conv_x", project(name + ".x", x, {heads(), head_dim()}), heads(), head_dim());
    const Value b = convolve(name + ".conv_b", project(name + ".b", x, {groups(), state()}), groups(), state());
    const Value c = convolve(name + ".conv_c", project(name + ".c", x, {groups(), state()}), groups(), state());
    const Value dt = project(name + ".dt", x, {heads()});
    // A in [1, 16], steps in [0.001, 0.1], uniform in their logarithms.
    const Value a_log = g.vector(name + ".A_log", {heads()}, Init::uniform(0, std::log(16.0)));
    const Value skip = g.vector(name + ".D", {heads()}, Init::constant(1));
    const Value dt_bias = g.vector(name + ".dt_bias", {heads()}, Init::uniform(std::log(std::expm1(0.001)), std::log(std::expm1(0.1))));
    const Value y = g.ssd_scan({u, dt, a_log, b, c, skip, dt_bias}, {{"dt_min", s.dt_min}, {"dt_max", s.dt_max}});
    const Value norm = g.vector(name + ".norm.weight", {heads(), head_dim()}, Init::constant(1));
    const Value h = g.gated_rms_norm({y, z, norm}, {{"axes", 2}, {"g", s.norm_groups}, {"eps", s.epsilon}});
    const Value bias = s.proj_bias ? g.vector(name + ".out.bias", {embed()}, Init::constant(0)) : kNone;
    return g.linear({h, g.weight(name + ".out.weight", {embed(), heads(), head_dim()}, s.out), bias}, {{"contract", 2}});
  }

 private:
  Value project(const std::string& name, Value x, std::initializer_list<Dim> on) {
    std::vector<Dim> dims(on);
    dims.push_back(embed());
    const Value bias = s.proj_bias ? g.vector(name + ".bias", on, Init::constant(0)) : kNone;
    const Value w = dims.size() == 3 ? g.weight(name + ".weight", {dims[0], dims[1], dims[2]}, s.in)
                                     : g.weight(name + ".weight", {dims[0], dims[1]}, s.in);
    return g.linear({x, w, bias});
  }
  Value convolve(const std::string& name, Value x, Dim a, Dim b) {
    const double reach = 1 / std::sqrt(double(s.kernel));
    const Value w = g.weight(name + ".weight", {a, b, {s.kernel, ""}}, Init::uniform(-reach, reach));
    return g.causal_conv1d({x, w, s.conv_bias ? g.vector(name + ".bias", {a, b}, Init::uniform(-reach, reach)) : kNone});
  }
  Dim heads() const { return {s.heads, "heads"}; }
  Dim head_dim() const { return {s.head, "head_dim"}; }
  Dim groups() const { return {s.groups, "kv_heads"}; }
  Dim state() const { return {s.state, "state"}; }
  Dim embed() const { return {s.hidden, "embed"}; }

  Graph& g;
  const MambaSpec& s;
};

// `theirs`, `ours`: names up to the parts, with the layer's star: "model.layers.*.mamba.", "layers.*.mamba.".
inline void hf_map_mamba2(HfMap& m, const MambaSpec& s, const std::string& theirs, const std::string& ours) {
  const std::pair<const char*, int64_t> projections[] = {
      {"z", s.inner()}, {"x", s.inner()}, {"b", s.shared()}, {"c", s.shared()}, {"dt", s.heads}};
  int64_t row = 0;
  for (const auto& [part, rows] : projections) {
    m.tensor(theirs + "in_proj.weight", {s.projected(), s.hidden}).rows(row, rows).to(ours + part + ".weight");
    m.tensor(theirs + "in_proj.bias", {s.projected()}).rows(row, rows).to(ours + part + ".bias");
    if (part[0] == 'x' || part[0] == 'b' || (part[0] == 'c' && part[1] == '\0')) {
      const std::string conv = ours + "conv_" + part;
      m.tensor(theirs + "conv1d.weight", {s.convolved(), 1, s.kernel}).rows(row - s.inner(), rows).to(conv + ".weight");
      m.tensor(theirs + "conv1d.bias", {s.convolved()}).rows(row - s.inner(), rows).to(conv + ".bias");
    }
    row += rows;
  }
  for (const char* part : {"A_log", "D", "dt_bias"}) m.tensor(theirs + part).to(ours + part);
  m.tensor(theirs + "norm.weight", {s.inner()}).to(ours + "norm.weight");
  m.tensor(theirs + "out_proj.weight", {s.hidden, s.inner()}).to(ours + "out.weight");
  m.tensor(theirs + "out_proj.bias").to(ours + "out.bias");
}

// config.json has no key for the reach of the norm: the transformers that it was written for says it.
inline void hf_mamba_norm(HfConfig& c) {
  const std::string version = c.json().string("transformers_version", "");
  int major = 0, minor = 0;
  const bool old = std::sscanf(version.c_str(), "%d.%d", &major, &minor) == 2 && (major < 5 || (major == 5 && minor < 23));
  if (c.integer_of("mamba_num_groups") == 1) return;
  if (c.importing()) {
    if (old)
      log(NEMO_LOG_WARNING, "",
          "config.json is of transformers " + version +
              ", which norms all heads together; Mamba-2's own kernels norm each group: import weights trained with them with "
              "model.mamba_norm=groups");
    return c.put("mamba_norm", old ? "whole" : "groups");
  }
  const bool groups = c.string_of("mamba_norm") == "groups";
  if (groups && old) c.json().set("transformers_version", "5.23.0");
  if (!groups && !old)
    throw Error(
        NEMO_CODE_UNSUPPORTED,
        "transformers 5.23 and later norms each group by itself; mamba_norm = \"whole\" can be exported only into a config.json whose "
        "transformers_version is older")
        .with("path", "mamba_norm");
}

// time_step_limit = [low, high], where high may be infinite.
inline void hf_time_step_limit(HfConfig& c) {
  Json& j = c.json();
  if (c.importing()) {
    if (!j.has("time_step_limit")) return;
    const std::vector<double> limit = j.numbers("time_step_limit");
    if (limit.size() != 2) c.refuse("time_step_limit", "a list of other than two numbers");
    c.put("mamba_dt_min", limit[0]);
    return c.put("mamba_dt_max", std::isinf(limit[1]) ? 0.0 : limit[1]);
  }
  if (!j.has("time_step_limit") && c.number_of("mamba_dt_min") == 0 && c.number_of("mamba_dt_max") == 0) return;
  const double high = c.number_of("mamba_dt_max");
  j.set("time_step_limit", std::vector<double>{c.number_of("mamba_dt_min"), high == 0 ? HUGE_VAL : high});
}

}  // namespace v1
}  // namespace nemo::sdk
