#include "core/checkpoint/names.hpp"

#include <algorithm>
#include <iterator>
#include <vector>

#include "core/base/nearest.hpp"

namespace nemo::checkpoint {
namespace {

constexpr size_t kShown = 8;
using Names = std::vector<std::string>;

Names sorted(std::span<const std::string> names) {
  Names copy(names.begin(), names.end());
  std::sort(copy.begin(), copy.end());
  return copy;
}

Names without(const Names& from, const Names& other) {
  Names rest;
  std::set_difference(from.begin(), from.end(), other.begin(), other.end(), std::back_inserter(rest));
  return rest;
}

std::string count_of(const Names& names) { return std::to_string(names.size()) + (names.size() == 1 ? " parameter" : " parameters"); }

std::string listing(const Names& names, const Names& candidates) {
  std::string text;
  for (size_t i = 0; i < std::min(kShown, names.size()); ++i) {
    const std::string nearest = nearest_name(names[i], candidates);
    text += "\n  " + names[i] + (nearest.empty() ? "" : "  (nearest: " + nearest + ")");
  }
  if (names.size() > kShown) text += "\n  and " + std::to_string(names.size() - kShown) + " more";
  return text;
}

}  // namespace

std::string name_mismatch(std::span<const std::string> model, std::span<const std::string> stored, const std::string& source) {
  const Names wanted = sorted(model), found = sorted(stored);
  const Names missing = without(wanted, found), extra = without(found, wanted);
  std::string text;
  if (!missing.empty()) text += source + " lacks " + count_of(missing) + " of the model:" + listing(missing, extra);
  if (!extra.empty())
    text += (text.empty() ? "" : "\n") + source + " has " + count_of(extra) + " that the model lacks:" + listing(extra, {});
  return text;
}

}  // namespace nemo::checkpoint
