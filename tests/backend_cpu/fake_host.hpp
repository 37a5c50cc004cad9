// The host's function table as far as a backend calls it.
#pragma once

#include <string>

#include "nemo/nemo.h"

struct nemo_error {
  nemo_code code = 0;
  std::string message;
};

struct nemo_config {
  int64_t threads = 0;
  std::string kernels = "auto";
};

namespace nemo::backend_cpu {

const nemo_host_api& fake_host_api();

// Throws std::runtime_error with the message, and frees the error.
void check(nemo_error* error);

}  // namespace nemo::backend_cpu
