// core/text/prepare.hpp - turns text files into Megatron's .bin/.idx pair: parallel, resumable, the same bytes however it went.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "core/text/tokenizer.hpp"

namespace nemo::text {

struct PrepareSettings {
  // .jsonl and .json: a document a line, the string at json_key. Other files: one document each.
  std::vector<std::filesystem::path> inputs;
  std::filesystem::path output_prefix;  // of PREFIX.bin and PREFIX.idx
  std::string json_key = "text";
  bool append_eod = false;  // the tokenizer's eos behind every document
  // Lines that are not empty become sequences of their own, which Megatron takes for sentences; in files that are not JSON lines an empty
  // line then ends a document. Else a document is one sequence.
  bool split_lines = false;
  int workers = 1;
};

struct PrepareProgress {
  uint64_t bytes = 0, total_bytes = 0;  // of input
  uint64_t resumed_bytes = 0;           // of `bytes`, those that an earlier call had done
  uint64_t documents = 0, tokens = 0;
};

// Called now and then from one thread; false ends the work early.
using PrepareReport = std::function<bool(const PrepareProgress&)>;

// Writes parts of about 16 MiB of input into PREFIX.parts/, then joins them; a later call with the same inputs, settings and tokenizer goes
// on from the parts that are complete. The pair appears only when it is whole and synced. Documents without tokens are left out. Tokens are
// u16 for vocabularies below 65500, else i32, as Megatron's preprocessing has them. Gives back false where `report` ended it. Throws
// Error(kNotFound), Error(kDataLoss) with FILE:line for a line without such a string, Error(kConfig) for append_eod without an eos,
// Error(kDevice) where files cannot be written.
bool prepare(const Tokenizer& tokenizer, const PrepareSettings& settings, const PrepareReport& report, PrepareProgress& result);

}  // namespace nemo::text
