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
using nemo::host::Program;
using Words = std::vector<std::string>;

struct Command {
  const char* name;
  const char* help;
  int (*run)(Program&, const Words&);
};

int pretrain(Program& program, const Words& rest) { return nemo::host::run(program, "pretrain", rest); }
int validate(Program& program, const Words& rest) { return nemo::host::run(program, "validate", rest); }
int tokenize(Program&, const Words& rest) { return nemo::host::tokenize(rest); }
int data(Program&, const Words& rest) { return nemo::host::data(rest); }

const Command kCommands[] = {
    {"pretrain", "train from random weights, or go on from the run's newest checkpoint", pretrain},
    {"validate", "measure the loss of a checkpoint on the validation split", validate},
    {"plan", "memory, communication and speed of a run on any number of devices, without one", nemo::host::plan},
    {"profile", "time a training step by kind of op, against what the device reaches", nemo::host::profile},
    {"generate", "continue prompts with a checkpoint", nemo::host::generate},
    {"evaluate", "perplexity of texts, accuracy on multiple-choice questions", nemo::host::evaluate},
    {"tokenize", "what a tokenizer makes of text, and how it writes a chat", tokenize},
    {"data", "prepare: texts to Megatron's .bin/.idx with any tokenizer", data},
    {"import", "make a checkpoint of a Hugging Face model folder", nemo::host::import_folder},
    {"export", "make a Hugging Face model folder of a checkpoint", nemo::host::export_checkpoint},
    {"parity", "compare a Hugging Face model folder with golden outputs", nemo::host::parity},
    {"plugins", "list | inspect ID: what can be named in a recipe, and its settings", nemo::host::plugins},
    {"recipes", "list | show NAME: the shipped recipes", nemo::host::recipes},
};

void print_help() {
  std::puts(
      "nemo-host - train, fine-tune and run language models from TOML recipes and plugins\n\n"
      "usage: nemo-host --recipe FILE [section.key=value ...]      run the recipe's task (job.task)\n"
      "       nemo-host COMMAND [options]\n\ncommands");
  for (const Command& c : kCommands) std::printf("  %-11s %s\n", c.name, c.help);
  std::puts(
      "\n  --version   print the version\n  --help      this text; `nemo-host COMMAND --help` explains a command\n\n"
      "exit codes: 0 done, 1 the run failed, 2 wrong usage or configuration, 130 interrupted");
}

int dispatch(Program& program, const std::string& command, const Words& rest) {
  Words known;
  for (const Command& c : kCommands) {
    if (command == c.name) return c.run(program, rest);
    known.emplace_back(c.name);
  }
  const std::string near = nemo::nearest_name(command, known);
  throw nemo::Error(nemo::Code::kConfig, "unknown command '" + command + "'" + (near.empty() ? "" : "; did you mean '" + near + "'?") +
                                             " (see nemo-host --help)");
}

int start(const Words& arguments) {
  const std::string first = arguments.empty() ? "--help" : arguments[0];
  if (first == "--version") {
    std::puts("nemo-host " NEMO_HOST_VERSION);
    return kDone;
  }
  if (first == "--help" || first == "-h" || first == "help") {
    print_help();
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
