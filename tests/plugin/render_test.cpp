#include "core/plugin/render.hpp"

#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "fixture_files.hpp"

namespace nemo::plugin {
namespace {

struct Shelf {
  Folder a, b;
  HostTable table{HostOptions{}};
  std::unique_ptr<Registry> registry;
  Shelf() {
    a.copy("second", "m");
    a.write("text.so", "hello");
    b.copy("second", "n");
    b.copy("wrong_build", "old");
    SearchSources sources;
    sources.recipe_paths = {a.path(), b.path(), b.path() / "absent"};
    registry = std::make_unique<Registry>(SearchPath(sources), table);
  }
};

TEST(render, lists_components_refusals_and_directories) {
  Shelf s;
  const std::string a = s.a.path().string(), b = s.b.path().string(), pad = std::string(a.size(), ' ');
  const std::string sdk = NEMO_ABI_DRAFT ? "1.0 draft" : "1.0      ";
  EXPECT_EQ(render_list(s.registry->list()),
            "KIND    ID          SDK        LIBRARY" + pad + "   STATE\n" + "model   second      " + sdk + "  " + a + "/m.so     ok\n" +
                "logger  second_log  " + sdk + "  " + a + "/m.so     ok\n" + "-       -           -          " + a +
                "/text.so  refused: not an ELF file\n" + "model   second      " + sdk + "  " + b + "/n.so     shadowed by " + a +
                "/m.so\n" + "logger  second_log  " + sdk + "  " + b + "/n.so     shadowed by " + a + "/m.so\n" +
                "model   tiny        1.0 draft  " + b + "/old.so   refused: built with SDK build 20200101, this host has build " +
                std::to_string(NEMO_SDK_BUILD) + ", and a draft ABI needs the same build on both sides; rebuild it with this host's SDK\n" +
                "searched " + a + " ([plugins].paths)\n" + "searched " + b + " ([plugins].paths)\n" + "missing " + b +
                "/absent ([plugins].paths): does not exist\n");
}

TEST(render, json_says_the_same) {
  Shelf s;
  const auto json = list_json(s.registry->list());
  ASSERT_EQ(json["plugins"].size(), 6u);
  EXPECT_EQ(json["plugins"][0]["kind"], "model");
  EXPECT_EQ(json["plugins"][0]["id"], "second");
  EXPECT_EQ(json["plugins"][0]["state"], "ok");
  EXPECT_EQ(json["plugins"][0]["sdk_build"], NEMO_SDK_BUILD);
  EXPECT_TRUE(json["plugins"][2]["kind"].is_null());
  EXPECT_EQ(json["plugins"][2]["reason"], "not an ELF file");
  EXPECT_EQ(json["plugins"][3]["state"], "shadowed");
  EXPECT_EQ(json["plugins"][5]["state"], "refused");
  EXPECT_EQ(json["directories"][2]["state"], "missing");
}

TEST(render, both_files_of_an_ambiguous_component_are_marked) {
  const Folder folder;
  folder.copy("second", "m");
  folder.copy("second", "n");
  HostTable table{HostOptions{}};
  SearchSources sources;
  sources.recipe_paths = {folder.path()};
  Registry registry(SearchPath(sources), table);
  const auto json = list_json(registry.list());
  for (const auto& row : json["plugins"]) EXPECT_EQ(row["state"], "ambiguous");
  EXPECT_EQ(json["plugins"][0]["reason"], (folder.path() / "n.so").string());
}

TEST(render, a_component_is_described_with_its_hash) {
  Shelf s;
  const Component& c = s.registry->find(NEMO_KIND_MODEL, "second");
  EXPECT_EQ(render_component(c), "model second 1.2.3\na fixture\n\nlibrary  " + c.library.string() + "\nsha256   " + c.file_hash() + "\n");
  EXPECT_EQ(component_json(c)["version"], "1.2.3");
}

}  // namespace
}  // namespace nemo::plugin
