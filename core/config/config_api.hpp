// core/config/config_api.hpp - the config_* slots of the host's function table, over Section.
#pragma once

#include "nemo/host.h"

namespace nemo::config {

// Sets the config_* slots of `api`; what they are given as nemo_config* must be a Section. For plugin::HostOptions::fill_config.
void fill_config_api(nemo_host_api& api);

}  // namespace nemo::config
