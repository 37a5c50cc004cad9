/* nemo/ext/streams.h - extension "nemo.streams/1" of a backend: further streams, and events by which streams wait for each other.
 *
 * The story: the host makes a stream and a few events once. A kernel launched on another stream than the default one may run beside what
 * the default stream does. record marks a point of a stream, wait makes a stream hold until that point has been passed; both only enqueue.
 * Both may be called between begin and end of a capture (nemo/ext/graph_capture.h): a stream that waits for an event of the captured one
 * becomes part of the capture, and the captured stream must wait for its last event before the capture ends.
 *
 * A node whose kernel the host expects to run beside a collective has the attribute "beside" = 1, whatever its op: a kernel that would fill
 * the device may leave room for the collective.
 */
#ifndef NEMO_EXT_STREAMS_H
#define NEMO_EXT_STREAMS_H

#include "nemo/backend.h"

#ifdef __cplusplus
extern "C" {
#endif

#define NEMO_EXT_STREAMS "nemo.streams/1"

typedef struct nemo_event nemo_event;

typedef struct nemo_streams_api {
  uint32_t struct_size;
  uint32_t flags;
  /* A stream whose kernels go first where both have work, for communication. [host-thread] owned(destroy_stream) */
  nemo_error* (*create_stream)(nemo_backend*, nemo_stream** out);
  void (*destroy_stream)(nemo_backend*, nemo_stream*);             /* NULL is legal [host-thread] */
  nemo_error* (*create_event)(nemo_backend*, nemo_event** out);    /* [host-thread] owned(destroy_event) */
  void (*destroy_event)(nemo_event*);                              /* NULL is legal [host-thread] */
  nemo_error* (*record)(nemo_backend*, nemo_event*, nemo_stream*); /* a new record replaces the last one [step-thread] */
  nemo_error* (*wait)(nemo_backend*, nemo_event*, nemo_stream*);   /* for the last record; it must have been made [step-thread] */
  /* Copies beside what the device computes: host memory that the device reaches by itself, and a copy into it that only enqueues. finish
   * makes the calling thread wait until an event has been passed. */
  nemo_error* (*allocate_host)(nemo_backend*, uint64_t bytes, void** out); /* owned(release_host) [host-thread] */
  void (*release_host)(nemo_backend*, void*);                              /* NULL is legal [host-thread] */
  nemo_error* (*copy_to_host)(nemo_backend*, void* host, const void* device, uint64_t bytes, nemo_stream*); /* [step-thread] */
  nemo_error* (*finish)(nemo_backend*, nemo_event*);                                                        /* [any-thread] */
} nemo_streams_api;

#ifdef __cplusplus
}
#endif
#endif
