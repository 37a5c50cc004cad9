#include "core/text/hf/split.hpp"

namespace nemo::text::hf {

SplitBehavior read_behavior(const Field& field) {
  const std::string& name = field.string();
  if (name == "Removed") return SplitBehavior::kRemoved;
  if (name == "Isolated") return SplitBehavior::kIsolated;
  if (name == "MergedWithPrevious") return SplitBehavior::kMergedWithPrevious;
  if (name == "MergedWithNext") return SplitBehavior::kMergedWithNext;
  if (name == "Contiguous") return SplitBehavior::kContiguous;
  field.unsupported("unknown behavior '" + name + "' (known: Removed, Isolated, MergedWithPrevious, MergedWithNext, Contiguous)");
}

void join_parts(const std::vector<Part>& parts, SplitBehavior behavior, std::vector<Span>& out) {
  const size_t first = out.size();
  bool previous = false;  // whether the part before was a delimiter
  for (size_t i = 0; i < parts.size(); ++i) {
    const auto& [span, delimiter] = parts[i];
    if (span.begin == span.end) {
      previous = delimiter;
      continue;
    }
    const bool has_last = out.size() > first;
    bool join = false;
    if (behavior == SplitBehavior::kRemoved && delimiter) continue;
    if (behavior == SplitBehavior::kContiguous) join = delimiter == previous;
    if (behavior == SplitBehavior::kMergedWithPrevious) join = delimiter && !previous;
    // The first of a row of delimiters is the last seen from behind: the one that touches the text.
    if (behavior == SplitBehavior::kMergedWithNext) join = !delimiter && previous;
    if (join && has_last)
      out.back().end = span.end;
    else
      out.push_back(span);
    previous = delimiter;
  }
}

}  // namespace nemo::text::hf
