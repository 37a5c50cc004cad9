// host/plan.cpp - plan: what a recipe would take and how fast it would be, on any number of devices, without one.

#include <iostream>

#include "core/planner/request.hpp"
#include "core/runtime/data_source.hpp"
#include "host/options.hpp"
#include "host/plan_json.hpp"
#include "host/plan_search.hpp"
#include "host/program.hpp"

namespace nemo::host {
namespace po = boost::program_options;

planner::Report plan_recipe(Program& program, const std::string& recipe, const std::vector<std::string>& overrides,
                            const planner::Hardware& hardware, bool judge) {
  const auto folders = recipe_folders();
  const config::Document document = config::Document::load(recipe, folders, overrides);
  const auto ignore = [](const std::string&) {};
  const runtime::Setup setup = runtime::make_setup(document, program.registry(document), ignore, runtime::Needs::kPlan);
  const auto tokenizer = runtime::make_tokenizer(setup);
  planner::Request request = planner::make_request(setup, tokenizer.get());
  request.judge = judge;
  return planner::make_report(request, hardware);
}

int plan(Program& program, const std::vector<std::string>& arguments) {
  const std::string usage = "nemo-host plan --recipe FILE [--hardware FILE] [--search] [--json] [section.key=value ...]";
  po::options_description options("options");
  options.add_options()("recipe,r", po::value<std::string>(), "recipe file, or the name of a shipped recipe")(
      "hardware", po::value<std::string>()->default_value("h100"), "hardware file, or the name of a shipped one: h100, h200")(
      "search", "try tensor, pipeline and context parallel sizes, virtual stages and recompute, and rank what fits")("json",
                                                                                                                     "machine-readable");
  const Parsed parsed = parse(arguments, usage, options);
  if (parsed.help) return kDone;
  if (!parsed.values.count("recipe")) throw Error(Code::kConfig, "no recipe given\nusage: " + usage);
  require_overrides(parsed.positional);
  const auto folders = hardware_folders();
  const planner::Hardware hardware = planner::load_hardware(parsed.values["hardware"].as<std::string>(), folders);
  const std::string recipe = parsed.values["recipe"].as<std::string>();
  if (parsed.values.count("search")) return search(program, recipe, parsed.positional, hardware, parsed.values.count("json") > 0);
  const planner::Report report = plan_recipe(program, recipe, parsed.positional, hardware);
  if (parsed.values.count("json"))
    std::cout << to_json(report).dump(2) << "\n";
  else
    std::cout << render(report, hardware);
  return kDone;
}

}  // namespace nemo::host
