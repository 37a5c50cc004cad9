#include <gmock/gmock.h>

#include "tests/models/plugin_library.hpp"

namespace nemo::models_test {
namespace {

nemo_precision_policy policy_of(const char* library, const char* id) {
  const nemo_component& c = load_component(library);
  EXPECT_EQ(c.kind, NEMO_KIND_PRECISION);
  EXPECT_EQ(std::string_view(c.id.ptr, c.id.len), id);
  nemo_precision_policy p{};
  p.struct_size = sizeof p;
  const Settings defaults(*c.schema, nlohmann::json::object());
  rethrow(static_cast<const nemo_precision_api*>(c.api)->policy(nullptr, defaults.get(), &p));
  return p;
}

std::vector<nemo_dtype> dtypes(const nemo_precision_policy& p) { return {p.parameter, p.compute, p.gradient, p.master, p.moment}; }

TEST(Precision, policies_say_which_numbers_are_wide) {
  constexpr nemo_dtype bf16 = NEMO_DTYPE_BF16, f32 = NEMO_DTYPE_F32, f64 = NEMO_DTYPE_F64;
  EXPECT_THAT(dtypes(policy_of("nemo_precision_fp32", "fp32")), testing::ElementsAre(f32, f32, f32, f32, f32));
  EXPECT_THAT(dtypes(policy_of("nemo_precision_fp64", "fp64")), testing::ElementsAre(f64, f64, f64, f64, f64));
  EXPECT_THAT(dtypes(policy_of("nemo_precision_bf16_mixed", "bf16-mixed")), testing::ElementsAre(bf16, bf16, f32, f32, f32));
}

TEST(StrategySingle, takes_one_device_and_refuses_more) {
  const nemo_component& c = load_component("nemo_strategy_single");
  const auto* api = static_cast<const nemo_strategy_api*>(c.api);
  nemo_topology topology{sizeof(nemo_topology), 0, 1, 1};
  EXPECT_NO_THROW(rethrow(api->plan(nullptr, nullptr, &topology, nullptr, nullptr)));
  topology.world_size = 8;
  try {
    rethrow(api->plan(nullptr, nullptr, &topology, nullptr, nullptr));
    FAIL() << "8 devices were accepted";
  } catch (const Fault& f) {
    EXPECT_EQ(f.code, NEMO_CODE_CONFIG_INVALID);
    EXPECT_EQ(f.facts.at("path"), "plugin");
    for (const char* said : {"has 8 ", "trainer.devices = 1", "\"fsdp\""}) EXPECT_THAT(f.what(), testing::HasSubstr(said));
  }
}

}  // namespace
}  // namespace nemo::models_test
