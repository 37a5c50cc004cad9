// Precision "fp64": 64-bit floats everywhere, for checks of gradients and references.
#include "nemo/cpp/plugin.hpp"

using namespace nemo::sdk;

namespace {

const Schema schema{{}};

nemo_error* policy(nemo_host*, const nemo_config*, nemo_precision_policy* out) {
  out->parameter = NEMO_DTYPE_F64;
  out->compute = NEMO_DTYPE_F64;
  out->gradient = NEMO_DTYPE_F64;
  out->master = NEMO_DTYPE_F64;
  out->moment = NEMO_DTYPE_F64;
  return nullptr;
}

constexpr nemo_precision_api api{sizeof(nemo_precision_api), 0, policy, nullptr};

}  // namespace

NEMO_PLUGIN("precision:fp64\0",
            component(NEMO_KIND_PRECISION, "fp64", "1.0.0", "64-bit floats everywhere, for checks of gradients", &api, schema.get()))
