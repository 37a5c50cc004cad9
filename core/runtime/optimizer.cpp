#include "core/runtime/optimizer.hpp"

#include <algorithm>
#include <cmath>

namespace nemo::runtime {
namespace {
constexpr int64_t kHyperOffset = 8, kHyperCount = 8;
}

Optimizer::Optimizer(Device& device, State& state, const OptimizerSettings& settings)
    : device_(device),
      state_(state),
      settings_(settings),
      scalars_(device.allocate((kHyperOffset + kHyperCount) * 8, "optimizer scalars")) {
  const int64_t n = state.layout().trainable;
  Launch norm{device.prepare("sum_squares", "optimizer", {{state.dtype(Role::kGradient), {n}, {}}}, {{graph::DType::kF64, {}, {}}},
                             {{"accumulate", int64_t{0}}}),
              {state.data(Role::kGradient)},
              {scalars_.data()}};
  norm_.push_back(std::move(norm));
  for (const passes::Segment& s : state.layout().segments) updates_.push_back(prepare_segment(s));
  int64_t workspace = norm_[0].prepared.workspace_bytes;
  for (const Launch& l : updates_) workspace = std::max(workspace, l.prepared.workspace_bytes);
  workspace_ = device.allocate(workspace, "optimizer workspace");
}

Optimizer::Launch Optimizer::prepare_segment(const passes::Segment& segment) {
  const bool adamw = settings_.kind == OptimizerSettings::Kind::kAdamW;
  const int64_t n = segment.end - segment.begin;
  graph::Attrs attrs{{"weight_decay", segment.decay || settings_.decay_all ? settings_.weight_decay : 0.0}};
  if (!adamw) attrs["momentum"] = settings_.momentum, attrs["nesterov"] = int64_t{settings_.nesterov};
  Launch launch;
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
  launch.inputs = {state_.data(Role::kGradient) + segment.begin * size_of(state_.dtype(Role::kGradient)),
                   scalars_.data() + kHyperOffset * 8};
  launch.prepared = device_.prepare(adamw ? "adamw" : "sgd", "optimizer",
                                    {{state_.dtype(Role::kGradient), {n}, {}}, {graph::DType::kF64, {kHyperCount}, {}}}, outputs, attrs);
  return launch;
}

void Optimizer::launch(Launch& l) {
  nemo_launch raw{};
  raw.struct_size = sizeof raw;
  raw.inputs = l.inputs.data();
  raw.outputs = l.outputs.data();
  raw.workspace = workspace_.data();
  device_.launch(l.prepared.kernel.get(), raw);
}

double Optimizer::gradient_norm(double tokens) {
  for (Launch& l : norm_) launch(l);
  double sum = 0;
  device_.copy_out(&sum, scalars_.data(), sizeof sum);
  return std::sqrt(sum) / tokens;
}

double Optimizer::step(double lr, int64_t step, double tokens) {
  const double norm = gradient_norm(tokens);
  if (!std::isfinite(norm)) return norm;
  const double clip = settings_.clip_grad_norm > 0 ? std::min(1.0, settings_.clip_grad_norm / (norm + 1e-6)) : 1.0;
  const auto t = static_cast<double>(step);
  const std::array<double, kHyperCount> hyper{lr,
                                              settings_.beta1,
                                              settings_.beta2,
                                              settings_.eps,
                                              1 - std::pow(settings_.beta1, t),
                                              1 - std::pow(settings_.beta2, t),
                                              clip / tokens,
                                              t};
  device_.copy_in(scalars_.data() + kHyperOffset * 8, hyper.data(), sizeof hyper);
  for (Launch& l : updates_) launch(l);
  return norm;
}

}  // namespace nemo::runtime
