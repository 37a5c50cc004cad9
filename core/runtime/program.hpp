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
#include "core/runtime/launch_order.hpp"

namespace nemo::runtime {

// Base addresses of the regions that placements refer to.
struct Bases {
  std::byte* arena = nullptr;
  std::byte* parameters = nullptr;
  std::byte* gradients = nullptr;
  std::byte* inputs = nullptr;
  std::byte* workspace = nullptr;
  std::byte* state = nullptr;

  // Of a placement, the slot of a pipeline's micro-batch at `slot`. Throws nemo::Error(kInternal) where it has no memory.
  [[nodiscard]] std::byte* address(const passes::Placement& placement, std::byte* slot = nullptr) const;
};

// Whether weight gradients overwrite (first micro-batch of a step) or add.
enum class Gradients { kOverwrite, kAccumulate };

// How a kernel of `op` sees a value: [rows, columns] for slices and joins that are copies, else the value's own shape. Empty for value 0.
[[nodiscard]] TensorSpec tensor_spec(const passes::Compiled& compiled, const graph::Op& op, graph::ValueId value);
// Rows of the smallest table that input "tokens" looks up; INT64_MAX if there is none.
[[nodiscard]] int64_t vocabulary_of(const graph::Graph& graph);

// Whether v is a gradient buffer that outlives the program.
[[nodiscard]] bool writes_kept_gradient(const graph::Graph& graph, graph::ValueId v);

// What the last micro-batch of a step launches besides, behind an op of the program and beside those that follow.
struct Beside {
  size_t after_op;  // index in the graph
  std::function<void(nemo_stream*)> launch;
};
enum class Last { kNo, kYes };

class Program {
 public:
  // Borrows `device` and `compiled`, which live longer. Throws with scope and op where the backend has no kernel.
  Program(Device& device, const passes::Compiled& compiled);
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  [[nodiscard]] int64_t workspace_bytes() const { return first_workspace_bytes_ + second_workspace_bytes_; }
  [[nodiscard]] const passes::Compiled& compiled() const { return compiled_; }
  // Rows of the table that input "tokens" looks up: ids must be below. INT64_MAX where nothing looks them up.
  [[nodiscard]] int64_t vocabulary() const { return vocabulary_; }
  void bind(const Bases& bases);
  // For Last::kYes, ordered by after_op; before its first run.
  void set_beside(std::vector<Beside> list);
  // What was launched in the second stream is done before what is launched behind the program.
  void run(Gradients gradients = Gradients::kOverwrite, Last last = Last::kNo);
  // The same, eagerly; `each` gets every op with what launches it, and must call that once.
  void run_observed(Gradients gradients, const std::function<void(const graph::Op&, const std::function<void()>& launch)>& each);

  // A launch of run_timed(): milliseconds since its start, in the first or the second stream.
  struct Span {
    const graph::Op* op;  // NULL: an addition of set_beside()
    bool second;
    double begin, end;
  };
  // As run(), eagerly and with marks around each launch in its own stream; waits for the end.
  [[nodiscard]] std::vector<Span> run_timed(Gradients gradients, Last last);

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
  [[nodiscard]] std::vector<LaunchAction> list_actions(const std::vector<Beside>& beside);
  void launch_step(size_t step, uint32_t flags);
  void launch_all(const std::vector<LaunchAction>& actions, uint32_t flags);

  Device& device_;
  const passes::Compiled& compiled_;
  Bases bases_;
  int64_t first_workspace_bytes_ = 0, second_workspace_bytes_ = 0;  // by stream; the second one's lies behind the first one's
  int64_t vocabulary_ = std::numeric_limits<int64_t>::max();
  std::vector<Step> steps_;
  std::vector<void*> pointers_;
  std::vector<nemo_launch> launches_;
  LaunchOrder order_;
  std::vector<Beside> beside_;
  std::array<std::vector<LaunchAction>, 2> actions_;  // by Last
  std::array<Recording, 4> recordings_;               // by Gradients and Last
};

}  // namespace nemo::runtime
