// core/checkpoint/writer.hpp - writes one checkpoint, which becomes visible only when it is complete.
//
// A checkpoint is a folder: checkpoint.h5 (tensors at /GROUP/NAME, run state as attributes of the root), recipe.toml, manifest.json,
// and what the caller adds (tokenizer/). Everything is written below FINAL.partial-PID and synced; commit renames that folder to FINAL.
//
// Tensors are streamed: write returns when the bytes are with the operating system, so the caller's buffer may be reused. Storage is
// contiguous and uncompressed; the checksum is taken on the way, only HDF5's own few bytes are read back.
//
// Threads: one thread at a time per Writer; any thread; Writers and Readers of other threads may work at the same time.
// Errors: a failure of the file system removes the partial folder and throws nemo::Error(kInternal) with the path, the bytes needed and the
// bytes free; earlier checkpoints are untouched. The Writer is then closed. A Writer destroyed before commit removes its partial folder.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <variant>

#include "core/checkpoint/boxes.hpp"
#include "core/checkpoint/manifest.hpp"
#include "core/checkpoint/pour.hpp"
#include "core/checkpoint/tensor.hpp"

namespace nemo::checkpoint {

using Attribute = std::variant<int64_t, double, std::string>;

// The ranks that write one checkpoint together, on a file system that all of them see. All of them make the same calls in the same order;
// what is not a part of a tensor comes from rank 0. Each writes a file of its own, parts/rank_N.h5; checkpoint.h5 has all tensors as
// virtual datasets over those files. Nothing is gathered, and nothing is visible before all ranks are done.
struct Team {
  int64_t rank = 0, size = 1;
  std::function<void()> meet{};                                 // waits for all; throws where a rank has failed
  std::function<std::string(const std::string& mine)> share{};  // rank 0's text
};

class Writer {
 public:
  // Removes folders that dead runs left beside final_dir. With expected_bytes, a disk that is too small is reported before anything is
  // written.
  explicit Writer(const std::filesystem::path& final_dir, uint64_t expected_bytes = 0, Team team = {});
  ~Writer();
  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;

  // Dataset /group/tensor.name. The name may have dots, not slashes; each name once per group.
  void write(const std::string& group, const TensorView& tensor);
  // The same with bytes that come in blocks (core/checkpoint/pour.hpp); tensor.data is not read. `produce` may throw nemo::Error; what else
  // it throws is reported as a failed save.
  void write(const std::string& group, const TensorView& tensor, const Produce& produce);
  // This rank's elements of a tensor: `whole` has the name, dtype and shape of the whole one, and as data the elements of the boxes one
  // after the other. No element comes from two ranks; commit finds out where one comes from none.
  void write_part(const std::string& group, const TensorView& whole, const std::vector<Box>& boxes);
  // Attribute of the root: step, consumed_samples, seed ... Each name once.
  void attribute(const std::string& name, const Attribute& value);
  // A file beside checkpoint.h5; `name` may have folders ("tokenizer/vocab.json").
  void add_text_file(const std::string& name, const std::string& content);
  // Copies the regular files below `source`, following links, to NAME/.
  void add_folder(const std::string& name, const std::filesystem::path& source);

  // The checkpoint is durable and visible when this returns. A checkpoint that was at final_dir is replaced in one step.
  void commit(const Facts& facts);

  [[nodiscard]] const std::filesystem::path& final_dir() const;

 private:
  struct State;
  template <class Body>
  void guarded(const std::string& what, uint64_t bytes_more, Body&& body);
  static void make_partial(State& state);
  void make_folder(uint64_t expected_bytes);
  void commit_parts();
  void abandon() noexcept;
  std::unique_ptr<State> state_;
};

}  // namespace nemo::checkpoint
