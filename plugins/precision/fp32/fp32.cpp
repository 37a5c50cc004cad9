// Precision "fp32": 32-bit floats everywhere.
#include "nemo/cpp/plugin.hpp"

using namespace nemo::sdk;

namespace {

const Schema schema{{}};

nemo_error* policy(nemo_host*, const nemo_config*, nemo_precision_policy* out) {
  out->parameter = NEMO_DTYPE_F32;
  out->compute = NEMO_DTYPE_F32;
  out->gradient = NEMO_DTYPE_F32;
  out->master = NEMO_DTYPE_F32;
  out->moment = NEMO_DTYPE_F32;
  return nullptr;
}

constexpr nemo_precision_api api{sizeof(nemo_precision_api), 0, policy, nullptr};

}  // namespace

NEMO_PLUGIN("precision:fp32\0", component(NEMO_KIND_PRECISION, "fp32", "1.0.0", "32-bit floats everywhere", &api, schema.get()))
