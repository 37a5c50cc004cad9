// core/passes/cache.hpp - pass "cache": rewrites a forward graph for generation, so that a token costs one token's work.
//
// In: a forward graph to "logits" over whole sequences [batch, seq]. Out: the same model over the next `chunk` tokens of each sequence.
// Every attention writes its keys and values into named state "cache.<n>.k" / "cache.<n>.v" [batch, context, kv_heads, head_dim] and
// attends to what is there; input "cache_start" [batch] i32 is the number of tokens that each sequence has in the cache already.
// "positions" stays an input: those of the new tokens. Programs of one engine share the state by its names, so one with a large chunk reads
// prompts and one with chunk 1 extends them.
//
// Tokens of a chunk behind a sequence's end may be anything: what they write lies at or behind the next start and is written again before
// it is read.
#pragma once

#include <cstdint>

#include "core/graph/graph.hpp"

namespace nemo::passes {

struct CacheOptions {
  int64_t chunk = 1;    // new tokens per run and sequence
  int64_t context = 0;  // tokens that a sequence may have in all
};

// Why the graph cannot be cached (bidirectional attention, packed documents); empty where it can.
[[nodiscard]] std::string why_not_cached(const graph::Graph& graph);

// Throws nemo::Error(kUnsupported) with why_not_cached().
void cache(graph::Graph& graph, const CacheOptions& options);

}  // namespace nemo::passes
