#include "core/dist/mesh.hpp"

#include <gtest/gtest.h>

#include <map>
#include <set>

namespace nemo::dist {
namespace {

const MeshSizes kMesh{{"pp", 2}, {"dp", 3}, {"tp", 4}};

TEST(Mesh, the_innermost_axis_steps_from_rank_to_rank) {
  const auto at = coordinates_of(kMesh, 1 * 12 + 2 * 4 + 3);
  EXPECT_EQ(at.at("pp"), 1);
  EXPECT_EQ(at.at("dp"), 2);
  EXPECT_EQ(at.at("tp"), 3);
}

TEST(Mesh, groups_cover_the_ranks_once_with_every_index_once) {
  for (const std::string axes : {"pp", "dp", "tp", "pp,dp", "dp,tp", "pp,dp,tp"}) {
    std::map<std::string, std::set<int64_t>> members;
    int64_t size = 0;
    for (int64_t r = 0; r < 24; ++r) {
      const Group g = group_of(kMesh, r, axes);
      size = g.size;
      EXPECT_TRUE(members[g.key].insert(g.index).second) << axes;
    }
    EXPECT_EQ(static_cast<int64_t>(members.size()) * size, 24) << axes;
    for (const auto& [key, indices] : members) EXPECT_EQ(static_cast<int64_t>(indices.size()), size) << axes;
  }
}

TEST(Mesh, an_axis_that_the_mesh_lacks_is_a_group_of_one) {
  EXPECT_EQ(group_of(kMesh, 5, "").size, 1);
  EXPECT_EQ(group_of(kMesh, 5, "cp").size, 1);
}

}  // namespace
}  // namespace nemo::dist
