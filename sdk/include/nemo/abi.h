/* nemo/abi.h - the words every other header uses: version, strings, errors, scalar types.
 *
 * State: DRAFT. The layout is built as if it were frozen; 1.0 freezes it.
 *
 * Rules that hold in every header of this folder:
 *  - Every struct that crosses the boundary starts with `struct_size` and `flags`. The producer sets struct_size to its own
 *    sizeof. The reader reads a field only when NEMO_HAS says that it is there, and rejects a longer struct whose unknown tail is
 *    not zero (NEMO_CODE_UNSUPPORTED_FIELD). Small value types (nemo_str, nemo_dim) are frozen and have no header.
 *  - Function tables are append-only, `static const`; a NULL slot means "not implemented, the host uses its default".
 *  - Arrays of structs come with a count and a stride in bytes.
 *  - Enumerations are int32_t with explicit values; 0 is "unspecified". An unknown value is an error, never a default.
 *  - Fallible functions return nemo_error*: NULL is success. The object is allocated by the host and owned by the receiver.
 *  - No exception, longjmp or exit leaves either side. Neither side frees memory of the other.
 *  - Each function states a thread word: [host-thread] the thread that runs the command line, [step-thread] one thread at a time per
 *    component instance, [any-thread]; and an ownership word: static (life of the process), borrowed(call), borrowed(handle), owned.
 */
#ifndef NEMO_ABI_H
#define NEMO_ABI_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define NEMO_ABI_MAJOR 1 /* part of the entry function's name: nemo_plugin_entry_v1 */
#define NEMO_ABI_MINOR 0 /* newest minor that these headers describe */
#define NEMO_ABI_DRAFT 1 /* 1 until 1.0: host and plugin must then agree on NEMO_SDK_BUILD */
#define NEMO_SDK_BUILD 20261123

/* True when struct *p, as its producer sized it, contains field f. */
#define NEMO_HAS(p, f) (offsetof(__typeof__(*(p)), f) + sizeof((p)->f) <= (p)->struct_size)

/* UTF-8 text, not NUL-terminated. {NULL, 0} is the empty string. */
typedef struct nemo_str {
  const char* ptr;
  uint64_t len;
} nemo_str;

#ifdef __cplusplus
#define NEMO_STR(literal) (nemo_str{(literal), sizeof(literal) - 1})
#else
#define NEMO_STR(literal) ((nemo_str){(literal), sizeof(literal) - 1})
#endif

typedef struct nemo_host nemo_host;     /* the host, as one plugin sees it */
typedef struct nemo_error nemo_error;   /* allocated by the host, freed by the receiver with host api error_free */
typedef struct nemo_config nemo_config; /* validated settings of one component; read with host api config_* */

/* What went wrong, coarsely. Finer facts are key/value pairs of the error. */
typedef int32_t nemo_code;
#define NEMO_CODE_INVALID_ARGUMENT 1  /* the caller broke the contract of a function */
#define NEMO_CODE_CONFIG_INVALID 2    /* the recipe asks for something impossible; key "path" names the setting */
#define NEMO_CODE_NOT_FOUND 3         /* file, dataset, parameter, component */
#define NEMO_CODE_DATA_LOSS 4         /* truncated or corrupted input */
#define NEMO_CODE_UNSUPPORTED 5       /* well-formed, but this component cannot do it */
#define NEMO_CODE_UNSUPPORTED_FIELD 6 /* a struct carries a field or enum value newer than the reader */
#define NEMO_CODE_OUT_OF_MEMORY 7
#define NEMO_CODE_CANCELLED 8
#define NEMO_CODE_DEVICE_ERROR 9
#define NEMO_CODE_PEER_FAILED 10
#define NEMO_CODE_INTERNAL 11

/* Element types of tensors. */
typedef int32_t nemo_dtype;
#define NEMO_DTYPE_F32 1
#define NEMO_DTYPE_F64 2
#define NEMO_DTYPE_BF16 3
#define NEMO_DTYPE_F16 4
#define NEMO_DTYPE_I32 5
#define NEMO_DTYPE_I64 6
#define NEMO_DTYPE_U8 7
#define NEMO_DTYPE_E4M3 8
#define NEMO_DTYPE_E5M2 9

/* Kinds of components. */
typedef int32_t nemo_kind;
#define NEMO_KIND_MODEL 1
#define NEMO_KIND_STRATEGY 2
#define NEMO_KIND_DATA 3
#define NEMO_KIND_PRECISION 4
#define NEMO_KIND_PEFT 5
#define NEMO_KIND_LOGGER 6
#define NEMO_KIND_BACKEND 7

typedef int32_t nemo_log_level;
#define NEMO_LOG_DEBUG 1
#define NEMO_LOG_INFO 2
#define NEMO_LOG_WARNING 3
#define NEMO_LOG_ERROR 4

/* A name with a value, for errors, metrics and run facts. */
typedef struct nemo_pair {
  nemo_str key;
  nemo_str value;
} nemo_pair;

/* Takes variable-length output: write is called any number of times, each with a further piece. */
typedef struct nemo_sink {
  void* ctx;
  nemo_error* (*write)(void* ctx, const void* bytes, uint64_t len);
} nemo_sink;

#ifdef __cplusplus
}
#endif
#endif
