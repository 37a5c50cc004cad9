#include "host/distributed.hpp"

#include <atomic>
#include <cstdlib>
#include <iostream>
#include <thread>

#include <spdlog/spdlog.h>

#include "core/config/render.hpp"
#include "core/dist/environment.hpp"
#include "core/dist/launcher.hpp"
#include "core/plugin/sha256.hpp"
#include "host/program.hpp"

namespace nemo::host {
namespace {

constexpr auto kAfterLauncher = std::chrono::milliseconds(400);  // its line, with the rank that has ended, comes first
constexpr auto kLastWords = std::chrono::milliseconds(1500);     // in which the other ranks hear from rank 0's store

// What must be the same on all ranks: a line for each fact, then the recipe.
std::string facts_of(const runtime::Setup& setup) {
  std::string text = "nemo-host " NEMO_HOST_VERSION " " + plugin::sha256_of_file("/proc/self/exe") + "\n";
  for (const plugin::Component* c : setup.components())
    text += std::string(plugin::kind_name(c->kind)) + " " + c->id + " " + c->version + " " + c->file_hash() + "\n";
  return text + config::to_toml(setup.configuration);
}

void check_world_size(const runtime::Setup& setup, const dist::Environment& environment) {
  const config::Section& trainer = setup.section("trainer");
  const int64_t wanted = trainer.get_int("devices") * trainer.get_int("num_nodes");
  if (wanted == 1 || wanted == environment.world_size) return;
  throw config::fault_at(trainer, "devices",
                         std::to_string(trainer.get_int("devices")) + " devices on " + std::to_string(trainer.get_int("num_nodes")) +
                             " nodes are " + std::to_string(wanted) + " ranks, but the launcher has started " +
                             std::to_string(environment.world_size) + " (WORLD_SIZE or SLURM_NTASKS)");
}

// The first thread that finds the run failed reports it; another one waits for the process to end.
std::atomic<bool> reported{false};
void claim_report() {
  while (reported.exchange(true)) std::this_thread::sleep_for(std::chrono::hours(1));
}

[[noreturn]] void end_process(const dist::Environment& me, int code) {
  std::cerr << std::flush;
  if (me.rank == 0) std::this_thread::sleep_for(kLastWords);
  std::_Exit(code);
}

// Another rank has failed for `reason`. Rank 0 tells it for all; where rank 0 is what failed, its launcher does.
[[noreturn]] void end_after_other(const dist::Environment& me, const std::string& reason) {
  const bool tells = me.rank == 0 || !me.own_launcher;
  std::this_thread::sleep_for(tells ? kAfterLauncher : kLastWords);  // the launcher names the rank that ends first
  if (tells) std::cerr << "error: rank " + std::to_string(me.rank) + " stops: " + reason + "\n";
  end_process(me, kFailed);
}

[[noreturn]] void end_after_own(dist::World& world, const std::string& what, bool follows, int code) {
  claim_report();
  const std::string own = "rank " + std::to_string(world.rank()) + ": " + what;
  const std::string reason = world.fail(own, follows);
  if (reason.ends_with(": " + what) && reason != own) {  // the same mistake, told by another rank, which needs the time to
    std::this_thread::sleep_for(kLastWords);
    end_process(world.environment(), code);
  }
  if (reason != own) end_after_other(world.environment(), reason);
  std::cerr << "error: " + own + "\n";
  end_process(world.environment(), code);
}

dist::WorldOptions world_options(const runtime::Setup& setup, const dist::Environment& me) {
  dist::WorldOptions options;
  options.watchdog = std::chrono::seconds(setup.section("trainer").get_int("watchdog_timeout"));
  options.on_failure = [me](const std::string& failure) {
    claim_report();
    end_after_other(me, failure);
  };
  return options;
}

}  // namespace

void quiet_unless_first() {
  const auto environment = dist::read_environment(std::getenv);
  if (environment && environment->rank > 0) spdlog::set_level(spdlog::level::err);
}

std::optional<int> launch_ranks(const runtime::Setup& setup, const runtime::RunContext& context,
                                const std::vector<std::string>& arguments) {
  const config::Section& trainer = setup.section("trainer");
  const int64_t devices = trainer.get_int("devices"), nodes = trainer.get_int("num_nodes");
  if (devices * nodes == 1 || dist::read_environment(std::getenv)) return std::nullopt;
  dist::LaunchPlan plan{devices, nodes, nodes > 1 ? dist::read_node(std::getenv) : std::nullopt, arguments};
  if (nodes > 1 && !plan.node)
    throw config::fault_at(trainer, "num_nodes",
                           std::to_string(nodes) +
                               " nodes need a launcher: start the run with srun or torchrun, or on every node with "
                               "NODE_RANK, MASTER_ADDR and MASTER_PORT set");
  const auto print = [](const std::string& line) { std::cerr << "error: " + line + "\n" << std::flush; };
  const int64_t restarts = trainer.get_int("max_restarts");
  for (int64_t n = 0;; ++n) {
    const dist::LaunchResult result = dist::launch(plan, *context.interrupted, print);
    if (result.failure.empty() || n >= restarts || context.interrupted->load() || result.exit_code == kUsage) return result.exit_code;
    context.warn("restart " + std::to_string(n + 1) + " of " + std::to_string(restarts) + " from the newest checkpoint");
    if (n == 0) plan.arguments.emplace_back("checkpoint.resume=if-exists");
  }
}

int as_rank(const runtime::Setup& setup, runtime::RunContext& context, const std::function<int()>& body) {
  const auto environment = dist::read_environment(std::getenv);
  if (!environment) return body();
  check_world_size(setup, *environment);
  dist::World world(*environment, world_options(setup, *environment));
  try {
    world.require_agreement("what they run", facts_of(setup));
    context.world = &world;
    const int code = body();
    world.leave();
    return code;
  } catch (const Error& e) {
    end_after_own(world, e.what(), e.code() == Code::kPeer, exit_code(e));
  } catch (const std::exception& e) {
    end_after_own(world, e.what(), false, kFailed);
  }
}

}  // namespace nemo::host
