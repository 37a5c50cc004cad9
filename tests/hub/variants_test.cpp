// Named variants have the numbers of parameters that their authors published.
#include <gtest/gtest.h>

#include "core/passes/build.hpp"
#include "tests/hub/files.hpp"

namespace nemo::hub_test {
namespace {

constexpr int64_t kVocabulary = 32000;  // of a tokenizer, where the variant leaves it to that

int64_t parameters(Host& host, const std::string& plugin, const std::string& variant) {
  const std::string recipe = "[model]\nplugin = \"" + plugin + "\"\nvariant = \"" + variant + "\"\n" + kRecipe + "seq_length = 1\n";
  const runtime::Setup setup = runtime::make_setup(config::Document::parse(recipe, "v.toml"), host.registry(), host.context.warn);
  const config::Section& model = setup.section("model");
  const bool open = model.knows("vocab_size") && model.get_int("vocab_size") == 0;
  const graph::Graph graph = passes::build(*setup.model, &model, {1, 1, open ? kVocabulary : 0, {}});
  int64_t n = 0;
  for (const graph::Parameter& p : graph.parameters) n += element_count(p.dims);
  return n;
}

TEST(Variants, have_their_published_numbers_of_parameters) {
  struct Case {
    const char *plugin, *variant;
    int64_t parameters;
  };
  const Case cases[] = {
      {"gpt", "gpt2_124m", 124439808},
      {"gpt", "gpt2_1558m", 1557611200},
      {"llama", "llama2_7b", 6738415616},
      {"llama", "llama2_70b", 68976648192},
      {"llama", "codellama_7b", 6738546688},
      {"llama", "llama3_8b", 8030261248},
      {"llama", "llama31_405b", 405853388800},
      {"llama", "llama32_1b", 1235814400},
      {"llama", "llama32_3b", 3212749824},
      {"llama", "mistral_7b", 7241732096},
      {"llama", "mistral_nemo_12b", 12247782400},
      {"qwen", "qwen25_500m", 494032768},
      {"qwen", "qwen2_7b", 7615616512},
      {"qwen", "qwen25_72b", 72706203648},
      {"qwen", "qwen3_600m", 596049920},
      {"qwen", "qwen3_8b", 8190735360},
      {"gemma", "gemma_2b", 2506172416},
      {"gemma", "gemma2_2b", 2614341888},
      {"gemma", "gemma2_9b", 9241705984},
      {"gemma", "gemma3_1b", 999885952},
      {"phi3", "phi3_mini_4k", 3821079552},
      {"starcoder2", "starcoder2_3b", 3030371328},
      {"baichuan2", "baichuan2_7b", 7505973248},
      {"baichuan2", "baichuan2_13b", 13896668160},
      {"chatglm", "chatglm3_6b", 6243584000},
  };
  Host host;
  for (const Case& c : cases) EXPECT_EQ(parameters(host, c.plugin, c.variant), c.parameters) << c.variant;
}

TEST(Variants, all_build) {
  Host host;
  for (const plugin::Candidate& candidate : host.registry().list().candidates) {
    if (!candidate.probe.ok) continue;
    for (const plugin::ComponentName& name : candidate.probe.components) {
      if (name.kind != NEMO_KIND_MODEL) continue;
      const auto& api = host.registry().find(NEMO_KIND_MODEL, name.id).api<nemo_model_api>();
      for (uint64_t i = 0; i < api.n_variants; ++i) {
        const std::string variant(api.variants[i].name.ptr, api.variants[i].name.len);
        EXPECT_GT(parameters(host, name.id, variant), 50'000'000) << variant;
      }
    }
  }
}

}  // namespace
}  // namespace nemo::hub_test
