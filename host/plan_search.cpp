#include "host/plan_search.hpp"

#include <algorithm>
#include <cstdio>
#include <iostream>

#include "core/base/error.hpp"
#include "core/config/resolver.hpp"
#include "host/plan_json.hpp"

namespace nemo::host {
namespace {

constexpr size_t kShown = 10;

struct Layout {
  int64_t tensor, pipeline, context, virtual_stages;
  std::string recompute;

  [[nodiscard]] std::vector<std::string> settings() const {
    std::vector<std::string> out{
        "strategy.tensor_model_parallel_size=" + std::to_string(tensor),
        "strategy.pipeline_model_parallel_size=" + std::to_string(pipeline), "strategy.context_parallel_size=" + std::to_string(context),
        "strategy.virtual_pipeline_model_parallel_size=" + std::to_string(virtual_stages), "trainer.recompute=" + recompute};
    out.push_back(std::string("strategy.sequence_parallel=") + (tensor > 1 ? "true" : "false"));
    return out;
  }
  [[nodiscard]] std::string text() const {
    std::string out;
    for (const std::string& s : settings()) out += (out.empty() ? "" : " ") + s;
    return out;
  }
};

std::vector<Layout> candidates(int64_t world, int64_t per_node, int64_t layers) {
  std::vector<Layout> out;
  for (int64_t t = 1; t <= std::min(world, per_node); t *= 2)
    for (int64_t p = 1; p <= std::min<int64_t>(world / t, 16); p *= 2)
      for (int64_t c = 1; c <= std::min<int64_t>(world / t / p, 8); c *= 2)
        for (int64_t v = 1; v <= 12; ++v) {
          if (world % (t * p * c) != 0 || p > layers || (v > 1 && (p == 1 || layers % (p * v) != 0))) continue;
          out.push_back({t, p, c, v, "none"});
        }
  return out;
}

// What is dealt to pipeline stages: blocks, and embedding and loss where the recipe counts them as one each.
int64_t dealt(const config::Document& document, int64_t layers) {
  for (const char* name : {"strategy.account_for_embedding_in_pipeline_split", "strategy.account_for_loss_in_pipeline_split"}) {
    const config::Entry* entry = document.find(name);
    const bool* counts = entry == nullptr ? nullptr : entry->value.as<bool>();
    layers += counts != nullptr && *counts ? 1 : 0;
  }
  return layers;
}

struct Found {
  Layout layout;
  planner::Report report;
};

void print(const std::vector<Found>& found, size_t tried, size_t refused) {
  std::printf("%zu layouts tried: %zu fit, %zu cannot work, the rest do not fit\n", tried, found.size(), refused);
  std::printf("%10s%10s%10s%12s%8s%10s  settings\n", "tok/s/dev", "MFU %", "step s", "memory GiB", "bubble", "exposed");
  for (size_t i = 0; i < std::min(found.size(), kShown); ++i) {
    const planner::Report& r = found[i].report;
    std::printf("%10.0f%10.1f%10.3f%12.1f%7.1f%%%9.1f%%  %s\n", r.tokens_per_second_per_device(), 100 * r.mfu(), r.step_seconds(),
                static_cast<double>(r.largest().memory.total()) / (1 << 30), 100 * r.bubble, 100 * r.split.exposed / r.step_seconds(),
                found[i].layout.text().c_str());
  }
}

}  // namespace

int search(Program& program, const std::string& recipe, const std::vector<std::string>& overrides, const planner::Hardware& hardware,
           bool json) {
  const auto folders = recipe_folders();
  const config::Document document = config::Document::load(recipe, folders, overrides);
  const config::Section trainer = config::core_section(document, "trainer");
  const config::Entry* layers = document.find("model.num_layers");
  const int64_t* count = layers == nullptr ? nullptr : layers->value.as<int64_t>();
  if (count == nullptr) throw Error(Code::kConfig, "--search needs model.num_layers in the recipe, to deal blocks to pipeline stages");
  const auto all =
      candidates(trainer.get_int("devices") * trainer.get_int("num_nodes"), hardware.devices_per_node, dealt(document, *count));
  std::vector<Found> found;
  size_t refused = 0;
  std::string last;
  for (Layout layout : all) {
    try {
      // Recompute costs time: no more of it than memory asks for.
      for (const char* recompute : {"none", "selective", "full"}) {
        layout.recompute = recompute;
        std::vector<std::string> settings = overrides;
        for (std::string& s : layout.settings()) settings.push_back(std::move(s));
        planner::Report report = plan_recipe(program, recipe, settings, hardware, false);
        if (!report.fits()) continue;
        found.push_back({layout, std::move(report)});
        break;
      }
    } catch (const Error& e) {
      if (e.code() != Code::kConfig && e.code() != Code::kUnsupported) throw;
      ++refused, last = e.what();
    }
  }
  if (refused == all.size())
    throw Error(Code::kConfig,
                "none of " + std::to_string(refused) +
                    " layouts can work. --search varies the parallel sizes of strategy.plugin, which must have such settings "
                    "(`nemo-host plugins inspect ID` shows them). The last one: " +
                    last);
  std::stable_sort(found.begin(), found.end(),
                   [](const Found& a, const Found& b) { return a.report.step_seconds() < b.report.step_seconds(); });
  if (!json) {
    print(found, all.size(), refused);
    return kDone;
  }
  auto out = nlohmann::ordered_json::array();
  for (const Found& f : found) out.push_back({{"settings", f.layout.settings()}, {"plan", to_json(f.report)}});
  std::cout << out.dump(2) << "\n";
  return kDone;
}

}  // namespace nemo::host
