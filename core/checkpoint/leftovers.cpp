#include "core/checkpoint/leftovers.hpp"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <system_error>
#include <vector>

#include "core/checkpoint/durable.hpp"

namespace nemo::checkpoint {
namespace fs = std::filesystem;
namespace {

constexpr const char* kPartial = ".partial-";
constexpr const char* kDeleting = ".deleting-";

// The lock says it exactly, also after a restart under the same pid. Where a file system has no locks on folders, the pid must do.
bool is_abandoned(const fs::path& partial) {
  const Descriptor folder(partial, O_RDONLY | O_DIRECTORY);
  if (try_lock(folder)) return true;
  if (errno == EWOULDBLOCK) return false;
  const std::string name = partial.filename().string();
  const long pid = std::strtol(name.c_str() + name.rfind('-') + 1, nullptr, 10);
  return pid > 0 && ::kill(static_cast<pid_t>(pid), 0) != 0 && errno == ESRCH;
}

}  // namespace

fs::path partial_path(const fs::path& final_dir) { return final_dir.string() + kPartial + std::to_string(::getpid()); }

void remove_leftovers(const fs::path& checkpoints) {
  const FolderLock alone(checkpoints);
  std::vector<fs::path> partial, deleting;
  for (const fs::directory_entry& entry : fs::directory_iterator(checkpoints)) {
    const std::string name = entry.path().filename().string();
    if (!entry.is_directory()) continue;
    if (name.find(kDeleting) != std::string::npos)
      deleting.push_back(entry.path());
    else if (name.find(kPartial) != std::string::npos)
      partial.push_back(entry.path());
  }
  std::error_code ignored;
  for (const fs::path& path : deleting) fs::remove_all(path, ignored);
  for (const fs::path& path : partial) {
    try {
      if (is_abandoned(path)) fs::remove_all(path, ignored);
    } catch (const std::system_error&) {
      continue;
    }
  }
}

}  // namespace nemo::checkpoint
