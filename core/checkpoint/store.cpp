#include "core/checkpoint/store.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <map>
#include <set>
#include <system_error>

#include "core/base/error.hpp"

namespace nemo::checkpoint {
namespace fs = std::filesystem;
namespace {

constexpr std::string_view kPrefix = "step_";

// -1 for any other folder: leftovers carry a suffix behind the number.
int64_t step_of(const std::string& name) {
  int64_t step = -1;
  if (!name.starts_with(kPrefix)) return -1;
  const char* end = name.data() + name.size();
  const auto [rest, error] = std::from_chars(name.data() + kPrefix.size(), end, step);
  return error == std::errc() && rest == end ? step : -1;
}

std::map<int64_t, fs::path> folders(const fs::path& directory) {
  std::map<int64_t, fs::path> found;
  if (!fs::is_directory(directory)) return found;
  for (const fs::directory_entry& entry : fs::directory_iterator(directory)) {
    const int64_t step = step_of(entry.path().filename().string());
    if (step >= 0 && entry.is_directory()) found[step] = entry.path();
  }
  return found;
}

// Higher is better; no metric is -infinity, below every real value.
double rank(const Entry& entry, const Retention& rule) {
  const auto metric = entry.facts.metrics.find(rule.monitor);
  if (metric == entry.facts.metrics.end() || std::isnan(metric->second)) return -INFINITY;
  return rule.mode == Mode::kMax ? metric->second : -metric->second;
}

}  // namespace

fs::path Store::path_of(int64_t step) const {
  char name[32];
  std::snprintf(name, sizeof name, "%s%08lld", kPrefix.data(), static_cast<long long>(step));
  return directory_ / name;
}

std::vector<Entry> Store::list() const {
  std::vector<Entry> entries;
  for (const auto& [step, path] : folders(directory_)) {
    try {
      entries.push_back({step, path, verify(path, Verify::kSizes).facts});
    } catch (const Error&) {
      continue;
    }
  }
  return entries;
}

Survey Store::survey(Verify depth) const {
  Survey found;
  const std::map<int64_t, fs::path> all = folders(directory_);
  for (auto it = all.rbegin(); it != all.rend() && !found.good; ++it) {
    try {
      found.good = Entry{it->first, it->second, verify(it->second, depth).facts};
    } catch (const Error& e) {
      found.damaged.push_back({it->first, it->second, e.what()});
    }
  }
  return found;
}

std::optional<Entry> Store::latest_good(Verify depth) const {
  Survey found = survey(depth);
  if (found.damaged.empty()) return found.good;
  std::string message = "the newest checkpoint cannot be used: " + found.damaged.front().reason;
  for (size_t i = 1; i < found.damaged.size(); ++i) message += "\nnor can the one before: " + found.damaged[i].reason;
  if (found.good)
    message += "\nthe last good checkpoint is " + found.good->path.string() + " (step " + std::to_string(found.good->step) +
               "); resume from it, or remove the damaged folder to have it taken";
  else
    message += "\nno other checkpoint in " + directory_.string() + " is good; remove the damaged folder to start anew";
  throw Error(Code::kDataLoss, message);
}

std::vector<Entry> Store::prune(const Retention& rule) const {
  std::vector<Entry> entries = list();
  std::vector<Entry> removed;
  if (rule.keep_top_k < 0) return removed;
  const auto count = static_cast<int64_t>(entries.size());
  std::set<int64_t> kept;
  for (int64_t i = std::max<int64_t>(0, count - rule.keep_last); i < count; ++i) kept.insert(entries[static_cast<size_t>(i)].step);
  std::sort(entries.begin(), entries.end(),
            [&](const Entry& a, const Entry& b) { return std::pair(rank(a, rule), a.step) > std::pair(rank(b, rule), b.step); });
  for (int64_t i = 0; i < count; ++i) {
    Entry& entry = entries[static_cast<size_t>(i)];
    if (i < rule.keep_top_k || kept.contains(entry.step)) continue;
    try {
      remove_directory(entry.path);
    } catch (const std::system_error& e) {
      throw Error(Code::kInternal, "cannot remove checkpoint " + entry.path.string() + ": " + e.what());
    }
    removed.push_back(std::move(entry));
  }
  return removed;
}

}  // namespace nemo::checkpoint
