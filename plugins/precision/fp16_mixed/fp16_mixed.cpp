// Precision "fp16-mixed": f16 parameters and activations with dynamic loss scaling; f32 gradients, master weights and moments. The defaults
// of the scaling are NeMo's and Megatron's.
#include "nemo/cpp/plugin.hpp"

using namespace nemo::sdk;

namespace {

const Schema schema{{
    number("loss_scale", "4294967296.0", "first loss scale").min(1),
    number("min_loss_scale", "1.0", "the scale is not halved below this").min(1e-30),
    integer("loss_scale_window", "1000", "finite steps in a row after which the scale is doubled; 0: the scale stays").min(0).unit("steps"),
    integer("hysteresis", "2", "steps that overflow before the scale is halved").min(1).unit("steps"),
}};

nemo_error* policy(nemo_host*, const nemo_config* config, nemo_precision_policy* out) {
  return guard([&] {
    const Config settings(config);
    out->parameter = NEMO_DTYPE_F16;
    out->compute = NEMO_DTYPE_F16;
    out->gradient = NEMO_DTYPE_F32;
    out->master = NEMO_DTYPE_F32;
    out->moment = NEMO_DTYPE_F32;
    out->loss_scale = settings.number("loss_scale");
    out->loss_scale_min = settings.number("min_loss_scale");
    out->loss_scale_window = settings.integer("loss_scale_window");
    out->loss_scale_hysteresis = settings.integer("hysteresis");
    if (out->loss_scale_min > out->loss_scale) config_fault("min_loss_scale", "min_loss_scale is above loss_scale");
  });
}

constexpr nemo_precision_api api{sizeof(nemo_precision_api), 0, policy, nullptr};

}  // namespace

NEMO_PLUGIN("precision:fp16-mixed\0", component(NEMO_KIND_PRECISION, "fp16-mixed", "1.0.0",
                                                "f16 values with dynamic loss scaling, f32 gradients and optimizer", &api, schema.get()))
