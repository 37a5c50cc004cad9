#include "core/graph/op_row.hpp"

#include <algorithm>
#include <charconv>
#include <unordered_map>

#include "core/base/error.hpp"
#include "core/base/nearest.hpp"

namespace nemo::graph {
namespace {

std::string_view trim(std::string_view s) {
  while (!s.empty() && (s.front() == ' ' || s.front() == '\n')) s.remove_prefix(1);
  while (!s.empty() && (s.back() == ' ' || s.back() == '\n')) s.remove_suffix(1);
  return s;
}

// Splits at `separator` outside brackets; an empty text has no parts.
std::vector<std::string_view> split(std::string_view s, char separator) {
  std::vector<std::string_view> parts;
  int depth = 0;
  size_t begin = 0;
  for (size_t i = 0; i < s.size(); ++i) {
    depth += (s[i] == '[') - (s[i] == ']');
    if (s[i] == separator && depth == 0) parts.push_back(trim(s.substr(begin, i - begin))), begin = i + 1;
  }
  if (const auto last = trim(s.substr(begin)); !last.empty()) parts.push_back(last);
  return parts;
}

[[noreturn]] void malformed(std::string_view row, std::string_view what) {
  throw Error(Code::kInvalidArgument, "op row '" + std::string(row) + "': malformed near '" + std::string(what) + "'");
}

TypeRule parse_type(std::string_view row, std::string_view text) {
  static const std::unordered_map<std::string_view, TypeRule> types{{"i32", TypeRule::kI32},        {"i64", TypeRule::kI64},
                                                                    {"f64", TypeRule::kF64},        {"any", TypeRule::kAny},
                                                                    {"acc", TypeRule::kAccumulate}, {"grad", TypeRule::kGradient}};
  const auto found = types.find(text);
  if (found == types.end()) malformed(row, text);
  return found->second;
}

TensorRow parse_tensor(std::string_view row, std::string_view text) {
  const size_t open = text.find('['), close = text.find(']');
  if (open == std::string_view::npos || close == std::string_view::npos || close < open) malformed(row, text);
  TensorRow tensor;
  tensor.name = trim(text.substr(0, open));
  if (tensor.name.empty()) malformed(row, text);
  for (std::string_view letter : split(text.substr(open + 1, close - open - 1), ' ')) {
    if (letter.empty()) continue;
    const bool group = letter.front() == '*';
    tensor.letters.push_back({std::string(letter.substr(group)), group});
    if (tensor.letters.back().name.empty()) malformed(row, text);
  }
  std::string_view marks = text.substr(close + 1);
  while (!marks.empty()) {
    if (marks.front() == '?')
      tensor.optional = true;
    else if (marks.front() == '+')
      tensor.accumulates = true;
    else if (marks.front() == ':') {
      const size_t end = std::min(marks.find_first_of("?+", 1), marks.size());
      tensor.type = parse_type(row, marks.substr(1, end - 1));
      marks.remove_prefix(end - 1);
    } else
      malformed(row, marks);
    marks.remove_prefix(1);
  }
  return tensor;
}

// Whether the default of a number is one, to its last character.
bool is_default(AttrRow::Type type, std::string_view text) {
  const char* const end = text.data() + text.size();
  int64_t whole = 0;
  double real = 0;
  if (type == AttrRow::Type::kInt) return std::from_chars(text.data(), end, whole).ptr == end && !text.empty();
  return type != AttrRow::Type::kFloat || (std::from_chars(text.data(), end, real).ptr == end && !text.empty());
}

void check_row(const OpRow& row, std::string_view signature) {
  if (row.outputs.empty()) malformed(row.name, signature);
  for (const std::string& whole : row.whole) {
    const auto has = [&](const TensorRow& t) {
      return std::any_of(t.letters.begin(), t.letters.end(), [&](const Letter& l) { return l.name == whole; });
    };
    if (std::none_of(row.inputs.begin(), row.inputs.end(), has) && std::none_of(row.outputs.begin(), row.outputs.end(), has))
      malformed(row.name, whole);
  }
}

AttrRow parse_attribute(std::string_view row, std::string_view text) {
  static const std::unordered_map<std::string_view, AttrRow::Type> types{{"int", AttrRow::Type::kInt},
                                                                         {"float", AttrRow::Type::kFloat},
                                                                         {"string", AttrRow::Type::kString},
                                                                         {"floats", AttrRow::Type::kFloats},
                                                                         {"ints", AttrRow::Type::kInts}};
  const size_t colon = text.find(':'), equals = text.find('=');
  if (colon == std::string_view::npos || colon == 0) malformed(row, text);
  const auto type = types.find(text.substr(colon + 1, equals == std::string_view::npos ? equals : equals - colon - 1));
  if (type == types.end()) malformed(row, text);
  const bool required = equals == std::string_view::npos;
  if (!required && !is_default(type->second, text.substr(equals + 1))) malformed(row, text);
  return {std::string(text.substr(0, colon)), type->second, required, required ? "" : std::string(text.substr(equals + 1))};
}

std::vector<OpRow> parse_all() {
  std::vector<OpRow> rows;
#define NEMO_OP(name, signature, whole, attributes) rows.push_back(parse_op_row(#name, signature, whole, attributes));
#include "nemo/ops.def"
#undef NEMO_OP
  return rows;
}

}  // namespace

const AttrRow* OpRow::attribute(std::string_view wanted) const {
  for (const AttrRow& a : attributes)
    if (a.name == wanted) return &a;
  return nullptr;
}

OpRow parse_op_row(std::string_view name, std::string_view signature, std::string_view whole, std::string_view attributes) {
  OpRow row;
  row.name = name;
  const size_t arrow = signature.find("->");
  if (arrow == std::string_view::npos) malformed(name, signature);
  for (std::string_view t : split(signature.substr(0, arrow), ',')) row.inputs.push_back(parse_tensor(name, t));
  for (std::string_view t : split(signature.substr(arrow + 2), ',')) row.outputs.push_back(parse_tensor(name, t));
  for (std::string_view w : split(whole, ' '))
    if (!w.empty()) row.whole.emplace_back(w);
  for (std::string_view a : split(attributes, ';')) row.attributes.push_back(parse_attribute(name, a));
  check_row(row, signature);
  return row;
}

const std::vector<OpRow>& op_rows() {
  static const std::vector<OpRow> rows = parse_all();
  return rows;
}

const OpRow& op_row(std::string_view name) {
  static const auto index = [] {
    std::unordered_map<std::string_view, const OpRow*> m;
    for (const OpRow& row : op_rows()) m.emplace(row.name, &row);
    return m;
  }();
  if (const auto found = index.find(name); found != index.end()) return *found->second;
  std::vector<std::string> names;
  for (const OpRow& row : op_rows()) names.push_back(row.name);
  const std::string near = nearest_name(name, names);
  throw Error(Code::kInvalidArgument, "unknown op '" + std::string(name) + "'" + (near.empty() ? "" : "; did you mean '" + near + "'?"));
}

}  // namespace nemo::graph
