// Extension "nemo.graph-capture/1": launches recorded into a CUDA graph.
#pragma once

#include "nemo/ext/graph_capture.h"

namespace nemo::cuda {
const nemo_graph_capture_api& graph_capture_api();
}
