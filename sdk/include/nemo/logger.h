/* nemo/logger.h - loggers observe a run. A logger that fails is reported once and the run goes on without it. */
#ifndef NEMO_LOGGER_H
#define NEMO_LOGGER_H

#include "nemo/plugin.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct nemo_logger nemo_logger;

typedef struct nemo_run_info {
  uint32_t struct_size;
  uint32_t flags;
  nemo_str name;      /* job.name */
  nemo_str directory; /* the run's folder; exists */
  nemo_str recipe;    /* resolved recipe, TOML text */
  int64_t first_step; /* the step after the one resumed from, 1 for a fresh run; files written by an earlier part of the run are continued,
                         and lines of steps >= first_step in them are dropped */
  int64_t max_steps;
  uint8_t is_terminal; /* standard output is a terminal */
  uint8_t reserved0[7];
} nemo_run_info;

typedef struct nemo_metric {
  nemo_str name; /* "loss", "val_loss", "grad_norm", "lr", "tokens_per_s", "step_ms", ... */
  double value;
} nemo_metric;

typedef struct nemo_logger_api {
  uint32_t struct_size;
  uint32_t flags;
  /* Required. [host-thread] owned(destroy) */
  nemo_error* (*start)(nemo_host*, const nemo_config*, const nemo_run_info*, nemo_logger** out);
  /* Metrics of one optimizer step, steps count from 1. Required. [step-thread] */
  nemo_error* (*metrics)(nemo_logger*, int64_t step, const nemo_metric* metrics, uint64_t n, uint64_t stride);
  /* status: "done", "interrupted", "failed". Flushes. Required. [host-thread] */
  nemo_error* (*finish)(nemo_logger*, nemo_str status, nemo_str message);
  void (*destroy)(nemo_logger*); /* required; NULL is legal [host-thread] */
  /* A line of text about the run ("saved checkpoint ..."). Optional. [step-thread] */
  nemo_error* (*text)(nemo_logger*, int64_t step, nemo_str text);
} nemo_logger_api;

#ifdef __cplusplus
}
#endif
#endif
