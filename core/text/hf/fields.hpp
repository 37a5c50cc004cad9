// core/text/hf/fields.hpp - checked access to the fields of a tokenizer.json; every error names the file and the field.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace nemo::text::hf {

// A JSON value and its path. Cheap to make from another; the document must outlive it.
class Field {
 public:
  Field(const nlohmann::json& value, std::string path) : value_(&value), path_(std::move(path)) {}

  [[nodiscard]] const nlohmann::json& json() const { return *value_; }
  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] bool is_null() const { return value_->is_null(); }
  [[nodiscard]] bool has(const char* key) const { return value_->is_object() && value_->contains(key) && !(*value_)[key].is_null(); }

  // Member of an object or element of a list. Throws Error(kDataLoss) where it is missing.
  [[nodiscard]] Field at(const char* key) const;
  [[nodiscard]] std::vector<Field> items() const;

  // Throw Error(kDataLoss) where the value has another type.
  [[nodiscard]] const std::string& string() const;
  [[nodiscard]] bool boolean() const;
  [[nodiscard]] int64_t integer() const;
  [[nodiscard]] int64_t integer_between(int64_t low, int64_t high) const;

  [[nodiscard]] std::string string_or(const char* key, std::string_view otherwise) const;
  [[nodiscard]] bool boolean_or(const char* key, bool otherwise) const;
  [[nodiscard]] int64_t integer_or(const char* key, int64_t otherwise) const;

  // The value of "type".
  [[nodiscard]] const std::string& type() const { return at("type").string(); }

  [[noreturn]] void fail(const std::string& what) const;         // Error(kDataLoss)
  [[noreturn]] void unsupported(const std::string& what) const;  // Error(kUnsupported)
  // For a "type" that is none of `known`, with the nearest of them.
  [[noreturn]] void unknown_type(const std::vector<std::string>& known) const;

 private:
  const nlohmann::json* value_;
  std::string path_;
};

// Sequences may hold sequences, but not deeper than this.
inline constexpr int kDeepestSequence = 16;

}  // namespace nemo::text::hf
