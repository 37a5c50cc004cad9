#include <cmath>
#include <cstdio>

#include "core/text/jinja/evaluator.hpp"
#include "core/text/jinja/strings.hpp"

namespace nemo::text::jinja {
namespace {

[[noreturn]] void bad_operands(const std::string& op, const Value& a, const Value& b) {
  if (a.is_undefined()) throw Fault{a.undefined().message};
  if (b.is_undefined()) throw Fault{b.undefined().message};
  if (op == "+" && a.is_string())
    throw Fault{"can only concatenate str (not \"" + std::string(b.is_none() ? "NoneType" : b.type_name()) + "\") to str"};
  throw Fault{"unsupported operand type(s) for " + op + ": '" + a.type_name() + "' and '" + b.type_name() + "'"};
}

[[noreturn]] void overflow(const std::string& op) { throw Fault{"the result of " + op + " is beyond 64 bits"}; }

int64_t floor_divide(int64_t a, int64_t b) {
  if (b == -1) {
    if (a == INT64_MIN) overflow("//");
    return -a;
  }
  return a / b - ((a % b != 0) && ((a < 0) != (b < 0)) ? 1 : 0);
}

int64_t floor_modulo(int64_t a, int64_t b) {
  if (b == -1) return 0;
  const int64_t r = a % b;
  return r != 0 && (r < 0) != (b < 0) ? r + b : r;
}

Value integer_power(int64_t base, int64_t exponent) {
  if (exponent < 0) return std::pow(static_cast<double>(base), static_cast<double>(exponent));
  if (base >= -1 && base <= 1) return base == -1 && exponent % 2 == 0 ? int64_t{1} : exponent == 0 ? int64_t{1} : base;
  int64_t out = 1;
  for (int64_t i = 0; i < exponent; ++i)
    if (__builtin_mul_overflow(out, base, &out)) overflow("**");
  return out;
}

Value integers(const std::string& op, int64_t a, int64_t b) {
  int64_t out = 0;
  if ((op == "/" || op == "//" || op == "%") && b == 0) throw Fault{op == "/" ? "division by zero" : "integer division or modulo by zero"};
  if (op == "/") return static_cast<double>(a) / static_cast<double>(b);
  if (op == "//") return floor_divide(a, b);
  if (op == "%") return floor_modulo(a, b);
  if (op == "**") return integer_power(a, b);
  const bool overflowed = op == "+"   ? __builtin_add_overflow(a, b, &out)
                          : op == "-" ? __builtin_sub_overflow(a, b, &out)
                                      : __builtin_mul_overflow(a, b, &out);
  if (overflowed) overflow(op);
  return out;
}

Value floats(const std::string& op, double a, double b) {
  if ((op == "/" || op == "//" || op == "%") && b == 0) throw Fault{"float division by zero"};
  if (op == "+") return a + b;
  if (op == "-") return a - b;
  if (op == "*") return a * b;
  if (op == "/") return a / b;
  if (op == "//") return std::floor(a / b);
  if (op == "%") return a - b * std::floor(a / b);
  return std::pow(a, b);
}

Value repeat(const Value& what, int64_t times) {
  if (times < 0) times = 0;
  if (what.is_string()) {
    if (times > 0 && what.string().size() > kLongestText / static_cast<size_t>(times))
      throw Fault{"the template makes a text of more than 64 MiB"};
    std::string out;
    for (int64_t i = 0; i < times; ++i) out += what.string();
    return out;
  }
  if (times > 0 && what.length() > kLongestList / times) throw Fault{"the template makes a list that is too long"};
  List out;
  out.shape = what.list().shape;
  for (int64_t i = 0; i < times; ++i) out.items.insert(out.items.end(), what.list().items.begin(), what.list().items.end());
  return out;
}

// "%5.2f" at `at`, behind the percent sign: the conversion, and `at` behind it.
std::string one_conversion(const std::string& format, size_t& at, const Value& v) {
  std::string spec = "%";
  while (at < format.size() && std::string_view("-+ 0#123456789.").find(format[at]) != std::string_view::npos && spec.size() < 12)
    spec += format[at++];
  const char kind = at < format.size() ? format[at++] : '\0';
  char buffer[512];
  if (kind == 's' || kind == 'r') {
    std::string text = kind == 's' ? v.str() : v.repr();
    if (spec == "%") return text;
    std::snprintf(buffer, sizeof buffer, (spec + "s").c_str(), text.c_str());
    return buffer;
  }
  if (!v.is_number()) throw Fault{std::string("%") + kind + " format: a number is required, not " + v.type_name()};
  if (kind == 'd' || kind == 'i' || kind == 'x' || kind == 'X' || kind == 'o') {
    const long long i = v.is_float() ? static_cast<long long>(v.number()) : v.to_int("%d");
    std::snprintf(buffer, sizeof buffer, (spec + "ll" + (kind == 'i' ? 'd' : kind)).c_str(), i);
    return buffer;
  }
  if (std::string_view("fFeEgG").find(kind) == std::string_view::npos) throw Fault{"unsupported format character"};
  std::snprintf(buffer, sizeof buffer, (spec + kind).c_str(), v.number());
  return buffer;
}

}  // namespace

std::string format_percent(const std::string& format, const std::vector<Value>& values) {
  std::string out;
  size_t next = 0;
  for (size_t at = 0; at < format.size();) {
    if (format[at] != '%' || (++at < format.size() && format[at] == '%')) {
      out += format[at++];
    } else {
      if (next >= values.size()) throw Fault{"not enough arguments for format string"};
      out += one_conversion(format, at, values[next++]);
    }
  }
  if (next < values.size()) throw Fault{"not all arguments converted during string formatting"};
  return out;
}

Value arithmetic(const std::string& op, const Value& a, const Value& b) {
  if (op == "~") return a.str() + b.str();
  if (a.is_number() && b.is_number()) {
    if (a.is_float() || b.is_float()) return floats(op, a.number(), b.number());
    return integers(op, a.to_int(""), b.to_int(""));
  }
  if (op == "+" && a.is_string() && b.is_string()) return a.string() + b.string();
  if (op == "+" && a.is_list() && b.is_list() && a.list().shape == b.list().shape) {
    if (a.length() + b.length() > kLongestList) throw Fault{"the template makes a list that is too long"};
    List out = a.list();
    out.items.insert(out.items.end(), b.list().items.begin(), b.list().items.end());
    return out;
  }
  if (op == "%" && a.is_string())
    return format_percent(a.string(), b.is_list() && b.list().shape == Shape::kTuple ? b.list().items : std::vector<Value>{b});
  if (op == "*" && (a.is_string() || a.is_list()) && (b.is_int() || b.is_bool())) return repeat(a, b.to_int(""));
  if (op == "*" && (b.is_string() || b.is_list()) && (a.is_int() || a.is_bool())) return repeat(b, a.to_int(""));
  bad_operands(op, a, b);
}

}  // namespace nemo::text::jinja
