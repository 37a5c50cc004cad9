/* nemo/hf.h - how a model plugin relates to Hugging Face checkpoints: config.json and tensor names, both ways.
 *
 * The story: the host finds the plugin whose `hf_architectures` has the checkpoint's architecture, and asks it to turn config.json into
 * settings (hf_import) or settings into config.json (hf_export). With the settings known it builds the graph and asks for the map (hf_map):
 * data that say for each parameter which tensor of the checkpoint has its values, and in which layout. One map serves import and export.
 *
 * All functions: [host-thread], during the call only. Strings and arrays that a plugin passes are borrowed(call); strings that it gets are
 * borrowed until the document changes.
 */
#ifndef NEMO_HF_H
#define NEMO_HF_H

#include "nemo/abi.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct nemo_json nemo_json; /* a JSON document of the host whose root is an object */

typedef int32_t nemo_json_type;
#define NEMO_JSON_ABSENT 0
#define NEMO_JSON_NULL 1
#define NEMO_JSON_BOOL 2
#define NEMO_JSON_INT 3
#define NEMO_JSON_FLOAT 4 /* also infinities and NaN, in every spelling that transformers has written */
#define NEMO_JSON_STRING 5
#define NEMO_JSON_ARRAY 6
#define NEMO_JSON_OBJECT 7

/* Reading and writing one document. A path is keys joined by dots, with the index for an element of an array: "rope_scaling.factor",
 * "layer_types.0". A getter of the wrong type, or an absent path, is an error (NEMO_CODE_CONFIG_INVALID) that names the path. Setters make
 * missing objects on the way and replace what is there. */
typedef struct nemo_json_api {
  uint32_t struct_size;
  uint32_t flags;
  nemo_json_type (*type)(const nemo_json*, nemo_str path);
  nemo_error* (*get_bool)(const nemo_json*, nemo_str path, uint8_t* out);
  nemo_error* (*get_int)(const nemo_json*, nemo_str path, int64_t* out);  /* also floats that are whole */
  nemo_error* (*get_float)(const nemo_json*, nemo_str path, double* out); /* also integers */
  nemo_error* (*get_string)(const nemo_json*, nemo_str path, nemo_str* out);
  nemo_error* (*get_size)(const nemo_json*, nemo_str path, uint64_t* out); /* elements of an array, members of an object */
  nemo_error* (*set_null)(nemo_json*, nemo_str path);
  nemo_error* (*set_bool)(nemo_json*, nemo_str path, uint8_t value);
  nemo_error* (*set_int)(nemo_json*, nemo_str path, int64_t value);
  nemo_error* (*set_float)(nemo_json*, nemo_str path, double value);
  nemo_error* (*set_string)(nemo_json*, nemo_str path, nemo_str value);
  nemo_error* (*set_array)(nemo_json*, nemo_str path, uint64_t size); /* one of this size is kept, else nulls; elements follow one by one */
  nemo_error* (*erase)(nemo_json*, nemo_str path);                    /* an absent path is legal */
} nemo_json_api;

/* A kind of checkpoint that a plugin reads and writes: config.json's architectures[0] and model_type. Frozen. */
typedef struct nemo_hf_architecture {
  nemo_str architecture; /* "LlamaForCausalLM" */
  nemo_str model_type;   /* "llama"; decides where a config.json names no architecture */
} nemo_hf_architecture;

/* Published hyperparameters under a name: `[model] variant = "llama3_8b"` sets them where the recipe does not. Frozen. */
typedef struct nemo_variant {
  nemo_str name;
  nemo_str doc;
  nemo_str settings; /* TOML lines of the section: "num_layers = 32\nhidden_size = 4096\n" */
} nemo_variant;

#define NEMO_HF_STACK 1u    /* the last '*' of `theirs` counts dimension 0 of ours: one tensor for each expert */
#define NEMO_HF_OPTIONAL 2u /* where the file has no such tensor, the parameter takes its constant initial value */
#define NEMO_HF_PADDED 4u   /* elements of ours outside the part are padding: 0 after import, not exported */

/* Part of one tensor of a checkpoint = part of one parameter. Names are patterns in which '*' stands for a decimal number; the stars of
 * `ours` and `theirs` correspond from left to right. A rule applies to each parameter of the built graph whose name matches `ours`; several
 * rules may fill one parameter, and several parameters may share one tensor.
 *
 * Elements correspond in row-major order of
 *   theirs: `shape`, reshaped to `view`, cut to [start, start + length) in each dimension, its dimensions then permuted (`order`[i] is the
 *           view's dimension that becomes dimension i);
 *   ours:   the parameter's dims, cut to [ours_start, ours_start + ours_length) in dimension `ours_dim`.
 * So a plain reshape, a transpose, one member of a fused tensor, interleaved members and stacked experts are all the same rule. */
typedef struct nemo_hf_rule {
  uint32_t struct_size;
  uint32_t flags; /* NEMO_HF_* */
  nemo_str theirs;
  nemo_str ours;
  const int64_t* shape; /* as stored in the file, checked on import; rank 0: that of ours (less dimension 0 where stacked) */
  uint64_t rank;
  const int64_t* view; /* view_rank 0: `shape` itself */
  uint64_t view_rank;
  const int64_t* start;  /* [view_rank or rank]; NULL: all zero */
  const int64_t* length; /* likewise; NULL: all */
  const int64_t* order;  /* likewise; NULL: as they are */
  int64_t ours_dim;
  int64_t ours_start;
  int64_t ours_length; /* 0: all of the parameter */
} nemo_hf_rule;

typedef struct nemo_hf_map nemo_hf_map;

typedef struct nemo_hf_map_api {
  uint32_t struct_size;
  uint32_t flags;
  nemo_error* (*rule)(nemo_hf_map*, const nemo_hf_rule*);
  /* `theirs` is the tensor `of` under a further name (tied weights). Import does not need it; export writes it where the imported file had
   * it. Both may have stars. */
  nemo_error* (*alias)(nemo_hf_map*, nemo_str theirs, nemo_str of);
  /* Tensors without meaning for the model (rotary inv_freq, masks): skipped on import, not exported. A trailing "**" matches any rest. */
  nemo_error* (*ignore)(nemo_hf_map*, nemo_str theirs);
  /* A tensor that has the same value everywhere and is no parameter: import checks it where it is there, export writes it. */
  nemo_error* (*constant)(nemo_hf_map*, nemo_str theirs, const int64_t* shape, uint64_t rank, double value);
  /* Files may spell names that begin with `prefix` with `other` instead ("transformer." and "", as published GPT-2 has it). */
  nemo_error* (*spelling)(nemo_hf_map*, nemo_str prefix, nemo_str other);
} nemo_hf_map_api;

#ifdef __cplusplus
}
#endif
#endif
