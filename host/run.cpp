// host/run.cpp - pretrain, validate and --recipe: resolves a recipe, plans it, and runs its task.

#include <cstdio>
#include <iostream>
#include <set>

#include <spdlog/spdlog.h>

#include "core/base/error.hpp"
#include "core/config/render.hpp"
#include "core/config/resolver.hpp"
#include "core/planner/warnings.hpp"
#include "core/runtime/run_folder.hpp"
#include "host/distributed.hpp"
#include "host/options.hpp"
#include "host/program.hpp"

namespace nemo::host {
namespace {

namespace po = boost::program_options;

// "after:partition" -> prints the graph behind that pass of every program.
std::function<void(std::string_view, const graph::Graph&)> graph_printer(const std::vector<std::string>& requests) {
  std::set<std::string, std::less<>> wanted;
  for (const std::string& request : requests) {
    const std::string pass = request.starts_with("after:") ? request.substr(6) : "";
    const auto& names = passes::pass_names();
    if (std::find(names.begin(), names.end(), pass) == names.end()) {
      std::string known;
      for (const std::string& n : names) known += " after:" + n;
      throw Error(Code::kConfig, "--print-graph=" + request + ": expected one of" + known);
    }
    wanted.insert(pass);
  }
  if (wanted.empty()) return nullptr;
  return [wanted](std::string_view pass, const graph::Graph& g) {
    if (wanted.contains(pass)) std::cout << "graph after " << pass << "\n" << print(g) << std::flush;
  };
}

void print_passes(const runtime::Engine& engine) {
  const auto& times = engine.compiled(passes::Purpose::kTrain).times;
  std::cout << "compile passes (train)\n";
  for (const passes::PassTime& t : times) std::printf("  %-16s%10.3f ms\n", t.name.c_str(), t.milliseconds);
}

int dry_run(const runtime::Setup& setup, const runtime::RunContext& context) {
  std::cout << config::render_table(setup.configuration) << "\n" << std::flush;
  const runtime::TrainLoop loop(setup, context);
  const runtime::Engine& engine = loop.engine();
  std::cout << render(engine.report());
  const int64_t micro_batches =
      setup.section("data").get_int("global_batch_size") / (engine.facts().micro_batch_size * engine.ranks().data_shards());
  if (const std::string text = planner::narrow_gradients(engine.precision(), micro_batches); !text.empty()) context.warn(text);
  print_passes(engine);
  return kDone;
}

int pretrain(const runtime::Setup& setup, const runtime::RunContext& context) {
  runtime::TrainLoop loop(setup, context);
  return loop.run() == runtime::Outcome::kInterrupted ? kInterrupted : kDone;
}

int validate(const runtime::Setup& setup, const runtime::RunContext& context, const po::variables_map& values) {
  const std::filesystem::path given =
      values.count("checkpoint") ? std::filesystem::path(values["checkpoint"].as<std::string>()) : runtime::run_folder(setup);
  const std::filesystem::path checkpoint = runtime::find_checkpoint(given);
  const double loss = runtime::validate_checkpoint(setup, context, checkpoint);
  if (context.world != nullptr && context.world->rank() != 0) return kDone;
  std::cout << "val_loss " << loss << "  (" << checkpoint.string() << ")\n";
  return kDone;
}

po::options_description options_of(const std::string& task) {
  po::options_description options("options");
  options.add_options()("recipe,r", po::value<std::string>(), "recipe file, or the name of a shipped recipe")(
      "dry-run", "show resolved settings and the memory plan, run nothing")(
      "print-graph", po::value<std::vector<std::string>>()->composing(), "print the graph behind a pass, e.g. after:partition");
  if (task != "pretrain")
    options.add_options()("checkpoint", po::value<std::string>(), "validate: checkpoint or run folder (default: the recipe's run)");
  return options;
}

}  // namespace

int run(Program& program, const std::string& task, const std::vector<std::string>& arguments) {
  const std::string usage = "nemo-host " + (task.empty() ? "" : task + " ") + "--recipe FILE [options] [section.key=value ...]";
  const Parsed parsed = parse(arguments, usage, options_of(task));
  if (parsed.help) return kDone;
  if (!parsed.values.count("recipe"))
    throw Error(Code::kConfig, "no recipe given\nusage: " + usage + "\n`nemo-host recipes list` shows the shipped ones");
  require_overrides(parsed.positional);
  const auto folders = recipe_folders();
  const config::Document document = config::Document::load(parsed.values["recipe"].as<std::string>(), folders, parsed.positional);
  quiet_unless_first();
  runtime::RunContext context = program.context();
  if (parsed.values.count("print-graph")) context.observe = graph_printer(parsed.values["print-graph"].as<std::vector<std::string>>());
  const runtime::Setup setup = runtime::make_setup(document, program.registry(document), context.warn);
  if (parsed.values.count("dry-run")) return dry_run(setup, context);
  const std::string chosen = task.empty() ? setup.section("job").get_string("task") : task;
  std::vector<std::string> whole = arguments;
  if (!task.empty()) whole.insert(whole.begin(), task);
  const auto known = [&](const char* name) { return chosen == name; };
  if (known("pretrain") || known("validate")) {
    if (const auto code = launch_ranks(setup, context, whole)) return *code;
    return as_rank(setup, context, [&] { return known("pretrain") ? pretrain(setup, context) : validate(setup, context, parsed.values); });
  }
  throw config::fault_at(setup.section("job"), "task",
                         "'" + chosen + "' cannot be run from a recipe yet; pretrain and validate can, generate is a command");
}

}  // namespace nemo::host
