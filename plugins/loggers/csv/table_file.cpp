#include "table_file.hpp"

#include <algorithm>
#include <charconv>
#include <fstream>

#include "nemo/cpp/core.hpp"

namespace nemo::loggers {
namespace {

std::string quoted(std::string_view cell) {
  if (cell.find_first_of(",\"\r\n") == std::string_view::npos) return std::string(cell);
  std::string out = "\"";
  for (const char c : cell) out.append(c == '"' ? 2 : 1, c);
  return out + "\"";
}

std::vector<std::string> cells_of(const std::string& row) {
  std::vector<std::string> cells(1);
  bool quotes = false;
  for (size_t i = 0; i < row.size(); ++i) {
    if (row[i] == '"' && quotes && i + 1 < row.size() && row[i + 1] == '"')
      cells.back() += row[++i];
    else if (row[i] == '"')
      quotes = !quotes;
    else if (row[i] == ',' && !quotes)
      cells.emplace_back();
    else
      cells.back() += row[i];
  }
  return cells;
}

std::string number(double value) {
  char text[32];
  return {text, std::to_chars(text, text + sizeof text, value).ptr};
}

int64_t step_of(const std::string& row) {
  int64_t step = -1;
  const char* end = row.data() + row.size();
  const auto [rest, error] = std::from_chars(row.data(), end, step);
  return error == std::errc() && (rest == end || *rest == ',') ? step : -1;
}

// Complete rows; a last one without its newline is left out. A newline within quotes belongs to the cell.
std::vector<std::string> rows_of(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) sdk::file_fault("read", path);
  std::vector<std::string> rows;
  std::string row;
  for (std::string line; std::getline(in, line) && !in.eof();) {
    row += line;
    if (std::count(row.begin(), row.end(), '"') % 2 == 0)
      rows.push_back(std::exchange(row, {}));
    else
      row += '\n';
  }
  return rows;
}

}  // namespace

TableFile::TableFile(std::string path, int64_t first_step) : path_(std::move(path)) {
  if (sdk::is_regular_file(path_)) load(first_step);
  if (!file_) file_ = sdk::OutputFile(path_, sdk::OutputFile::Mode::kAppend);
}

void TableFile::load(int64_t first_step) {
  std::vector<std::string> rows = rows_of(path_);
  const std::vector<std::string> names = rows.empty() ? std::vector<std::string>{} : cells_of(rows.front());
  if (!names.empty() && names.front() != "step")
    throw sdk::Error(NEMO_CODE_DATA_LOSS, path_ + ":1: not a table of metrics (its first column is not \"step\"); move it away")
        .with("file", path_);
  if (!rows.empty()) rows.erase(rows.begin());
  std::erase_if(rows, [&](const std::string& row) {
    const int64_t step = step_of(row);
    return step < 0 || step >= first_step || cells_of(row).size() != names.size();
  });
  if (!rows.empty()) columns_.assign(names.begin() + 1, names.end());
  rewrite(rows);
}

std::string TableFile::header() const {
  if (columns_.empty()) return "";
  std::string text = "step";
  for (const std::string& name : columns_) text += "," + quoted(name);
  return text + "\n";
}

void TableFile::rewrite(const std::vector<std::string>& rows) {
  std::string text = header();
  for (const std::string& row : rows) text += row + "\n";
  sdk::OutputFile beside(path_ + ".tmp", sdk::OutputFile::Mode::kReplace);
  beside.write(text);
  beside.replace(path_);
  file_ = std::move(beside);
}

void TableFile::add_columns(const std::vector<std::pair<std::string_view, double>>& metrics) {
  std::vector<std::string> fresh;
  for (const auto& [name, value] : metrics)
    if (std::find(columns_.begin(), columns_.end(), name) == columns_.end()) fresh.emplace_back(name);
  if (fresh.empty()) return;
  const bool first = columns_.empty();
  columns_.insert(columns_.end(), fresh.begin(), fresh.end());
  if (!sdk::is_regular_file(path_)) return first ? file_.write(header()) : void();
  std::vector<std::string> rows = first ? std::vector<std::string>{} : rows_of(path_);
  if (!rows.empty()) rows.erase(rows.begin());
  for (std::string& row : rows) row.append(fresh.size(), ',');
  rewrite(rows);
}

void TableFile::append(int64_t step, const std::vector<std::pair<std::string_view, double>>& metrics) {
  add_columns(metrics);
  std::string row = std::to_string(step);
  for (const std::string& column : columns_) {
    const auto cell = std::find_if(metrics.begin(), metrics.end(), [&](const auto& m) { return m.first == column; });
    row += ',';
    if (cell != metrics.end()) row += number(cell->second);
  }
  file_.write(row + "\n");
}

}  // namespace nemo::loggers
