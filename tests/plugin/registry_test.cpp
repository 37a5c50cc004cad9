#include "core/plugin/registry.hpp"

#include <gmock/gmock.h>

#include "core/plugin/error.hpp"
#include "fixture_files.hpp"

namespace nemo::plugin {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// A host over some folders, in search order, that keeps its log lines.
struct Bench {
  explicit Bench(std::vector<std::filesystem::path> folders) {
    SearchSources sources;
    sources.recipe_paths = std::move(folders);
    registry = std::make_unique<Registry>(SearchPath(sources), table);
  }
  std::vector<std::string> lines;
  std::atomic<bool> stop = false;
  HostTable table{{.log = [this](nemo_log_level, std::string_view component,
                                 std::string_view message) { lines.push_back(std::string(component) + ": " + std::string(message)); },
                   .cancelled = &stop,
                   .fill_config = nullptr,
                   .extensions = {}}};
  std::unique_ptr<Registry> registry;
};

template <class Body>
std::string fault_of(Code code, Body&& body) {
  try {
    body();
    return "nothing was thrown";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), code) << e.what();
    return e.what();
  }
}

// What find() says of a library that was accepted by probe but fails the checks after loading.
std::string load_fault(const std::string& name, nemo_kind kind, const std::string& id) {
  const Folder folder;
  const auto path = folder.copy(name);
  Bench bench({folder.path()});
  const std::string message = fault_of(Code::kUnsupported, [&] { (void)bench.registry->find(kind, id); });
  const std::string start = "plugin library " + path.string() + " cannot be used: ";
  EXPECT_THAT(message, testing::StartsWith(start));
  return message.substr(std::min(start.size(), message.size()));
}

TEST(registry, finds_a_component_and_gives_its_functions) {
  const Folder folder;
  const auto path = folder.copy("good");
  Bench bench({folder.path()});
  const Component& c = bench.registry->find(NEMO_KIND_MODEL, "tiny");
  EXPECT_EQ(c.kind, NEMO_KIND_MODEL);
  EXPECT_EQ(c.id, "tiny");
  EXPECT_EQ(c.version, "1.2.3");
  EXPECT_EQ(c.doc, "a fixture");
  EXPECT_EQ(c.library, path);
  EXPECT_EQ(c.schema->n_fields, 0u);
  EXPECT_EQ(c.file_hash().size(), 64u);
  EXPECT_EQ(c.api<nemo_model_api>().build(c.host, nullptr, nullptr, nullptr), nullptr);
  EXPECT_EQ(&bench.registry->find(NEMO_KIND_MODEL, "tiny"), &c);
}

TEST(registry, two_components_of_one_library_share_it) {
  const Folder folder;
  folder.copy("good");
  Bench bench({folder.path()});
  const Component& model = bench.registry->find(NEMO_KIND_MODEL, "tiny");
  const Component& logger = bench.registry->find(NEMO_KIND_LOGGER, "tiny_log");
  EXPECT_EQ(bench.registry->loaded().size(), 1u);
  EXPECT_EQ(model.host, logger.host);
}

TEST(registry, the_table_of_another_kind_is_refused) {
  const Folder folder;
  folder.copy("good");
  Bench bench({folder.path()});
  const Component& c = bench.registry->find(NEMO_KIND_MODEL, "tiny");
  EXPECT_EQ(fault_of(Code::kInvalidArgument, [&] { (void)c.api<nemo_data_api>(); }),
            "component \"tiny\" is a model, and was asked for the functions of a data");
}

TEST(registry, an_error_of_a_component_keeps_its_facts) {
  const Folder folder;
  const auto path = folder.copy("good");
  Bench bench({folder.path()});
  const Component& c = bench.registry->find(NEMO_KIND_LOGGER, "tiny_log");
  try {
    check(c.api<nemo_logger_api>().start(c.host, nullptr, nullptr, nullptr));
    FAIL() << "no error";
  } catch (const PluginError& e) {
    EXPECT_STREQ(e.what(), "the file must end in .csv");
    EXPECT_EQ(e.fact("path"), "file");
    EXPECT_EQ(e.fact("library"), path.string());
  }
}

TEST(registry, listing_runs_no_plugin_code_and_keeps_the_refused) {
  const Folder folder;
  folder.copy("good");
  folder.write("text.so", "hello");
  folder.write("ignored.txt", "hello");
  ::unsetenv("NEMO_FIXTURE_CODE_RAN");
  Bench bench({folder.path()});
  const Listing& listing = bench.registry->list();
  EXPECT_EQ(std::getenv("NEMO_FIXTURE_CODE_RAN"), nullptr);
  ASSERT_EQ(listing.candidates.size(), 2u);
  EXPECT_TRUE(listing.candidates[0].probe.ok);
  EXPECT_EQ(listing.candidates[1].probe.reason, "not an ELF file");
  EXPECT_EQ(listing.candidates[1].directory, folder.path());
  (void)bench.registry->find(NEMO_KIND_MODEL, "tiny");
  EXPECT_STREQ(std::getenv("NEMO_FIXTURE_CODE_RAN"), "1");
}

TEST(registry, what_is_missing_is_explained) {
  const Folder a, b;
  const std::string good = a.copy("good").string();
  const std::string text = a.write("text.so", "hello").string();
  const std::string old = b.copy("wrong_build").string();
  Bench bench({a.path(), a.path() / "absent", b.path()});
  const std::string searched = "\nsearched:\n  " + a.path().string() + " ([plugins].paths): 2 libraries\n  " +
                               (a.path() / "absent").string() + " ([plugins].paths): does not exist\n  " + b.path().string() +
                               " ([plugins].paths): 1 library";
  const std::string too_old = "built with SDK build 20200101, this host has build " + std::to_string(NEMO_SDK_BUILD) +
                              ", and a draft ABI needs the same build on both sides; rebuild it with this host's SDK";
  EXPECT_EQ(fault_of(Code::kConfig, [&] { (void)bench.registry->find(NEMO_KIND_MODEL, "tinny"); }),
            "no model plugin \"tinny\"; did you mean \"tiny\"?" + searched + "\nrefused:\n  " + text + ": not an ELF file\n  " + old +
                ": " + too_old);
  EXPECT_THAT(fault_of(Code::kConfig, [&] { (void)bench.registry->find(NEMO_KIND_MODEL, "something_else"); }),
              testing::StartsWith("no model plugin \"something_else\"; known: tiny\nsearched:"));
  EXPECT_THAT(fault_of(Code::kConfig, [&] { (void)bench.registry->find(NEMO_KIND_STRATEGY, "ddp"); }),
              testing::StartsWith("no strategy plugin \"ddp\"; no strategy plugin was found at all\nsearched:"));
}

TEST(registry, a_refused_file_that_has_the_wanted_component_is_named_first) {
  const Folder folder;
  folder.write("a.so", "hello");
  const std::string old = folder.copy("wrong_build").string();
  Bench bench({folder.path()});
  EXPECT_THAT(fault_of(Code::kConfig, [&] { (void)bench.registry->find(NEMO_KIND_MODEL, "tiny"); }),
              HasSubstr("\nrefused:\n  " + old + " (offers model:tiny): built with SDK build 20200101"));
}

TEST(registry, without_any_directory_it_says_what_to_set) {
  Bench bench({});
  EXPECT_EQ(fault_of(Code::kConfig, [&] { (void)bench.registry->find(NEMO_KIND_MODEL, "gpt"); }),
            "no model plugin \"gpt\"; no model plugin was found at all\nsearched: nothing; set [plugins].paths or NEMO_PLUGIN_PATH");
}

TEST(registry, of_two_directories_the_first_wins_and_the_other_is_logged) {
  const Folder a, b;
  const auto first = a.copy("good");
  const auto second = b.copy("good", "other");
  Bench bench({a.path(), b.path()});
  EXPECT_EQ(bench.registry->find(NEMO_KIND_MODEL, "tiny").library, first);
  EXPECT_THAT(bench.lines,
              ElementsAre("tiny: model:tiny is taken from " + first.string() + "; " + second.string() + " also offers it and is not used"));
}

TEST(registry, two_files_of_one_directory_with_one_id_are_an_error) {
  const Folder folder;
  const auto first = folder.copy("good");
  const auto second = folder.copy("good", "other");
  Bench bench({folder.path()});
  EXPECT_EQ(fault_of(Code::kConfig, [&] { (void)bench.registry->find(NEMO_KIND_MODEL, "tiny"); }),
            "two libraries of one directory offer model:tiny: " + first.string() + " and " + second.string() + "; remove one of them");
  EXPECT_TRUE(bench.registry->loaded().empty());
}

TEST(registry, shuts_plugins_down_once_in_reverse_load_order) {
  const Folder folder;
  folder.copy("good");
  folder.copy("second");
  Bench bench({folder.path()});
  (void)bench.registry->find(NEMO_KIND_MODEL, "second");
  (void)bench.registry->find(NEMO_KIND_MODEL, "tiny");
  bench.stop = true;
  bench.registry->shutdown();
  bench.registry->shutdown();
  EXPECT_THAT(bench.lines, ElementsAre("good.so: ended, cancelled", "second.so: ended, cancelled"));
  EXPECT_EQ(fault_of(Code::kInvalidArgument, [&] { (void)bench.registry->find(NEMO_KIND_MODEL, "tiny"); }),
            "model:tiny was asked for after the plugins were shut down");
}

TEST(registry, a_plugin_that_refuses_to_start_says_why) {
  const Folder folder;
  const auto path = folder.copy("entry_error");
  Bench bench({folder.path()});
  try {
    (void)bench.registry->find(NEMO_KIND_MODEL, "broken");
    FAIL() << "no error";
  } catch (const PluginError& e) {
    EXPECT_EQ(std::string(e.what()), "plugin library " + path.string() + " refused to start: driver 470 is too old, 535 is needed");
    EXPECT_EQ(e.code(), Code::kDevice);
    EXPECT_EQ(e.fact("driver"), "470");
  }
}

TEST(registry, a_description_that_breaks_the_contract_is_refused_by_name) {
  EXPECT_EQ(load_fault("no_description", NEMO_KIND_MODEL, "silent"), "its entry function returned neither an error nor a description");
  EXPECT_EQ(load_fault("missing_slot", NEMO_KIND_LOGGER, "half"),
            "logger:half: required slots of nemo_logger_api are NULL: finish, destroy");
  EXPECT_EQ(load_fault("mismatch", NEMO_KIND_MODEL, "promised"), "it offers model:delivered, which its .nemo_plugin record does not name");
  EXPECT_EQ(load_fault("twice", NEMO_KIND_MODEL, "double"), "it describes model:double twice");
  EXPECT_EQ(load_fault("future_set", NEMO_KIND_MODEL, "future_set"),
            "nemo_component sets a field that this host does not know; use a newer host");
}

TEST(registry, serves_plugins_of_earlier_and_later_headers) {
  const Folder folder;
  folder.copy("past");
  folder.copy("future");
  Bench bench({folder.path()});
  const Component& past = bench.registry->find(NEMO_KIND_LOGGER, "past");
  EXPECT_EQ(past.api<nemo_logger_api>().text, nullptr);
  EXPECT_NE(past.api<nemo_logger_api>().destroy, nullptr);
  EXPECT_EQ(past.api<nemo_logger_api>().struct_size, sizeof(nemo_logger_api));
  const Component& future = bench.registry->find(NEMO_KIND_MODEL, "future_b");
  EXPECT_EQ(future.api<nemo_model_api>().build(future.host, nullptr, nullptr, nullptr), nullptr);
}

TEST(api_table, refuses_tables_of_no_version) {
  EXPECT_EQ(fault_of(Code::kUnsupported, [] { (void)ApiTable(NEMO_KIND_MODEL, nullptr); }), "nemo_model_api is missing (api is NULL)");
  const nemo_model_api zero{};
  EXPECT_EQ(fault_of(Code::kUnsupported, [&] { (void)ApiTable(NEMO_KIND_MODEL, &zero); }),
            "nemo_model_api has struct_size 0, which no version of it has");
  EXPECT_EQ(fault_of(Code::kUnsupported, [&] { (void)ApiTable(42, &zero); }), "kind 42 is not one that this host knows");
}

}  // namespace
}  // namespace nemo::plugin
