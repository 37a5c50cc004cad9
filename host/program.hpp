// host/program.hpp - what every subcommand shares: logging, interruption, plugins, recipes, exit codes.
#pragma once

#include <atomic>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "core/base/error.hpp"
#include "core/config/document.hpp"
#include "core/plugin/registry.hpp"
#include "core/runtime/train_loop.hpp"

namespace nemo::host {

// Exit codes that scripts rely on.
constexpr int kDone = 0, kFailed = 1, kUsage = 2, kInterrupted = 130;

// Everything that lives as long as the process does its work. Made once by main; [host-thread].
class Program {
 public:
  Program();
  // Plugins of the standard folders and of `paths`.
  plugin::Registry& registry(const std::vector<std::filesystem::path>& paths, const std::filesystem::path& recipe_folder);
  // Plugins as the recipe's [plugins].paths says.
  plugin::Registry& registry(const config::Document& document);
  [[nodiscard]] runtime::RunContext context() const;

 private:
  plugin::HostTable table_;
  std::unique_ptr<plugin::Registry> registry_;
};

// Folders with shipped recipes: <executable>/../share/nemo/recipes.
[[nodiscard]] std::vector<std::filesystem::path> recipe_folders();
// The recipe that a checkpoint was made with, under overrides. Its [backend] is that of the device that trained it and is left out unless
// an override names it: the checkpoint may be used on another.
[[nodiscard]] config::Document checkpoint_document(const std::filesystem::path& checkpoint, const std::vector<std::string>& overrides);

// Folders with shipped hardware files: <executable>/../share/nemo/hardware.
[[nodiscard]] std::vector<std::filesystem::path> hardware_folders();

// Set by Ctrl-C; the run ends after the step. A second Ctrl-C ends the process at once.
[[nodiscard]] const std::atomic<bool>& interrupted();
void catch_interrupts();
// What was interrupted has ended, and the program goes on.
void forget_interrupt();

// kUsage for mistakes of the user, kInterrupted, else kFailed.
[[nodiscard]] int exit_code(const Error& error);

// Subcommands; arguments are those behind the command's name. They return an exit code or throw nemo::Error.
int run(Program& program, const std::string& task, const std::vector<std::string>& arguments);
int plan(Program& program, const std::vector<std::string>& arguments);
int generate(Program& program, const std::vector<std::string>& arguments);
int evaluate(Program& program, const std::vector<std::string>& arguments);
int tokenize(const std::vector<std::string>& arguments);
int data(const std::vector<std::string>& arguments);
int plugins(Program& program, const std::vector<std::string>& arguments);
int profile(Program& program, const std::vector<std::string>& arguments);
int recipes(Program& program, const std::vector<std::string>& arguments);
int import_folder(Program& program, const std::vector<std::string>& arguments);
int export_checkpoint(Program& program, const std::vector<std::string>& arguments);
int parity(Program& program, const std::vector<std::string>& arguments);

// The sections beside [model] of an imported checkpoint's recipe.
inline constexpr const char* kImportedRecipe = "[data]\nplugin = \"mock\"\n";

}  // namespace nemo::host
