#include "core/text/jinja/value.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "core/text/jinja/strings.hpp"

namespace nemo::text::jinja {

const Value* Dict::find(const Value& key) const {
  for (const auto& [k, v] : items)
    if (equal(k, key)) return &v;
  return nullptr;
}

const Value* Dict::find_name(std::string_view key) const {
  for (const auto& [k, v] : items)
    if (k.is_string() && k.string() == key) return &v;
  return nullptr;
}

void Dict::set(Value key, Value value) {
  for (auto& [k, v] : items)
    if (equal(k, key)) {
      v = std::move(value);
      return;
    }
  items.emplace_back(std::move(key), std::move(value));
}

const Value* Arguments::get(size_t position, std::string_view name) const {
  if (position < values.size()) return &values[position];
  for (const auto& [n, v] : named)
    if (n == name) return &v;
  return nullptr;
}

namespace {

Value from_json_at(const nlohmann::ordered_json& j, int depth) {
  if (depth > kDeepest) throw Fault{"a value is nested too deeply"};
  if (j.is_null()) return None{};
  if (j.is_boolean()) return j.get<bool>();
  if (j.is_number_integer()) return j.get<int64_t>();
  if (j.is_number()) return j.get<double>();
  if (j.is_string()) return j.get<std::string>();
  if (j.is_array()) {
    List list;
    for (const auto& item : j) list.items.push_back(from_json_at(item, depth + 1));
    return list;
  }
  Dict dict;
  for (const auto& [key, item] : j.items()) dict.items.emplace_back(Value(key), from_json_at(item, depth + 1));
  return dict;
}

}  // namespace

Value Value::from_json(const nlohmann::ordered_json& json) { return from_json_at(json, 0); }

double Value::number() const {
  if (is_bool()) return std::get<bool>(data_) ? 1 : 0;
  if (is_int()) return static_cast<double>(std::get<int64_t>(data_));
  return std::get<double>(data_);
}

bool Value::same(const Value& other) const {
  if (data_.index() != other.data_.index()) return false;
  if (is_list()) return std::get<std::shared_ptr<List>>(data_) == std::get<std::shared_ptr<List>>(other.data_);
  if (is_dict()) return std::get<std::shared_ptr<Dict>>(data_) == std::get<std::shared_ptr<Dict>>(other.data_);
  return equal(*this, other);
}

int64_t Value::to_int(std::string_view what) const {
  if (is_int()) return std::get<int64_t>(data_);
  if (is_bool()) return std::get<bool>(data_) ? 1 : 0;
  if (is_undefined()) throw Fault{undefined().message};
  throw Fault{std::string(what) + ": an integer belongs here, found " + type_name()};
}

const std::string& Value::to_string(std::string_view what) const {
  if (is_string()) return string();
  if (is_undefined()) throw Fault{undefined().message};
  throw Fault{std::string(what) + ": a string belongs here, found " + type_name()};
}

bool Value::truth() const {
  if (is_undefined() || is_none()) return false;
  if (is_number()) return number() != 0;
  if (is_string()) return !string().empty();
  if (is_list()) return !list().items.empty();
  return !is_dict() || dict().kind != DictKind::kDict || !dict().items.empty();
}

std::string Value::type_name() const {
  if (is_undefined()) return "Undefined";
  if (is_none()) return "None";
  if (is_bool()) return "bool";
  if (is_int()) return "int";
  if (is_float()) return "float";
  if (is_string()) return "str";
  if (is_list()) return list().shape == Shape::kTuple ? "tuple" : "list";
  return is_dict() ? "dict" : "function";
}

std::string float_text(double d) {
  if (std::isnan(d)) return "nan";
  if (std::isinf(d)) return d < 0 ? "-inf" : "inf";
  char buffer[64];
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, d, std::chars_format::scientific).ptr;
  const std::string_view text(buffer, static_cast<size_t>(end - buffer));
  const size_t e = text.find('e');
  int exponent = 0;
  std::from_chars(text.data() + e + (text[e + 1] == '+' ? 2 : 1), end, exponent);
  if (exponent >= -4 && exponent < 16) {
    const auto stop = std::to_chars(buffer, buffer + sizeof buffer, d, std::chars_format::fixed).ptr;
    std::string fixed(buffer, stop);
    return fixed.find('.') == std::string::npos ? fixed + ".0" : fixed;
  }
  return std::string(text);
}

namespace {

std::string join_reprs(const std::vector<Value>& items) {
  std::string out;
  for (size_t i = 0; i < items.size(); ++i) out += (i > 0 ? ", " : "") + items[i].repr();
  return out;
}

}  // namespace

std::string Value::str() const { return is_string() ? string() : repr(); }

std::string Value::repr() const {
  if (is_undefined()) return "";
  if (is_none()) return "None";
  if (is_bool()) return std::get<bool>(data_) ? "True" : "False";
  if (is_int()) return std::to_string(std::get<int64_t>(data_));
  if (is_float()) return float_text(std::get<double>(data_));
  if (is_string()) return quote_python(string());
  if (is_list()) {
    const std::string inner = join_reprs(list().items);
    if (list().shape == Shape::kTuple) return "(" + inner + (list().items.size() == 1 ? ",)" : ")");
    return "[" + inner + "]";
  }
  if (!is_dict()) return "<function>";
  std::string out = "{";
  for (size_t i = 0; i < dict().items.size(); ++i)
    out += (i > 0 ? ", " : "") + dict().items[i].first.repr() + ": " + dict().items[i].second.repr();
  return out + "}";
}

namespace {

struct JsonStyle {
  int64_t indent;
  bool ascii, sort_keys;
  std::string_view item, key;
};

void write_json(const Value& v, const JsonStyle& style, int depth, std::string& out);

void new_line(const JsonStyle& style, int depth, std::string& out) {
  if (style.indent < 0) return;
  out += '\n';
  out.append(static_cast<size_t>(style.indent) * static_cast<size_t>(depth), ' ');
}

// Members of a list or dict, written by write(i).
template <class Write>
void write_members(size_t n, const char* brackets, const JsonStyle& style, int depth, std::string& out, Write&& write) {
  out += brackets[0];
  for (size_t i = 0; i < n; ++i) {
    if (i > 0) out += style.item;
    new_line(style, depth + 1, out);
    write(i);
  }
  if (n > 0) new_line(style, depth, out);
  out += brackets[1];
}

std::string json_key(const Value& key) {
  if (key.is_string()) return key.string();
  if (key.is_none()) return "null";
  if (key.is_bool()) return key.truth() ? "true" : "false";
  if (key.is_number()) return key.str();
  throw Fault{"tojson: keys must be str, int, float, bool or None, not " + key.type_name()};
}

void write_json(const Value& v, const JsonStyle& style, int depth, std::string& out) {
  if (depth > kDeepest) throw Fault{"tojson: the value is nested too deeply"};
  if (v.is_string()) {
    out += quote_json(v.string(), style.ascii);
  } else if (v.is_none()) {
    out += "null";
  } else if (v.is_bool()) {
    out += v.truth() ? "true" : "false";
  } else if (v.is_float()) {
    const double d = v.number();
    out += std::isnan(d) ? "NaN" : std::isinf(d) ? (d < 0 ? "-Infinity" : "Infinity") : float_text(d);
  } else if (v.is_int()) {
    out += v.str();
  } else if (v.is_list()) {
    const auto& items = v.list().items;
    write_members(items.size(), "[]", style, depth, out, [&](size_t i) { write_json(items[i], style, depth + 1, out); });
  } else if (v.is_dict()) {
    auto items = v.dict().items;
    if (style.sort_keys)
      std::stable_sort(items.begin(), items.end(), [](const auto& a, const auto& b) { return compare(a.first, b.first) < 0; });
    write_members(items.size(), "{}", style, depth, out, [&](size_t i) {
      out += quote_json(json_key(items[i].first), style.ascii);
      out += style.key;
      write_json(items[i].second, style, depth + 1, out);
    });
  } else {
    throw Fault{"tojson: a value of type " + v.type_name() + " is not JSON serializable"};
  }
}

}  // namespace

std::string Value::json(int64_t indent, bool ascii, bool sort_keys, std::string_view item, std::string_view key) const {
  std::string out;
  write_json(*this, {indent, ascii, sort_keys, item, key}, 0, out);
  return out;
}

std::vector<Value> Value::iterate() const {
  if (is_list()) return list().items;
  std::vector<Value> out;
  if (is_undefined()) return out;
  if (is_dict()) {
    for (const auto& [key, value] : dict().items) out.push_back(key);
  } else if (is_string()) {
    for (const std::string& c : characters(string())) out.emplace_back(c);
  } else {
    throw Fault{"'" + type_name() + "' object is not iterable"};
  }
  return out;
}

int64_t Value::length() const {
  if (is_undefined()) return 0;
  if (is_string()) return count_characters(string());
  if (is_list()) return static_cast<int64_t>(list().items.size());
  if (is_dict()) return static_cast<int64_t>(dict().items.size());
  throw Fault{"object of type '" + type_name() + "' has no len()"};
}

bool equal(const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) return a.is_int() && b.is_int() ? a.to_int("") == b.to_int("") : a.number() == b.number();
  if (a.is_string() && b.is_string()) return a.string() == b.string();
  if (a.is_none() && b.is_none()) return true;
  if (a.is_undefined() && b.is_undefined()) return true;
  if (a.is_list() && b.is_list())
    return a.list().shape == b.list().shape &&
           std::equal(a.list().items.begin(), a.list().items.end(), b.list().items.begin(), b.list().items.end(), equal);
  if (!a.is_dict() || !b.is_dict() || a.length() != b.length()) return false;
  for (const auto& [key, value] : a.dict().items) {
    const Value* other = b.dict().find(key);
    if (other == nullptr || !equal(value, *other)) return false;
  }
  return true;
}

int compare(const Value& a, const Value& b) {
  if (a.is_undefined()) throw Fault{a.undefined().message};
  if (b.is_undefined()) throw Fault{b.undefined().message};
  if (a.is_number() && b.is_number()) {
    const double x = a.number(), y = b.number();
    return x < y ? -1 : x > y ? 1 : 0;
  }
  if (a.is_string() && b.is_string()) return a.string().compare(b.string());
  if (a.is_list() && b.is_list()) {
    const auto &x = a.list().items, &y = b.list().items;
    for (size_t i = 0; i < std::min(x.size(), y.size()); ++i)
      if (!equal(x[i], y[i])) return compare(x[i], y[i]);
    return x.size() < y.size() ? -1 : x.size() > y.size() ? 1 : 0;
  }
  throw Fault{"'<' not supported between instances of '" + a.type_name() + "' and '" + b.type_name() + "'"};
}

bool contains(const Value& container, const Value& item) {
  if (container.is_string()) return container.string().find(item.to_string("'in <string>'")) != std::string::npos;
  if (container.is_dict()) return container.dict().find(item) != nullptr;
  if (container.is_undefined()) return false;
  if (!container.is_list()) throw Fault{"argument of type '" + container.type_name() + "' is not iterable"};
  const auto& items = container.list().items;
  return std::any_of(items.begin(), items.end(), [&](const Value& v) { return equal(v, item); });
}

}  // namespace nemo::text::jinja
