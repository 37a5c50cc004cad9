/* nemo/plugin.h - what a plugin library exports, and how the host finds out without running it.
 *
 * The story: a library exports exactly one function, nemo_plugin_entry_v1, and carries one ELF section, `.nemo_plugin`. To list plugins
 * the host only reads that section. To use one it opens the library (RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE; it is never unloaded), calls
 * the entry with its own table and the range of minors that it serves, and gets the plugin's description: any number of components.
 * Before the process ends the host destroys all instances, then calls shutdown.
 */
#ifndef NEMO_PLUGIN_H
#define NEMO_PLUGIN_H

#include "nemo/abi.h"
#include "nemo/config.h"
#include "nemo/host.h"

#ifdef __cplusplus
extern "C" {
#endif

/* One thing that a recipe can name. */
typedef struct nemo_component {
  uint32_t struct_size;
  uint32_t flags;
  nemo_kind kind;
  uint32_t reserved0;
  nemo_str id;               /* what the recipe names: lower_snake for ours ("llama"), reverse DNS for third parties */
  nemo_str version;          /* of the component, "MAJOR.MINOR.PATCH" */
  nemo_str doc;              /* one sentence */
  const void* api;           /* const nemo_model_api* etc., by kind; static */
  const nemo_schema* schema; /* static */
} nemo_component;

typedef struct nemo_plugin {
  uint32_t struct_size;
  uint32_t flags;
  uint16_t abi_minor; /* the minor that this plugin will speak: min(its newest, the host's newest) */
  uint16_t reserved0;
  uint32_t sdk_build;               /* NEMO_SDK_BUILD of the headers that it was compiled with */
  const nemo_component* components; /* static */
  uint64_t n_components;
  uint64_t component_stride;
  /* Last call before the process ends; all instances are gone. May be NULL. [host-thread] */
  nemo_error* (*shutdown)(void);
} nemo_plugin;

/* The exported function. May be called more than once and must give the same answer. *out is static. [host-thread] */
typedef nemo_error* nemo_plugin_entry_fn(const nemo_host_api*, nemo_host*, const nemo_plugin** out);
#define NEMO_PLUGIN_ENTRY_NAME "nemo_plugin_entry_v1"

/* The record in section `.nemo_plugin`: NUL-terminated text fields one after the other, in this order:
 *   "NEMO1" | abi major | abi minor | sdk build | draft (0 or 1) | one "kind:id" for each component ... | "" (empty: the end)
 * Numbers are decimal text. The SDK's macros NEMO_RECORD and (C++) NEMO_PLUGIN emit it. */
#define NEMO_RECORD_MAGIC "NEMO1"
#define NEMO_TEXT_(x) #x
#define NEMO_TEXT(x) NEMO_TEXT_(x)
/* `components`: concatenated string literals, each "kind:id\0", e.g. "model:llama\0" */
#define NEMO_RECORD(components)                                                                                                         \
  __attribute__((section(".nemo_plugin"), used, aligned(1))) static const char nemo_plugin_record[] = NEMO_RECORD_MAGIC "\0" NEMO_TEXT( \
      NEMO_ABI_MAJOR) "\0" NEMO_TEXT(NEMO_ABI_MINOR) "\0" NEMO_TEXT(NEMO_SDK_BUILD) "\0" NEMO_TEXT(NEMO_ABI_DRAFT) "\0" components

#ifdef __cplusplus
}
#endif
#endif
