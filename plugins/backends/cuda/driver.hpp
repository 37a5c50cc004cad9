// What the machine has: the driver and the devices that this plugin's code runs on.
#pragma once

#include <string>
#include <vector>

namespace nemo::cuda {

struct Machine {
  std::vector<int> ordinals;  // CUDA's numbers of the usable devices
  std::string reason;         // why there is none; one line
};

// Looks once per process: driver, compute capability 9.0, libcublasLt.
const Machine& machine();

}  // namespace nemo::cuda
