// core/graph/op_row.hpp - the rows of nemo/ops.def, parsed. The grammar is in that file's header.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace nemo::graph {

struct Letter {
  std::string name;
  bool group = false;  // `*a`: any number of dimensions
};

enum class TypeRule { kCompute, kI32, kI64, kF64, kAccumulate, kGradient, kAny };

struct TensorRow {
  std::string name;
  std::vector<Letter> letters;
  bool optional = false;
  bool accumulates = false;  // may be added into
  TypeRule type = TypeRule::kCompute;
};

struct AttrRow {
  std::string name;
  enum class Type { kInt, kFloat, kString, kFloats, kInts } type;
  bool required = false;
  std::string default_text;
};

struct OpRow {
  std::string name;
  std::vector<TensorRow> inputs;
  std::vector<TensorRow> outputs;
  std::vector<std::string> whole;  // letters that must not be sharded
  std::vector<AttrRow> attributes;

  [[nodiscard]] const AttrRow* attribute(std::string_view name) const;
};

// Throws nemo::Error naming the row and what is malformed.
[[nodiscard]] OpRow parse_op_row(std::string_view name, std::string_view signature, std::string_view whole, std::string_view attributes);

// The row of that name; throws nemo::Error with the nearest known name. Rows live as long as the process.
[[nodiscard]] const OpRow& op_row(std::string_view name);
[[nodiscard]] const std::vector<OpRow>& op_rows();

}  // namespace nemo::graph
