// core/graph/graph.hpp - the intermediate representation: values, ops in program order, parameters, blocks.
//
// A graph is single-assignment, except for gradient buffers, which several ops may write one after the other. Ops are kept in an order in
// which every value is produced before it is read; passes rewrite the list. Ids are indices and never reused within a graph. Copyable; not
// thread-safe.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <variant>
#include <vector>

#include "core/graph/op_row.hpp"

namespace nemo::graph {

using ValueId = uint32_t;  // 0 = none

enum class DType : int32_t { kNone = 0, kF32 = 1, kF64 = 2, kBF16 = 3, kF16 = 4, kI32 = 5, kI64 = 6, kU8 = 7, kE4M3 = 8, kE5M2 = 9 };
[[nodiscard]] int64_t size_of(DType dtype);  // bytes
[[nodiscard]] std::string_view to_string(DType dtype);
[[nodiscard]] DType parse_dtype(std::string_view name);  // throws on an unknown name

// One dimension. After the partition pass `size` is this rank's part and `mesh` names the mesh axes that split it.
struct Dim {
  int64_t size = 0;
  std::string axis;
  std::vector<std::string> mesh;
  bool operator==(const Dim&) const = default;
};
using Dims = std::vector<Dim>;
[[nodiscard]] int64_t element_count(const Dims& dims);

using Attr = std::variant<int64_t, double, std::string, std::vector<double>, std::vector<int64_t>>;
using Attrs = std::map<std::string, Attr, std::less<>>;

enum class ValueKind {
  kInput,      // fed by the runtime: batch fields, "rng", "loss_scale"
  kParameter,  // one parameter, or several that lie side by side (members)
  kGradient,   // gradient buffer of the same parameters
  kState,      // optimizer state and other persistent memory, named
  kResult,     // produced by an op
  kScratch,    // memory of the program that others are parts of: written through them
};

struct Value {
  ValueKind kind = ValueKind::kResult;
  std::string name;  // of inputs, parameters, gradients ("grad:NAME") and states; empty for results
  DType dtype = DType::kNone;
  Dims dims;
  std::vector<uint32_t> members;  // parameter indices, for kParameter and kGradient
  // Set by pass "share": the value is part of another one (0: it has its own place), from this element on. A kParameter or kGradient
  // without members is a range of this rank's flat buffer from element `home_offset` on.
  ValueId home = 0;
  int64_t home_offset = 0;
};

enum class Phase { kForward, kRecompute, kBackward, kUpdate };

struct Op {
  const OpRow* row = nullptr;
  std::vector<ValueId> inputs;   // as many as the row has; 0 where absent
  std::vector<ValueId> outputs;  // likewise
  Attrs attrs;
  std::string scope;
  int32_t block = -1;  // index into blocks
  Phase phase = Phase::kForward;
  int32_t stream = 0;  // set by the schedule pass: 0 compute, 1 communication
  // Depends on parameters alone: runs in the first micro-batch of a step, and its results stay for the others.
  bool once_per_step = false;

  [[nodiscard]] std::string_view name() const { return row->name; }
  [[nodiscard]] int64_t int_attr(std::string_view name) const;  // the row's default where not given
  [[nodiscard]] double float_attr(std::string_view name) const;
  [[nodiscard]] std::string string_attr(std::string_view name) const;
};

struct Init {
  enum class Kind { kConstant = 1, kNormal = 2, kUniform = 3 } kind = Kind::kConstant;
  double a = 0, b = 0;
};

struct Parameter {
  std::string name;
  Dims dims;         // this rank's part once partitioned
  Dims global_dims;  // as the model declared it
  Init init;
  bool trainable = true;
  bool decay = true;
  DType dtype = DType::kNone;
  int32_t block = -1;
  ValueId value = 0;
  std::vector<std::string> gradient_partial;  // mesh axes over which the gradient is still to be summed at the end of the step
  bool counted_elsewhere = false;             // a copy: another pipeline rank's counts in norms and is saved
};

struct Block {
  std::string kind;
  int64_t index = 0;
};

class Graph {
 public:
  std::vector<Value> values{Value{}};  // values[0] is "none"
  std::vector<Op> ops;
  std::vector<Parameter> parameters;
  std::vector<Block> blocks;
  std::vector<std::pair<std::string, ValueId>> outputs;
  DType gradient_dtype = DType::kF32;

  ValueId add_value(Value value);
  ValueId add_input(std::string name, DType dtype, Dims dims);
  // Memory that outlives the program; programs of one engine that use the same name share it, so sizes must agree. What starts with
  // "cache." is not part of checkpoints.
  ValueId add_state(std::string name, DType dtype, Dims dims);
  ValueId add_parameter(Parameter parameter);
  // The gradient buffer of a kParameter value; made on first use.
  ValueId gradient_of(ValueId parameter);
  [[nodiscard]] ValueId find_input(std::string_view name) const;  // 0 if there is none
  [[nodiscard]] ValueId find_state(std::string_view name) const;
  [[nodiscard]] ValueId find_output(std::string_view name) const;

  [[nodiscard]] const Value& value(ValueId id) const { return values.at(id); }
  [[nodiscard]] Value& value(ValueId id) { return values.at(id); }

 private:
  std::map<ValueId, ValueId> gradients_;
  std::unordered_map<std::string, ValueId> inputs_;
  std::unordered_set<std::string> parameter_names_;
};

// Makes an op with its result values from the row's shape and dtype rules, without appending it. `outputs` preset to a non-zero id are kept
// (gradient buffers); `wanted` limits optional outputs. Throws nemo::Error naming scope, op, tensor and letter where the shapes do not fit.
struct OpRequest {
  std::string_view name;
  std::vector<ValueId> inputs;
  Attrs attrs{};
  std::vector<ValueId> preset_outputs{};  // 0 or missing: make a new value
  std::vector<bool> skip_outputs{};       // true: leave an optional output absent
};
[[nodiscard]] Op make_op(Graph& graph, OpRequest request, std::string scope = {});

// For each value the index of the op that produces it last (-1: none), and the indices of the ops that read it.
struct Uses {
  std::vector<int32_t> producer;
  std::vector<std::vector<int32_t>> readers;
};
[[nodiscard]] Uses analyse_uses(const Graph& graph);

// Removes ops whose results reach neither an output nor a gradient or state buffer, and outputs other than `keep` (empty: keep all).
void prune(Graph& graph, const std::vector<std::string>& keep = {});

// Checks every rule that passes rely on: ids in range, produced before read, shapes and dtypes as the rows say. Throws
// nemo::Error(kInternal) naming the pass and op.
void verify(const Graph& graph, std::string_view after_pass);

// The text form that --print-graph shows and pass tests compare, one op per line:
//   %7 = linear(%5, layers.0.mlp.up.weight) {contract=1} : bf16[batch 4, seq 64, mlp 512/tp]   # layers.0.mlp
[[nodiscard]] std::string print(const Graph& graph);

}  // namespace nemo::graph
