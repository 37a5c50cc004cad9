// Plugins that are missing or no good: what was searched, and why each candidate was refused.
#include <cstdlib>

#include "tests/e2e/sandbox.hpp"

namespace nemo::e2e {
namespace {

class PluginFault : public Sandbox {
 protected:
  // A folder with files that are no plugins, and one of another ABI major that offers model "tiny".
  void SetUp() override {
    write("plugins/text.so", "this is no library\n");
    fs::copy_file(E2E_FIXTURES "/no_plugin.so", folder() / "plugins/no_plugin.so");
    fs::copy_file(E2E_FIXTURES "/wrong_major.so", folder() / "plugins/wrong_major.so");
  }
  static constexpr const char* kInstallFolder = NEMO_BUILD_DIR "/lib/nemo/plugins (install folder)";
};

TEST_F(PluginFault, a_missing_plugin_names_the_nearest_and_what_was_searched) {
  EXPECT_THAT(pretrain("run", {"model.plugin=lama"}),
              fails_with(kUsage, "no model plugin \"lama\"", "did you mean \"llama\"?", "searched:", kInstallFolder));
  EXPECT_THAT(pretrain("run", {"data.plugin=zzzzzz"}),
              fails_with(kUsage, "no data plugin \"zzzzzz\"", "known: masked_tokens, megatron, mock, span_corruption, text"));
  EXPECT_THAT(pretrain("run", {"log.loggers=[\"jsonll\"]"}), fails_with(kUsage, "no logger plugin \"jsonll\"", "did you mean \"jsonl\"?"));
}

TEST_F(PluginFault, each_refused_candidate_says_why) {
  write("paths.toml", "base = \"tiny.toml\"\n[plugins]\npaths = [\"plugins\"]\n[model]\nplugin = \"tiny\"\n");
  EXPECT_THAT(nemo({"pretrain", "--recipe", "paths.toml"}),
              fails_with(kUsage, "no model plugin \"tiny\"", (folder() / "plugins").string() + " ([plugins].paths): 3 libraries",
                         "refused:", "plugins/text.so: not an ELF file", "plugins/no_plugin.so: no nemo plugin",
                         "plugins/wrong_major.so: built for SDK 2.3, this host serves 1.x; rebuild it", kInstallFolder));
}

TEST_F(PluginFault, a_library_that_is_no_plugin_is_refused_by_name) {
  fs::create_directories(folder() / "one");
  fs::copy_file(E2E_FIXTURES "/no_plugin.so", folder() / "one/no_plugin.so");
  EXPECT_THAT(pretrain("run", {"model.plugin=no_plugin", "plugins.paths=[\"one\"]"}),
              fails_with(kUsage, "no model plugin \"no_plugin\"", "one ([plugins].paths): 1 librar", "one/no_plugin.so: no nemo plugin"));
  EXPECT_FALSE(fs::exists(run_folder("run")));
}

TEST_F(PluginFault, a_plugin_of_another_abi_major_says_both_and_what_to_do) {
  fs::create_directories(folder() / "one");
  fs::copy_file(E2E_FIXTURES "/wrong_major.so", folder() / "one/wrong_major.so");
  EXPECT_THAT(pretrain("run", {"model.plugin=tiny", "plugins.paths=[\"one\"]"}),
              fails_with(kUsage, "no model plugin \"tiny\"", "one/wrong_major.so: built for SDK 2.3, this host serves 1.x; rebuild it"));
  EXPECT_FALSE(fs::exists(run_folder("run")));
}

TEST_F(PluginFault, the_environment_adds_folders_and_each_is_accounted_for) {
  Command command = pretraining("run", {"model.plugin=tiny"});
  command.environment["NEMO_PLUGIN_PATH"] = "/nonexistent-folder:plugins:" + (folder() / "plugins").string();
  EXPECT_THAT(run(command),
              fails_with(kUsage, "/nonexistent-folder (NEMO_PLUGIN_PATH): does not exist",
                         "plugins (NEMO_PLUGIN_PATH): refused: not an absolute path",
                         (folder() / "plugins").string() + " (NEMO_PLUGIN_PATH): 3 libraries", "wrong_major.so: built for SDK 2.3"));
}

TEST_F(PluginFault, bad_libraries_beside_good_ones_do_no_harm) {
  EXPECT_THAT(pretrain("run", {"plugins.paths=[\"plugins\"]"}), succeeds());
  const Finished list = nemo({"plugins", "list", "--path", "plugins"});
  EXPECT_THAT(list, succeeds());
  EXPECT_THAT(list.out, AllOf(HasSubstr("wrong_major.so"), HasSubstr("no_plugin.so"), HasSubstr("llama")));
}

TEST_F(PluginFault, an_unknown_plugin_to_inspect_names_those_there_are) {
  EXPECT_THAT(nemo({"plugins", "inspect", "nope"}), fails_with(kUsage, "no plugin 'nope'", "model:llama"));
  EXPECT_THAT(nemo({"plugins", "inspect", "modle:llama"}), fails_with(kUsage, "'modle' is no kind of plugin", "model"));
}

}  // namespace
}  // namespace nemo::e2e
