/* nemo/model.h - a model describes its forward graph; the core trains, shards, checkpoints and generates from that alone. */
#ifndef NEMO_MODEL_H
#define NEMO_MODEL_H

#include "nemo/graph.h"
#include "nemo/plugin.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct nemo_model_api {
  uint32_t struct_size;
  uint32_t flags;
  /* Builds the forward graph for the settings: outputs "logits" and "loss". Pure: same settings, same graph. Cross-field faults are
   * NEMO_CODE_CONFIG_INVALID with key "path". Required. [host-thread] */
  nemo_error* (*build)(nemo_host*, const nemo_config*, const nemo_graph_api*, nemo_graph*);
} nemo_model_api;

/* A PEFT method edits the graph that a model built: inserts adapters, freezes the rest. Its table is completed by the PEFT issue. */
typedef struct nemo_peft_api {
  uint32_t struct_size;
  uint32_t flags;
  nemo_error* (*edit)(nemo_host*, const nemo_config*, const nemo_graph_api*, nemo_graph*); /* required [host-thread] */
} nemo_peft_api;

#ifdef __cplusplus
}
#endif
#endif
