/* nemo/data.h - a datamodule yields batches of token ids.
 *
 * The story: the host opens one source per split ("train", "validation", "test"), asks how many samples an epoch has, and pulls
 * micro-batches. The stream is defined by (settings, seed, split) alone and counted in samples; a source opened for shard (rank, count)
 * yields sample indices rank*batch.. of each global batch, so that the union over shards does not depend on their number. To resume, the
 * host opens the source and seeks to the number of samples consumed so far.
 */
#ifndef NEMO_DATA_H
#define NEMO_DATA_H

#include "nemo/plugin.h"
#include "nemo/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct nemo_data nemo_data;           /* one opened source */
typedef struct nemo_tokenizer nemo_tokenizer; /* the host's tokenizer */

/* [any-thread] */
typedef struct nemo_tokenizer_api {
  uint32_t struct_size;
  uint32_t flags;
  int64_t (*vocab_size)(const nemo_tokenizer*);
  int64_t (*bos)(const nemo_tokenizer*); /* -1 if none */
  int64_t (*eos)(const nemo_tokenizer*); /* -1 if none; ends documents */
  /* Appends the ids of UTF-8 text, as little-endian int32, to the sink. */
  nemo_error* (*encode)(const nemo_tokenizer*, nemo_str text, nemo_sink ids);
  nemo_error* (*decode)(const nemo_tokenizer*, const int32_t* ids, uint64_t n, nemo_sink text);
} nemo_tokenizer_api;

typedef struct nemo_data_open {
  uint32_t struct_size;
  uint32_t flags;
  nemo_str split;     /* "train", "validation", "test" */
  int64_t seq_length; /* tokens per sample that the model sees; labels are the same length, shifted by one */
  int64_t seed;
  int64_t shard; /* this data-parallel rank, 0 <= shard < n_shards */
  int64_t n_shards;
  int64_t micro_batch_size;
  int64_t global_batch_size;
  int64_t max_samples; /* samples that the run will take in all, for sources that build an index ahead; 0 = one epoch */
  const nemo_tokenizer_api* tokenizer_api;
  const nemo_tokenizer* tokenizer; /* borrowed(data); NULL if the recipe has none */
} nemo_data_open;

/* One field of a micro-batch to be filled: i32 tensor, row-major, memory of the host.
 * [micro_batch_size, seq_length]: "tokens", "labels", "positions", "segments", "token_types".
 * [micro_batch_size, E]: "encoder_tokens", where E is the plugin's integer setting "encoder_seq_length" (0, or none: seq_length).
 * [micro_batch_size]: "lengths", "encoder_lengths" (tokens that are no padding), "next_sentence_labels". */
typedef struct nemo_batch_field {
  nemo_str name;
  nemo_tensor tensor;
} nemo_batch_field;

typedef struct nemo_data_api {
  uint32_t struct_size;
  uint32_t flags;
  /* Opens a source; files are opened and checked here. An empty or missing dataset is NEMO_CODE_NOT_FOUND, a truncated one
   * NEMO_CODE_DATA_LOSS, with the file named. A split that the settings do not have gives *out = NULL and no error. Required. [host-thread]
   * owned(close) */
  nemo_error* (*open)(nemo_host*, const nemo_config*, const nemo_data_open*, nemo_data** out);
  void (*close)(nemo_data*); /* required; NULL is legal [host-thread] */
  /* Fills the next micro-batch of this shard: all fields named. "labels" are -100 where ignored. Sources wrap around after an epoch.
   * Required. [step-thread] */
  nemo_error* (*next)(nemo_data*, const nemo_batch_field* fields, uint64_t n_fields, uint64_t stride);
  /* Position in the stream: samples consumed so far over all shards. Required. [step-thread] */
  nemo_error* (*seek)(nemo_data*, int64_t consumed_samples);
  /* Samples in one epoch over all shards; -1 if endless. Required. [any-thread] */
  nemo_error* (*num_samples)(nemo_data*, int64_t* out);
  /* Non-zero if batches have field `name` beyond tokens and labels, by settings alone. Optional: none.
   * [host-thread] */
  uint8_t (*has_field)(nemo_host*, const nemo_config*, nemo_str name);
  /* Raw text, for tokenizers that learn their vocabulary from the data. Optional. [host-thread] */
  nemo_error* (*corpus)(nemo_host*, const nemo_config*, nemo_sink text);
  /* Ids from the tokenizer's vocabulary size on that batches have, for special tokens that it lacks, by settings alone; the model's
   * vocabulary counts them. Optional: 0. [host-thread] */
  int64_t (*added_tokens)(nemo_host*, const nemo_config*);
} nemo_data_api;

#ifdef __cplusplus
}
#endif
#endif
