#include "core/config/path.hpp"

#include <cstdlib>

#include "tests/config/recipe_folder.hpp"

namespace nemo::config {
namespace {

class PathTest : public RecipeFolder {
 protected:
  std::string resolve(const std::string& text) const {
    const std::vector<std::filesystem::path> folders{folder_};
    return resolve_path(text, folders);
  }
  const std::string here_ = std::filesystem::current_path().string();
};

TEST_F(PathTest, prefers_the_given_folder_and_falls_back_to_the_current_one) {
  write("a.txt", "");
  EXPECT_EQ(resolve("a.txt"), path("a.txt"));
  EXPECT_EQ(resolve("./x/../a.txt"), here_ + "/a.txt");  // x does not exist there
  EXPECT_EQ(resolve("b.txt"), here_ + "/b.txt");
  EXPECT_EQ(resolve("/etc/b.txt"), "/etc/b.txt");
  EXPECT_EQ(resolve(""), "");
}

TEST_F(PathTest, expands_the_home_folder) {
  const std::string home = std::getenv("HOME");
  EXPECT_EQ(resolve("~/runs"), home + "/runs");
  EXPECT_EQ(resolve("~"), home);
  EXPECT_EQ(resolve("~other/x"), here_ + "/~other/x");
}

TEST_F(PathTest, keeps_a_glob_and_resolves_its_folder) {
  write("data/a.txt", "");
  EXPECT_EQ(resolve("data/*.bin"), path("data/*.bin"));
  EXPECT_EQ(resolve("none/*.txt"), here_ + "/none/*.txt");
  EXPECT_EQ(resolve("dat?/*.txt"), path("dat?/*.txt"));
  EXPECT_EQ(resolve("*.nothing"), here_ + "/*.nothing");
}

TEST_F(PathTest, takes_a_file_whose_name_looks_like_a_glob) {
  write("a[1].txt", "");
  EXPECT_EQ(resolve("a[1].txt"), path("a[1].txt"));
}

}  // namespace
}  // namespace nemo::config
