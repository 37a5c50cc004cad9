/* nemo/precision.h - a precision plugin says which dtype each kind of number has; the core inserts casts and keeps master weights. */
#ifndef NEMO_PRECISION_H
#define NEMO_PRECISION_H

#include "nemo/plugin.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Bits of nemo_precision_policy.flags */
#define NEMO_PRECISION_TF32 1u /* products of f32 operands may round them to 10 bits of mantissa (TF32) */

/* How the scale of a quantized tensor is found (nemo_precision_policy.scaling) */
typedef int32_t nemo_scaling;
#define NEMO_SCALING_NONE 0    /* nothing is quantized */
#define NEMO_SCALING_CURRENT 1 /* from the largest magnitude of the tensor itself */
#define NEMO_SCALING_DELAYED 2 /* from the largest magnitudes of earlier micro-batches (Micikevicius et al. 2022) */

typedef int32_t nemo_amax_choice;
#define NEMO_AMAX_MAX 1         /* the largest of the history */
#define NEMO_AMAX_MOST_RECENT 2 /* the newest of the history */

typedef struct nemo_precision_policy {
  uint32_t struct_size;
  uint32_t flags;       /* NEMO_PRECISION_* */
  nemo_dtype parameter; /* parameters as the forward pass reads them */
  nemo_dtype compute;   /* activations and their gradients */
  nemo_dtype gradient;  /* accumulated parameter gradients */
  nemo_dtype master;    /* copy that the optimizer updates; equal to `parameter` means: no copy */
  nemo_dtype moment;    /* optimizer moments */
  uint32_t reserved0;
  /* What follows may stay 0: nothing is quantized, no loss scaling. */
  nemo_dtype second_moment; /* of the squared gradients (AdamW's v); 0: as `moment` */
  /* Quantized linears: those inside blocks read 8-bit operands with one scale per tensor, in all three products. */
  nemo_scaling scaling;
  nemo_dtype quantized_forward;  /* of inputs and weights: e4m3 or e5m2 */
  nemo_dtype quantized_gradient; /* of the gradients of their results; not e5m2 on both sides of a product */
  int64_t margin;                /* scales are divided by 2^margin */
  int64_t amax_history_len;      /* delayed scaling: micro-batches that are remembered, at least 1 */
  nemo_amax_choice amax_choice;
  uint32_t reserved1;
  int64_t first_blocks; /* blocks at the start and end of the model whose linears stay in `compute` */
  int64_t last_blocks;
  /* Dynamic loss scaling (Micikevicius et al. 2018): the gradient is seeded with the scale; a step whose gradient is not finite is skipped.
   * After `loss_scale_hysteresis` such steps (counted anew when the scale grows) the scale is halved, not below `loss_scale_min`; after
   * `loss_scale_window` finite steps in a row it is doubled. loss_scale = 0: none; loss_scale_window = 0: the scale stays. */
  double loss_scale;
  double loss_scale_min;
  int64_t loss_scale_window;
  int64_t loss_scale_hysteresis;
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
