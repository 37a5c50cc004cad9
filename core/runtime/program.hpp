// core/runtime/program.hpp - a compiled program as a flat launch list.
//
// Two steps, so that memory is known before it is allocated: construction prepares every kernel (the workspace size follows), bind() gives
// each launch its pointers. run() then only walks the list: no allocation, no lookup, no strings. Where the backend can capture, the list
// is recorded once and replayed as one unit.
#pragma once

#include <array>
#include <functional>
#include <limits>
#include <string_view>
#include <vector>

#include "core/passes/compile.hpp"
#include "core/runtime/device.hpp"

namespace nemo::runtime {

// Base addresses of the regions that placements refer to.
struct Bases {
  std::byte* arena = nullptr;
  std::byte* parameters = nullptr;
  std::byte* gradients = nullptr;
  std::byte* inputs = nullptr;
  std::byte* workspace = nullptr;
  std::byte* state = nullptr;
};

// Whether weight gradients overwrite (first micro-batch of a step) or add.
enum class Gradients { kOverwrite, kAccumulate };

// How a kernel of `op` sees a value: [rows, columns] for slices and joins that are copies, else the value's own shape. Empty for value 0.
[[nodiscard]] TensorSpec tensor_spec(const passes::Compiled& compiled, const graph::Op& op, graph::ValueId value);
// Rows of the smallest table that input "tokens" looks up; INT64_MAX if there is none.
[[nodiscard]] int64_t vocabulary_of(const graph::Graph& graph);

// Whether v is a gradient buffer that outlives the program.
[[nodiscard]] bool writes_kept_gradient(const graph::Graph& graph, graph::ValueId v);

class Program {
 public:
  // Borrows `device` and `compiled`, which live longer. Throws with scope and op where the backend has no kernel.
  Program(Device& device, const passes::Compiled& compiled);
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  [[nodiscard]] int64_t workspace_bytes() const { return workspace_bytes_; }
  [[nodiscard]] const passes::Compiled& compiled() const { return compiled_; }
  // Rows of the table that input "tokens" looks up: ids must be below. INT64_MAX where nothing looks them up.
  [[nodiscard]] int64_t vocabulary() const { return vocabulary_; }
  void bind(const Bases& bases);
  void run(Gradients gradients = Gradients::kOverwrite);
  // The same, eagerly; `each` gets every op with what launches it, and must call that once.
  void run_observed(Gradients gradients, const std::function<void(const graph::Op&, const std::function<void()>& launch)>& each);

  // Device address of an input or output; nullptr if the program does not have it. After bind().
  [[nodiscard]] std::byte* input(std::string_view name) const;
  [[nodiscard]] std::byte* output(std::string_view name) const;
  [[nodiscard]] std::byte* address(graph::ValueId value) const;

 private:
  struct Step {
    PreparedKernel prepared;
    size_t op;  // index in the graph
    size_t first_pointer;
    bool once_per_step;     // skipped where gradients are added to: an earlier launch has done it
    bool writes_gradients;  // into the buffers that outlive the program: what it writes to the arena is never added to
  };
  // The recordings of one Gradients mode: the first run is eager, the second records, later ones replay.
  struct Recording {
    bool warm = false;
    Device::Capture capture{nullptr, {nullptr}};
  };
  void launch_all(uint32_t flags);

  Device& device_;
  const passes::Compiled& compiled_;
  Bases bases_;
  int64_t workspace_bytes_ = 0;
  int64_t vocabulary_ = std::numeric_limits<int64_t>::max();
  std::vector<Step> steps_;
  std::vector<void*> pointers_;
  std::vector<nemo_launch> launches_;
  std::array<Recording, 2> recordings_;
};

}  // namespace nemo::runtime
