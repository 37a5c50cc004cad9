// core/planner/streams.hpp - computation and communication of one device as clocks. Internal to planner.
#pragma once

#include <array>
#include <cstddef>
#include <string>
#include <vector>

namespace nemo::planner {

// Stream 0 computes, stream 1 communicates. A collective takes multiprocessors and memory traffic from what computes beside it: products
// lose a wave of tiles and a share of the collective's time (measured: tests/bench/results/overlap_two_h100.txt). Seconds from the start.
class TwoStreams {
 public:
  // What computation beside a collective of `seconds` loses: fixed + share * seconds, at most nearly all of it.
  struct Cost {
    double fixed = 0, share = 0;
  };
  explicit TwoStreams(Cost cost) : cost_(cost) {}

  // Computation in stream 0.
  void compute(double seconds);
  // A collective in stream 1, behind all that stream 0 has so far and its own predecessors.
  void beside(double seconds, const std::string& axes) { send(1, seconds, axes); }
  // The same in a stream of its own, for which nothing waits until the end.
  void apart(double seconds, const std::string& axes) { send(2, seconds, axes); }
  // A collective in stream 0: nothing runs beside it.
  void between(double seconds, const std::string& axes);
  // Stream 0 waits until the first `count` collectives of stream 1 are done.
  void wait(size_t count) { wait(1, count); }
  void wait_for_all();

  [[nodiscard]] double now() const { return now_; }                                 // of stream 0
  [[nodiscard]] size_t collectives() const { return streams_[1].messages.size(); }  // of stream 1

  // What stream 0 lost to communication, waiting and slowed down, since the last call; by axes, in the order of their collectives.
  struct Loss {
    std::string axes;
    double seconds;
  };
  [[nodiscard]] std::vector<Loss> take_losses();

 private:
  struct Message {
    double start, end;
    double loss;  // of a second of computation beside it
    std::string axes;
  };
  struct Stream {
    std::vector<Message> messages;
    size_t passed = 0;  // messages that end before now_
  };
  void send(size_t stream, double seconds, const std::string& axes);
  void wait(size_t stream, size_t count);
  void lose(const std::string& axes, double seconds);

  Cost cost_;
  double now_ = 0;
  std::array<Stream, 3> streams_;
  std::vector<Loss> losses_;
};

}  // namespace nemo::planner
