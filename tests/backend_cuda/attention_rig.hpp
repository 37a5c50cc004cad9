// Backends opened through their C ABI, and attention nodes run on them: the same code drives the CPU and the CUDA backend.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "nemo/cpp/graph.hpp"
#include "nemo/ext/graph_capture.h"
#include "tests/backend_cpu/array.hpp"

namespace nemo::attention_test {

using backend_cpu::Array;
using backend_cpu::Shape;
using Arrays = std::vector<Array>;
using Attrs = std::vector<sdk::Attr>;

// How a tensor of four dimensions lies in memory. fused: as a slice of a wider buffer, 16-byte aligned. odd: strides and address aligned to
// an element only. Other tensors are always dense.
enum class Layout { dense, fused, odd };

struct Settings {
  bool deterministic = false;
  bool cudnn = true;
  bool autotune = false;
};

class Backend {
 public:
  // plugin: "cpu" or "cuda". Throws std::runtime_error; check devices() first.
  explicit Backend(const std::string& plugin, Settings settings = {});
  ~Backend();
  // Usable devices of a plugin; `reason` says why there is none.
  static int64_t devices(const std::string& plugin, std::string& reason);

  class Node;
  // `outputs` give dtypes and shapes; they are filled with 0xff before a launch.
  std::unique_ptr<Node> prepare(const std::string& op, const Arrays& inputs, const Arrays& outputs, const Attrs& attrs,
                                Layout layout) const;

 private:
  friend class Node;
  const nemo_graph_capture_api* capture() const;  // nullptr: none
  const nemo_backend_api* api_ = nullptr;
  nemo_backend* backend_ = nullptr;
};

class Backend::Node {
 public:
  ~Node();
  void launch();  // enqueues
  void synchronize();
  // Waits and reads the outputs. Throws where something was written outside the outputs or the workspace.
  Arrays read();
  // Seconds of one launch, the mean over `count` after a warm-up.
  double time(int count);
  // Records the launch in a graph and runs that once. False where the backend records nothing.
  bool launch_captured();
  // Runs what launch_captured recorded once more.
  void replay();
  // New content of a dense input.
  void write(size_t input, const Array& array);
  uint64_t workspace() const { return workspace_bytes_; }

 private:
  friend class Backend;
  struct Slot;
  explicit Node(const Backend& backend);
  void add(const Array& array, Layout layout, bool output);

  const Backend& backend_;
  std::vector<Slot> inputs_, outputs_;
  std::vector<nemo_attr> attrs_;
  nemo_kernel* kernel_ = nullptr;
  nemo_capture* recorded_ = nullptr;
  void* workspace_ = nullptr;
  uint64_t workspace_bytes_ = 0;
};

// The backend's messages since the last call, a line each.
std::string take_log();

}  // namespace nemo::attention_test
