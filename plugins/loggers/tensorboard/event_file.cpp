#include "event_file.hpp"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>

namespace nemo::loggers {
namespace {

constexpr std::string_view kPrefix = "events.out.tfevents.";

constexpr std::array<uint32_t, 256> castagnoli() {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t c = i;
    for (int bit = 0; bit < 8; ++bit) c = (c >> 1) ^ ((c & 1) != 0 ? 0x82f63b78u : 0u);
    table[i] = c;
  }
  return table;
}

uint32_t masked(uint32_t crc) { return ((crc >> 15) | (crc << 17)) + 0xa282ead8u; }

template <class T>
void put_raw(std::string& out, T value) {
  char bytes[sizeof value];
  std::memcpy(bytes, &value, sizeof value);
  out.append(bytes, sizeof value);
}

void put_varint(std::string& out, uint64_t value) {
  for (; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80);
  out += static_cast<char>(value);
}

enum Wire : uint64_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };
void put_key(std::string& out, uint64_t field, Wire wire) { put_varint(out, field << 3 | wire); }

void put_bytes(std::string& out, uint64_t field, std::string_view bytes) {
  put_key(out, field, kBytes);
  put_varint(out, bytes.size());
  out += bytes;
}

std::string event(int64_t step) {
  std::string out;
  put_key(out, 1, kFixed64);
  put_raw(out, std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count());
  put_key(out, 2, kVarint);
  put_varint(out, static_cast<uint64_t>(step));
  return out;
}

// TensorBoard reads files in the order of their names, which start with a time in seconds: the new one must come last.
int64_t next_time(const std::string& directory) {
  int64_t time = std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count();
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    const std::string name = entry.path().filename().string();
    if (name.rfind(kPrefix, 0) == 0) time = std::max<int64_t>(time, std::strtoll(name.c_str() + kPrefix.size(), nullptr, 10) + 1);
  }
  return time;
}

std::string new_path(const std::string& directory) {
  std::error_code error;
  std::filesystem::create_directories(directory, error);
  if (error) sdk::file_fault("make folder", directory, error.message());
  char host[256] = "localhost";
  ::gethostname(host, sizeof host - 1);
  char name[400];
  std::snprintf(name, sizeof name, "/%s%010lld.%s.%d", kPrefix.data(), static_cast<long long>(next_time(directory)), host, ::getpid());
  return directory + name;
}

}  // namespace

uint32_t crc32c(std::string_view bytes) {
  static constexpr std::array<uint32_t, 256> kTable = castagnoli();
  uint32_t crc = ~0u;
  for (const char c : bytes) crc = kTable[(crc ^ static_cast<uint8_t>(c)) & 0xff] ^ (crc >> 8);
  return ~crc;
}

std::string record(std::string_view payload) {
  std::string out;
  put_raw(out, static_cast<uint64_t>(payload.size()));
  put_raw(out, masked(crc32c(out)));
  out += payload;
  put_raw(out, masked(crc32c(payload)));
  return out;
}

EventFile::EventFile(const std::string& directory, int64_t first_step) : file_(new_path(directory), sdk::OutputFile::Mode::kNew) {
  std::string version = event(0);
  put_bytes(version, 3, "brain.Event:2");
  write(version);
  std::string status;
  put_key(status, 1, kVarint);
  put_varint(status, 1);
  std::string session = event(first_step);
  put_bytes(session, 7, status);
  write(session);
}

void EventFile::scalars(int64_t step, const std::vector<std::pair<std::string_view, double>>& values) {
  std::string summary;
  for (const auto& [tag, value] : values) {
    std::string point;
    put_bytes(point, 1, tag);
    put_key(point, 2, kFixed32);
    put_raw(point, static_cast<float>(value));
    put_bytes(summary, 1, point);
  }
  std::string payload = event(step);
  put_bytes(payload, 5, summary);
  write(payload);
}

}  // namespace nemo::loggers
