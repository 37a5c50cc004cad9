/* nemo/ext/collectives.h - extension "nemo.collectives/1" of a backend: data moved between the devices of several ranks.
 *
 * The story: a strategy lays the ranks out as a mesh with named axes. For every axis that has more than one rank the host tells the backend
 * the group of ranks that this one shares the axis with, and a store over which the members can exchange addresses. From then on the
 * backend prepares the collective rows of nemo/ops.def whose attribute `mesh` is the group's name. All members prepare and launch the same
 * collectives of a group in the same order. A group that cannot go on (a member has died) makes launch or synchronize fail with
 * NEMO_CODE_PEER_FAILED.
 *
 * Memory: a collective may get memory of its input as output: all_reduce in place; all_gather along dimension 0 with the input at its own
 * place in the output; reduce_scatter along dimension 0 with the output at its own place in the input.
 */
#ifndef NEMO_EXT_COLLECTIVES_H
#define NEMO_EXT_COLLECTIVES_H

#include "nemo/backend.h"

#ifdef __cplusplus
extern "C" {
#endif

#define NEMO_EXT_COLLECTIVES "nemo.collectives/1"

typedef struct nemo_store nemo_store; /* the host's */

/* Small values under string keys, seen by all ranks of the run. [any-thread] */
typedef struct nemo_store_api {
  uint32_t struct_size;
  uint32_t flags;
  nemo_error* (*set)(nemo_store*, nemo_str key, const void* bytes, uint64_t len);
  /* Waits until some rank has set the key. NEMO_CODE_PEER_FAILED at the timeout. */
  nemo_error* (*get)(nemo_store*, nemo_str key, int64_t timeout_ms, nemo_sink value);
} nemo_store_api;

typedef struct nemo_group {
  uint32_t struct_size;
  uint32_t flags;
  nemo_str name; /* attribute `mesh` of the group's collectives: a mesh axis ("tp"), or several that are taken as one ("dp,cp") */
  nemo_str key;  /* prefix for the group's keys in the store: shared with the other members and nobody else */
  int64_t rank;  /* this one among the members, 0 <= rank < size */
  int64_t size;
  int64_t timeout_ms; /* longest wait for another member */
  const nemo_store_api* store_api;
  nemo_store* store; /* borrowed(backend): valid until the backend is closed */
} nemo_group;

typedef struct nemo_collectives_api {
  uint32_t struct_size;
  uint32_t flags;
  /* Connects the members of one group; returns when this one can use it. Every member calls it, and all groups in the same order. Strings
   * are borrowed(call). [host-thread] */
  nemo_error* (*join)(nemo_backend*, const nemo_group*);
} nemo_collectives_api;

#ifdef __cplusplus
}
#endif
#endif
