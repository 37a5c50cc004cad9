// Faults in the data of mixtures of experts, behind those of kernel.hpp (apart from it, so that other kernels do not depend on them).
#pragma once

#include "kernel.hpp"

namespace nemo::cuda {

inline constexpr Fault kRouterFault{3}, kExpertFault{4}, kExchangeFault{5};

}  // namespace nemo::cuda
