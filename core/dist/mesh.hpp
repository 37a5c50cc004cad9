// core/dist/mesh.hpp - ranks as points of a device mesh. Pure.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace nemo::dist {

using MeshSizes = std::vector<std::pair<std::string, int64_t>>;  // outermost first; ranks are numbered row-major

// The ranks that differ in one axis (or in several, taken as one) only.
struct Group {
  std::string name;  // "dp", or "dp,cp"
  std::string key;   // the same for all members and for no other group
  int64_t index = 0, size = 1;
};

[[nodiscard]] std::map<std::string, int64_t, std::less<>> coordinates_of(const MeshSizes& mesh, int64_t rank);
// `axes`: names joined by ','. The members are numbered in mesh order.
[[nodiscard]] Group group_of(const MeshSizes& mesh, int64_t rank, const std::string& axes);

}  // namespace nemo::dist
