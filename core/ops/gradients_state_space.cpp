// Gradients of the state-space ops.
#include "core/ops/gradient_families.hpp"

namespace nemo::ops {
namespace {

void causal_conv1d(Backward& b) { give_many(b, "causal_conv1d_grad", {b.dout(0), b.in(0), b.in(1), b.in(2)}, b.op().attrs, {0, 1, 2}); }

// Both scans have the same inputs and outputs; the state behind the last token may have no gradient.
void scan(Backward& b, std::string_view name) {
  const graph::ValueId dy = b.dout(0), dfinal = b.dout(1);
  std::vector<graph::ValueId> inputs{dy};
  for (size_t i = 0; i < b.op().inputs.size(); ++i) inputs.push_back(b.in(i));
  inputs.push_back(dfinal);
  give_many(b, name, std::move(inputs), b.op().attrs, {0, 1, 2, 3, 4, 5, 6, 7});
}
void ssd_scan(Backward& b) { scan(b, "ssd_scan_grad"); }
void selective_scan(Backward& b) { scan(b, "selective_scan_grad"); }

void gated_rms_norm(Backward& b) {
  give_many(b, "gated_rms_norm_grad", {b.dout(0), b.in(0), b.in(1), b.in(2), b.out(1)}, attrs_of(b.op(), {"axes"}), {0, 1, 2});
}

}  // namespace

GradientFamily state_space_rules() {
  return {{"causal_conv1d", causal_conv1d}, {"ssd_scan", ssd_scan}, {"selective_scan", selective_scan}, {"gated_rms_norm", gated_rms_norm}};
}

}  // namespace nemo::ops
