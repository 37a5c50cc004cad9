#include <ctime>

#include "core/text/jinja/evaluator.hpp"

namespace nemo::text::jinja {
namespace {

Value range(Evaluator&, const Arguments& a) {
  if (a.values.empty() || a.values.size() > 3) throw Fault{"range() takes 1 to 3 arguments"};
  const bool one = a.values.size() == 1;
  const int64_t begin = one ? 0 : a.values[0].to_int("range"), end = a.values[one ? 0 : 1].to_int("range");
  const int64_t step = a.values.size() == 3 ? a.values[2].to_int("range") : 1;
  if (step == 0) throw Fault{"range() arg 3 must not be zero"};
  List out;
  for (int64_t i = begin; step > 0 ? i < end : i > end; i += step) {
    if (static_cast<int64_t>(out.items.size()) >= kLongestList) throw Fault{"range() is too long"};
    out.items.emplace_back(i);
    if (step > 0 ? i > INT64_MAX - step : i < INT64_MIN - step) break;
  }
  return out;
}

// Named arguments behind the entries of a dict that is given first.
Dict dict_of(const Arguments& a) {
  Dict d;
  if (!a.values.empty() && a.values[0].is_dict()) d.items = a.values[0].dict().items;
  for (const auto& [name, value] : a.named) d.set(Value(name), value);
  return d;
}

Value make_namespace(Evaluator&, const Arguments& a) {
  Dict d = dict_of(a);
  d.kind = DictKind::kNamespace;
  return d;
}

Value raise_exception(Evaluator&, const Arguments& a) { throw Fault{a.values.empty() ? "" : a.values[0].str(), true}; }

Value strftime_now(Evaluator&, const Arguments& a) {
  if (a.values.empty()) throw Fault{"strftime_now() takes a format"};
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  localtime_r(&now, &local);
  char buffer[1024];
  const size_t n = std::strftime(buffer, sizeof buffer, a.values[0].to_string("strftime_now").c_str(), &local);
  return std::string(buffer, n);
}

}  // namespace

Evaluator::Variables builtins() {
  return {{"range", Value(Function(range))},
          {"namespace", Value(Function(make_namespace))},
          {"dict", Value(Function([](Evaluator&, const Arguments& a) { return Value(dict_of(a)); }))},
          {"raise_exception", Value(Function(raise_exception))},
          {"strftime_now", Value(Function(strftime_now))}};
}

}  // namespace nemo::text::jinja
