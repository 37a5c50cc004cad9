// core/runtime/evaluate.hpp - the loss over the validation split.
#pragma once

#include "core/runtime/data_source.hpp"
#include "core/runtime/engine.hpp"

namespace nemo::runtime {

// nullptr where the recipe has no validation split.
[[nodiscard]] std::unique_ptr<DataSource> open_validation(const Setup& setup, const nemo_host_api& host, const text::Tokenizer* tokenizer,
                                                          const Engine& engine);

// A scalar output of a program that just ran.
[[nodiscard]] double read_scalar(Device& device, const Program& program, std::string_view output);

// Mean loss per unmasked token over the first limit_val_batches global batches of `source` (fewer if it has fewer); always the same ones.
[[nodiscard]] double mean_loss(const Setup& setup, Engine& engine, DataSource& source, int64_t seed);

}  // namespace nemo::runtime
