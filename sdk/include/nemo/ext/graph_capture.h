/* nemo/ext/graph_capture.h - extension "nemo.graph-capture/1" of a backend: a launch list recorded once and replayed as one unit.
 *
 * The story: the host runs a program eagerly once, so that everything lazy has happened, then calls begin, launches the same kernels, calls
 * end, and from then on launches the capture. Kernels launched between begin and end are recorded, not run. Device addresses are those of
 * the recording; the host changes data, never addresses.
 */
#ifndef NEMO_EXT_GRAPH_CAPTURE_H
#define NEMO_EXT_GRAPH_CAPTURE_H

#include "nemo/backend.h"

#ifdef __cplusplus
extern "C" {
#endif

#define NEMO_EXT_GRAPH_CAPTURE "nemo.graph-capture/1"

typedef struct nemo_capture nemo_capture;

typedef struct nemo_graph_capture_api {
  uint32_t struct_size;
  uint32_t flags;
  nemo_error* (*begin)(nemo_backend*, nemo_stream*);                   /* [step-thread] */
  nemo_error* (*end)(nemo_backend*, nemo_stream*, nemo_capture** out); /* [step-thread] owned(destroy) */
  nemo_error* (*launch)(nemo_capture*, nemo_stream*);                  /* [step-thread] */
  void (*destroy)(nemo_capture*);                                      /* NULL is legal [host-thread] */
} nemo_graph_capture_api;

#ifdef __cplusplus
}
#endif
#endif
