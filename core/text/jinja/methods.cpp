// Methods of Python's strings, lists and dicts.
#include <algorithm>
#include <array>
#include <cctype>

#include "core/text/jinja/evaluator.hpp"
#include "core/text/jinja/strings.hpp"

namespace nemo::text::jinja {
namespace {

List list_of(const std::vector<std::string>& strings) {
  List l;
  for (const std::string& s : strings) l.items.emplace_back(s);
  return l;
}

const std::string* optional_string(const Arguments& a, size_t position, std::string_view name) {
  const Value* v = a.get(position, name);
  return v == nullptr || v->is_none() ? nullptr : &v->to_string(name);
}

int64_t optional_int(const Arguments& a, size_t position, std::string_view name, int64_t otherwise) {
  const Value* v = a.get(position, name);
  return v == nullptr || v->is_none() ? otherwise : v->to_int(name);
}

const Value& needed(const Arguments& a, size_t position, std::string_view name) {
  const Value* v = a.get(position, name);
  if (v == nullptr) throw Fault{"the argument '" + std::string(name) + "' is missing"};
  return *v;
}

Value split_string(const std::string& s, const Arguments& a, Side from) {
  const std::string* separator = optional_string(a, 0, "sep");
  if (separator != nullptr && separator->empty()) throw Fault{"empty separator"};
  return list_of(split(s, separator, optional_int(a, 1, "maxsplit", -1), from));
}

// One of a tuple of affixes is enough.
bool has_affix(const std::string& s, const Value& affix, Side side) {
  if (affix.is_list())
    return std::any_of(affix.list().items.begin(), affix.list().items.end(), [&](const Value& v) { return has_affix(s, v, side); });
  const std::string& text = affix.to_string("an affix");
  return side == Side::kLeft ? s.starts_with(text) : s.ends_with(text);
}

std::string join(const std::string& separator, const Value& items) {
  std::string out;
  bool first = true;
  for (const Value& v : items.iterate()) {
    if (!first) out += separator;
    first = false;
    out += v.to_string("join");
  }
  return out;
}

// In code points, as Python counts.
int64_t index_of(const std::string& s, const std::string& part, Side from) {
  const size_t at = from == Side::kRight ? s.rfind(part) : s.find(part);
  return at == std::string::npos ? -1 : count_characters(std::string_view(s).substr(0, at));
}

int64_t count_of(const std::string& s, const std::string& part) {
  if (part.empty()) return count_characters(s) + 1;
  int64_t n = 0;
  for (size_t at = s.find(part); at != std::string::npos; at = s.find(part, at + part.size())) ++n;
  return n;
}

bool all_of(const std::string& s, int (*test)(int)) {
  return !s.empty() &&
         std::all_of(s.begin(), s.end(), [&](char c) { return static_cast<uint8_t>(c) < 0x80 && test(static_cast<uint8_t>(c)); });
}

std::string without(const std::string& s, const std::string& affix, Side side) {
  if (side == Side::kLeft && s.starts_with(affix)) return s.substr(affix.size());
  if (side == Side::kRight && !affix.empty() && s.ends_with(affix)) return s.substr(0, s.size() - affix.size());
  return s;
}

using StringMethod = Value (*)(const std::string&, const Arguments&);
struct NamedMethod {
  std::string_view name;
  StringMethod run;
};

using S = const std::string&;
using A = const Arguments&;
constexpr NamedMethod kStringMethods[] = {
    {"strip", [](S s, A a) -> Value { return strip(s, optional_string(a, 0, "chars"), Side::kBoth); }},
    {"lstrip", [](S s, A a) -> Value { return strip(s, optional_string(a, 0, "chars"), Side::kLeft); }},
    {"rstrip", [](S s, A a) -> Value { return strip(s, optional_string(a, 0, "chars"), Side::kRight); }},
    {"split", [](S s, A a) -> Value { return split_string(s, a, Side::kLeft); }},
    {"rsplit", [](S s, A a) -> Value { return split_string(s, a, Side::kRight); }},
    {"splitlines",
     [](S s, A a) -> Value { return list_of(split_lines(s, a.get(0, "keepends") != nullptr && a.get(0, "keepends")->truth())); }},
    {"startswith", [](S s, A a) -> Value { return has_affix(s, needed(a, 0, "prefix"), Side::kLeft); }},
    {"endswith", [](S s, A a) -> Value { return has_affix(s, needed(a, 0, "suffix"), Side::kRight); }},
    {"removeprefix", [](S s, A a) -> Value { return without(s, needed(a, 0, "prefix").to_string("removeprefix"), Side::kLeft); }},
    {"removesuffix", [](S s, A a) -> Value { return without(s, needed(a, 0, "suffix").to_string("removesuffix"), Side::kRight); }},
    {"replace",
     [](S s, A a) -> Value {
       return replace(s, needed(a, 0, "old").to_string("replace"), needed(a, 1, "new").to_string("replace"),
                      optional_int(a, 2, "count", -1));
     }},
    {"lower", [](S s, A) -> Value { return lower(s); }},
    {"upper", [](S s, A) -> Value { return upper(s); }},
    {"title", [](S s, A) -> Value { return title(s); }},
    {"capitalize", [](S s, A) -> Value { return capitalize(s); }},
    {"join", [](S s, A a) -> Value { return join(s, needed(a, 0, "iterable")); }},
    {"find", [](S s, A a) -> Value { return index_of(s, needed(a, 0, "sub").to_string("find"), Side::kLeft); }},
    {"rfind", [](S s, A a) -> Value { return index_of(s, needed(a, 0, "sub").to_string("rfind"), Side::kRight); }},
    {"index",
     [](S s, A a) -> Value {
       const int64_t at = index_of(s, needed(a, 0, "sub").to_string("index"), Side::kLeft);
       if (at < 0) throw Fault{"substring not found"};
       return at;
     }},
    {"count", [](S s, A a) -> Value { return count_of(s, needed(a, 0, "sub").to_string("count")); }},
    {"isdigit", [](S s, A) -> Value { return all_of(s, std::isdigit); }},
    {"isalpha", [](S s, A) -> Value { return all_of(s, std::isalpha); }},
    {"isalnum", [](S s, A) -> Value { return all_of(s, std::isalnum); }},
    {"isspace", [](S s, A) -> Value { return !s.empty() && strip(s, nullptr, Side::kBoth).empty(); }},
    {"isupper", [](S s, A) -> Value { return upper(s) == s && lower(s) != s; }},
    {"islower", [](S s, A) -> Value { return lower(s) == s && upper(s) != s; }},
    {"zfill",
     [](S s, A a) -> Value {
       const int64_t width = std::min<int64_t>(needed(a, 0, "width").to_int("zfill"), kLongestList), n = count_characters(s);
       const size_t sign = s.starts_with('-') || s.starts_with('+') ? 1 : 0;
       return s.substr(0, sign) + std::string(static_cast<size_t>(std::max<int64_t>(width - n, 0)), '0') + s.substr(sign);
     }},
};

using DictMethod = Value (*)(const Dict&, const Arguments&);
struct NamedDictMethod {
  std::string_view name;
  DictMethod run;
};
using D = const Dict&;
constexpr NamedDictMethod kDictMethods[] = {
    {"get",
     [](D d, A a) -> Value {
       if (const Value* v = d.find(needed(a, 0, "key"))) return *v;
       const Value* otherwise = a.get(1, "default");
       return otherwise == nullptr ? Value(None{}) : *otherwise;
     }},
    {"items",
     [](D d, A) -> Value {
       List l;
       for (const auto& [key, value] : d.items) l.items.emplace_back(List{{key, value}, Shape::kTuple});
       return l;
     }},
    {"keys",
     [](D d, A) -> Value {
       List l;
       for (const auto& [key, value] : d.items) l.items.push_back(key);
       return l;
     }},
    {"values",
     [](D d, A) -> Value {
       List l;
       for (const auto& [key, value] : d.items) l.items.push_back(value);
       return l;
     }},
    {"copy",
     [](D d, A) -> Value {
       return Dict{d.items, DictKind::kDict};
     }},
};

Value list_method(const Value& list, const std::string& name) {
  if (name == "count")
    return Function([list](Evaluator&, A a) {
      const auto& items = list.list().items;
      return Value(
          static_cast<int64_t>(std::count_if(items.begin(), items.end(), [&](const Value& v) { return equal(v, needed(a, 0, "value")); })));
    });
  if (name == "index")
    return Function([list](Evaluator&, A a) {
      const auto& items = list.list().items;
      for (size_t i = 0; i < items.size(); ++i)
        if (equal(items[i], needed(a, 0, "value"))) return Value(static_cast<int64_t>(i));
      throw Fault{needed(a, 0, "value").repr() + " is not in list"};
    });
  // The sandbox in which templates run is immutable.
  for (const std::string_view changes : {"append", "extend", "insert", "pop", "remove", "reverse", "sort", "clear"})
    if (name == changes) throw Fault{"access to attribute '" + name + "' of 'list' object is unsafe."};
  return {};
}

}  // namespace

Value method(const Value& object, const std::string& name) {
  if (object.is_string()) {
    for (const NamedMethod& m : kStringMethods)
      if (m.name == name) return Function([object, run = m.run](Evaluator&, A a) { return run(object.string(), a); });
    return {};
  }
  if (object.is_list()) return list_method(object, name);
  if (!object.is_dict()) return {};
  for (const NamedDictMethod& m : kDictMethods)
    if (m.name == name) return Function([object, run = m.run](Evaluator&, A a) { return run(object.dict(), a); });
  for (const std::string_view changes : {"update", "pop", "popitem", "setdefault", "clear"})
    if (name == changes && object.dict().find_name(name) == nullptr)
      throw Fault{"access to attribute '" + name + "' of 'dict' object is unsafe."};
  return {};
}

}  // namespace nemo::text::jinja
