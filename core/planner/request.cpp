#include "core/planner/request.hpp"

#include "core/passes/build.hpp"
#include "core/runtime/train_loop.hpp"

namespace nemo::planner {

using runtime::placed;

Request make_request(const runtime::Setup& setup, const text::Tokenizer* tokenizer) {
  const config::Section &trainer = setup.section("trainer"), &data = setup.section("data");
  Request request;
  request.facts = runtime::build_facts(setup, tokenizer);
  request.global_batch_size = data.get_int("global_batch_size");
  request.build = [&setup](const graph::BuildFacts& facts) {
    return placed(setup.section("model"), [&] { return passes::build(*setup.model, &setup.section("model"), facts); });
  };
  if (setup.peft != nullptr)
    request.edit = [&setup, facts = request.facts](graph::Graph& g) {
      placed(setup.section("peft"), [&] { passes::edit(g, *setup.peft, &setup.section("peft"), facts); });
    };
  request.plan = runtime::make_plan(setup, nullptr);
  request.precision =
      placed(setup.section("precision"), [&] { return passes::make_precision(*setup.precision, &setup.section("precision")); });
  request.regather = trainer.get_bool("regather");
  const std::string& word = trainer.get_string("recompute");
  request.recompute = word == "full"        ? passes::Recompute::kFull
                      : word == "selective" ? passes::Recompute::kSelective
                                            : passes::Recompute::kNone;
  request.keep = runtime::optimizer_settings(setup.section("optim")).keep();
  return request;
}

}  // namespace nemo::planner
