#include "core/runtime/state.hpp"

#include <algorithm>
#include <thread>

#include "core/base/error.hpp"
#include "core/base/nearest.hpp"
#include "core/runtime/convert.hpp"
#include "core/runtime/initialize.hpp"

namespace nemo::runtime {
namespace {

constexpr int64_t kInitChunk = 1 << 23;  // elements drawn at a time

constexpr std::array<std::string_view, kRoles> kTags{"parameters", "master weights", "gradients", "exp_avg", "exp_avg_sq"};

graph::DType dtype_of(Role role, const passes::Precision& precision) {
  switch (role) {
    case Role::kParameter:
      return precision.parameter;
    case Role::kMaster:
      return precision.master;
    case Role::kGradient:
      return precision.gradient;
    case Role::kExpAvg:
      return precision.moment;
    case Role::kExpAvgSq:
      return precision.second_moment != graph::DType::kNone ? precision.second_moment : precision.moment;
  }
  return graph::DType::kNone;
}

}  // namespace

Share share_of(const Ranks& ranks) { return {ranks.plan().zero_stage(), ranks.zero_shard(), ranks.zero_shards()}; }

int64_t state_bytes(Role role, Keep keep, const passes::FlatLayout& layout, const passes::Precision& precision, const Share& share) {
  const bool training = keep != Keep::kParametersOnly;
  const bool kept =
      role == Role::kParameter || (training && (role == Role::kGradient || (role == Role::kMaster && precision.has_master()) ||
                                                role == Role::kExpAvg || (role == Role::kExpAvgSq && keep == Keep::kTwoMoments)));
  if (!kept) return 0;
  return (role == Role::kParameter ? layout.total : layout.trainable) / (share.is_sharded(role) ? share.shards : 1) *
         size_of(dtype_of(role, precision));
}

State::State(Device& device, const std::vector<graph::Parameter>& parameters, const passes::FlatLayout& layout,
             const passes::Precision& precision, Keep keep, const Ranks& ranks, std::vector<std::string> elsewhere)
    : device_(device), parameters_(parameters), elsewhere_(std::move(elsewhere)), layout_(layout), share_(share_of(ranks)) {
  for (const graph::Parameter& p : parameters_) starts_.push_back(starts_of(p.dims, ranks.plan(), ranks.coordinates()));
  for (size_t r = 0; r < kRoles; ++r) {
    const auto role = static_cast<Role>(r);
    dtypes_[r] = dtype_of(role, precision);
    const int64_t bytes = state_bytes(role, keep, layout, precision, share_);
    buffers_[r] = device.allocate(bytes, kTags[r]);
    if (bytes > 0) device.zero(buffers_[r].data(), bytes);
  }
}

passes::Unit State::own_part(const passes::Unit& unit) const {
  const int64_t each = (unit.end - unit.begin) / share_.shards;
  return {unit.begin + share_.shard * each, unit.begin + (share_.shard + 1) * each};
}

const passes::Unit& State::unit_of(int64_t at) const {
  const auto after = std::upper_bound(layout_.units.begin(), layout_.units.end(), at,
                                      [](int64_t element, const passes::Unit& unit) { return element < unit.begin; });
  return *std::prev(after);
}

// The shards of the units lie one behind the other.
std::byte* State::element(Role role, int64_t at) const {
  if (is_sharded(role)) {
    const passes::Unit& unit = unit_of(at);
    at = unit.begin / share_.shards + at - own_part(unit).begin;
  }
  return data(role) + at * size_of(dtype(role));
}

State::Part State::part(Role role, size_t parameter) const {
  const int64_t begin = layout_.offset[parameter], n = element_count(parameters_[parameter].dims);
  if (n == 0 || !is_sharded(role)) return {0, n, element(role, begin)};
  const passes::Unit own = own_part(unit_of(begin));
  const int64_t from = std::max(begin, own.begin), to = std::min(begin + n, own.end);
  if (from >= to) return {};
  return {from - begin, to - from, element(role, from)};
}

std::vector<Run> State::runs(size_t parameter, int64_t first, int64_t count) const {
  return runs_of(parameters_[parameter].dims, parameters_[parameter].global_dims, starts_[parameter], first, count);
}

std::byte* State::address(Role role, size_t parameter) const {
  if (is_sharded(role))
    throw Error(Code::kInternal, "'" + parameters_[parameter].name + "' is not whole on this rank: its " + std::string(kTags[index(role)]) +
                                     " are shared out");
  return data(role) + layout_.offset[parameter] * size_of(dtype(role));
}

int64_t State::bytes(Role role, size_t parameter) const { return element_count(parameters_[parameter].dims) * size_of(dtype(role)); }

size_t State::find(std::string_view name) const {
  std::vector<std::string> names;
  for (size_t i = 0; i < parameters_.size(); ++i) {
    if (parameters_[i].name == name) return i;
    names.push_back(parameters_[i].name);
  }
  const std::string near = nearest_name(name, names);
  throw Error(Code::kNotFound,
              "the model has no parameter '" + std::string(name) + "'" + (near.empty() ? "" : "; the nearest is '" + near + "'"));
}

namespace {

// Draws values[i] for element first + i; every element has its own counter, so threads may share the work.
void draw(std::span<float> values, int64_t first, const graph::Parameter& parameter, int64_t seed) {
  constexpr size_t kPerThread = 1 << 18;
  const size_t most = std::max(1U, std::thread::hardware_concurrency());
  const size_t threads = std::clamp<size_t>(values.size() / kPerThread, 1, most), each = (values.size() + threads - 1) / threads;
  std::vector<std::jthread> workers;
  for (size_t t = 1; t < threads; ++t) {
    const size_t at = std::min(t * each, values.size());
    workers.emplace_back([=, &parameter] {
      initialize(values.subspan(at, std::min(each, values.size() - at)), first + static_cast<int64_t>(at), parameter.name, parameter.init,
                 seed);
    });
  }
  initialize(values.first(std::min(each, values.size())), first, parameter.name, parameter.init, seed);
}

}  // namespace

void State::initialize(int64_t seed) {
  for (size_t p = 0; p < parameters_.size(); ++p) {
    std::vector<Role> roles{Role::kParameter};
    if (keeps(Role::kMaster) && parameters_[p].trainable) roles.push_back(Role::kMaster);
    if (roles.size() > 1 && is_sharded(Role::kParameter) != is_sharded(Role::kMaster)) {
      draw_part({Role::kMaster}, p, seed);
      roles.pop_back();
    }
    draw_part(roles, p, seed);
  }
  device_.synchronize();
}

// What this rank keeps of a parameter, for roles that are shared out alike: every element by its place in the whole parameter.
void State::draw_part(const std::vector<Role>& roles, size_t p, int64_t seed) {
  const Part kept = part(roles[0], p);
  std::vector<float> values;
  std::vector<std::byte> encoded;
  for (int64_t at = 0; at < kept.count; at += kInitChunk) {
    values.resize(static_cast<size_t>(std::min(kInitChunk, kept.count - at)));
    for (const Run& run : runs(p, kept.first + at, static_cast<int64_t>(values.size())))
      draw(std::span(values).subspan(static_cast<size_t>(run.local - kept.first - at), static_cast<size_t>(run.length)), run.global,
           parameters_[p], seed);
    for (const Role role : roles) {
      const std::byte* from = reinterpret_cast<const std::byte*>(values.data());
      if (dtype(role) != graph::DType::kF32) {
        encoded.resize(values.size() * static_cast<size_t>(size_of(dtype(role))));
        from_f32(values, dtype(role), encoded.data());
        from = encoded.data();
      }
      device_.send(part(role, p).address + at * size_of(dtype(role)), from, static_cast<int64_t>(values.size()) * size_of(dtype(role)));
    }
  }
}

std::vector<float> State::read(Role role, size_t parameter) const {
  std::vector<std::byte> raw(static_cast<size_t>(bytes(role, parameter)));
  device_.copy_out(raw.data(), address(role, parameter), static_cast<int64_t>(raw.size()));
  std::vector<float> values(static_cast<size_t>(element_count(parameters_[parameter].dims)));
  to_f32(raw.data(), dtype(role), values);
  return values;
}

void State::write_parameter(size_t parameter, std::span<const float> values) {
  if (static_cast<int64_t>(values.size()) != element_count(parameters_[parameter].dims))
    throw Error(Code::kInvalidArgument, "parameter '" + parameters_[parameter].name + "' has another number of elements");
  for (const Role role : {Role::kParameter, Role::kMaster}) {
    if (!keeps(role)) continue;
    std::vector<std::byte> encoded(static_cast<size_t>(bytes(role, parameter)));
    from_f32(values, dtype(role), encoded.data());
    device_.copy_in(address(role, parameter), encoded.data(), static_cast<int64_t>(encoded.size()));
  }
}

}  // namespace nemo::runtime
