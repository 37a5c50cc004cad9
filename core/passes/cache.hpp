// core/passes/cache.hpp - pass "cache": rewrites a forward graph for generation, so that a token costs one token's work.
//
// In: a forward graph to "logits" over whole sequences [batch, seq]. Out: the same model over the next `chunk` tokens of each sequence.
// Every attention writes its keys and values into named state "cache.<n>.k" / "cache.<n>.v" [batch, context, kv_heads, head_dim] and
// attends to what is there; every causal convolution keeps its last inputs in "cache.<n>.window" [batch, taps - 1, channels ..] and every
// state-space scan its state in "cache.<n>.state" [batch, heads, ..]. Input "cache_start" [batch] i32 is the number of tokens that each
// sequence has in the cache already, "cache_count" [batch] i32 (where there are windows or states) that of the tokens it gets now.
// "positions" stays an input: those of the new tokens. Programs of one engine share the state by its names, so one with a large chunk reads
// prompts and one with chunk 1 extends them.
//
// An encoder (what depends on inputs "encoder_..." and not on tokens) runs once: the program with part = kEncoder reads these inputs and
// leaves the keys and values that the decoder's attention to it makes of its results in state "cache.<n>.k" / ".v" [batch, encoder_seq,
// kv_heads, head_dim]; the others attend to those, with "encoder_lengths" as an input. "cache_start" is 0 for the encoder.
//
// Ops that the program does not need are left in the graph until prune, so that groups of parameters are the same in all programs.
//
// Tokens of a chunk behind a sequence's end may be anything: what they write to keys and values lies at or behind the next start and is
// written again before it is read; windows and states do not see them. A window or state belongs to all tokens that went into it: a
// sequence may go on from there or begin anew (start 0), but not from fewer tokens. has_running_state tells.
#pragma once

#include <cstdint>

#include "core/graph/graph.hpp"

namespace nemo::passes {

enum class CachePart { kDecoder, kEncoder };

struct CacheOptions {
  int64_t chunk = 1;    // new tokens per run and sequence
  int64_t context = 0;  // tokens that a sequence may have in all
  CachePart part = CachePart::kDecoder;
};

// True where the graph reads "encoder_tokens": tokens answer what an encoder has read.
[[nodiscard]] bool has_encoder(const graph::Graph& graph);

// Where a token sees later ones of its own sequence (an encoder alone): the op; empty where there is none.
[[nodiscard]] std::string sees_later_tokens(const graph::Graph& graph);

// Why the graph cannot be cached (bidirectional attention, packed documents); empty where it can.
[[nodiscard]] std::string why_not_cached(const graph::Graph& graph);

// True where a cached program keeps more than one value per token: windows or states, which cannot go back by a few tokens.
[[nodiscard]] bool has_running_state(const graph::Graph& graph);

// Throws nemo::Error(kUnsupported) with why_not_cached().
void cache(graph::Graph& graph, const CacheOptions& options);

}  // namespace nemo::passes
