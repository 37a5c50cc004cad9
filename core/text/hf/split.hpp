// core/text/hf/split.hpp - what becomes of delimiters when a text is cut at them.
#pragma once

#include <string_view>
#include <vector>

#include "core/text/hf/aligned_text.hpp"
#include "core/text/hf/fields.hpp"

namespace nemo::text::hf {

enum class SplitBehavior { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };

[[nodiscard]] SplitBehavior read_behavior(const Field& field);

// A part of a text: between delimiters, or one.
struct Part {
  Span span;
  bool delimiter;
};

// Appends the pieces that `parts`, which cover a text in order, become.
void join_parts(const std::vector<Part>& parts, SplitBehavior behavior, std::vector<Span>& out);

}  // namespace nemo::text::hf
