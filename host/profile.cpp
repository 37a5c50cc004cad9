// host/profile.cpp - profile: the time of a training step by kind of op, on all ranks of the recipe.

#include <iostream>

#include "core/base/error.hpp"
#include "core/runtime/profile.hpp"
#include "host/distributed.hpp"
#include "host/options.hpp"
#include "host/program.hpp"

namespace nemo::host {

namespace po = boost::program_options;

int profile(Program& program, const std::vector<std::string>& arguments) {
  po::options_description options("options");
  options.add_options()("recipe,r", po::value<std::string>(), "recipe file, or the name of a shipped recipe")(
      "steps", po::value<int64_t>()->default_value(5), "whole steps to time")(
      "trace", po::value<std::string>(), "write a Chrome trace of one step to this file")("rank", po::value<int64_t>()->default_value(0),
                                                                                          "of several: the one whose table is printed")(
      "ranges", "name the launches for the vendor's profiler (NVTX)");
  const Parsed parsed =
      parse(arguments, "nemo-host profile --recipe FILE [--steps N] [--trace FILE] [--rank N] [section.key=value ...]", options);
  if (parsed.help) return kDone;
  if (!parsed.values.count("recipe")) throw Error(Code::kConfig, "profile needs --recipe FILE (see nemo-host profile --help)");
  require_overrides(parsed.positional);
  runtime::ProfileOptions wanted;
  wanted.steps = parsed.values["steps"].as<int64_t>();
  if (wanted.steps < 1) throw Error(Code::kConfig, "--steps must be at least 1");
  if (parsed.values.count("trace")) wanted.trace = parsed.values["trace"].as<std::string>();
  wanted.ranges = parsed.values.count("ranges") > 0;
  const config::Document document = config::Document::load(parsed.values["recipe"].as<std::string>(), recipe_folders(), parsed.positional);
  quiet_unless_first();
  runtime::RunContext context = program.context();
  const runtime::Setup setup = runtime::make_setup(document, program.registry(document), context.warn);
  const config::Section& trainer = setup.section("trainer");
  const int64_t told = parsed.values["rank"].as<int64_t>(), ranks = trainer.get_int("devices") * trainer.get_int("num_nodes");
  if (told < 0 || told >= ranks)
    throw Error(Code::kConfig, "--rank " + std::to_string(told) + ": the recipe has ranks 0 to " + std::to_string(ranks - 1));
  std::vector<std::string> whole = arguments;
  whole.insert(whole.begin(), "profile");
  if (const auto code = launch_ranks(setup, context, whole)) return *code;
  return as_rank(setup, context, [&] {
    const runtime::ProfileResult result = runtime::profile(setup, context, wanted);
    if (result.rank == told) std::cout << render(result) << std::flush;
    return kDone;
  });
}

}  // namespace nemo::host
