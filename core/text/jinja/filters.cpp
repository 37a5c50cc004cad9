#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>

#include "core/text/jinja/evaluator.hpp"
#include "core/text/jinja/strings.hpp"

namespace nemo::text::jinja {
namespace {

using V = const Value&;
using A = const Arguments&;
using E = Evaluator&;

Arguments rest_of(A a, size_t from) {
  Arguments out;
  if (from < a.values.size()) out.values.assign(a.values.begin() + static_cast<std::ptrdiff_t>(from), a.values.end());
  out.named = a.named;
  return out;
}

bool flag(A a, size_t position, std::string_view name, bool otherwise = false) {
  const Value* v = a.get(position, name);
  return v == nullptr ? otherwise : v->truth();
}

int64_t integer(A a, size_t position, std::string_view name, int64_t otherwise) {
  const Value* v = a.get(position, name);
  return v == nullptr || v->is_none() ? otherwise : v->to_int(name);
}

std::string text(A a, size_t position, std::string_view name, std::string_view otherwise) {
  const Value* v = a.get(position, name);
  return v == nullptr || v->is_none() ? std::string(otherwise) : v->str();
}

// "a.b.0" of an item.
Value path_of(V object, const std::string& path) {
  Value at = object;
  const std::string dot = ".";
  for (const std::string& part : split(path, &dot, -1, Side::kLeft)) {
    const bool number = !part.empty() && part.find_first_not_of("0123456789") == std::string::npos && part.size() < 10;
    at = number ? item(at, Value(static_cast<int64_t>(std::stoll(part)))) : item(at, Value(part));
  }
  return at;
}

Value key_of(V v, const Value* attribute) {
  if (attribute == nullptr || attribute->is_none()) return v;
  return attribute->is_int() ? item(v, *attribute) : path_of(v, attribute->to_string("attribute"));
}

Value fold_case(const Value& v, bool case_sensitive) { return !case_sensitive && v.is_string() ? Value(lower(v.string())) : v; }

Value filter_default(E, V v, A a) {
  const Value* otherwise = a.get(0, "default_value");
  const bool use = v.is_undefined() || (flag(a, 1, "boolean") && !v.truth());
  return !use ? v : otherwise != nullptr ? *otherwise : Value("");
}

Value filter_first(E, V v, A) {
  const std::vector<Value> items = v.iterate();
  return items.empty() ? Value(Undefined{"No first item, sequence was empty."}) : items.front();
}
Value filter_last(E, V v, A) {
  const std::vector<Value> items = v.iterate();
  return items.empty() ? Value(Undefined{"No last item, sequence was empty."}) : items.back();
}

Value filter_join(E, V v, A a) {
  const std::string separator = text(a, 0, "d", "");
  std::string out;
  bool first = true;
  for (V i : v.iterate()) {
    if (!first) out += separator;
    first = false;
    out += key_of(i, a.get(1, "attribute")).str();
    if (out.size() > kLongestText) throw Fault{"the template makes a text of more than 64 MiB"};
  }
  return out;
}

Value filter_replace(E e, V v, A a) {
  const Value *from = a.get(0, "old"), *to = a.get(1, "new");
  if (from == nullptr || to == nullptr) throw Fault{"replace takes two arguments"};
  const std::string s = v.str(), old = from->str(), fresh = to->str();
  e.check_size(old.empty() ? s.size() * (fresh.size() + 1) : s.size() / old.size() * fresh.size());
  return replace(s, old, fresh, integer(a, 2, "count", -1));
}

Value filter_trim(E, V v, A a) {
  const Value* chars = a.get(0, "chars");
  if (chars == nullptr || chars->is_none()) return strip(v.str(), nullptr, Side::kBoth);
  const std::string set = chars->str();
  return strip(v.str(), &set, Side::kBoth);
}

Value filter_int(E, V v, A a) {
  const int64_t otherwise = integer(a, 0, "default", 0);
  if (v.is_float()) return std::abs(v.number()) < 9e18 ? static_cast<int64_t>(v.number()) : otherwise;
  if (v.is_number()) return v.to_int("int");
  if (!v.is_string()) return otherwise;
  const std::string s = strip(v.string(), nullptr, Side::kBoth);
  const size_t plus = s.starts_with('+') ? 1 : 0;
  int64_t out = 0;
  const auto [end, error] =
      std::from_chars(s.data() + plus, s.data() + s.size(), out, static_cast<int>(std::clamp<int64_t>(integer(a, 1, "base", 10), 2, 36)));
  if (error == std::errc() && end == s.data() + s.size()) return out;
  char* stop = nullptr;
  const double d = std::strtod(s.c_str(), &stop);
  return stop != s.c_str() && *stop == '\0' && std::abs(d) < 9e18 ? static_cast<int64_t>(d) : otherwise;
}

Value filter_float(E, V v, A a) {
  if (v.is_number()) return v.number();
  const Value* otherwise = a.get(0, "default");
  if (v.is_string()) {
    const std::string s = strip(v.string(), nullptr, Side::kBoth);
    char* stop = nullptr;
    const double d = std::strtod(s.c_str(), &stop);
    if (stop != s.c_str() && *stop == '\0') return d;
  }
  return otherwise == nullptr ? Value(0.0) : *otherwise;
}

Value filter_round(E, V v, A a) {
  if (!v.is_number()) throw Fault{"round: a number belongs here, found " + v.type_name()};
  const int64_t precision = std::clamp<int64_t>(integer(a, 0, "precision", 0), -15, 15);
  const std::string method = text(a, 1, "method", "common");
  const double scale = std::pow(10.0, static_cast<double>(precision));
  if (method == "ceil") return std::ceil(v.number() * scale) / scale;
  if (method == "floor") return std::floor(v.number() * scale) / scale;
  if (precision < 0) return std::nearbyint(v.number() * scale) / scale;
  char buffer[400];
  std::snprintf(buffer, sizeof buffer, "%.*f", static_cast<int>(precision), v.number());
  return std::strtod(buffer, nullptr);
}

Value filter_abs(E, V v, A) {
  if (v.is_float()) return std::abs(v.number());
  return v.to_int("abs") < 0 ? arithmetic("-", Value(int64_t{0}), v) : Value(v.to_int("abs"));
}

Value filter_sort(E, V v, A a) {
  List out;
  out.items = v.iterate();
  const bool sensitive = flag(a, 1, "case_sensitive"), reverse = flag(a, 0, "reverse");
  const Value* attribute = a.get(2, "attribute");
  std::stable_sort(out.items.begin(), out.items.end(), [&](V x, V y) {
    const int order = compare(fold_case(key_of(x, attribute), sensitive), fold_case(key_of(y, attribute), sensitive));
    return reverse ? order > 0 : order < 0;
  });
  return out;
}

Value filter_reverse(E, V v, A) {
  if (v.is_string()) {
    std::string out;
    const std::vector<std::string> all = characters(v.string());
    for (size_t i = all.size(); i-- > 0;) out += all[i];
    return out;
  }
  List out{v.iterate(), Shape::kList};
  std::reverse(out.items.begin(), out.items.end());
  return out;
}

Value filter_unique(E, V v, A a) {
  List out;
  std::vector<Value> seen;
  const bool sensitive = flag(a, 0, "case_sensitive");
  for (V i : v.iterate()) {
    const Value key = fold_case(key_of(i, a.get(1, "attribute")), sensitive);
    if (std::any_of(seen.begin(), seen.end(), [&](V s) { return equal(s, key); })) continue;
    seen.push_back(key);
    out.items.push_back(i);
  }
  return out;
}

Value filter_map(E e, V v, A a) {
  List out;
  const Value* attribute = a.get(SIZE_MAX, "attribute");
  if (attribute == nullptr && a.values.empty()) throw Fault{"map requires a filter argument"};
  for (V i : v.iterate()) {
    if (attribute == nullptr) {
      out.items.push_back(e.apply_filter(a.values[0].to_string("map"), i, rest_of(a, 1)));
      continue;
    }
    Value found = key_of(i, attribute);
    const Value* otherwise = a.get(SIZE_MAX, "default");
    out.items.push_back(found.is_undefined() && otherwise != nullptr ? *otherwise : found);
  }
  return out;
}

enum class Keep { kTrue, kFalse };

Value choose(E e, V v, A a, Keep keep, bool by_attribute) {
  List out;
  const size_t at = by_attribute ? 1 : 0;
  if (by_attribute && a.values.empty()) throw Fault{"the name of an attribute is missing"};
  for (V i : v.iterate()) {
    const Value subject = by_attribute ? key_of(i, &a.values[0]) : i;
    const bool holds =
        a.values.size() > at ? e.apply_test(a.values[at].to_string("a test's name"), subject, rest_of(a, at + 1)) : subject.truth();
    if (holds == (keep == Keep::kTrue)) out.items.push_back(i);
  }
  return out;
}
Value filter_select(E e, V v, A a) { return choose(e, v, a, Keep::kTrue, false); }
Value filter_reject(E e, V v, A a) { return choose(e, v, a, Keep::kFalse, false); }
Value filter_selectattr(E e, V v, A a) { return choose(e, v, a, Keep::kTrue, true); }
Value filter_rejectattr(E e, V v, A a) { return choose(e, v, a, Keep::kFalse, true); }

// As transformers defines it: json.dumps without escaping for HTML.
Value filter_tojson(E e, V v, A a) {
  const Value *ascii = a.get(0, "ensure_ascii"), *indent = a.get(1, "indent"), *separators = a.get(2, "separators");
  const int64_t spaces = indent == nullptr || indent->is_none() ? -1 : std::clamp<int64_t>(indent->to_int("indent"), 0, 64);
  std::string item_separator = spaces < 0 ? ", " : ",", key_separator = ": ";
  if (separators != nullptr && separators->is_list() && separators->length() == 2) {
    item_separator = separators->list().items[0].to_string("separators");
    key_separator = separators->list().items[1].to_string("separators");
  }
  if (v.is_undefined()) throw Fault{"Object of type Undefined is not JSON serializable: " + v.undefined().message};
  std::string out = v.json(spaces, ascii != nullptr && ascii->truth(), flag(a, 3, "sort_keys"), item_separator, key_separator);
  e.check_size(out.size());
  return out;
}

Value filter_items(E, V v, A) {
  if (v.is_undefined()) return List{};
  if (!v.is_dict()) throw Fault{"Can only get item pairs from a mapping."};
  List out;
  for (const auto& [key, value] : v.dict().items) out.items.emplace_back(List{{key, value}, Shape::kTuple});
  return out;
}

Value filter_dictsort(E e, V v, A a) {
  Value pairs = filter_items(e, v, a);
  List out = pairs.list();
  const bool sensitive = flag(a, 0, "case_sensitive"), reverse = flag(a, 2, "reverse");
  const size_t by = text(a, 1, "by", "key") == "value" ? 1 : 0;
  std::stable_sort(out.items.begin(), out.items.end(), [&](V x, V y) {
    const int order = compare(fold_case(x.list().items[by], sensitive), fold_case(y.list().items[by], sensitive));
    return reverse ? order > 0 : order < 0;
  });
  return out;
}

Value filter_sum(E, V v, A a) {
  const Value* start = a.get(1, "start");
  Value total = start == nullptr ? Value(int64_t{0}) : *start;
  for (V i : v.iterate()) total = arithmetic("+", total, key_of(i, a.get(0, "attribute")));
  return total;
}

Value extreme(V v, A a, int sign) {
  const std::vector<Value> items = v.iterate();
  if (items.empty()) return Undefined{"No aggregated item, sequence was empty."};
  Value best = items[0];
  for (V i : items) {
    const Value *attribute = a.get(1, "attribute"), x = fold_case(key_of(i, attribute), flag(a, 0, "case_sensitive"));
    if (sign * compare(x, fold_case(key_of(best, attribute), flag(a, 0, "case_sensitive"))) > 0) best = i;
  }
  return best;
}

Value filter_indent(E e, V v, A a) {
  const Value* width = a.get(0, "width");
  const std::string margin = width != nullptr && width->is_string()
                                 ? width->string()
                                 : std::string(static_cast<size_t>(std::clamp<int64_t>(integer(a, 0, "width", 4), 0, 1000)), ' ');
  const bool first = flag(a, 1, "first"), blank = flag(a, 2, "blank");
  const std::string s = v.str(), newline = "\n";
  std::string out;
  const std::vector<std::string> lines = split(s, &newline, -1, Side::kLeft);
  e.check_size(s.size() + lines.size() * margin.size());
  for (size_t i = 0; i < lines.size(); ++i) {
    if (i > 0) out += "\n";
    if (i == 0 ? first : blank || !lines[i].empty()) out += margin;
    out += lines[i];
  }
  return out;
}

Value filter_escape(E, V v, A) {
  std::string s = replace(v.str(), "&", "&amp;", -1);
  for (const auto& [from, to] : {std::pair{"<", "&lt;"}, {">", "&gt;"}, {"'", "&#39;"}, {"\"", "&#34;"}}) s = replace(s, from, to, -1);
  return s;
}

Value filter_groupby(E e, V v, A a) {
  Arguments by;
  by.named.emplace_back("attribute", a.get(0, "attribute") == nullptr ? Value(None{}) : *a.get(0, "attribute"));
  const Value sorted = filter_sort(e, v, by);
  List out;
  for (V i : sorted.list().items) {
    const Value key = key_of(i, a.get(0, "attribute"));
    if (out.items.empty() || !equal(out.items.back().list().items[0], key)) out.items.emplace_back(List{{key, List{}}, Shape::kTuple});
    List group = out.items.back().list().items[1].list();
    group.items.push_back(i);
    out.items.back() = List{{key, std::move(group)}, Shape::kTuple};
  }
  return out;
}

Value filter_batch(E, V v, A a) {
  const int64_t n = integer(a, 0, "linecount", 0);
  if (n < 1) throw Fault{"batch: the count must be positive"};
  List out;
  for (V i : v.iterate()) {
    if (out.items.empty() || out.items.back().length() == n) out.items.emplace_back(List{});
    List row = out.items.back().list();
    row.items.push_back(i);
    out.items.back() = std::move(row);
  }
  return out;
}

struct Named {
  std::string_view name;
  Filter run;
};

constexpr Named kFilters[] = {
    {"default", filter_default},
    {"d", filter_default},
    {"first", filter_first},
    {"last", filter_last},
    {"join", filter_join},
    {"replace", filter_replace},
    {"trim", filter_trim},
    {"int", filter_int},
    {"float", filter_float},
    {"round", filter_round},
    {"abs", filter_abs},
    {"sort", filter_sort},
    {"reverse", filter_reverse},
    {"unique", filter_unique},
    {"map", filter_map},
    {"select", filter_select},
    {"reject", filter_reject},
    {"selectattr", filter_selectattr},
    {"rejectattr", filter_rejectattr},
    {"tojson", filter_tojson},
    {"items", filter_items},
    {"dictsort", filter_dictsort},
    {"sum", filter_sum},
    {"indent", filter_indent},
    {"escape", filter_escape},
    {"e", filter_escape},
    {"groupby", filter_groupby},
    {"batch", filter_batch},
    {"safe", [](E, V v, A) -> Value { return v; }},
    {"max", [](E, V v, A a) -> Value { return extreme(v, a, 1); }},
    {"min", [](E, V v, A a) -> Value { return extreme(v, a, -1); }},
    {"length", [](E, V v, A) -> Value { return v.length(); }},
    {"count", [](E, V v, A) -> Value { return v.length(); }},
    {"list",
     [](E, V v, A) -> Value {
       return List{v.iterate(), Shape::kList};
     }},
    {"string", [](E, V v, A) -> Value { return v.str(); }},
    {"lower", [](E, V v, A) -> Value { return lower(v.str()); }},
    {"upper", [](E, V v, A) -> Value { return upper(v.str()); }},
    {"title", [](E, V v, A) -> Value { return title_words(v.str()); }},
    {"capitalize", [](E, V v, A) -> Value { return capitalize(v.str()); }},
    {"format", [](E, V v, A a) -> Value { return format_percent(v.str(), a.values); }},
    {"pprint", [](E, V v, A) -> Value { return v.repr(); }},
    {"attr", [](E, V v, A a) -> Value { return key_of(v, a.get(0, "name")); }},
    {"wordcount", [](E, V v, A) -> Value { return static_cast<int64_t>(split(v.str(), nullptr, -1, Side::kLeft).size()); }},
};

}  // namespace

Filter find_filter(const std::string& name) {
  for (const Named& f : kFilters)
    if (f.name == name) return f.run;
  return nullptr;
}

}  // namespace nemo::text::jinja
