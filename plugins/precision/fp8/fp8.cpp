// Precision "fp8": bf16-mixed whose linears inside blocks multiply 8-bit floats with one scale per tensor (Micikevicius et al. 2022):
// inputs and weights e4m3, gradients e5m2 (hybrid) or e4m3.
#include "nemo/cpp/plugin.hpp"
#include "nemo/cpp/precision.hpp"

using namespace nemo::sdk;

namespace {

const Schema schema{with_state_dtypes([] {
  std::vector<Field> f;
  f.push_back(choice("recipe", "\"current\"",
                     {{"current", "every tensor is scaled by its own largest magnitude"},
                      {"delayed", "inputs and gradients are scaled by the largest magnitudes of earlier micro-batches"}},
                     "how scales are found; weights are always scaled by their own magnitude, once per step"));
  f.push_back(choice("format", "\"hybrid\"", {{"hybrid", "e4m3 forward, e5m2 gradients"}, {"e4m3", "e4m3 everywhere"}}, "8-bit formats"));
  f.push_back(integer("margin", "0", "scales are divided by 2^margin").min(0).max(16));
  f.push_back(integer("amax_history_len", "1024", "delayed scaling: micro-batches remembered").min(1).max(65536));
  f.push_back(choice("amax_compute_algo", "\"max\"", {{"max", "largest of the history"}, {"most_recent", "newest of the history"}},
                     "delayed scaling: which magnitude counts"));
  f.push_back(boolean("first_last_layers_bf16", "false", "keep the linears of the first and last layers in bf16"));
  f.push_back(integer("num_layers_at_start_in_bf16", "1", "used where first_last_layers_bf16 is set").min(0).unit("layers"));
  f.push_back(integer("num_layers_at_end_in_bf16", "1", "used where first_last_layers_bf16 is set").min(0).unit("layers"));
  return f;
}())};

nemo_error* policy(nemo_host*, const nemo_config* config, nemo_precision_policy* out) {
  return guard([&] {
    const Config settings(config);
    mixed_policy(settings, NEMO_DTYPE_BF16, out);
    out->scaling = settings.string("recipe") == "delayed" ? NEMO_SCALING_DELAYED : NEMO_SCALING_CURRENT;
    out->quantized_forward = NEMO_DTYPE_E4M3;
    out->quantized_gradient = settings.string("format") == "e4m3" ? NEMO_DTYPE_E4M3 : NEMO_DTYPE_E5M2;
    out->margin = settings.integer("margin");
    out->amax_history_len = settings.integer("amax_history_len");
    out->amax_choice = settings.string("amax_compute_algo") == "most_recent" ? NEMO_AMAX_MOST_RECENT : NEMO_AMAX_MAX;
    if (!settings.boolean("first_last_layers_bf16")) return;
    out->first_blocks = settings.integer("num_layers_at_start_in_bf16");
    out->last_blocks = settings.integer("num_layers_at_end_in_bf16");
  });
}

constexpr nemo_precision_api api{sizeof(nemo_precision_api), 0, policy, nullptr};

}  // namespace

NEMO_PLUGIN("precision:fp8\0", component(NEMO_KIND_PRECISION, "fp8", "1.0.0",
                                         "8-bit linears with one scale per tensor, bf16 elsewhere, f32 optimizer", &api, schema.get()))
