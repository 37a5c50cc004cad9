/* nemo/host.h - everything that a plugin may call of the host. No host symbol is ever linked: a plugin gets this table at its entry. */
#ifndef NEMO_HOST_H
#define NEMO_HOST_H

#include "nemo/abi.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct nemo_host_api {
  uint32_t struct_size;
  uint32_t flags;
  uint16_t abi_minor_min; /* the host serves plugins that speak a minor within [min, max] */
  uint16_t abi_minor_max;
  uint32_t sdk_build; /* NEMO_SDK_BUILD of the host; must be equal while either side is a draft */

  /* Errors. [any-thread]. The message says what is wrong, where, and what would fix it. Returns owned(error_free), never NULL. */
  nemo_error* (*error_new)(nemo_host*, nemo_code code, nemo_str message);
  /* Adds a fact ("path" = setting at fault relative to the component's section, "file", "tensor", "rank" ...). [any-thread] */
  void (*error_set)(nemo_error*, nemo_str key, nemo_str value);
  nemo_code (*error_code)(const nemo_error*);   /* [any-thread] */
  nemo_str (*error_message)(const nemo_error*); /* [any-thread] borrowed(error) */
  void (*error_free)(nemo_error*);              /* [any-thread] NULL is legal */

  /* Log line; copies its input and does not block. `component` is the component's id. [any-thread] */
  void (*log)(nemo_host*, nemo_log_level level, nemo_str component, nemo_str message);

  /* Non-zero once the user asked to stop. Blocking functions poll it at least every 100 ms and return NEMO_CODE_CANCELLED. [any-thread] */
  uint8_t (*cancelled)(nemo_host*);

  /* Typed values of a validated section, defaults filled in. `path` as in the schema. [any-thread] strings borrowed(config).
   * A path that the schema does not have, or a getter of the wrong type, is the plugin's bug: the call returns an error. */
  uint8_t (*config_has)(const nemo_config*, nemo_str path);
  nemo_error* (*config_bool)(const nemo_config*, nemo_str path, uint8_t* out);
  nemo_error* (*config_int)(const nemo_config*, nemo_str path, int64_t* out);
  nemo_error* (*config_float)(const nemo_config*, nemo_str path, double* out);
  nemo_error* (*config_string)(const nemo_config*, nemo_str path, nemo_str* out); /* string, path, enum */
  /* Lists: the number of elements, then element i in the getter of its type. */
  nemo_error* (*config_list_size)(const nemo_config*, nemo_str path, uint64_t* out);
  nemo_error* (*config_list_int)(const nemo_config*, nemo_str path, uint64_t i, int64_t* out);
  nemo_error* (*config_list_float)(const nemo_config*, nemo_str path, uint64_t i, double* out);
  nemo_error* (*config_list_string)(const nemo_config*, nemo_str path, uint64_t i, nemo_str* out);

  /* Optional powers of the host by permanent id ("nemo.NAME/REVISION"); NULL if absent. [any-thread] static */
  const void* (*get_extension)(nemo_host*, nemo_str id);
} nemo_host_api;

#ifdef __cplusplus
}
#endif
#endif
