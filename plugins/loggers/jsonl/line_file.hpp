// plugins/loggers/jsonl/line_file.hpp - metrics.jsonl as a file of lines that a killed process leaves usable.
#pragma once

#include <cstdint>
#include <string>

#include "nemo/cpp/output_file.hpp"

namespace nemo::loggers {

class LineFile {
 public:
  // Opens for appending, making the file if need be. First drops lines of steps >= first_step, a torn last line, and anything that is not
  // a metrics line, by writing the rest beside it and renaming: a kill leaves the old file or the new one. Returns through *dropped how
  // many lines were no metrics lines. Throws nemo::sdk::Error with file and reason. A path that is no regular file (a pipe) is only
  // appended to.
  LineFile(std::string path, int64_t first_step, int64_t* dropped);

  // One write call for the whole line, so a kill tears at most the last one.
  void append(const std::string& line) { file_.write(line); }
  void sync() { file_.sync(); }

 private:
  sdk::OutputFile file_;
};

}  // namespace nemo::loggers
