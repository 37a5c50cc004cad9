// Model folders in and out: what is wrong is named, what is unusual is understood, and nothing is lost.
#include <gmock/gmock.h>

#include "core/checkpoint/reader.hpp"
#include "core/hub/compare.hpp"
#include "core/hub/export.hpp"
#include "core/hub/import.hpp"
#include "core/hub/safetensors.hpp"
#include "core/hub/safetensors_writer.hpp"
#include "core/runtime/snapshot.hpp"
#include "tests/hub/files.hpp"

namespace nemo::hub_test {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using Change = std::function<void(std::map<std::string, std::pair<hub::TensorPlan, std::string>>&)>;

// A golden folder with other tensors and another config.json.
class Changed {
 public:
  Changed(const std::string& model, const Change& tensors, const std::function<void(hub::Json&)>& config = nullptr)
      : model_(folder_.path() / "model") {
    fs::create_directories(model_);
    hub::JsonText text = hub::read_json(golden_folder(model) / "config.json");
    if (config) config(text.root);
    write(model_ / "config.json", hub::dump_json(text.root));
    std::map<std::string, std::pair<hub::TensorPlan, std::string>> all;
    const hub::ModelFiles files(golden_folder(model));
    for (const auto& [name, entry] : files.tensors())
      all[name] = {{name, entry.tensor->dtype, entry.tensor->shape}, {reinterpret_cast<const char*>(entry.data()), entry.tensor->bytes}};
    if (tensors) tensors(all);
    std::vector<hub::TensorPlan> plan;
    for (auto& [name, tensor] : all) plan.push_back(tensor.first), plan.back().name = name;
    hub::SafetensorsWriter writer(model_, plan, 1u << 30);
    for (const auto& [name, tensor] : all) writer.write(reinterpret_cast<const std::byte*>(tensor.second.data()), tensor.second.size());
    writer.finish();
  }
  [[nodiscard]] const fs::path& model() const { return model_; }
  [[nodiscard]] fs::path at(const char* name) const { return folder_.path() / name; }
  void import(std::vector<std::string> overrides = {}) {
    (void)hub::import_model({model_, at("checkpoint"), kRecipe, std::move(overrides)}, host.registry(), host.context.warn);
  }
  void export_to(const char* name) {
    hub::ExportOptions options;
    options.from = at("checkpoint");
    options.to = at(name);
    (void)hub::export_model(options, host.registry(), host.context.warn);
  }
  Host host;

 private:
  Folder folder_;
  fs::path model_;
};

std::string refusal(const std::string& model, const Change& tensors, const std::function<void(hub::Json&)>& config = nullptr) {
  Changed changed(model, tensors, config);
  const std::string says = fault([&] { changed.import(); });
  EXPECT_FALSE(fs::exists(changed.at("checkpoint"))) << says;
  return says;
}

TEST(Import, faults_of_tensors_are_named) {
  EXPECT_THAT(refusal("llama", [](auto& t) { t.erase("model.layers.1.mlp.up_proj.weight"); }),
              HasSubstr("1 tensors are missing: model.layers.1.mlp.up_proj.weight"));
  EXPECT_THAT(refusal("llama", [](auto& t) { t["model.layers.2.mlp.up_proj.weight"] = t.at("model.layers.1.mlp.up_proj.weight"); }),
              HasSubstr("have no place in the model that config.json describes: model.layers.2.mlp.up_proj.weight"));
  EXPECT_THAT(refusal("llama", [](auto& t) { t.at("model.norm.weight").first.dtype = "I32"; }),
              HasSubstr("tensor model.norm.weight is I32 [64]; weights of F32"));
  EXPECT_THAT(refusal("llama",
                      [](auto& t) {
                        t.at("model.norm.weight").first.shape = {8, 8};
                      }),
              HasSubstr("tensor model.norm.weight is F32 [8 8], but config.json makes it [64]"));
  EXPECT_THAT(refusal("llama", nullptr, [](auto& c) { c["intermediate_size"] = 96; }),
              HasSubstr("F32 [64 112], but config.json makes it [64 96]"));
}

TEST(Import, faults_of_the_config_are_named) {
  EXPECT_THAT(refusal("llama", nullptr, [](auto& c) { c["architectures"] = {"LlamaForCausalLN"}; }),
              HasSubstr("the nearest known is LlamaForCausalLM"));
  EXPECT_THAT(refusal("llama", nullptr, [](auto& c) { c["hidden_act"] = "gelu"; }), HasSubstr("hidden_act = \"gelu\" is not implemented"));
  EXPECT_THAT(refusal("llama", nullptr, [](auto& c) { c.erase("hidden_size"); }), HasSubstr("'hidden_size' is missing"));
  EXPECT_THAT(refusal("llama", nullptr, [](auto& c) { c["hidden_size"] = "64"; }), HasSubstr("hidden_size = \"64\", expected an integer"));
  EXPECT_THAT(refusal("llama", nullptr, [](auto& c) { c["rope_parameters"]["rope_type"] = "dynamic"; }),
              HasSubstr("rope_parameters.rope_type = \"dynamic\""));
  EXPECT_THAT(refusal("llama", nullptr,
                      [](auto& c) {
                        c["quantization_config"] = {{"quant_method", "fp8"}};
                      }),
              HasSubstr("quantization_config"));
  EXPECT_THAT(refusal("llama", nullptr, [](auto& c) { c["num_key_value_heads"] = 3; }), HasSubstr("num_query_groups = 3 does not divide"));
}

TEST(Import, a_key_that_nothing_reads_is_told) {
  Changed changed("llama", nullptr, [](auto& c) { c["attention_chunks"] = 7; });
  changed.import();
  EXPECT_THAT(changed.host.warnings, ::testing::ElementsAre(HasSubstr("attention_chunks")));
}

TEST(Import, the_recipe_is_for_any_machine) {
  Changed changed("llama", nullptr);
  changed.import();
  const checkpoint::Reader reader(changed.at("checkpoint"), checkpoint::Verify::kSizes);
  EXPECT_THAT(reader.recipe(), AllOf(Not(HasSubstr("[backend]")), HasSubstr("accelerator = \"auto\"")));
  changed.export_to("out");
  EXPECT_EQ(changed.host.warnings, std::vector<std::string>{});
}

TEST(Import, settings_of_a_backend_are_kept) {
  Changed changed("llama", nullptr);
  changed.import({"trainer.accelerator=cpu", "backend.threads=1"});
  const checkpoint::Reader reader(changed.at("checkpoint"), checkpoint::Verify::kSizes);
  EXPECT_THAT(reader.recipe(), HasSubstr("[backend]\nthreads = 1\n"));
  changed.export_to("out");
  EXPECT_EQ(hub::tensor_differences(changed.model(), changed.at("out")), "");
}

TEST(Import, old_buffers_and_tied_outputs_are_understood_and_given_back) {
  Changed changed("llama3_rope_tied", [](auto& t) {
    t["lm_head.weight"] = t.at("model.embed_tokens.weight");
    t["model.layers.0.self_attn.rotary_emb.inv_freq"] = {{"", "F32", {2}}, std::string(8, '\0')};
  });
  changed.import();
  changed.export_to("out");
  EXPECT_EQ(hub::tensor_differences(changed.model(), changed.at("out")), "model.layers.0.self_attn.rotary_emb.inv_freq is not exported");
}

// Eight pairs of phi3's heads turn.
void stretch(hub::Json& c, const char* type) {
  c.erase("rope_parameters");
  c["rope_theta"] = 10000.0;
  c["original_max_position_embeddings"] = 64;
  c["rope_scaling"] = {
      {"type", type}, {"short_factor", {1, 1.05, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6}}, {"long_factor", {1, 2, 3, 4, 5, 6, 7, 8}}};
}

TEST(Import, longrope_is_understood_under_its_old_names_and_given_back) {
  for (const char* type : {"longrope", "su", "yarn"}) {
    Changed changed("phi3", nullptr, [&](auto& c) { stretch(c, type); });
    changed.import();
    const checkpoint::Reader reader(changed.at("checkpoint"), checkpoint::Verify::kSizes);
    EXPECT_THAT(reader.recipe(), AllOf(HasSubstr("longrope"), HasSubstr("1.05"), HasSubstr("original_max_position_embeddings = 64")));
    changed.export_to("out");
    EXPECT_EQ(hub::config_differences(hub::read_json(changed.model() / "config.json").root,
                                      hub::read_json(changed.at("out") / "config.json").root),
              "");
    EXPECT_EQ(changed.host.warnings, std::vector<std::string>{});
  }
  EXPECT_THAT(refusal("phi3", nullptr, [](auto& c) { stretch(c, "longest"); }), HasSubstr("\"longest\""));
}

TEST(Import, names_without_the_first_word_are_understood_and_given_back) {
  Changed changed("gpt2", [](auto& t) {
    std::remove_reference_t<decltype(t)> renamed;
    for (auto& [name, tensor] : t) renamed[name.substr(name.find('.') + 1)] = tensor;
    renamed["h.0.attn.bias"] = {{"", "U8", {4}}, std::string(4, '\0')};
    t = std::move(renamed);
  });
  changed.import();
  changed.export_to("out");
  EXPECT_EQ(hub::tensor_differences(changed.model(), changed.at("out")), "h.0.attn.bias is not exported");
}

TEST(Import, a_padded_vocabulary_is_cut_off_again) {
  Changed changed("llama", nullptr);
  changed.import({"model.make_vocab_size_divisible_by=128"});
  const checkpoint::Reader reader(changed.at("checkpoint"));
  EXPECT_EQ(reader.info(checkpoint::kParameters, "output.weight").shape, (std::vector<int64_t>{256, 64}));
  std::vector<float> table(256 * 64, 1);
  reader.read(checkpoint::kParameters, {"output.weight", NEMO_DTYPE_F32, {256, 64}, table.data()});
  EXPECT_TRUE(std::all_of(table.begin() + 160 * 64, table.end(), [](float v) { return v == 0; }));
  changed.export_to("out");
  EXPECT_EQ(hub::tensor_differences(changed.model(), changed.at("out")), "");
}

TEST(Import, sixteen_bits_stay_sixteen_bits) {
  Changed changed("gpt2_fp16", nullptr);
  changed.import();
  const checkpoint::Reader reader(changed.at("checkpoint"));
  EXPECT_EQ(reader.info(checkpoint::kParameters, "embedding.word.weight").dtype, NEMO_DTYPE_F16);
  EXPECT_THAT(reader.recipe(), HasSubstr("plugin = \"gpt\""));
}

TEST(Export, dtype_and_shards_are_as_asked) {
  Changed changed("llama", nullptr);
  changed.import();
  hub::ExportOptions options;
  options.from = changed.at("checkpoint"), options.to = changed.at("out");
  options.dtype = NEMO_DTYPE_BF16, options.max_shard_bytes = 50000;
  (void)hub::export_model(options, changed.host.registry(), changed.host.context.warn);
  EXPECT_TRUE(fs::exists(changed.at("out") / "model.safetensors.index.json"));
  const hub::ModelFiles files(changed.at("out"));
  EXPECT_EQ(files.tensors().at("lm_head.weight").tensor->dtype, "BF16");
  EXPECT_EQ(hub::read_json(changed.at("out") / "config.json").root["dtype"], "bfloat16");
  EXPECT_THAT(fault([&] { (void)hub::export_model(options, changed.host.registry(), changed.host.context.warn); }),
              HasSubstr("is not empty"));
}

TEST(Export, a_config_from_nothing_imports_to_the_same_model) {
  for (const std::string model : {"gpt2", "llama_yarn_bias", "gemma2", "phi3", "nemotron", "llama3_rope_tied", "phi3 longrope"}) {
    const bool stretched = model == "phi3 longrope";
    Changed changed(stretched ? "phi3" : model, nullptr,
                    stretched ? [](hub::Json& c) { stretch(c, "longrope"); } : std::function<void(hub::Json&)>());
    changed.import();
    // As a checkpoint of a run has it: without what import kept of the folder.
    const checkpoint::Reader reader(changed.at("checkpoint"));
    {
      checkpoint::Writer writer(changed.at("trained"));
      for (const std::string& name : reader.names(checkpoint::kParameters)) {
        const auto info = reader.info(checkpoint::kParameters, name);
        std::vector<std::byte> bytes(checkpoint::element_count(info.shape) * checkpoint::element_bytes(info.dtype));
        reader.read(checkpoint::kParameters, {name, info.dtype, info.shape, bytes.data()});
        writer.write(checkpoint::kParameters, {name, info.dtype, info.shape, bytes.data()});
      }
      writer.add_text_file(checkpoint::kRecipeFile, reader.recipe());
      writer.commit({});
    }
    hub::ExportOptions options;
    options.from = changed.at("trained"), options.to = changed.at("out");
    (void)hub::export_model(options, changed.host.registry(), changed.host.context.warn);
    EXPECT_EQ(hub::tensor_differences(changed.model(), changed.at("out")), "") << model;
    const auto first = hub::read_config(changed.model(), changed.host.registry(), changed.host.context.warn);
    const auto second = hub::read_config(changed.at("out"), changed.host.registry(), changed.host.context.warn);
    EXPECT_EQ(first.settings, second.settings) << model;
  }
}

}  // namespace
}  // namespace nemo::hub_test
