#include "core/config/section.hpp"

#include <gmock/gmock.h>

#include "core/config/config_api.hpp"
#include "core/plugin/error.hpp"
#include "tests/config/recipe_folder.hpp"
#include "tests/config/sample_schema.hpp"

namespace nemo::config {
namespace {

using testing::ElementsAre;

const std::string kRecipe =
    "[model]\nplugin = \"llama\"\nnum_layers = 4\nnames = [\"a\", \"b\"]\ntie = true\n[model.labels]\nrun = \"x\"\nscore = 2.5\n";

class SectionTest : public testing::Test {
 protected:
  Configuration settings_ = resolve(kRecipe);
  Section& model_ = settings_.section("model");
};

TEST_F(SectionTest, refuses_unknown_paths_wrong_getters_and_unset_values) {
  const auto fault = [](auto call) { return message_of(call, Code::kInvalidArgument); };
  EXPECT_EQ(fault([&] { (void)model_.get_int("layers"); }), "no schema of [model] has the setting \"layers\"");
  EXPECT_EQ(fault([&] { (void)model_.has("layers"); }), "no schema of [model] has the setting \"layers\"");
  EXPECT_EQ(fault([&] { (void)model_.get_float("num_layers"); }), "model.num_layers is of type int and was read as float");
  EXPECT_EQ(fault([&] { (void)model_.get_ints("names"); }), "model.names is of type list of string and was read as list of int");
  EXPECT_EQ(fault([&] { (void)model_.get_int("vocab_size"); }), "model.vocab_size is not set; ask whether it is before reading it");
  EXPECT_EQ(fault([&] { (void)settings_.section("data"); }), "there is no section [data]");
}

TEST_F(SectionTest, takes_values_that_the_host_computes) {
  model_.set("vocab_size", {int64_t{50257}}, {Origin::Kind::kRecipe, "r.toml", 9, 1});
  EXPECT_EQ(model_.get_int("vocab_size"), 50257);
  EXPECT_EQ(to_string(model_.origin("vocab_size")), "recipe r.toml:9:1");
  EXPECT_EQ(message_of([&] { model_.set("vocab_size", {int64_t{0}}); }, Code::kInvalidArgument),
            "model.vocab_size cannot be set: 0 is out of range; expected at least 1");
  EXPECT_EQ(message_of([&] { model_.set("vocab", {int64_t{1}}); }, Code::kInvalidArgument),
            "no schema of [model] has the setting \"vocab\"");
}

TEST_F(SectionTest, lists_the_keys_of_a_free_form_table) {
  EXPECT_THAT(model_.get_keys("labels"), ElementsAre("run", "score"));
  EXPECT_TRUE(model_.has("labels"));
  EXPECT_EQ(model_.get_string("labels.run"), "x");
  EXPECT_EQ(model_.get_float("labels.score"), 2.5);
  EXPECT_FALSE(resolve("[model]\nplugin = \"llama\"\n").section("model").has("labels"));
}

TEST_F(SectionTest, places_a_plugins_fault_at_the_setting) {
  EXPECT_STREQ(fault_at(model_, "num_layers", "must be even").what(), "r.toml:3:1: model.num_layers: must be even");
  EXPECT_STREQ(fault_at(model_, "init_std", "too small").what(), "r.toml: model.init_std: too small");
  EXPECT_STREQ(fault_at(model_, "nonsense", "?").what(), "r.toml: model.nonsense: ?");
  const Configuration other = resolve("", {"model.plugin=x", "model.num_layers=3"});
  EXPECT_STREQ(fault_at(other.section("model"), "num_layers", "must be even").what(), "command line: model.num_layers=3: must be even");
  EXPECT_EQ(fault_at(model_, "tie", "").code(), Code::kConfig);
}

TEST_F(SectionTest, keeps_its_address_when_the_configuration_moves) {
  const Configuration moved = std::move(settings_);
  EXPECT_EQ(&moved.section("model"), &model_);
}

class ConfigApi : public SectionTest {
 protected:
  ConfigApi() { fill_config_api(api_); }
  static std::string take(nemo_error* error) {
    if (error == nullptr) return "";
    EXPECT_EQ(error->code, NEMO_CODE_INVALID_ARGUMENT);
    std::string message = error->message;
    plugin::free_error(error);
    return message;
  }
  nemo_host_api api_{};
  const nemo_config* config_ = &model_;
};

TEST_F(ConfigApi, reads_scalars) {
  uint8_t flag = 0;
  int64_t integer = 0;
  double number = 0;
  nemo_str text{};
  EXPECT_EQ(take(api_.config_bool(config_, NEMO_STR("tie"), &flag)), "");
  EXPECT_EQ(take(api_.config_int(config_, NEMO_STR("num_layers"), &integer)), "");
  EXPECT_EQ(take(api_.config_float(config_, NEMO_STR("rope_scaling.factor"), &number)), "");
  EXPECT_EQ(take(api_.config_string(config_, NEMO_STR("activation"), &text)), "");
  EXPECT_EQ(flag, 1);
  EXPECT_EQ(integer, 4);
  EXPECT_EQ(number, 8.0);
  EXPECT_EQ(std::string(text.ptr, text.len), "silu");
}

TEST_F(ConfigApi, reads_lists_element_by_element) {
  uint64_t size = 0;
  int64_t integer = 0;
  double number = 0;
  nemo_str text{};
  EXPECT_EQ(take(api_.config_list_size(config_, NEMO_STR("names"), &size)), "");
  EXPECT_EQ(size, 2u);
  EXPECT_EQ(take(api_.config_list_string(config_, NEMO_STR("names"), 1, &text)), "");
  EXPECT_EQ(std::string(text.ptr, text.len), "b");
  EXPECT_EQ(take(api_.config_list_int(config_, NEMO_STR("dims"), 1, &integer)), "");
  EXPECT_EQ(integer, 2);
  EXPECT_EQ(take(api_.config_list_float(config_, NEMO_STR("betas"), 0, &number)), "");
  EXPECT_EQ(number, 0.9);
}

TEST_F(ConfigApi, says_whether_a_setting_has_a_value) {
  EXPECT_EQ(api_.config_has(config_, NEMO_STR("num_layers")), 1);
  EXPECT_EQ(api_.config_has(config_, NEMO_STR("vocab_size")), 0);
  EXPECT_EQ(api_.config_has(config_, NEMO_STR("nonsense")), 0);
}

TEST_F(ConfigApi, gives_errors_for_misuse) {
  int64_t integer = -7;
  EXPECT_EQ(take(api_.config_int(config_, NEMO_STR("nonsense"), &integer)), "no schema of [model] has the setting \"nonsense\"");
  EXPECT_EQ(take(api_.config_int(config_, NEMO_STR("tie"), &integer)), "model.tie is of type bool and was read as int");
  EXPECT_EQ(take(api_.config_list_int(config_, NEMO_STR("dims"), 2, &integer)), "model.dims has 2 elements; there is no index 2");
  EXPECT_EQ(take(api_.config_list_int(config_, NEMO_STR("names"), 0, &integer)),
            "model.names is a list of another type than was asked for");
  EXPECT_EQ(integer, -7);
}

}  // namespace
}  // namespace nemo::config
