/* Writes "step,loss" lines to a file: a complete logger with the C headers alone. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nemo/logger.h"

#define ID "org.example.step_log"

static const nemo_host_api* host_api;

struct nemo_logger {
  nemo_host* host;
  FILE* file;
};

static nemo_error* file_error(nemo_host* host, const char* action, const char* path) {
  char text[512];
  snprintf(text, sizeof text, "%s %s: %s", action, path, strerror(errno));
  nemo_error* error = host_api->error_new(host, NEMO_CODE_NOT_FOUND, (nemo_str){text, strlen(text)});
  host_api->error_set(error, NEMO_STR("path"), NEMO_STR("file"));
  return error;
}

/* Keeps the lines of steps before first_step: a resumed run takes its later steps again. Lines longer than the buffer are not ours. */
static nemo_error* drop_steps_from(nemo_host* host, const char* path, int64_t first_step) {
  FILE* old = fopen(path, "r");
  if (old == NULL) return errno == ENOENT ? NULL : file_error(host, "cannot read", path);
  char line[128];
  long keep = 0;
  while (fgets(line, sizeof line, old) != NULL && (keep == 0 || strtoll(line, NULL, 10) < first_step)) keep = ftell(old);
  rewind(old);
  char* kept = malloc((size_t)keep + 1);
  const int complete = kept != NULL && fread(kept, 1, (size_t)keep, old) == (size_t)keep;
  fclose(old);
  FILE* file = complete ? fopen(path, "w") : NULL;
  const int written = file != NULL && fwrite(kept, 1, (size_t)keep, file) == (size_t)keep;
  const int closed = file == NULL || fclose(file) == 0;
  free(kept);
  return written && closed ? NULL : file_error(host, "cannot rewrite", path);
}

static nemo_error* start(nemo_host* host, const nemo_config* config, const nemo_run_info* run, nemo_logger** out) {
  nemo_str setting;
  nemo_error* error = host_api->config_string(config, NEMO_STR("file"), &setting);
  if (error != NULL) return error;
  char path[4096];
  if (setting.len > 0 && setting.ptr[0] == '/')
    snprintf(path, sizeof path, "%.*s", (int)setting.len, setting.ptr);
  else
    snprintf(path, sizeof path, "%.*s/%.*s", (int)run->directory.len, run->directory.ptr, (int)setting.len, setting.ptr);

  if (run->first_step > 1) error = drop_steps_from(host, path, run->first_step);
  if (error != NULL) return error;
  FILE* file = fopen(path, run->first_step > 1 ? "a" : "w");
  if (file == NULL) return file_error(host, "cannot write", path);
  fseek(file, 0, SEEK_END);
  if (ftell(file) == 0) fputs("step,loss\n", file);

  nemo_logger* logger = malloc(sizeof *logger);
  if (logger == NULL) {
    fclose(file);
    return host_api->error_new(host, NEMO_CODE_OUT_OF_MEMORY, NEMO_STR("out of host memory"));
  }
  logger->host = host;
  logger->file = file;
  *out = logger;
  return NULL;
}

static nemo_error* metrics(nemo_logger* logger, int64_t step, const nemo_metric* first, uint64_t n, uint64_t stride) {
  for (uint64_t i = 0; i < n; ++i) {
    const nemo_metric* metric = (const nemo_metric*)(const void*)((const char*)first + i * stride);
    if (metric->name.len == 4 && memcmp(metric->name.ptr, "loss", 4) == 0 &&
        fprintf(logger->file, "%" PRId64 ",%.9g\n", step, metric->value) < 0)
      return file_error(logger->host, "cannot write", "the log");
  }
  return NULL;
}

static nemo_error* finish(nemo_logger* logger, nemo_str status, nemo_str message) {
  (void)status, (void)message;
  return fflush(logger->file) == 0 ? NULL : file_error(logger->host, "cannot write", "the log");
}

static void destroy(nemo_logger* logger) {
  if (logger == NULL) return;
  fclose(logger->file);
  free(logger);
}

static const nemo_logger_api logger_api = {sizeof(nemo_logger_api), 0, start, metrics, finish, destroy, NULL};

static const nemo_field fields[] = {{.struct_size = sizeof(nemo_field),
                                     .type = NEMO_FIELD_STRING,
                                     .path = {"file", 4},
                                     .default_value = {"\"loss.csv\"", 10},
                                     .doc = {"file to write, relative to the run's folder", 43}}};
static const nemo_schema schema = {sizeof(nemo_schema), 0, fields, 1, sizeof(nemo_field)};

static const nemo_component components[] = {{.struct_size = sizeof(nemo_component),
                                             .kind = NEMO_KIND_LOGGER,
                                             .id = {ID, sizeof ID - 1},
                                             .version = {"0.1.0", 5},
                                             .doc = {"Writes step,loss lines to a file", 32},
                                             .api = &logger_api,
                                             .schema = &schema}};

/* What the C++ layer's NEMO_PLUGIN does for C++ plugins: refuse a host that is too old or too new, then describe the components. */
NEMO_RECORD("logger:" ID "\0");

__attribute__((visibility("default"))) nemo_plugin_entry_fn nemo_plugin_entry_v1;

nemo_error* nemo_plugin_entry_v1(const nemo_host_api* api, nemo_host* host, const nemo_plugin** out) {
  static nemo_plugin plugin;
  const uint16_t newest = NEMO_ABI_MINOR;
  if (api->abi_minor_min > newest || (NEMO_ABI_DRAFT && api->sdk_build != NEMO_SDK_BUILD))
    return api->error_new(host, NEMO_CODE_UNSUPPORTED, NEMO_STR("built with another SDK than this host's; rebuild the plugin"));
  host_api = api;
  plugin.struct_size = sizeof plugin;
  plugin.abi_minor = api->abi_minor_max < newest ? api->abi_minor_max : newest;
  plugin.sdk_build = NEMO_SDK_BUILD;
  plugin.components = components;
  plugin.n_components = 1;
  plugin.component_stride = sizeof components[0];
  *out = &plugin;
  return NULL;
}
