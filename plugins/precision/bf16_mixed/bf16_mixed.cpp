// Precision "bf16-mixed": bf16 parameters and activations; f32 gradients, master weights and moments.
#include "nemo/cpp/plugin.hpp"

using namespace nemo::sdk;

namespace {

const Schema schema{{}};

nemo_error* policy(nemo_host*, const nemo_config*, nemo_precision_policy* out) {
  out->parameter = NEMO_DTYPE_BF16;
  out->compute = NEMO_DTYPE_BF16;
  out->gradient = NEMO_DTYPE_F32;
  out->master = NEMO_DTYPE_F32;
  out->moment = NEMO_DTYPE_F32;
  return nullptr;
}

constexpr nemo_precision_api api{sizeof(nemo_precision_api), 0, policy, nullptr};

}  // namespace

NEMO_PLUGIN("precision:bf16-mixed\0",
            component(NEMO_KIND_PRECISION, "bf16-mixed", "1.0.0", "bf16 values, f32 gradients and optimizer", &api, schema.get()))
