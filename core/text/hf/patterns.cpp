#include "core/text/hf/patterns.hpp"

namespace nemo::text::hf {

Regex read_pattern(const Field& field) {
  if (field.json().is_string()) return Regex::literal(field.string());
  if (field.has("String")) return Regex::literal(field.at("String").string());
  if (!field.has("Regex")) field.fail("a pattern is {\"String\": text} or {\"Regex\": expression}");
  const Field regex = field.at("Regex");
  return Regex(regex.string(), RegexSyntax::kOniguruma, regex.path());
}

}  // namespace nemo::text::hf
