// core/runtime/pipeline_program.hpp - a pipeline rank's programs, run in the order of a schedule.
//
// The graph of the rank has chunks (virtual stages) and phases (forward, backward, weight gradients); each pair is a launch list of its
// own, bound once for every slot, the memory of one micro-batch in flight. What crosses a stage boundary is received into inputs of the
// slot before a phase and sent out of it behind. A receive waits. A send does not: it runs on a thread of its own, one for each direction,
// and its slot is not used again before it is done. Results move on one group of ranks and gradients on another, so that neither waits for
// the other.
//
// Parameters that several ranks hold (tied tables) get the sum of their gradients by sum_shared(), added in the order of the ranks.
#pragma once

#include <array>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/passes/compile.hpp"
#include "core/pipeline/schedule.hpp"
#include "core/runtime/data_source.hpp"
#include "core/runtime/device.hpp"
#include "core/runtime/program.hpp"
#include "core/runtime/ranks.hpp"
#include "core/runtime/sender.hpp"

namespace nemo::runtime {

class PipelineProgram {
 public:
  // Borrows all. `actions`: this rank's list for the program's purpose; one that only evaluates has forwards alone.
  PipelineProgram(Device& device, const passes::Compiled& compiled, const Ranks& ranks, pipeline::Actions actions);

  [[nodiscard]] int64_t workspace_bytes() const { return first_workspace_bytes_ + second_workspace_bytes_; }
  [[nodiscard]] int64_t slots_bytes() const { return slots_bytes_; }
  // What bind() needs behind Bases::arena: the program's own, in which sum_shared() receives gradients once all actions are done.
  [[nodiscard]] int64_t arena_bytes() const;
  [[nodiscard]] const passes::Compiled& compiled() const { return compiled_; }
  [[nodiscard]] bool has_loss() const { return compiled_.graph.find_output("loss") != 0; }
  // `slots` has slots_bytes().
  void bind(const Bases& bases, std::byte* slots);

  // What runs beside the rest of the step, behind the action at a position of the rank's list: in a stream of its own, as collectives of
  // the stages wait for nothing but their own.
  struct Beside {
    size_t position;
    std::function<void(nemo_stream*)> launch;
  };
  // Ordered by position; kept for all runs.
  void set_beside(std::vector<Beside> list);
  // Position of the last action of the step that runs op `op` of the graph.
  [[nodiscard]] size_t last_position(size_t op) const;
  // Device address of a gradient buffer that outlives the step. After bind().
  [[nodiscard]] std::byte* gradient(graph::ValueId value) const { return address(value, 0); }

  struct Calls {
    // The batch of a micro-batch; asked for once for every chunk that reads fields. Valid until the next call.
    std::function<const Batch&(int32_t micro_batch)> batch;
    // Behind the forward of the last stage: the device address of the micro-batch's summed loss.
    std::function<void(const std::byte* loss, int32_t micro_batch)> loss;
    int64_t seed = 0;
    double loss_scale = 1;
    std::function<int64_t(int32_t micro_batch)> first_sample;
  };
  // All actions; returns when everything is sent.
  void run(const Calls& calls);
  // After run(): the gradients of parameters that other ranks hold too.
  void sum_shared();

 private:
  struct Step {
    PreparedKernel prepared;
    size_t op;
    bool once_per_step;  // skipped but for the step's first micro-batch
    bool writes_gradients;
  };
  // One launch list: of a chunk's phase.
  struct Phase {
    std::vector<size_t> ops;  // of the graph, those that launch nothing too
    std::vector<Step> steps;
    std::vector<LaunchAction> order;
    std::vector<std::vector<void*>> pointers;        // by slot
    std::vector<std::vector<nemo_launch>> launches;  // by slot
    bool first = true;                               // of this optimizer step
  };
  struct Message {
    PreparedKernel kernel;
    graph::ValueId value;  // sent or received
  };
  struct Chunk {
    std::array<Phase, 3> phases;
    std::vector<Message> receive_forward, send_forward, receive_backward, send_backward;
    std::vector<std::pair<std::string, graph::ValueId>> fields;
  };
  struct Shared {
    int64_t offset, elements;
    std::vector<int64_t> ranks;
    std::vector<PreparedKernel> send, receive;  // to and from each of the others
    PreparedKernel add;
  };

  void prepare_steps();
  void prepare_messages();
  void prepare_shared(const Ranks& ranks);
  PreparedKernel message(std::string_view op, const std::string& group, int64_t offset, const TensorSpec& spec);
  [[nodiscard]] TensorSpec flat(graph::ValueId value) const;
  [[nodiscard]] std::byte* address(graph::ValueId value, int32_t slot) const;
  void bind_phase(Phase& phase);
  void feed(const Chunk& chunk, int32_t slot, int32_t micro_batch, const Calls& calls);
  void receive(const std::vector<Message>& messages, int32_t slot);
  void send(const std::vector<Message>& messages, int32_t slot, size_t direction);
  void launch(Phase& phase, int32_t slot);
  void act(const pipeline::Action& action, const Calls& calls);

  Device& device_;
  const passes::Compiled& compiled_;
  pipeline::Actions actions_;
  std::string forward_group_, backward_group_;
  int64_t rank_, ranks_;
  std::vector<Chunk> chunks_;
  std::vector<int64_t> slot_at_;                // where each slot begins
  std::vector<std::array<Ticket, 2>> pending_;  // by slot: sends out of it, forward and backward
  std::vector<Shared> shared_;
  Bases bases_;
  std::byte* slots_ = nullptr;
  int64_t first_workspace_bytes_ = 0, second_workspace_bytes_ = 0;  // by stream; the second one's lies behind the first one's
  int64_t slots_bytes_ = 0;
  LaunchOrder order_;
  std::vector<Beside> beside_;  // by position
  std::vector<LaunchAction> fork_, join_;
  Stream aside_{nullptr, {nullptr, nullptr}};
  int64_t vocabulary_;
  std::array<std::unique_ptr<Sender>, 2> senders_;  // forward, backward
};

}  // namespace nemo::runtime
