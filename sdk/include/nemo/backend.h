/* nemo/backend.h - a compute backend: memory, streams and kernels of one kind of device.
 *
 * The story: the core compiles a training step into a list of nodes with fixed shapes, asks the backend to prepare a kernel for each
 * (selection, tuning, workspace size), allocates one arena, and then launches the kernels in order, step after step, with the pointers that
 * the plan gave them. launch must not allocate, synchronize or do string work.
 */
#ifndef NEMO_BACKEND_H
#define NEMO_BACKEND_H

#include "nemo/graph.h"
#include "nemo/plugin.h"
#include "nemo/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct nemo_backend nemo_backend; /* one opened device */
typedef struct nemo_kernel nemo_kernel;   /* one prepared node */
typedef struct nemo_stream nemo_stream;   /* NULL is the default stream */

typedef struct nemo_device_info {
  uint32_t struct_size;
  uint32_t flags;
  nemo_str name;           /* borrowed(backend) */
  uint64_t memory_bytes;   /* all memory of the device */
  uint64_t overhead_bytes; /* what the backend itself holds besides planned memory, an estimate: library buffers, context */
  int32_t device_type;     /* DLPack's: 1 CPU, 2 CUDA */
  int32_t threads;         /* worker threads (CPU) */
} nemo_device_info;

/* One node of the compiled program. Tensors have dtype, shape and strides; data is NULL. Absent optional tensors have dtype 0. */
typedef struct nemo_node {
  uint32_t struct_size;
  uint32_t flags;
  nemo_str op;    /* a row of nemo/ops.def */
  nemo_str scope; /* for messages and profiles */
  const nemo_tensor* inputs;
  uint64_t n_inputs;
  const nemo_tensor* outputs;
  uint64_t n_outputs;
  uint64_t tensor_stride;
  const nemo_attr* attrs;
  uint64_t n_attrs;
  uint64_t attr_stride;
} nemo_node;

/* Bits of nemo_launch.flags */
#define NEMO_LAUNCH_ACCUMULATE 1u /* outputs that the row marks `+` are added to, not overwritten */

typedef struct nemo_launch {
  uint32_t struct_size;
  uint32_t flags;
  const void* const* inputs; /* in the node's order; NULL where absent */
  void* const* outputs;
  void* workspace; /* as many bytes as prepare asked for, 256-byte aligned */
  nemo_stream* stream;
} nemo_launch;

typedef struct nemo_backend_api {
  uint32_t struct_size;
  uint32_t flags;
  /* Number of usable devices. 0 with *reason filled (static or borrowed(process)) where there is none. Required. [host-thread] */
  nemo_error* (*device_count)(nemo_host*, const nemo_config*, int64_t* out, nemo_str* reason);
  /* Required. [host-thread] owned(close) */
  nemo_error* (*open)(nemo_host*, const nemo_config*, int64_t device, nemo_backend** out);
  void (*close)(nemo_backend*);                                     /* required; NULL is legal [host-thread] */
  nemo_error* (*device_info)(nemo_backend*, nemo_device_info* out); /* required; caller sets struct_size [any-thread] */

  /* 256-byte aligned device memory. Required. [host-thread] owned(release) */
  nemo_error* (*allocate)(nemo_backend*, uint64_t bytes, nemo_str tag, void** out);
  void (*release)(nemo_backend*, void*);
  /* Copies between host and device, ordered on the stream. copy_in has taken its bytes when it returns; the host memory of copy_out must
   * stay valid until synchronize, and is filled then. Required. [step-thread] */
  nemo_error* (*copy_in)(nemo_backend*, void* device, const void* host, uint64_t bytes, nemo_stream*);
  nemo_error* (*copy_out)(nemo_backend*, void* host, const void* device, uint64_t bytes, nemo_stream*);
  nemo_error* (*synchronize)(nemo_backend*, nemo_stream*);

  /* Non-zero if the backend has kernels for the op; the core keeps optional fused ops out of the graph where it has none. Required.
   * [any-thread] */
  uint8_t (*supports)(nemo_backend*, nemo_str op);
  /* Chooses a kernel for the node. NEMO_CODE_UNSUPPORTED (naming op, dtypes, shape) where it has none. *workspace is in bytes. Required.
   * [host-thread] owned(kernel_free) */
  nemo_error* (*prepare)(nemo_backend*, const nemo_node*, nemo_kernel** out, uint64_t* workspace);
  void (*kernel_free)(nemo_kernel*);
  /* Enqueues the kernel. Required. [step-thread] */
  nemo_error* (*launch)(nemo_kernel*, const nemo_launch*);
  /* Optional powers by id. Optional. [any-thread] static */
  const void* (*get_extension)(nemo_backend*, nemo_str id);
} nemo_backend_api;

#ifdef __cplusplus
}
#endif
#endif
