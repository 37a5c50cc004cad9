// tests/runtime/session.hpp - a recipe text, compiled and allocated on the CPU backend with the built plugins.
#pragma once

#include <memory>
#include <string>

#include "core/config/config_api.hpp"
#include "core/config/document.hpp"
#include "core/runtime/engine.hpp"
#include "core/runtime/train_loop.hpp"

namespace nemo::runtime_test {

// Plugins of the build tree.
class Plugins {
 public:
  Plugins();
  [[nodiscard]] plugin::Registry& registry() { return *registry_; }
  [[nodiscard]] const nemo_host_api& api() const { return *table_.api(); }

 private:
  plugin::HostTable table_;
  std::unique_ptr<plugin::Registry> registry_;
};

// One engine with its setup; memory is taken.
struct Session {
  Session(Plugins& plugins, const std::string& recipe, std::set<passes::Purpose> purposes);
  runtime::Setup setup;
  std::unique_ptr<runtime::Engine> engine;
  std::unique_ptr<runtime::Optimizer> optimizer;  // where kTrain is among the purposes

  // Runs forward and backward (kTrain) or forward on one batch and returns the mean loss over labels that are not -100.
  double loss(passes::Purpose purpose, const runtime::Batch& batch, runtime::Gradients gradients = runtime::Gradients::kOverwrite);
  // Tokens and labels (already shifted).
  static runtime::Batch batch(std::vector<int32_t> tokens, std::vector<int32_t> labels);
};

}  // namespace nemo::runtime_test
