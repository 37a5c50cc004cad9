// plugins/data/megatron/indexed_dataset.hpp - the names of Megatron's files (nemo/cpp/indexed_dataset.hpp) in this plugin.
#pragma once

#include "nemo/cpp/indexed_dataset.hpp"

namespace nemo::megatron {

using sdk::IndexedDataset;
using sdk::kIndexHeaderBytes;
using sdk::kIndexMagic;
using sdk::token_bytes;
using sdk::TokenType;

}  // namespace nemo::megatron
