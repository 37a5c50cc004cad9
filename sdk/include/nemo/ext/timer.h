/* nemo/ext/timer.h - extension "nemo.timer/1" of a backend: points in time on a stream, and named ranges for the vendor's profiler.
 *
 * The story: the host creates marks once, records them between launches, and asks for the time between two of them when the stream has
 * passed both. Recording only enqueues.
 */
#ifndef NEMO_EXT_TIMER_H
#define NEMO_EXT_TIMER_H

#include "nemo/backend.h"

#ifdef __cplusplus
extern "C" {
#endif

#define NEMO_EXT_TIMER "nemo.timer/1"

typedef struct nemo_mark nemo_mark;

typedef struct nemo_timer_api {
  uint32_t struct_size;
  uint32_t flags;
  nemo_error* (*create)(nemo_backend*, nemo_mark** out); /* [host-thread] owned(destroy) */
  nemo_error* (*record)(nemo_mark*, nemo_stream*);       /* [step-thread] */
  /* Waits until the stream has passed `end`. Both must have been recorded. [step-thread] */
  nemo_error* (*elapsed)(nemo_mark* begin, nemo_mark* end, double* milliseconds);
  void (*destroy)(nemo_mark*); /* NULL is legal [host-thread] */
  /* Ranges nest. Shown by the vendor's profiler where one watches, else without effect. Optional. [step-thread] */
  void (*begin_range)(nemo_backend*, nemo_str name);
  void (*end_range)(nemo_backend*);
} nemo_timer_api;

#ifdef __cplusplus
}
#endif
#endif
