// core/runtime/gradient_sync.hpp - what ranks do together at the end of a step: sum gradients, sum the totals, bring updated parameters
// back together. Collectives over contiguous ranges of the flat buffers, in place; nothing is copied. Prepared once; the calls only
// enqueue.
#pragma once

#include <vector>

#include "core/runtime/device.hpp"
#include "core/runtime/ranks.hpp"
#include "core/runtime/state.hpp"

namespace nemo::runtime {

class GradientSync {
 public:
  // Borrows all three.
  GradientSync(Device& device, State& state, const Ranks& ranks);

  // Gradients become complete: of all elements, or of this rank's shard where optimizer state is shared out.
  void reduce_gradients();
  // Sums f64 values over all ranks, in place. The address is the same in every call.
  void reduce_totals(std::byte* totals, int64_t count);
  // After the update: every rank has all parameters that it keeps whole.
  void gather_parameters();

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
  };
  void find_pieces();
  void prepare_sums();
  void prepare_shards();
  void add(std::vector<Launch>& list, std::string_view op, const std::string& axis, Role role, int64_t begin, int64_t end, int64_t own,
           int64_t own_end);
  void all_reduce_range(const std::string& axis, int64_t begin, int64_t end);
  void launch(Launch& launch);

  Device& device_;
  State& state_;
  const Ranks& ranks_;
  std::vector<Piece> pieces_;
  std::vector<Launch> gradients_, parameters_, totals_;
  Buffer workspace_;
  int64_t workspace_bytes_ = 0;
};

}  // namespace nemo::runtime
