/* nemo/ext/memory.h - extension "nemo.memory/1" of a backend: device memory as the device itself counts it, and clearing it there. */
#ifndef NEMO_EXT_MEMORY_H
#define NEMO_EXT_MEMORY_H

#include "nemo/backend.h"

#ifdef __cplusplus
extern "C" {
#endif

#define NEMO_EXT_MEMORY "nemo.memory/1"

typedef struct nemo_memory_api {
  uint32_t struct_size;
  uint32_t flags;
  /* Bytes of the device that are taken: allocations, the context, libraries' code and buffers, recorded graphs, and what other processes
   * hold. Required. [step-thread] */
  nemo_error* (*used)(nemo_backend*, uint64_t* bytes);
  nemo_error* (*zero)(nemo_backend*, void* device, uint64_t bytes, nemo_stream*); /* Enqueues. Optional. [step-thread] */
} nemo_memory_api;

#ifdef __cplusplus
}
#endif
#endif
