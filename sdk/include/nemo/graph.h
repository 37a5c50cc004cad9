/* nemo/graph.h - how a model describes its forward pass, and how a PEFT method edits it.
 *
 * The story: the host gives a builder. The plugin declares parameters and inputs, applies operations of the vocabulary in nemo/ops.def, and
 * names outputs. It says nothing of devices, dtypes, parallelism, recompute or adapters. Every dimension of a value has a size and
 * a logical axis name ("batch", "seq", "embed", "heads", "kv_heads", "head_dim", "mlp", "vocab", ...; docs/architecture.md has the
 * glossary); strategies map those names to mesh axes.
 *
 * All functions: [host-thread], during build or edit only. Values are ids of one graph; 0 is "no value". Strings are borrowed(call).
 */
#ifndef NEMO_GRAPH_H
#define NEMO_GRAPH_H

#include "nemo/abi.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct nemo_graph nemo_graph;
typedef uint32_t nemo_value;

typedef struct nemo_dim {
  int64_t size;
  nemo_str axis;
} nemo_dim;

typedef int32_t nemo_attr_type;
#define NEMO_ATTR_INT 1
#define NEMO_ATTR_FLOAT 2
#define NEMO_ATTR_STRING 3 /* also enumerations */
#define NEMO_ATTR_FLOATS 4
#define NEMO_ATTR_INTS 5

/* A named attribute of an operation; only the member that `type` names is read. Booleans are ints. */
typedef struct nemo_attr {
  nemo_str name;
  nemo_attr_type type;
  uint32_t reserved0;
  int64_t i;
  double f;
  nemo_str s;
  const double* floats;
  const int64_t* ints;
  uint64_t n; /* elements of floats or ints */
} nemo_attr;

/* How a parameter starts. Draws come from Philox keyed by (seed, parameter name, global element index), so they do not depend on the
 * layout. */
typedef int32_t nemo_init;
#define NEMO_INIT_CONSTANT 1 /* every element = a */
#define NEMO_INIT_NORMAL 2   /* mean a, standard deviation b */
#define NEMO_INIT_UNIFORM 3  /* in [a, b) */

#define NEMO_PARAMETER_FROZEN 1u   /* no gradient */
#define NEMO_PARAMETER_NO_DECAY 2u /* norm weight or bias: weight decay does not apply by default */

typedef struct nemo_parameter {
  uint32_t struct_size;
  uint32_t flags; /* NEMO_PARAMETER_* */
  nemo_str name;  /* dotted and unique: "layers.3.attention.q.weight"; names the dataset in checkpoints */
  const nemo_dim* dims;
  uint64_t n_dims;
  nemo_init init;
  uint32_t reserved0;
  double init_a;
  double init_b;
} nemo_parameter;

typedef struct nemo_graph_api {
  uint32_t struct_size;
  uint32_t flags;

  /* Size of a run-wide axis: "batch" (micro batch), "seq", "encoder_seq" (of the encoder beside a decoder; "seq" where nothing else is
   * said). */
  nemo_error* (*axis_size)(nemo_graph*, nemo_str axis, int64_t* out);
  /* Vocabulary size of the run's tokenizer; 0 if it has none. */
  nemo_error* (*vocab_size)(nemo_graph*, int64_t* out);

  /* A field of the batch, dims [batch, seq]: "tokens", "labels" (already shifted; -100 = ignored), "positions" (i32). "segments" is
   * 0-valued (*out = 0) where the data has no packed documents. "rng" [2] i64 = (seed, number of the batch's first sample), for ops that
   * draw random numbers. Of encoders: "token_types"; "lengths" [batch], tokens of each row before its padding; beside a decoder
   * "encoder_tokens" [batch, encoder_seq], "encoder_lengths" [batch]; "next_sentence_labels" [batch]; "batch_counts" (docs/denoising.md) */
  nemo_error* (*input)(nemo_graph*, nemo_str name, nemo_value* out);
  nemo_error* (*parameter)(nemo_graph*, const nemo_parameter*, nemo_value* out);
  /* Applies an op of nemo/ops.def (or one that a plugin registered). Absent optional inputs are 0; `outputs` receives n_outputs ids in the
   * row's order. */
  nemo_error* (*op)(nemo_graph*, nemo_str name, const nemo_value* inputs, uint64_t n_inputs, const nemo_attr* attrs, uint64_t n_attrs,
                    uint64_t attr_stride, nemo_value* outputs, uint64_t n_outputs);
  /* Names a result: "logits" [batch, seq, vocab], "loss" (sum over unmasked tokens, scalar), others are reported as metrics. */
  nemo_error* (*output)(nemo_graph*, nemo_str name, nemo_value);

  /* Scopes name ops in errors, profiles and graph prints ("layers.3.attention"). */
  nemo_error* (*scope_push)(nemo_graph*, nemo_str name);
  nemo_error* (*scope_pop)(nemo_graph*);
  /* Blocks tell pipeline, recompute and FSDP where to cut; they do not nest. */
  nemo_error* (*block_begin)(nemo_graph*, nemo_str kind, int64_t index);
  nemo_error* (*block_end)(nemo_graph*);

  /* Rank and dims of a value. `dims` has room for `capacity`; axis strings are borrowed(graph). */
  nemo_error* (*describe)(nemo_graph*, nemo_value, nemo_dim* dims, uint64_t capacity, uint64_t* n_dims);
} nemo_graph_api;

#ifdef __cplusplus
}
#endif
#endif
