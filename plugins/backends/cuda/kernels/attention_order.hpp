// By which route attention's backward goes, and whether it keeps a fixed order of summation: measured.
#pragma once

#include <optional>

#include "attention_grouped.hpp"

namespace nemo::cuda {

// Milliseconds of one launch on random data; nothing where there is no memory to try.
std::optional<double> time_route(const Device& device, const AttentionBackward& p, const BackwardRoute& route);

// Whether copying kv heads to their query heads is faster; says both times and what it chose. Not where there is no memory to try.
bool spreading_pays(const Device& device, const AttentionBackward& p, const BackwardRoute& native, const BackwardRoute& spread);

// Whether the fixed order costs at most device.determinism_limit of a step (and a tenth of the device's memory); says what it chose and the
// cost. A step is taken as decoder blocks of this attention's width: 72 (h d)^2 flops a token for their products at 700 TFLOP/s, 100 h d
// bytes a token at 2.8 TB/s for what only moves memory, and attention as measured.
bool fixed_order_pays(const Device& device, const AttentionBackward& p, const BackwardRoute& any, const BackwardRoute& fixed);

}  // namespace nemo::cuda
