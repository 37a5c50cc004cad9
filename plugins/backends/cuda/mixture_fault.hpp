// Faults in the data of mixtures of experts, behind those of kernel.hpp (apart from it, so that other kernels do not depend on them).
#pragma once

#include "kernel.hpp"

namespace nemo::cuda {

inline constexpr Fault kRouterFault{3}, kExpertFault{4}, kExchangeFault{5};

// nullptr: none of these.
inline const char* mixture_text(Fault fault) {
  if (fault == kRouterFault) return "moe_route: router logits are not numbers";
  if (fault == kExpertFault) return "moe_dispatch: a choice that is no expert";
  if (fault == kExchangeFault)
    return "moe_exchange_plan: an expert that is on no rank, or more rows of experts come to this rank than it has room for; raise "
           "strategy.moe_expert_rank_capacity_factor, or set it to 0 for as many as can come";
  return nullptr;
}

}  // namespace nemo::cuda
