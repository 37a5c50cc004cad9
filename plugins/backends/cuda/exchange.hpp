// The rows of experts on their way between ranks: the ops moe_exchange_plan, moe_exchange and moe_exchange_back through NCCL.
//
// How many rows go where is data, and NCCL wants its counts from the host, which must not wait for the device within a captured step. So
// every rank sends every other as many rows as could come at most, from and into buffers that kernels fill and empty by the true counts.
#pragma once

#include "collectives.hpp"

namespace nemo::cuda {

Prepared moe_exchange_plan(const Node& node, const Group& group);
Prepared moe_exchange(const Node& node, const Group& group);
Prepared moe_exchange_back(const Node& node, const Group& group);

}  // namespace nemo::cuda
