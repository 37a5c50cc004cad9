#include "core/plugin/search_path.hpp"

#include <gmock/gmock.h>

#include <cstdlib>

#include "fixture_files.hpp"

namespace nemo::plugin {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> lines(const SearchSources& sources) {
  std::vector<std::string> out;
  const SearchPath path(sources);
  for (const SearchDirectory& d : path.directories())
    out.push_back(d.origin + " " + d.path.string() + (d.reason.empty() ? "" : ": " + d.reason));
  return out;
}

TEST(search_path, is_recipe_then_environment_then_install_folder) {
  const Folder recipe, a, b, install;
  fs::create_directory(recipe.path() / "mine");
  SearchSources s;
  s.recipe_paths = {"mine"};
  s.recipe_folder = recipe.path();
  s.environment = a.path().string() + "::" + b.path().string() + ":";
  s.install_folder = install.path();
  EXPECT_THAT(lines(s),
              testing::ElementsAre("[plugins].paths " + (recipe.path() / "mine").string(), "NEMO_PLUGIN_PATH " + a.path().string(),
                                   "NEMO_PLUGIN_PATH " + b.path().string(), "install folder " + install.path().string()));
}

TEST(search_path, ignores_the_environment_when_privileged) {
  const Folder a;
  SearchSources s;
  s.environment = a.path().string();
  s.privilege = Privilege::kElevated;
  EXPECT_THAT(lines(s),
              testing::ElementsAre("NEMO_PLUGIN_PATH " + a.path().string() + ": the environment is ignored in a privileged process"));
}

TEST(search_path, never_means_the_current_directory) {
  SearchSources s;
  s.environment = ".:plugins";
  EXPECT_THAT(lines(s), testing::ElementsAre("NEMO_PLUGIN_PATH .: not an absolute path; the current directory is never searched",
                                             "NEMO_PLUGIN_PATH plugins: not an absolute path; the current directory is never searched"));
}

TEST(search_path, notes_missing_directories_and_refuses_files) {
  const Folder a;
  a.write("file", "x");
  SearchSources s;
  s.environment = (a.path() / "absent").string() + ":" + (a.path() / "file").string();
  const SearchPath path(s);
  ASSERT_EQ(path.directories().size(), 2u);
  EXPECT_EQ(path.directories()[0].state, DirectoryState::kMissing);
  EXPECT_EQ(path.directories()[0].reason, "does not exist");
  EXPECT_EQ(path.directories()[1].state, DirectoryState::kRefused);
  EXPECT_EQ(path.directories()[1].reason, "not a directory");
}

TEST(search_path, refuses_directories_that_everyone_may_write_to) {
  const Folder a;
  fs::permissions(a.path(), fs::perms::all);
  SearchSources s;
  s.install_folder = a.path();
  EXPECT_THAT(lines(s), testing::ElementsAre("install folder " + a.path().string() +
                                             ": everyone may write to it, so anyone could place a plugin there; chmod o-w"));
}

TEST(search_path, searches_a_directory_once) {
  const Folder a;
  fs::create_directory(a.path() / "sub");
  SearchSources s;
  s.environment = a.path().string() + ":" + (a.path() / "sub" / "..").string();
  s.install_folder = a.path();
  EXPECT_THAT(lines(s), testing::ElementsAre("NEMO_PLUGIN_PATH " + a.path().string()));
}

TEST(search_path, of_the_process_ends_beside_the_executable) {
  ::setenv("NEMO_PLUGIN_PATH", "/somewhere", 1);
  const SearchSources s = process_sources({"x"}, "/recipes");
  ::unsetenv("NEMO_PLUGIN_PATH");
  EXPECT_EQ(s.environment, "/somewhere");
  EXPECT_EQ(s.install_folder, fs::canonical("/proc/self/exe").parent_path().parent_path() / "lib/nemo/plugins");
  EXPECT_EQ(s.privilege, Privilege::kOrdinary);
  EXPECT_EQ(process_sources({}, "").environment, "");
}

}  // namespace
}  // namespace nemo::plugin
