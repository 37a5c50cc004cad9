// plugins/data/megatron/indexed_writer.hpp - writes what IndexedDataset reads, byte for byte as Megatron's builder does.
#pragma once

#include <fstream>
#include <span>
#include <string>
#include <vector>

#include "indexed_dataset.hpp"

namespace nemo::megatron {

class IndexedWriter {
 public:
  IndexedWriter(std::string prefix, TokenType type);
  // Values are cast to the token type.
  void add_sequence(std::span<const int64_t> tokens);
  void add_sequence(std::span<const int64_t> tokens, int8_t mode);  // for all sequences or for none
  void end_document();
  // Writes the .idx and closes both files. Throws NEMO_CODE_DEVICE_ERROR if they could not be written whole.
  void finish();

 private:
  std::string prefix_;
  TokenType type_;
  std::ofstream tokens_;
  sdk::IndexBuilder index_;
};

}  // namespace nemo::megatron
