// Precision "bf16-mixed": bf16 parameters and activations; f32 master weights; gradients and moments f32, or bf16 where set.
#include "nemo/cpp/plugin.hpp"
#include "nemo/cpp/precision.hpp"

using namespace nemo::sdk;

namespace {

const Schema schema{with_state_dtypes()};

nemo_error* policy(nemo_host*, const nemo_config* config, nemo_precision_policy* out) {
  return guard([&] { mixed_policy(Config(config), NEMO_DTYPE_BF16, out); });
}

constexpr nemo_precision_api api{sizeof(nemo_precision_api), 0, policy, nullptr};

}  // namespace

NEMO_PLUGIN("precision:bf16-mixed\0",
            component(NEMO_KIND_PRECISION, "bf16-mixed", "1.1.0", "bf16 values, f32 gradients and optimizer", &api, schema.get()))
