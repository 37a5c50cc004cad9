// plugins/loggers/tensorboard/event_file.hpp - TensorBoard's event files, written by hand.
//
// A file is a sequence of TFRecords: length (8 bytes, little-endian), masked CRC-32C of these 8 bytes, payload, masked CRC-32C of the
// payload; masked(c) = rotate_right(c, 15) + 0xa282ead8. Each payload is one protocol buffer tensorflow.Event:
//   1 wall_time: double   2 step: int64   3 file_version: string   5 summary   7 session_log { 1 status, START = 1 }
//   summary { 1 value* { 1 tag: string, 2 simple_value: float } }
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "nemo/cpp/output_file.hpp"

namespace nemo::loggers {

[[nodiscard]] uint32_t crc32c(std::string_view bytes);
[[nodiscard]] std::string record(std::string_view payload);

class EventFile {
 public:
  // Makes a new file in `directory` (made if need be) that TensorBoard reads after those that are there. Points of steps >= first_step
  // in them are dropped by the reader: the file starts with a session START at first_step. Throws nemo::sdk::Error with file and reason.
  EventFile(const std::string& directory, int64_t first_step);

  // One record, handed to the operating system at once.
  void scalars(int64_t step, const std::vector<std::pair<std::string_view, double>>& values);
  void sync() { file_.sync(); }

 private:
  void write(const std::string& payload) { file_.write(record(payload)); }
  sdk::OutputFile file_;
};

}  // namespace nemo::loggers
