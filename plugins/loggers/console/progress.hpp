// plugins/loggers/console/progress.hpp - what a run looks like as text: a bar for terminals, lines for everything else. Writes nothing.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

namespace nemo::loggers {

// "0:42", "1:02:03"; "--:--" for a negative (unknown) time.
[[nodiscard]] std::string clock_text(double seconds);

// The numbers of the run so far. Times are seconds on any steady clock.
class Progress {
 public:
  Progress(int64_t first_step, int64_t max_steps) : first_step_(first_step), max_steps_(max_steps) {}

  void begin(double now);
  // Metrics of one step come between begin_step and end_step. val_loss stays known until the next one.
  void begin_step(int64_t step);
  void metric(std::string_view name, double value);
  void end_step(double now);

  [[nodiscard]] int64_t step() const { return step_; }
  [[nodiscard]] bool validated() const { return validated_; }  // this step brought val_loss
  [[nodiscard]] bool is_last() const { return step_ >= max_steps_; }
  // Seconds left, by the mean time of the steps after the first, which has the start-up in it; -1 if unknown.
  [[nodiscard]] double eta() const;

  // "step 100/2000  loss 2.1234  lr 1.0e-03  tok/s 12345  eta 0:42"; val_loss where this step was validated.
  [[nodiscard]] std::string line() const;
  // "[=====>    ]  25%  500/2000  loss 2.1234  lr 1.0e-03  tok/s 12345  val_loss 1.9876  eta 0:42", at most `columns` wide.
  [[nodiscard]] std::string bar(int columns) const;
  // "done: 2000 steps in 1:23, loss 1.5312, val_loss 1.6123"
  [[nodiscard]] std::string summary(std::string_view status, std::string_view message, double now) const;

 private:
  enum class Validation { kThisStep, kLastKnown };
  [[nodiscard]] std::string numbers(Validation which) const;
  int64_t first_step_, max_steps_, step_ = 0;
  double begin_ = 0, first_end_ = -1, last_end_ = -1;
  std::map<std::string, double, std::less<>> latest_;
  bool validated_ = false;
};

}  // namespace nemo::loggers
