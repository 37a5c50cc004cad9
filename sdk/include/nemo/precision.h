/* nemo/precision.h - a precision plugin says which dtype each kind of number has; the core inserts casts and keeps master weights. */
#ifndef NEMO_PRECISION_H
#define NEMO_PRECISION_H

#include "nemo/plugin.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct nemo_precision_policy {
  uint32_t struct_size;
  uint32_t flags;
  nemo_dtype parameter; /* parameters as the forward pass reads them */
  nemo_dtype compute;   /* activations and their gradients */
  nemo_dtype gradient;  /* accumulated parameter gradients */
  nemo_dtype master;    /* copy that the optimizer updates; equal to `parameter` means: no copy */
  nemo_dtype moment;    /* optimizer moments */
  uint32_t reserved0;
} nemo_precision_policy;

typedef struct nemo_precision_api {
  uint32_t struct_size;
  uint32_t flags;
  /* The caller sets out->struct_size. Required. [host-thread] */
  nemo_error* (*policy)(nemo_host*, const nemo_config*, nemo_precision_policy* out);
  /* Activation dtype of one op, where it differs from the policy: *out is preset to policy.compute. Optional. [host-thread] */
  nemo_error* (*op_dtype)(nemo_host*, const nemo_config*, nemo_str op, nemo_dtype* out);
} nemo_precision_api;

#ifdef __cplusplus
}
#endif
#endif
