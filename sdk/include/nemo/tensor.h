/* nemo/tensor.h - tensors cross the boundary as DLPack views (https://dmlc.github.io/dlpack, version 1).
 *
 * The two structs below have DLPack's layout. If <dlpack/dlpack.h> is included first, its own are used.
 */
#ifndef NEMO_TENSOR_H
#define NEMO_TENSOR_H

#include "nemo/abi.h"

#ifdef __cplusplus
extern "C" {
#endif

#ifndef DLPACK_DLPACK_H_
typedef struct DLDevice {
  int32_t device_type; /* 1 CPU, 2 CUDA, 3 CUDA pinned host */
  int32_t device_id;
} DLDevice;
typedef struct DLDataType {
  uint8_t code; /* 0 signed int, 1 unsigned int, 2 IEEE float, 4 bfloat, 10 e4m3fn, 12 e5m2 */
  uint8_t bits;
  uint16_t lanes;
} DLDataType;
typedef struct DLTensor {
  void* data;
  DLDevice device;
  int32_t ndim;
  DLDataType dtype;
  int64_t* shape;
  int64_t* strides; /* in elements; the host always fills it */
  uint64_t byte_offset;
} DLTensor;
#endif

/* A borrowed view with its dtype in our words beside DLPack's. */
typedef struct nemo_tensor {
  uint32_t struct_size;
  uint32_t flags;
  nemo_dtype dtype;
  uint32_t reserved0;
  DLTensor t;
} nemo_tensor;

#ifdef __cplusplus
}
#endif
#endif
