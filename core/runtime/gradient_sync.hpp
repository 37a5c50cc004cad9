// core/runtime/gradient_sync.hpp - what ranks do together at the end of a step: sum gradients, sum the totals, bring updated parameters
// back together. Collectives over contiguous ranges of the flat buffers, in place; nothing is copied. Prepared once; the calls only
// enqueue.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "core/runtime/device.hpp"
#include "core/runtime/pipeline_program.hpp"
#include "core/runtime/program.hpp"
#include "core/runtime/ranks.hpp"
#include "core/runtime/state.hpp"

namespace nemo::runtime {

class GradientSync {
 public:
  // Borrows all three.
  GradientSync(Device& device, State& state, const Ranks& ranks);

  // Has the program's last micro-batch launch each sum of gradients behind the last op that writes into its range, in the second stream.
  // Call it before the first run; after a run with Last::kYes, say so by reduced().
  void overlap_with(Program& program);
  void reduced() { reduced_ = true; }
  // The same in pipeline stages: behind the last action of the step that writes into the range. Sums that other stages' gradients are still
  // to be added to stay for reduce_gradients(). Call it once the program is bound.
  void overlap_with(PipelineProgram& program);
  // Gradients become complete, where they are not yet: of all elements, or of this rank's shard where optimizer state is shared out.
  void reduce_gradients();
  // Sums f64 values over all ranks, in place. The address is the same in every call.
  void reduce_totals(std::byte* totals, int64_t count);
  // After the update: every rank has all parameters that it keeps whole.
  void gather_parameters();
  // The same beside the update: call it behind each piece's, and gather_parameters() behind the last for the rest.
  void gather_behind(size_t piece);

  // The collectives of a step one by one, in the order of the calls above and the same on all ranks; for profiles.
  void visit(const std::function<void(std::string_view op, int64_t bytes, const std::function<void()>& launch)>& each);

  // The pieces of the flat range that this rank updates, and whether its squares count in the norm.
  struct Piece {
    size_t segment;      // index into FlatLayout::segments
    int64_t begin, end;  // elements of the flat range
    bool counts;
  };
  [[nodiscard]] const std::vector<Piece>& pieces() const { return pieces_; }
  [[nodiscard]] const Ranks& ranks() const { return ranks_; }

 private:
  struct Launch {
    PreparedKernel prepared;
    void *input, *output;
    int64_t input_bytes = 0;
    size_t behind = 0;  // parameters: the last piece of its range
    std::string op{};
  };
  void find_pieces();
  void prepare_sums();
  void prepare_shards();
  void add_gather(const passes::Unit& unit, const passes::Unit& own);
  void add(std::vector<Launch>& list, std::string_view op, const std::string& axis, Role role, int64_t begin, int64_t end, int64_t own,
           int64_t own_end);
  void all_reduce_range(const std::string& axis, int64_t begin, int64_t end);
  void launch(Launch& launch, nemo_stream* stream = nullptr);

  Device& device_;
  State& state_;
  const Ranks& ranks_;
  std::vector<Piece> pieces_;
  std::vector<Launch> gradients_, parameters_, totals_;
  size_t gathered_ = 0;  // of parameters_, in the step at hand
  bool reduced_ = false;
  std::vector<bool> early_;  // by sum: a pipeline's step launches it
  Event forked_, joined_;
  Buffer workspace_;
  int64_t workspace_bytes_ = 0;
};

}  // namespace nemo::runtime
