// nemo/cpp/config.hpp - schemas as readable lists, and typed reading of settings.
#pragma once

#include <string>
#include <vector>

#include "nemo/cpp/core.hpp"

namespace nemo::sdk {
inline namespace v1 {

// Builders of nemo_field. Text arguments must be string literals (the schema keeps views):
//   static const Schema schema{{
//       integer("num_layers", "12", "number of transformer blocks").min(1),
//       choice("activation", "\"gelu_tanh\"", {{"gelu_tanh", "tanh approximation"}, {"relu", "max(x, 0)"}}, "MLP activation"),
//       list("files", NEMO_FIELD_PATH, "", "files or globs").required(),
//   }};
class Field {
 public:
  Field(nemo_field_type type, std::string_view path, std::string_view default_value, std::string_view doc) {
    field_.struct_size = sizeof(nemo_field);
    field_.type = type;
    field_.path = to_str(path);
    field_.default_value = to_str(default_value);
    field_.doc = to_str(doc);
  }
  Field min(double v) && {
    field_.min = v;
    return std::move(*this).flag(NEMO_FIELD_HAS_MIN);
  }
  Field max(double v) && {
    field_.max = v;
    return std::move(*this).flag(NEMO_FIELD_HAS_MAX);
  }
  Field unit(std::string_view u) && {
    field_.unit = to_str(u);
    return std::move(*this);
  }
  Field required() && { return std::move(*this).flag(NEMO_FIELD_REQUIRED); }
  Field changes_checkpoint() && { return std::move(*this).flag(NEMO_FIELD_CHANGES_CHECKPOINT); }
  Field elements(nemo_field_type type) && {
    field_.element_type = type;
    return std::move(*this);
  }
  Field choices(std::vector<nemo_choice> c) && {
    choices_ = std::move(c);
    return std::move(*this);
  }

 private:
  friend class Schema;
  Field flag(uint32_t f) && {
    field_.flags |= f;
    return std::move(*this);
  }
  nemo_field field_{};
  std::vector<nemo_choice> choices_;
};

inline Field boolean(std::string_view path, std::string_view def, std::string_view doc) { return {NEMO_FIELD_BOOL, path, def, doc}; }
inline Field integer(std::string_view path, std::string_view def, std::string_view doc) { return {NEMO_FIELD_INT, path, def, doc}; }
inline Field number(std::string_view path, std::string_view def, std::string_view doc) { return {NEMO_FIELD_FLOAT, path, def, doc}; }
inline Field string(std::string_view path, std::string_view def, std::string_view doc) { return {NEMO_FIELD_STRING, path, def, doc}; }
inline Field file(std::string_view path, std::string_view def, std::string_view doc) { return {NEMO_FIELD_PATH, path, def, doc}; }
inline Field list(std::string_view path, nemo_field_type element, std::string_view def, std::string_view doc) {
  return Field(NEMO_FIELD_LIST, path, def, doc).elements(element);
}
struct Choice {
  std::string_view value, doc;
};
inline Field choice(std::string_view path, std::string_view def, std::initializer_list<Choice> values, std::string_view doc) {
  std::vector<nemo_choice> c;
  for (const Choice& v : values) c.push_back({to_str(v.value), to_str(v.doc)});
  return Field(NEMO_FIELD_ENUM, path, def, doc).choices(std::move(c));
}

// Owns the array that a nemo_schema points at; make it static.
class Schema {
 public:
  explicit Schema(std::vector<Field> fields) : fields_(std::move(fields)) {
    for (Field& f : fields_) {
      f.field_.choices = f.choices_.data();
      f.field_.n_choices = f.choices_.size();
      raw_.push_back(f.field_);
    }
    schema_ = {sizeof(nemo_schema), 0, raw_.data(), raw_.size(), sizeof(nemo_field)};
  }
  Schema(const Schema&) = delete;
  Schema& operator=(const Schema&) = delete;
  const nemo_schema* get() const { return &schema_; }

 private:
  std::vector<Field> fields_;
  std::vector<nemo_field> raw_;
  nemo_schema schema_{};
};

// Typed reading. Paths are those of the schema.
class Config {
 public:
  explicit Config(const nemo_config* config) : config_(config) {}
  bool has(std::string_view path) const { return api().config_has(config_, to_str(path)) != 0; }
  bool boolean(std::string_view path) const { return read<uint8_t>(api().config_bool, path) != 0; }
  int64_t integer(std::string_view path) const { return read<int64_t>(api().config_int, path); }
  double number(std::string_view path) const { return read<double>(api().config_float, path); }
  std::string string(std::string_view path) const { return to_string(read<nemo_str>(api().config_string, path)); }
  uint64_t list_size(std::string_view path) const { return read<uint64_t>(api().config_list_size, path); }
  std::vector<std::string> strings(std::string_view path) const {
    std::vector<std::string> out;
    for (uint64_t i = 0, n = list_size(path); i < n; ++i) {
      nemo_str s{};
      check(api().config_list_string(config_, to_str(path), i, &s));
      out.push_back(to_string(s));
    }
    return out;
  }
  std::vector<double> numbers(std::string_view path) const { return list<double>(api().config_list_float, path); }
  std::vector<int64_t> integers(std::string_view path) const { return list<int64_t>(api().config_list_int, path); }

 private:
  // NOLINTNEXTLINE(clang-analyzer-core.uninitialized.UndefReturn): the entry has set it before any code of the plugin runs
  static const nemo_host_api& api() { return *host().api; }
  template <class T, class F>
  T read(F getter, std::string_view path) const {
    T out{};
    check(getter(config_, to_str(path), &out));
    return out;
  }
  template <class T, class F>
  std::vector<T> list(F getter, std::string_view path) const {
    std::vector<T> out(list_size(path));
    for (uint64_t i = 0; i < out.size(); ++i) check(getter(config_, to_str(path), i, &out[i]));
    return out;
  }
  const nemo_config* config_;
};

// A cross-field fault: the host adds the recipe's file:line:column of `path`.
[[noreturn]] inline void config_fault(std::string path, const std::string& message) {
  throw Error(NEMO_CODE_CONFIG_INVALID, message).with("path", std::move(path));
}

}  // namespace v1
}  // namespace nemo::sdk
