#include "core/runtime/optimizer.hpp"

#include <algorithm>
#include <cmath>

namespace nemo::runtime {
namespace {

// The scalars: totals (squares, loss, tokens), what the host wishes, what the device reports, what the updates read. The host writes
// [kTokens, kReport) in one copy and reads [kSquares, kEnd) in one.
constexpr int64_t kSquares = 0, kLoss = 1, kTokens = 2, kTotals = 3;
constexpr int64_t kHyperCount = 8, kWish = 3, kReport = 11, kEnd = 14, kHyper = 16, kScalars = 24;

}  // namespace

Optimizer::Optimizer(Device& device, State& state, const OptimizerSettings& settings, ReduceTotals reduce)
    : device_(device),
      state_(state),
      settings_(settings),
      reduce_(std::move(reduce)),
      scalars_(device.allocate(kScalars * 8, "optimizer scalars")) {
  device.zero(scalars_.data(), kScalars * 8);
  prepare_totals();
  for (const passes::Segment& s : state.layout().segments) updates_.push_back(prepare_segment(s));
  int64_t workspace = norm_.prepared.workspace_bytes;
  for (const Launch& l : updates_) workspace = std::max(workspace, l.prepared.workspace_bytes);
  workspace_ = device.allocate(workspace, "optimizer workspace");
}

void Optimizer::prepare_totals() {
  const int64_t n = state_.layout().trainable;
  norm_.op = "sum_squares";
  norm_.elements = n;
  norm_.inputs = {state_.data(Role::kGradient)};
  norm_.outputs = {scalar(kSquares)};
  norm_.prepared = device_.prepare(norm_.op, "optimizer", {{state_.dtype(Role::kGradient), {n}, {}}}, {{graph::DType::kF64, {}, {}}},
                                   {{"accumulate", int64_t{0}}});
  clip_.op = "clip_coefficient";
  clip_.inputs = {scalar(kSquares), scalar(kWish)};
  clip_.outputs = {scalar(kHyper), scalar(kReport)};
  const TensorSpec totals{graph::DType::kF64, {kTotals}, {}}, hyper{graph::DType::kF64, {kHyperCount}, {}};
  clip_.prepared = device_.prepare(clip_.op, "optimizer", {totals, hyper}, {hyper, totals}, {{"max_norm", settings_.clip_grad_norm}});
}

Optimizer::Launch Optimizer::prepare_segment(const passes::Segment& segment) {
  const bool adamw = settings_.kind == OptimizerSettings::Kind::kAdamW;
  const int64_t n = segment.end - segment.begin;
  graph::Attrs attrs{{"weight_decay", segment.decay || settings_.decay_all ? settings_.weight_decay : 0.0}};
  if (!adamw) attrs["momentum"] = settings_.momentum, attrs["nesterov"] = int64_t{settings_.nesterov};
  Launch launch;
  launch.op = adamw ? "adamw" : "sgd";
  launch.elements = n;
  std::vector<TensorSpec> outputs;
  std::vector<Role> roles{Role::kParameter, Role::kMaster, Role::kExpAvg};
  if (adamw) roles.push_back(Role::kExpAvgSq);
  for (const Role role : roles) {
    if (state_.keeps(role))
      outputs.push_back({state_.dtype(role), {n}, {}});
    else
      outputs.push_back({});
    launch.outputs.push_back(state_.keeps(role) ? state_.data(role) + segment.begin * size_of(state_.dtype(role)) : nullptr);
  }
  launch.inputs = {state_.data(Role::kGradient) + segment.begin * size_of(state_.dtype(Role::kGradient)), scalar(kHyper)};
  launch.prepared = device_.prepare(launch.op, "optimizer",
                                    {{state_.dtype(Role::kGradient), {n}, {}}, {graph::DType::kF64, {kHyperCount}, {}}}, outputs, attrs);
  return launch;
}

void Optimizer::launch(Launch& l, uint32_t flags) {
  nemo_launch raw{};
  raw.struct_size = sizeof raw;
  raw.flags = flags;
  raw.inputs = l.inputs.data();
  raw.outputs = l.outputs.data();
  raw.workspace = workspace_.data();
  device_.launch(l.prepared.kernel.get(), raw);
}

void Optimizer::add_loss(const std::byte* loss, graph::DType dtype, Gradients order) {
  const auto [at, fresh] = losses_.try_emplace(dtype);
  Launch& l = at->second;
  if (fresh)
    l.prepared = device_.prepare("add_scalar", "optimizer", {{dtype, {}, {}}}, {{graph::DType::kF64, {}, {}}}, {}),
    l.outputs = {scalar(kLoss)};
  l.inputs = {const_cast<std::byte*>(loss)};
  launch(l, order == Gradients::kAccumulate ? NEMO_LAUNCH_ACCUMULATE : 0);
}

void Optimizer::enqueue(double lr, int64_t step, double tokens, double loss_scale) {
  const auto t = static_cast<double>(step);
  const std::array<double, 1 + kHyperCount> wish{tokens,
                                                 lr,
                                                 settings_.beta1,
                                                 settings_.beta2,
                                                 settings_.eps,
                                                 1 - std::pow(settings_.beta1, t),
                                                 1 - std::pow(settings_.beta2, t),
                                                 1 / loss_scale,
                                                 0};
  device_.send(scalar(kTokens), wish.data(), sizeof wish);
  launch(norm_);
  if (reduce_) reduce_(scalar(kSquares), kTotals);
  launch(clip_);
  for (Launch& l : updates_) launch(l);
}

Optimizer::Report Optimizer::read() {
  std::array<double, kEnd> values{};
  device_.copy_out(values.data(), scalar(kSquares), sizeof values);
  return {values[kReport], values[kLoss], values[kTokens], values[kReport + 2] != 0};
}

double Optimizer::step(double lr, int64_t step, double tokens) {
  enqueue(lr, step, tokens);
  return read().norm;
}

void Optimizer::visit(const std::function<void(std::string_view, int64_t, const std::function<void()>&)>& each) {
  each(norm_.op, norm_.elements, [this] { launch(norm_); });
  each(clip_.op, kTotals + 2 * kHyperCount, [this] { launch(clip_); });
  for (Launch& l : updates_) each(l.op, l.elements, [this, &l] { launch(l); });
}

}  // namespace nemo::runtime
