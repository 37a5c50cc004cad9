// host/main.cpp - the command line: picks the subcommand, turns errors into messages and exit codes.

#include <cstdio>
#include <iostream>

#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include "core/base/error.hpp"
#include "core/base/nearest.hpp"
#include "host/program.hpp"

namespace {

using nemo::host::kDone;

constexpr const char* kHelp = R"(nemo-host - train, fine-tune and run language models from TOML recipes and plugins

usage: nemo-host --recipe FILE [section.key=value ...]      run the recipe's task (job.task)
       nemo-host COMMAND [options]

commands
  pretrain    train from random weights, or go on from the run's newest checkpoint
  validate    measure the loss of a checkpoint on the validation split
  plan        memory, communication and speed of a run on any number of devices, without one
  generate    continue a prompt with a checkpoint
  profile     time a training step by kind of op, against what the device reaches
  import      make a checkpoint of a Hugging Face model folder
  export      make a Hugging Face model folder of a checkpoint
  parity      compare a Hugging Face model folder with golden outputs
  plugins     list | inspect ID: what can be named in a recipe, and its settings
  recipes     list | show NAME: the shipped recipes

  --version   print the version
  --help      this text; `nemo-host COMMAND --help` explains a command

exit codes: 0 done, 1 the run failed, 2 wrong usage or configuration, 130 interrupted
)";

int dispatch(nemo::host::Program& program, const std::string& command, const std::vector<std::string>& rest) {
  if (command == "pretrain" || command == "validate") return run(program, command, rest);
  if (command == "plan") return plan(program, rest);
  if (command == "generate") return generate(program, rest);
  if (command == "profile") return profile(program, rest);
  if (command == "import") return import_folder(program, rest);
  if (command == "export") return export_checkpoint(program, rest);
  if (command == "parity") return parity(program, rest);
  if (command == "plugins") return plugins(program, rest);
  if (command == "recipes") return recipes(program, rest);
  const std::vector<std::string> known{"pretrain", "validate", "plan",   "generate", "profile",
                                       "import",   "export",   "parity", "plugins",  "recipes"};
  const std::string near = nemo::nearest_name(command, known);
  throw nemo::Error(nemo::Code::kConfig, "unknown command '" + command + "'" + (near.empty() ? "" : "; did you mean '" + near + "'?") +
                                             " (see nemo-host --help)");
}

int start(const std::vector<std::string>& arguments) {
  const std::string first = arguments.empty() ? "--help" : arguments[0];
  if (first == "--version") {
    std::puts("nemo-host " NEMO_HOST_VERSION);
    return kDone;
  }
  if (first == "--help" || first == "-h" || first == "help") {
    std::fputs(kHelp, stdout);
    return arguments.empty() ? nemo::host::kUsage : kDone;
  }
  spdlog::set_default_logger(spdlog::stderr_color_st("nemo"));
  spdlog::set_pattern("%^%l%$: %v");
  nemo::host::catch_interrupts();
  nemo::host::Program program;
  if (first.starts_with("-")) return run(program, "", arguments);
  return dispatch(program, first, {arguments.begin() + 1, arguments.end()});
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return start({argv + 1, argv + argc});
  } catch (const nemo::Error& e) {
    std::cerr << "error: " << e.what() << "\n";
    return nemo::host::exit_code(e);
  } catch (const std::exception& e) {
    std::cerr << "error: " << e.what() << "\n";
    return nemo::host::kFailed;
  }
}
