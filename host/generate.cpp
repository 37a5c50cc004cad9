// host/generate.cpp - continues a prompt with a checkpoint.

#include <iostream>
#include <utility>

#include "core/base/error.hpp"
#include "core/runtime/generate.hpp"
#include "host/options.hpp"
#include "host/program.hpp"

namespace nemo::host {

namespace po = boost::program_options;

int generate(Program& program, const std::vector<std::string>& arguments) {
  const std::string usage = "nemo-host generate --checkpoint DIR --prompt TEXT [options] [section.key=value ...]";
  po::options_description options("options");
  options.add_options()("checkpoint", po::value<std::string>(), "checkpoint or run folder (its newest checkpoint)")(
      "prompt", po::value<std::string>(), "text to continue")("max-tokens", po::value<int64_t>()->default_value(200), "tokens to generate")(
      "temperature", po::value<double>()->default_value(1.0), "0 = greedy")("top-k", po::value<int64_t>()->default_value(0),
                                                                            "draw from the k most likely tokens; 0 = all")(
      "top-p", po::value<double>()->default_value(1.0), "draw from the most likely tokens that reach this probability")(
      "seed", po::value<int64_t>()->default_value(1234), "of the draws");
  const Parsed parsed = parse(arguments, usage, options);
  if (parsed.help) return kDone;
  for (const char* needed : {"checkpoint", "prompt"})
    if (!parsed.values.count(needed)) throw Error(Code::kConfig, std::string("--") + needed + " is missing\nusage: " + usage);
  require_overrides(parsed.positional);
  runtime::GenerateSettings settings{parsed.values["max-tokens"].as<int64_t>(),
                                     {parsed.values["temperature"].as<double>(), parsed.values["top-k"].as<int64_t>(),
                                      parsed.values["top-p"].as<double>(), parsed.values["seed"].as<int64_t>()}};
  const runtime::SamplingSettings& s = settings.sampling;
  if (!(s.temperature >= 0 && s.top_k >= 0 && s.top_p > 0 && s.top_p <= 1 && settings.max_tokens >= 0))
    throw Error(Code::kConfig, "--temperature and --top-k must be >= 0, --top-p in (0, 1], --max-tokens >= 0");
  const std::filesystem::path checkpoint = runtime::find_checkpoint(parsed.values["checkpoint"].as<std::string>());
  const std::string recipe = checkpoint::Reader(checkpoint, checkpoint::Verify::kSizes).recipe();
  const config::Document document = config::Document::parse(recipe, (checkpoint / "recipe.toml").string(), parsed.positional);
  const runtime::RunContext context = program.context();
  const runtime::Setup setup = runtime::make_setup(document, program.registry(document), context.warn);
  const std::string prompt = parsed.values["prompt"].as<std::string>();
  std::string pending = prompt;  // not shown before the first token, so that an error stands alone
  runtime::generate(setup, context, checkpoint, prompt, settings,
                    [&](const std::string& piece) { std::cout << std::exchange(pending, "") << piece << std::flush; });
  std::cout << pending << "\n";
  return interrupted() ? kInterrupted : kDone;
}

}  // namespace nemo::host
