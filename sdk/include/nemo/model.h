/* nemo/model.h - a model describes its forward graph; the core trains, shards, checkpoints and generates from that alone. */
#ifndef NEMO_MODEL_H
#define NEMO_MODEL_H

#include "nemo/graph.h"
#include "nemo/hf.h"
#include "nemo/plugin.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct nemo_model_api {
  uint32_t struct_size;
  uint32_t flags;
  /* Builds the forward graph for the settings: outputs "logits" and "loss". Pure: same settings, same graph. Cross-field faults are
   * NEMO_CODE_CONFIG_INVALID with key "path". Required. [host-thread] */
  nemo_error* (*build)(nemo_host*, const nemo_config*, const nemo_graph_api*, nemo_graph*);

  /* What Hugging Face checkpoints the plugin reads and writes (nemo/hf.h). All optional; without architectures there is no import, without
   * hf_export no export. static */
  const nemo_hf_architecture* hf_architectures;
  uint64_t n_hf_architectures;
  /* Fills the section's settings from config.json, both the form of transformers 4 (rope_theta, rope_scaling) and of 5 (rope_parameters).
   * What would change the computation and is not implemented is NEMO_CODE_UNSUPPORTED, naming the key. [host-thread] */
  nemo_error* (*hf_import)(nemo_host*, const nemo_json_api*, const nemo_json* config, nemo_json* settings);
  /* Writes the settings into `config`, which holds the config.json that the model was imported from, or nothing. The host has set
   * vocab_size to the tokenizer's where the recipe left it 0, and writes dtype and transformers_version itself. [host-thread] */
  nemo_error* (*hf_export)(nemo_host*, const nemo_config*, const nemo_json_api*, nemo_json* config);
  /* Names and layouts of all parameters for the settings. [host-thread] */
  nemo_error* (*hf_map)(nemo_host*, const nemo_config*, const nemo_hf_map_api*, nemo_hf_map*);

  /* Named published hyperparameters; may be empty. static */
  const nemo_variant* variants;
  uint64_t n_variants;
} nemo_model_api;

/* A PEFT method edits the graph that a model built: inserts adapters, freezes the rest. Its table is completed by the PEFT issue. */
typedef struct nemo_peft_api {
  uint32_t struct_size;
  uint32_t flags;
  nemo_error* (*edit)(nemo_host*, const nemo_config*, const nemo_graph_api*, nemo_graph*); /* required [host-thread] */
} nemo_peft_api;

#ifdef __cplusplus
}
#endif
#endif
