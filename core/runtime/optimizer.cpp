#include "core/runtime/optimizer.hpp"

#include <algorithm>
#include <cmath>

namespace nemo::runtime {
namespace {

// The scalars: totals (squares, loss, tokens, ranks that want to stop), what the host wishes, what the device reports, what the updates
// read. The host writes [kTokens, kReport) in one copy and reads [kSquares, kEnd) in one.
constexpr int64_t kSquares = 0, kLoss = 1, kTokens = 2, kStop = 3, kTotals = 4;
constexpr int64_t kHyperCount = 8, kWish = kTotals, kReport = kWish + kHyperCount, kEnd = kReport + kTotals, kHyper = 16, kScalars = 24;
static_assert(kEnd <= kHyper);

}  // namespace

Optimizer::Optimizer(Device& device, State& state, const OptimizerSettings& settings, GradientSync& sync)
    : device_(device), state_(state), settings_(settings), sync_(sync), scalars_(device.allocate(kScalars * 8, "optimizer scalars")) {
  device.zero(scalars_.data(), kScalars * 8);
  prepare_totals();
  for (const GradientSync::Piece& p : sync.pieces()) updates_.push_back(prepare_piece(p));
  int64_t workspace = 0;
  for (const Launch& l : norm_) workspace = std::max(workspace, l.prepared.workspace_bytes);
  for (const Launch& l : updates_) workspace = std::max(workspace, l.prepared.workspace_bytes);
  workspace_ = device.allocate(workspace, "optimizer workspace");
}

// The first kernel overwrites the sum, the others add. Neighbouring pieces are one range.
void Optimizer::prepare_norm(const GradientSync::Piece& piece) {
  const graph::DType dtype = state_.dtype(Role::kGradient);
  Launch l;
  l.op = "sum_squares";
  l.elements = piece.end - piece.begin;
  l.inputs = {state_.element(Role::kGradient, piece.begin)};
  l.outputs = {scalar(kSquares)};
  l.prepared = device_.prepare(l.op, "optimizer", {{dtype, {l.elements}, {}}}, {{graph::DType::kF64, {}, {}}},
                               {{"accumulate", int64_t{norm_.empty() ? 0 : 1}}});
  norm_.push_back(std::move(l));
}

void Optimizer::prepare_totals() {
  GradientSync::Piece range{};
  for (const GradientSync::Piece& p : sync_.pieces()) {
    if (!p.counts) continue;
    if (range.end == p.begin && range.end > range.begin) {
      range.end = p.end;
      continue;
    }
    if (range.end > range.begin) prepare_norm(range);
    range = p;
  }
  if (range.end > range.begin) prepare_norm(range);
  clip_.op = "clip_coefficient";
  clip_.inputs = {scalar(kSquares), scalar(kWish)};
  clip_.outputs = {scalar(kHyper), scalar(kReport)};
  const TensorSpec totals{graph::DType::kF64, {kTotals}, {}}, hyper{graph::DType::kF64, {kHyperCount}, {}};
  clip_.prepared = device_.prepare(clip_.op, "optimizer", {totals, hyper}, {hyper, totals}, {{"max_norm", settings_.clip_grad_norm}});
}

Optimizer::Launch Optimizer::prepare_piece(const GradientSync::Piece& piece) {
  const bool adamw = settings_.kind == OptimizerSettings::Kind::kAdamW;
  const passes::Segment& segment = state_.layout().segments[piece.segment];
  const int64_t n = piece.end - piece.begin;
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
    launch.outputs.push_back(state_.keeps(role) ? state_.element(role, piece.begin) : nullptr);
  }
  launch.inputs = {state_.element(Role::kGradient, piece.begin), scalar(kHyper)};
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
  if (!sync_.ranks().counts_loss()) return;  // the total of this rank stays 0
  const auto [at, fresh] = losses_.try_emplace(dtype);
  Launch& l = at->second;
  if (fresh)
    l.prepared = device_.prepare("add_scalar", "optimizer", {{dtype, {}, {}}}, {{graph::DType::kF64, {}, {}}}, {}),
    l.outputs = {scalar(kLoss)};
  l.inputs = {const_cast<std::byte*>(loss)};
  launch(l, order == Gradients::kAccumulate ? NEMO_LAUNCH_ACCUMULATE : 0);
}

void Optimizer::enqueue(const Step& step) {
  const auto t = static_cast<double>(step.step);
  const Ranks& ranks = sync_.ranks();
  const std::array<double, 2 + kHyperCount> wish{ranks.counts_tokens() ? step.tokens : 0,
                                                 step.stop ? 1.0 : 0.0,
                                                 step.lr,
                                                 settings_.beta1,
                                                 settings_.beta2,
                                                 settings_.eps,
                                                 1 - std::pow(settings_.beta1, t),
                                                 1 - std::pow(settings_.beta2, t),
                                                 1 / step.loss_scale,
                                                 0};
  device_.send(scalar(kTokens), wish.data(), sizeof wish);
  // The last step's sums are still there where this rank has nothing to count.
  const double none = 0;
  if (norm_.empty()) device_.send(scalar(kSquares), &none, sizeof none);
  if (!ranks.counts_loss()) device_.send(scalar(kLoss), &none, sizeof none);
  sync_.reduce_gradients();
  for (Launch& l : norm_) launch(l);
  sync_.reduce_totals(scalar(kSquares), kTotals);
  launch(clip_);
  for (size_t piece = 0; piece < updates_.size(); ++piece) {
    launch(updates_[piece]);
    sync_.gather_behind(piece);
  }
  sync_.gather_parameters();
}

Optimizer::Report Optimizer::read() {
  std::array<double, kEnd> values{};
  device_.copy_out(values.data(), scalar(kSquares), sizeof values);
  return {values[kReport], values[kLoss], values[kTokens], values[kReport + 2] != 0, values[kStop] != 0};
}

double Optimizer::step(double lr, int64_t step, double tokens) {
  enqueue({lr, step, tokens});
  return read().norm;
}

void Optimizer::visit(const std::function<void(std::string_view, int64_t, const std::function<void()>&)>& each) {
  for (Launch& l : norm_) each(l.op, l.elements, [this, &l] { launch(l); });
  each(clip_.op, kTotals + 2 * kHyperCount, [this] { launch(clip_); });
  for (Launch& l : updates_) each(l.op, l.elements, [this, &l] { launch(l); });
}

}  // namespace nemo::runtime
