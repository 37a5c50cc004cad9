// core/text/jinja/value.hpp - the values that templates compute with: those of Python, as far as templates see them.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace nemo::text::jinja {

class Value;
class Evaluator;

// What is wrong, without its place; the evaluator adds that.
struct Fault {
  std::string message;
  bool raised = false;  // by the template's own raise_exception
};

struct Undefined {
  std::string message;  // of the error that using it makes
};
struct None {};

enum class Shape { kList, kTuple };
struct List {
  std::vector<Value> items;
  Shape shape = Shape::kList;
};

// In order of insertion. Namespaces are the only ones that a template can change.
enum class DictKind { kDict, kNamespace, kLoop };
struct Dict {
  std::vector<std::pair<Value, Value>> items;
  DictKind kind = DictKind::kDict;
  [[nodiscard]] const Value* find(const Value& key) const;
  [[nodiscard]] const Value* find_name(std::string_view key) const;
  void set(Value key, Value value);
};

struct Arguments {
  std::vector<Value> values;
  std::vector<std::pair<std::string, Value>> named;
  // The argument at `position` or of that name; nullptr: not given.
  [[nodiscard]] const Value* get(size_t position, std::string_view name) const;
};
using Function = std::function<Value(Evaluator&, const Arguments&)>;

class Value {
 public:
  Value() : data_(Undefined{}) {}
  Value(Undefined u) : data_(std::move(u)) {}
  Value(None n) : data_(n) {}
  Value(bool b) : data_(b) {}
  Value(int64_t i) : data_(i) {}
  Value(double d) : data_(d) {}
  Value(std::string s) : data_(std::make_shared<const std::string>(std::move(s))) {}
  Value(const char* s) : Value(std::string(s)) {}
  Value(List l) : data_(std::make_shared<List>(std::move(l))) {}
  Value(Dict d) : data_(std::make_shared<Dict>(std::move(d))) {}
  Value(Function f) : data_(std::make_shared<const Function>(std::move(f))) {}
  static Value from_json(const nlohmann::ordered_json& json);

  [[nodiscard]] bool is_undefined() const { return std::holds_alternative<Undefined>(data_); }
  [[nodiscard]] bool is_none() const { return std::holds_alternative<None>(data_); }
  [[nodiscard]] bool is_bool() const { return std::holds_alternative<bool>(data_); }
  [[nodiscard]] bool is_int() const { return std::holds_alternative<int64_t>(data_); }
  [[nodiscard]] bool is_float() const { return std::holds_alternative<double>(data_); }
  [[nodiscard]] bool is_number() const { return is_bool() || is_int() || is_float(); }
  [[nodiscard]] bool is_string() const { return std::holds_alternative<std::shared_ptr<const std::string>>(data_); }
  [[nodiscard]] bool is_list() const { return std::holds_alternative<std::shared_ptr<List>>(data_); }
  [[nodiscard]] bool is_dict() const { return std::holds_alternative<std::shared_ptr<Dict>>(data_); }
  [[nodiscard]] bool is_function() const { return std::holds_alternative<std::shared_ptr<const Function>>(data_); }

  // Require the kind.
  [[nodiscard]] const std::string& string() const { return *std::get<std::shared_ptr<const std::string>>(data_); }
  [[nodiscard]] const List& list() const { return *std::get<std::shared_ptr<List>>(data_); }
  [[nodiscard]] const Dict& dict() const { return *std::get<std::shared_ptr<Dict>>(data_); }
  [[nodiscard]] Dict& dict() { return *std::get<std::shared_ptr<Dict>>(data_); }
  [[nodiscard]] const Function& function() const { return *std::get<std::shared_ptr<const Function>>(data_); }
  [[nodiscard]] const Undefined& undefined() const { return std::get<Undefined>(data_); }
  [[nodiscard]] double number() const;                // of bool, int or float
  [[nodiscard]] bool same(const Value& other) const;  // Python's `is`

  // Throw Fault for another kind; `what` says what for.
  [[nodiscard]] int64_t to_int(std::string_view what) const;
  [[nodiscard]] const std::string& to_string(std::string_view what) const;

  [[nodiscard]] bool truth() const;
  [[nodiscard]] std::string type_name() const;  // Python's
  [[nodiscard]] std::string str() const;        // as {{ }} prints it
  [[nodiscard]] std::string repr() const;
  // json.dumps; indent < 0: on one line.
  [[nodiscard]] std::string json(int64_t indent, bool ascii, bool sort_keys, std::string_view item, std::string_view key) const;

  // Elements of a list, keys of a dict, characters of a string; nothing of an undefined value. Throws Fault for others.
  [[nodiscard]] std::vector<Value> iterate() const;
  [[nodiscard]] int64_t length() const;

 private:
  std::variant<Undefined, None, bool, int64_t, double, std::shared_ptr<const std::string>, std::shared_ptr<List>, std::shared_ptr<Dict>,
               std::shared_ptr<const Function>>
      data_;
};

[[nodiscard]] bool equal(const Value& a, const Value& b);
// Negative, 0, positive. Throws Fault for values that Python does not order.
[[nodiscard]] int compare(const Value& a, const Value& b);
[[nodiscard]] bool contains(const Value& container, const Value& item);

// Python's repr of a float.
[[nodiscard]] std::string float_text(double d);

// Nothing that a template builds may grow beyond these.
inline constexpr size_t kLongestText = size_t{64} << 20;
inline constexpr int64_t kLongestList = 1 << 20;
inline constexpr int kDeepest = 100;

}  // namespace nemo::text::jinja
