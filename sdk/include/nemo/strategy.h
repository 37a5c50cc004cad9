/* nemo/strategy.h - a strategy maps logical axes to mesh axes and names how gradients and parameters are kept. It runs no collective
 * itself. */
#ifndef NEMO_STRATEGY_H
#define NEMO_STRATEGY_H

#include "nemo/plugin.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct nemo_plan nemo_plan;

typedef struct nemo_topology {
  uint32_t struct_size;
  uint32_t flags;
  int64_t world_size;
  int64_t devices_per_node;
} nemo_topology;

/* How the model's blocks are cut into stages of a pipeline (Huang et al. 2019; Narayanan et al. 2021). With p ranks along `mesh_axis` and v
 * virtual stages there are p * v stages; rank r holds stages r, r + p, r + 2p ... What is in front of the first block (token table) goes
 * with the first stage, what is behind the last one (final norm, output layer, loss) with the last. */
typedef struct nemo_pipeline {
  uint32_t struct_size;
  uint32_t flags;
  nemo_str mesh_axis;      /* "pp" */
  int64_t virtual_stages;  /* v >= 1 */
  nemo_str schedule;       /* "gpipe", "1f1b", "interleaved", "zb-h1"; empty: "1f1b", or "interleaved" where v > 1 */
  int64_t first_layers;    /* blocks of the first stage; 0: as the others */
  int64_t last_layers;     /* blocks of the last stage; 0: as the others */
  int32_t count_embedding; /* 1: what is in front of the first block counts as one block when blocks are dealt out evenly */
  int32_t count_loss;      /* 1: so does what is behind the last one */
  const int64_t* layers;   /* blocks of every stage in model order, p * v of them; NULL: dealt out as the fields above say */
  uint64_t n_layers;
} nemo_pipeline;

/* Builder of the plan. [host-thread], during plan() only. Strings borrowed(call). */
typedef struct nemo_plan_api {
  uint32_t struct_size;
  uint32_t flags;
  /* Adds a mesh axis ("dp", "tp", "fsdp", "pp", "cp", "ep"), outermost first. The product of all sizes is the world size. */
  nemo_error* (*mesh_axis)(nemo_plan*, nemo_str name, int64_t size);
  /* Dimensions with this logical axis are split over the mesh axis. Rules are ordered: within one value a mesh axis goes to the first rule
   * that matches, so ("heads","tp") before ("seq","tp") gives sequence parallelism outside attention. */
  nemo_error* (*rule)(nemo_plan*, nemo_str logical_axis, nemo_str mesh_axis);
  /* Parameters, gradients and optimizer state of each block are kept as one flat range split over the mesh axis and gathered where used
   * (ZeRO-3). */
  nemo_error* (*shard_parameters)(nemo_plan*, nemo_str mesh_axis);
  /* Optimizer state is split over the mesh axis; parameters and gradients are whole (ZeRO-1). */
  nemo_error* (*shard_optimizer)(nemo_plan*, nemo_str mesh_axis);
  /* The model is cut into stages along a mesh axis. Not called: every rank holds all blocks. */
  nemo_error* (*pipeline)(nemo_plan*, const nemo_pipeline* pipeline);
  /* Gradients and optimizer state are split over the mesh axis, parameters are whole (ZeRO-2). In this and the two above several axes may
   * be named, joined by ',' in the order of the mesh: "dp,cp". At most one of the three is called. */
  nemo_error* (*shard_gradients)(nemo_plan*, nemo_str mesh_axis);
  /* Collectives over gradients and parameters move whole blocks, at least this many elements at a time. Not called: the host's choice. */
  nemo_error* (*bucket)(nemo_plan*, int64_t elements);
  /* After shard_parameters: parameters gathered in the forward pass stay until the backward pass has used them; more memory, fewer gathers.
   */
  nemo_error* (*keep_gathered)(nemo_plan*);
  /* How attention over sequences that a mesh axis splits (and nothing else) finds its keys: "all_gather" gathers them; "a2a" gives every rank
   * whole sequences of a part of the heads (Jacobs et al. 2023); "p2p" passes them on around a ring (Liu et al. 2023). Not called: all_gather. */
  nemo_error* (*context)(nemo_plan*, nemo_str method);
  /* Where a mesh axis splits both "experts" and "batch", rows go to the ranks that hold their experts. A rank has room for `capacity` times
   * the rows that it deals itself; more is an error. Not called, or 0: for as many as there can be. */
  nemo_error* (*expert_capacity)(nemo_plan*, double capacity);
  /* Each micro-batch is computed in two halves that take turns, so that collectives of one run under the work of the other. Where that
   * cannot be (an odd number of sequences, dropout, mixtures, a pipeline, ZeRO-2 or -3), it is computed whole. Not called: whole. */
  nemo_error* (*take_turns)(nemo_plan*);
  /* After shard_parameters: a block's parameters are gathered so many blocks ahead of their use. Each further one takes the memory of one
   * block's parameters. Not called: 1. */
  nemo_error* (*prefetch)(nemo_plan*, int64_t blocks);
} nemo_plan_api;

typedef struct nemo_strategy_api {
  uint32_t struct_size;
  uint32_t flags;
  /* Required. [host-thread] */
  nemo_error* (*plan)(nemo_host*, const nemo_config*, const nemo_topology*, const nemo_plan_api*, nemo_plan*);
} nemo_strategy_api;

#ifdef __cplusplus
}
#endif
#endif
