// Extension "nemo.streams/1": CUDA streams and events.
#pragma once

#include "nemo/ext/streams.h"

namespace nemo::cuda {
const nemo_streams_api& streams_api();
}
