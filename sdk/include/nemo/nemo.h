/* nemo/nemo.h - all stable headers. */
#ifndef NEMO_NEMO_H
#define NEMO_NEMO_H
#include "nemo/abi.h"
#include "nemo/backend.h"
#include "nemo/config.h"
#include "nemo/data.h"
#include "nemo/graph.h"
#include "nemo/hf.h"
#include "nemo/host.h"
#include "nemo/logger.h"
#include "nemo/model.h"
#include "nemo/plugin.h"
#include "nemo/precision.h"
#include "nemo/strategy.h"
#include "nemo/tensor.h"
#endif
