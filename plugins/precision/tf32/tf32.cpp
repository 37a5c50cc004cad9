// Precision "tf32": 32-bit floats everywhere, but products may round their operands to 10 bits of mantissa (TF32 tensor cores). A backend
// without such units multiplies them as they are.
#include "nemo/cpp/plugin.hpp"

using namespace nemo::sdk;

namespace {

const Schema schema{{}};

nemo_error* policy(nemo_host*, const nemo_config*, nemo_precision_policy* out) {
  out->flags |= NEMO_PRECISION_TF32;
  out->parameter = NEMO_DTYPE_F32;
  out->compute = NEMO_DTYPE_F32;
  out->gradient = NEMO_DTYPE_F32;
  out->master = NEMO_DTYPE_F32;
  out->moment = NEMO_DTYPE_F32;
  return nullptr;
}

constexpr nemo_precision_api api{sizeof(nemo_precision_api), 0, policy, nullptr};

}  // namespace

NEMO_PLUGIN("precision:tf32\0", component(NEMO_KIND_PRECISION, "tf32", "1.0.0",
                                          "32-bit floats, products on TF32 tensor cores where there are some", &api, schema.get()))
