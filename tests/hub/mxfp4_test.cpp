// MXFP4 as gpt-oss publishes it: every number and scale as the specification has them, and a folder in that form imports as its bf16 form.
#include <cmath>
#include <cstring>
#include <limits>

#include <gmock/gmock.h>

#include "core/checkpoint/bf16.hpp"
#include "core/hub/compare.hpp"
#include "core/hub/export.hpp"
#include "core/hub/import.hpp"
#include "core/hub/mxfp4.hpp"
#include "core/hub/safetensors_writer.hpp"
#include "tests/hub/files.hpp"

namespace nemo::hub_test {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// A tensor to be written: blocks and scales by hand, or as they are elsewhere.
struct Written {
  hub::TensorPlan plan;
  std::string bytes;
};

void write_all(const fs::path& folder, const std::vector<Written>& tensors) {
  std::vector<hub::TensorPlan> plan;
  for (const Written& t : tensors) plan.push_back(t.plan);
  fs::create_directories(folder);
  hub::SafetensorsWriter writer(folder, plan, 1u << 30);
  for (const Written& t : tensors) writer.write(reinterpret_cast<const std::byte*>(t.bytes.data()), t.bytes.size());
  writer.finish();
}

template <class T>
std::vector<T> expert_of(const fs::path& folder, const char* word, int64_t index) {
  hub::ModelFiles files(folder);
  EXPECT_EQ(files.unpack_mxfp4(word), 1U);
  const hub::ModelFiles::Entry& entry = files.tensors().at("x");
  std::vector<std::byte> out, work;
  entry.packed->expert(index, "x", out, work);
  std::vector<T> values(out.size() / sizeof(T));
  std::memcpy(values.data(), out.data(), out.size());
  return values;
}

TEST(Mxfp4, each_byte_has_two_numbers_low_half_first_and_a_group_its_scale) {
  const Folder folder;
  std::string blocks;  // two experts of two rows of one group
  for (int i = 0; i < 4; ++i) blocks += std::string("\x10\x32\x54\x76\x98\xba\xdc\xfe", 8) + std::string(8, '\x7f');
  write_all(folder.path(), {{{"x_blocks", "U8", {2, 2, 1, 16}}, blocks}, {{"x_scales", "U8", {2, 2, 1}}, "\x7f\x80\x7e\x01"}});
  const float numbers[] = {0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0F, -0.5, -1, -1.5, -2, -3, -4, -6};
  const int powers[] = {0, 1, -1, -126};
  for (int64_t expert = 0; expert < 2; ++expert) {
    const std::vector<float> single = expert_of<float>(folder.path(), "F32", expert);
    const std::vector<uint16_t> half = expert_of<uint16_t>(folder.path(), "BF16", expert);
    ASSERT_EQ(single.size(), 64U);
    for (size_t i = 0; i < 64; ++i) {  // [column, row]
      const size_t column = i / 2;
      const float number = column < 16 ? numbers[column] : column % 2 == 0 ? -6.0F : 6.0F;
      const float wanted = std::ldexp(number, powers[static_cast<size_t>(expert) * 2 + i % 2]);
      EXPECT_EQ(single[i], wanted) << i;
      EXPECT_EQ(std::signbit(single[i]), std::signbit(wanted)) << i;
      EXPECT_EQ(checkpoint::float_of_bf16(half[i]), wanted) << i;
    }
  }
}

TEST(Mxfp4, the_ends_of_the_scales_are_exact_infinite_or_refused) {
  const auto with_scale = [](const char* scale, const Folder& folder) {
    write_all(folder.path(),
              {{{"x_blocks", "U8", {1, 1, 1, 16}}, std::string(16, '\x71')}, {{"x_scales", "U8", {1, 1, 1}}, std::string(scale, 1)}});
  };
  const Folder low, high, none;
  with_scale("\0", low);
  EXPECT_EQ(checkpoint::float_of_bf16(expert_of<uint16_t>(low.path(), "BF16", 0)[0]), std::ldexp(0.5F, -127));
  with_scale("\xfe", high);
  EXPECT_EQ(checkpoint::float_of_bf16(expert_of<uint16_t>(high.path(), "BF16", 0)[0]), std::ldexp(0.5F, 127));
  EXPECT_EQ(checkpoint::float_of_bf16(expert_of<uint16_t>(high.path(), "BF16", 0)[1]), std::numeric_limits<float>::infinity());
  with_scale("\xff", none);
  EXPECT_THAT(fault([&] { (void)expert_of<uint16_t>(none.path(), "BF16", 0); }), HasSubstr("tensor x_scales has a scale of 255"));
}

// The golden gpt_oss in MXFP4: sizes that are multiples of 32, random halves of bytes, and next to it the same numbers unpacked.
class Published {
 public:
  explicit Published(const char* dtype, const std::string& leave_out = "", std::vector<int64_t> scale_tail = {}) {
    const std::vector<Written> packed = tensors(true, dtype), plain = tensors(false, dtype);
    std::vector<Written> kept;
    for (const Written& t : packed) {
      if (!leave_out.empty() && t.plan.name.ends_with(leave_out)) continue;
      kept.push_back(t);
      if (!scale_tail.empty() && t.plan.name.ends_with("_scales")) kept.back().plan.shape = scale_tail, kept.back().bytes.resize(4);
    }
    write_all(at("packed"), kept), write_all(at("plain"), plain);
    hub::Json config = hub::read_json(golden_folder("gpt_oss") / "config.json").root;
    config["intermediate_size"] = 32;
    config["dtype"] = std::string(dtype) == "F32" ? "float32" : "bfloat16";
    write(at("plain") / "config.json", hub::dump_json(config));
    config["quantization_config"] = {{"quant_method", "mxfp4"}, {"modules_to_not_convert", {"lm_head"}}};
    write(at("packed") / "config.json", hub::dump_json(config));
  }
  [[nodiscard]] fs::path at(const char* name) const { return folder_.path() / name; }
  void import(const char* from, const char* to) {
    (void)hub::import_model({at(from), at(to), kRecipe, {}}, host.registry(), host.context.warn);
  }
  void export_to(const char* checkpoint, const char* to) {
    hub::ExportOptions options;
    options.from = at(checkpoint), options.to = at(to);
    (void)hub::export_model(options, host.registry(), host.context.warn);
  }
  Host host;

 private:
  static std::vector<Written> tensors(bool packed, const char* dtype) {
    std::vector<Written> out;
    const hub::ModelFiles files(golden_folder("gpt_oss"));
    for (const auto& [name, entry] : files.tensors()) {
      std::vector<int64_t> shape = entry.tensor->shape;
      for (int64_t& n : shape) n = n == 48 ? 32 : n == 96 ? 64 : n;
      const bool expert = name.ends_with("experts.down_proj") || name.ends_with("experts.gate_up_proj");
      if (!expert)
        out.push_back(plain_tensor(name, dtype, shape));
      else if (packed)
        add_packed(out, name, shape);
      else
        out.push_back(unpacked(name, dtype, shape));
    }
    return out;
  }
  static Written plain_tensor(const std::string& name, const char* dtype, const std::vector<int64_t>& shape) {
    Written t{{name, dtype, shape}, ""};
    for (uint64_t i = 0; i < t.plan.bytes(); ++i) t.bytes += static_cast<char>(i * 37 % 60);
    return t;
  }
  static uint8_t half(int64_t expert, int64_t row, int64_t column) {
    return static_cast<uint8_t>((expert * 7 + row * 5 + column * 3 + row * column) & 15);
  }
  static uint8_t scale(int64_t expert, int64_t row, int64_t group) {
    return static_cast<uint8_t>(117 + (expert + 3 * row + 5 * group) % 9);
  }

  static void add_packed(std::vector<Written>& out, const std::string& name, const std::vector<int64_t>& shape) {
    const int64_t experts = shape[0], columns = shape[1], rows = shape[2];
    Written blocks{{name + "_blocks", "U8", {experts, rows, columns / 32, 16}}, ""},
        scales{{name + "_scales", "U8", {experts, rows, columns / 32}}, ""};
    for (int64_t e = 0; e < experts; ++e)
      for (int64_t r = 0; r < rows; ++r)
        for (int64_t c = 0; c < columns; c += 2) {
          blocks.bytes += static_cast<char>(half(e, r, c) | half(e, r, c + 1) << 4);
          if (c % 32 == 0) scales.bytes += static_cast<char>(scale(e, r, c / 32));
        }
    out.push_back(blocks), out.push_back(scales);
  }
  static Written unpacked(const std::string& name, const char* dtype, const std::vector<int64_t>& shape) {
    static const float kNumbers[] = {0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0F, -0.5, -1, -1.5, -2, -3, -4, -6};
    Written t{{name, dtype, shape}, ""};
    for (int64_t e = 0; e < shape[0]; ++e)
      for (int64_t c = 0; c < shape[1]; ++c)
        for (int64_t r = 0; r < shape[2]; ++r) {
          const float value = std::ldexp(kNumbers[half(e, r, c)], scale(e, r, c / 32) - 127);
          const uint16_t short_value = checkpoint::bf16_of_float(value);
          t.bytes.append(t.plan.dtype == "F32" ? reinterpret_cast<const char*>(&value) : reinterpret_cast<const char*>(&short_value),
                         t.plan.dtype == "F32" ? 4 : 2);
        }
    return t;
  }
  Folder folder_;
};

TEST(Mxfp4, a_published_folder_imports_and_exports_as_its_unpacked_form) {
  for (const char* dtype : {"BF16", "F32"}) {
    Published model(dtype);
    model.import("packed", "checkpoint");
    ASSERT_EQ(model.host.warnings.size(), 1U);
    EXPECT_THAT(model.host.warnings[0], HasSubstr("4 tensors in MXFP4 are unpacked to"));
    model.export_to("checkpoint", "out");
    EXPECT_EQ(hub::tensor_differences(model.at("plain"), model.at("out")), "");
    EXPECT_EQ(hub::config_differences(hub::read_json(model.at("plain") / "config.json").root,
                                      hub::read_json(model.at("out") / "config.json").root),
              "");
  }
}

TEST(Mxfp4, pairs_that_do_not_fit_are_named) {
  const auto refusal = [](Published&& model) {
    const std::string says = fault([&] { model.import("packed", "checkpoint"); });
    EXPECT_FALSE(fs::exists(model.at("checkpoint")));
    return says;
  };
  EXPECT_THAT(refusal(Published("BF16", "layers.1.mlp.experts.down_proj_scales")),
              HasSubstr("tensor model.layers.1.mlp.experts.down_proj_blocks has no model.layers.1.mlp.experts.down_proj_scales beside it"));
  EXPECT_THAT(refusal(Published("BF16", "_blocks")), HasSubstr("config.json says that weights are in MXFP4, but there is no *_blocks"));
  EXPECT_THAT(refusal(Published("BF16", "", {4, 1, 1})), HasSubstr("_scales is U8 [4 1 1], but"));
}

}  // namespace
}  // namespace nemo::hub_test
