// core/checkpoint/reader.hpp - opens a checkpoint that a Writer committed, and checks it first.
//
// Errors: kNotFound (no such folder), kDataLoss (names the file and what is wrong with it), kUnsupported (another format version),
// kConfig (a tensor is not there, or has another dtype or shape than the program's).
// Threads: one thread at a time per Reader; any thread; others may read and write at the same time.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/checkpoint/boxes.hpp"
#include "core/checkpoint/manifest.hpp"
#include "core/checkpoint/tensor.hpp"

namespace nemo::checkpoint {

enum class Verify {
  kSizes,      // manifest, its own checksum, and the size of every file
  kChecksums,  // and the checksum of every file: reads all bytes once
};

// The checks without opening the tensors. Returns the manifest; throws as Reader does.
Manifest verify(const std::filesystem::path& directory, Verify depth);

class Reader {
 public:
  explicit Reader(std::filesystem::path directory, Verify depth = Verify::kChecksums);
  ~Reader();
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;

  [[nodiscard]] const std::filesystem::path& directory() const;
  [[nodiscard]] const Facts& facts() const;

  // Names of the datasets of a group, sorted bytewise; empty if the checkpoint has no such group.
  [[nodiscard]] std::vector<std::string> names(const std::string& group) const;
  [[nodiscard]] TensorInfo info(const std::string& group, const std::string& name) const;
  // Fills slot.data. The shape must be the stored one; the dtype too, save that f32, bf16 and f16 convert into each other and into f64
  // (round to nearest, ties to even).
  void read(const std::string& group, const TensorSlot& slot) const;

  // Where a tensor's bytes lie, one after the other, in the stored dtype; nullopt where they lie in several places (a checkpoint of several
  // ranks).
  struct Place {
    std::filesystem::path file;
    uint64_t begin = 0, bytes = 0;
  };
  [[nodiscard]] std::optional<Place> place(const std::string& group, const std::string& name) const;

  // Fills whole.data with the elements of the boxes, each from element Box::offset on; name, dtype and shape are of the whole tensor.
  void read_part(const std::string& group, const TensorSlot& whole, const std::vector<Box>& boxes) const;

  [[nodiscard]] bool has_attribute(const std::string& name) const;
  [[nodiscard]] int64_t attribute_int(const std::string& name) const;
  [[nodiscard]] double attribute_double(const std::string& name) const;
  [[nodiscard]] std::string attribute_string(const std::string& name) const;

  // Text of recipe.toml.
  [[nodiscard]] std::string recipe() const;
  // Text of a file that was added.
  [[nodiscard]] std::string text_file(const std::string& name) const;

 private:
  struct State;
  void read_selected(const std::string& group, const TensorSlot& slot, const Box* box) const;
  template <class Body>
  auto guarded(Body&& body) const;
  template <class Value>
  Value number_attribute(const std::string& name, int64_t type) const;
  std::unique_ptr<State> state_;
};

}  // namespace nemo::checkpoint
