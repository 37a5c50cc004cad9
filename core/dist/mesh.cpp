#include "core/dist/mesh.hpp"

namespace nemo::dist {
namespace {

bool names(const std::string& axes, const std::string& axis) { return ("," + axes + ",").find("," + axis + ",") != std::string::npos; }

}  // namespace

std::map<std::string, int64_t, std::less<>> coordinates_of(const MeshSizes& mesh, int64_t rank) {
  std::map<std::string, int64_t, std::less<>> out;
  for (auto axis = mesh.rbegin(); axis != mesh.rend(); ++axis) {
    out[axis->first] = rank % axis->second;
    rank /= axis->second;
  }
  return out;
}

Group group_of(const MeshSizes& mesh, int64_t rank, const std::string& axes) {
  const auto at = coordinates_of(mesh, rank);
  Group group{axes, axes + "@", 0, 1};
  for (const auto& [name, size] : mesh) {
    const int64_t here = at.at(name);
    if (names(axes, name))
      group.index = group.index * size + here, group.size *= size;
    else
      group.key += "." + std::to_string(here);
  }
  return group;
}

}  // namespace nemo::dist
