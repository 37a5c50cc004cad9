#include "progress.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace nemo::loggers {
namespace {

constexpr int kBarCells = 20;

template <class... Values>
std::string text(const char* format, Values... values) {
  char out[160];
  std::snprintf(out, sizeof out, format, values...);
  return out;
}

}  // namespace

std::string clock_text(double seconds) {
  if (!(seconds >= 0) || seconds > 1e9) return "--:--";
  const auto whole = std::llround(seconds);
  if (whole < 3600) return text("%lld:%02lld", whole / 60, whole % 60);
  return text("%lld:%02lld:%02lld", whole / 3600, whole / 60 % 60, whole % 60);
}

void Progress::begin(double now) { begin_ = now; }

void Progress::begin_step(int64_t step) {
  const auto val_loss = latest_.find("val_loss");
  const bool known = val_loss != latest_.end();
  const double value = known ? val_loss->second : 0;
  latest_.clear();
  if (known) latest_["val_loss"] = value;
  step_ = step;
  validated_ = false;
}

void Progress::metric(std::string_view name, double value) {
  latest_.insert_or_assign(std::string(name), value);
  validated_ = validated_ || name == "val_loss";
}

void Progress::end_step(double now) {
  if (first_end_ < 0) first_end_ = now;
  last_end_ = now;
}

double Progress::eta() const {
  const int64_t timed = step_ - first_step_;
  if (is_last()) return 0;
  if (first_end_ < 0 || timed < 1) return -1;
  return (last_end_ - first_end_) / static_cast<double>(timed) * static_cast<double>(max_steps_ - step_);
}

std::string Progress::numbers(Validation which) const {
  std::string out;
  const auto add = [&](const char* name, const char* format) {
    if (const auto found = latest_.find(name); found != latest_.end()) out += text(format, found->second);
  };
  add("loss", "  loss %.4f");
  add("lr", "  lr %.1e");
  add("tokens_per_s", "  tok/s %.0f");
  if (which == Validation::kLastKnown || validated_) add("val_loss", "  val_loss %.4f");
  return out + "  eta " + clock_text(eta());
}

std::string Progress::line() const {
  return text("step %lld/%lld", static_cast<long long>(step_), static_cast<long long>(max_steps_)) + numbers(Validation::kThisStep);
}

std::string Progress::bar(int columns) const {
  const double share = max_steps_ > 0 ? std::clamp(static_cast<double>(step_) / static_cast<double>(max_steps_), 0.0, 1.0) : 0;
  const int full = static_cast<int>(share * kBarCells);
  std::string cells(static_cast<size_t>(full), '=');
  if (full < kBarCells) cells += '>';
  cells.resize(kBarCells, ' ');
  std::string out =
      "[" + cells + "]" +
      text(" %3d%%  %lld/%lld", static_cast<int>(share * 100), static_cast<long long>(step_), static_cast<long long>(max_steps_)) +
      numbers(Validation::kLastKnown);
  if (columns > 1 && out.size() >= static_cast<size_t>(columns)) out.resize(static_cast<size_t>(columns) - 1);
  return out;
}

std::string Progress::summary(std::string_view status, std::string_view message, double now) const {
  const int64_t steps = step_ == 0 ? 0 : step_ - first_step_ + 1;
  std::string out(status);
  if (status != "done")
    out += text(" after step %lld/%lld", static_cast<long long>(step_ == 0 ? first_step_ - 1 : step_), static_cast<long long>(max_steps_));
  out += text(": %lld steps in ", static_cast<long long>(steps)) + clock_text(now - begin_);
  if (const auto loss = latest_.find("loss"); loss != latest_.end()) out += text(", loss %.4f", loss->second);
  if (const auto loss = latest_.find("val_loss"); loss != latest_.end()) out += text(", val_loss %.4f", loss->second);
  if (!message.empty()) out += ": " + std::string(message);
  return out;
}

}  // namespace nemo::loggers
