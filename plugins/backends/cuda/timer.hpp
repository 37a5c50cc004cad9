// Extensions "nemo.timer/1" (events, NVTX ranges) and "nemo.memory/1" (cudaMemGetInfo).
#pragma once

#include "nemo/ext/memory.h"
#include "nemo/ext/timer.h"

namespace nemo::cuda {
const nemo_timer_api& timer_api();
const nemo_memory_api& memory_api();
}  // namespace nemo::cuda
