// core/hub/export.hpp - a checkpoint becomes a Hugging Face model folder.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "core/checkpoint/reader.hpp"
#include "core/hub/model_folder.hpp"
#include "core/hub/tensor_map.hpp"
#include "core/runtime/setup.hpp"

namespace nemo::hub {

// Tensors of the map out of parameters, one parameter in memory at a time (several where they share a tensor).
class Assembler {
 public:
  // Bytes of a parameter, in the dtype that is asked for.
  using Read = std::function<void(size_t parameter, nemo_dtype dtype, std::byte* out)>;
  // Borrows the map. `elements` are the parameters' sizes.
  Assembler(const TensorMap& map, std::vector<uint64_t> elements, Read read);

  // The map's tensors in an order in which each parameter is read once.
  [[nodiscard]] std::vector<std::string> order() const;
  // The parameter that is the tensor, element for element, and serves nothing else: its bytes may be taken without this class. nullopt
  // where there is none. Each tensor once.
  [[nodiscard]] std::optional<size_t> take_whole(const std::string& theirs);
  // Bytes of a tensor; valid until the next call. Each tensor once.
  [[nodiscard]] const std::vector<std::byte>& tensor(const std::string& theirs, nemo_dtype dtype);

 private:
  struct Loaded {
    std::vector<std::byte> bytes;
    nemo_dtype dtype = 0;
  };
  Loaded& load(size_t parameter, nemo_dtype dtype);
  [[nodiscard]] size_t whole(const TheirTensor& tensor, uint64_t count) const;
  const TensorMap& map_;
  std::vector<uint64_t> elements_;
  Read read_;
  std::map<size_t, Loaded> loaded_;
  std::vector<size_t> open_;  // by parameter: pieces not yet written
  std::vector<std::byte> out_, dense_;
};

struct ExportOptions {
  std::filesystem::path from, to;
  std::optional<nemo_dtype> dtype;            // of all weights; else each as the checkpoint has it
  uint64_t max_shard_bytes = 50'000'000'000;  // as transformers
  std::optional<std::filesystem::path> like;  // a model folder whose config.json and tokenizer files are taken over
};

struct ExportResult {
  std::string plugin, architecture;
  size_t tensors;
  uint64_t bytes;
};

// config.json (the imported one with the settings written over it, or a new one), generation_config.json and tokenizer files where the
// checkpoint has them, and the weights. `to` must not exist or be empty.
// Errors: kUnsupported (the plugin cannot export), kConfig (`to` is not empty), those of checkpoint::Reader and SafetensorsWriter.
ExportResult export_model(const ExportOptions& options, plugin::Registry& registry, const Say& warn);

}  // namespace nemo::hub
