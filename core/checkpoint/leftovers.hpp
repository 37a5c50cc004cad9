// core/checkpoint/leftovers.hpp - folders of saves and removals that a dead process did not finish.
#pragma once

#include <filesystem>

namespace nemo::checkpoint {

// <final_dir>.partial-<pid of this process>
[[nodiscard]] std::filesystem::path partial_path(const std::filesystem::path& final_dir);

// Removes *.partial-PID whose lock nobody holds, and *.deleting-PID. What cannot be removed stays for the next save.
void remove_leftovers(const std::filesystem::path& checkpoints);

}  // namespace nemo::checkpoint
