/* nemo/config.h - the typed schema of a component's settings.
 *
 * A component lists its fields once. From that list the host validates the recipe before any instance exists (unknown key, type, range,
 * choice, each with file:line:column and the nearest known name), fills defaults, prints `nemo-host plugins inspect ID`, and records the
 * resolved values. Plugins read typed values through the host api's config_* functions and never see TOML.
 */
#ifndef NEMO_CONFIG_H
#define NEMO_CONFIG_H

#include "nemo/abi.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef int32_t nemo_field_type;
#define NEMO_FIELD_BOOL 1
#define NEMO_FIELD_INT 2
#define NEMO_FIELD_FLOAT 3 /* the recipe may write an integer */
#define NEMO_FIELD_STRING 4
#define NEMO_FIELD_PATH 5  /* string; relative to the recipe's folder if it exists there, else to the current folder */
#define NEMO_FIELD_ENUM 6  /* string out of choices */
#define NEMO_FIELD_LIST 7  /* homogeneous; element_type says of what; a single scalar is accepted as a list of one */
#define NEMO_FIELD_TABLE 8 /* free-form table of scalars, read by listing its keys */

#define NEMO_FIELD_REQUIRED 1u           /* no default: the recipe must set it */
#define NEMO_FIELD_SECRET 2u             /* never printed, logged or written */
#define NEMO_FIELD_CHANGES_CHECKPOINT 4u /* a checkpoint made with another value cannot be resumed */
#define NEMO_FIELD_HAS_MIN 8u
#define NEMO_FIELD_HAS_MAX 16u

typedef struct nemo_choice {
  nemo_str value;
  nemo_str doc;
} nemo_choice;

/* One setting. `path` is relative to the component's section, dotted for nested tables ("rope_scaling.factor"). `default_value` is a
 * TOML literal ("0.02", "\"char\"", "[]"); empty means: unset unless the recipe sets it (config_has tells).
 * min and max bound numbers, each element of a list, both ends included. */
typedef struct nemo_field {
  uint32_t struct_size;
  uint32_t flags; /* NEMO_FIELD_REQUIRED ... */
  nemo_field_type type;
  nemo_field_type element_type; /* of a list */
  nemo_str path;
  nemo_str default_value;
  double min;
  double max;
  const nemo_choice* choices;
  uint64_t n_choices;
  nemo_str unit; /* "tokens", "nats", "GiB" ...; empty if none */
  nemo_str doc;  /* one sentence */
} nemo_field;

/* static, borrowed for the life of the process */
typedef struct nemo_schema {
  uint32_t struct_size;
  uint32_t flags;
  const nemo_field* fields;
  uint64_t n_fields;
  uint64_t field_stride; /* bytes from one field to the next */
} nemo_schema;

#ifdef __cplusplus
}
#endif
#endif
