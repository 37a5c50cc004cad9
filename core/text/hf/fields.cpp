#include "core/text/hf/fields.hpp"

#include "core/base/error.hpp"
#include "core/base/nearest.hpp"

namespace nemo::text::hf {

void Field::fail(const std::string& what) const { throw Error(Code::kDataLoss, path_ + ": " + what); }
void Field::unsupported(const std::string& what) const { throw Error(Code::kUnsupported, path_ + ": " + what); }

Field Field::at(const char* key) const {
  if (!value_->is_object()) fail("an object belongs here, found " + std::string(value_->type_name()));
  const auto found = value_->find(key);
  if (found == value_->end()) fail("the field \"" + std::string(key) + "\" is missing");
  return {*found, path_ + "." + key};
}

std::vector<Field> Field::items() const {
  if (!value_->is_array()) fail("a list belongs here, found " + std::string(value_->type_name()));
  std::vector<Field> out;
  out.reserve(value_->size());
  for (size_t i = 0; i < value_->size(); ++i) out.emplace_back((*value_)[i], path_ + "[" + std::to_string(i) + "]");
  return out;
}

const std::string& Field::string() const {
  if (!value_->is_string()) fail("a string belongs here, found " + std::string(value_->type_name()));
  return value_->get_ref<const std::string&>();
}

bool Field::boolean() const {
  if (!value_->is_boolean()) fail("true or false belongs here, found " + std::string(value_->type_name()));
  return value_->get<bool>();
}

int64_t Field::integer() const {
  if (!value_->is_number_integer()) fail("an integer belongs here, found " + std::string(value_->type_name()));
  return value_->get<int64_t>();
}

int64_t Field::integer_between(int64_t low, int64_t high) const {
  const int64_t v = integer();
  if (v < low || v > high) fail("expected " + std::to_string(low) + " to " + std::to_string(high) + ", found " + std::to_string(v));
  return v;
}

std::string Field::string_or(const char* key, std::string_view otherwise) const {
  return has(key) ? at(key).string() : std::string(otherwise);
}
bool Field::boolean_or(const char* key, bool otherwise) const { return has(key) ? at(key).boolean() : otherwise; }
int64_t Field::integer_or(const char* key, int64_t otherwise) const { return has(key) ? at(key).integer() : otherwise; }

void Field::unknown_type(const std::vector<std::string>& known) const {
  const std::string& found = type();
  const std::string near = nearest_name(found, known);
  std::string list;
  for (const std::string& name : known) list += (list.empty() ? "" : ", ") + name;
  throw Error(Code::kUnsupported, path_ + ".type: unknown type '" + found + "'" + (near.empty() ? "" : "; did you mean '" + near + "'?") +
                                      " (known: " + list + ")");
}

}  // namespace nemo::text::hf
