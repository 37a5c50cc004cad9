// plugins/loggers/csv/table_file.hpp - metrics.csv: a table that may get further columns and that a killed process leaves usable.
//
// The rule: the first row is the header; column 1 is "step"; the others are metric names in the order in which they first came. A name
// that comes later gets a new column at the right: the file is rewritten once for it, and earlier rows have an empty cell there. A metric
// that is absent in a step is an empty cell. Cells are quoted as in RFC 4180 where they need it; rows end with a newline.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "nemo/cpp/output_file.hpp"

namespace nemo::loggers {

class TableFile {
 public:
  // Continues the table at `path` if there is one: its header stays, rows of steps >= first_step and a torn last row are dropped
  // (written beside and renamed). Without an earlier row that stays, the table starts anew. Throws nemo::sdk::Error with file and reason.
  // A path that is no regular file is only appended to.
  TableFile(std::string path, int64_t first_step);

  void append(int64_t step, const std::vector<std::pair<std::string_view, double>>& metrics);
  void sync() { file_.sync(); }

 private:
  void load(int64_t first_step);
  void add_columns(const std::vector<std::pair<std::string_view, double>>& metrics);
  void rewrite(const std::vector<std::string>& rows);
  [[nodiscard]] std::string header() const;

  std::string path_;
  std::vector<std::string> columns_;  // without "step"
  sdk::OutputFile file_;
};

}  // namespace nemo::loggers
