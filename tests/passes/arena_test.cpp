// The arena allocator against a list of intervals.
#include "core/passes/arena.hpp"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <vector>

namespace nemo::passes {
namespace {

struct Range {
  int64_t offset, bytes;
};

bool overlaps_any(const std::vector<Range>& live, const Range& r) {
  for (const Range& other : live)
    if (r.offset < other.offset + other.bytes && other.offset < r.offset + r.bytes) return true;
  return false;
}

TEST(Arena, random_ranges_never_overlap_and_lie_within_it) {
  std::mt19937 random(7);
  for (int round = 0; round < 20; ++round) {
    Arena arena;
    std::vector<Range> live;
    for (int step = 0; step < 500; ++step) {
      if (live.empty() || random() % 5 < 3) {
        const auto bytes = static_cast<int64_t>(1 + random() % 5000);
        const Range range{arena.allocate(bytes), bytes};
        ASSERT_FALSE(overlaps_any(live, range)) << "step " << step;
        ASSERT_EQ(range.offset % 256, 0);
        ASSERT_LE(range.offset + bytes, arena.size());
        live.push_back(range);
      } else {
        const size_t at = random() % live.size();
        arena.release(live[at].offset, live[at].bytes);
        live.erase(live.begin() + static_cast<int64_t>(at));
      }
    }
    for (const Range& r : live) arena.release(r.offset, r.bytes);
    EXPECT_EQ(arena.in_use(), 0);
    const int64_t size = arena.size();
    EXPECT_EQ(arena.allocate(size), 0) << "free ranges coalesce back to one";
    EXPECT_EQ(arena.size(), size);
  }
}

TEST(Arena, takes_the_smallest_hole_that_fits) {
  Arena arena;
  const int64_t large = arena.allocate(1024), wall = arena.allocate(256), small = arena.allocate(512);
  static_cast<void>(arena.allocate(256));
  arena.release(large, 1024);
  arena.release(small, 512);
  EXPECT_EQ(arena.allocate(500), small);
  EXPECT_EQ(arena.allocate(600), large);
  EXPECT_NE(wall, large);
}

TEST(Arena, grows_from_a_free_tail_instead_of_behind_it) {
  Arena arena;
  static_cast<void>(arena.allocate(256));
  const int64_t tail = arena.allocate(512);
  arena.release(tail, 512);
  EXPECT_EQ(arena.allocate(1024), tail);
  EXPECT_EQ(arena.size(), 256 + 1024);
}

TEST(Arena, empty_values_have_an_offset_of_their_own_like_all_others) {
  Arena arena;
  const int64_t a = arena.allocate(0), b = arena.allocate(0);
  EXPECT_NE(a, b);
  arena.release(a, 0);
  arena.release(b, 0);
  EXPECT_EQ(arena.in_use(), 0);
  EXPECT_EQ(arena.allocate(arena.size()), 0);
}

TEST(Arena, a_million_bytes_in_small_pieces_reuse_what_was_freed) {
  Arena arena;
  for (int i = 0; i < 4096; ++i) arena.release(arena.allocate(256 + i), 256 + i);
  EXPECT_LE(arena.size(), 256 + 4096 + 256);
}

}  // namespace
}  // namespace nemo::passes
