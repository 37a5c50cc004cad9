#include "core/hub/safetensors_writer.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "core/base/error.hpp"
#include "core/checkpoint/durable.hpp"
#include "core/hub/element.hpp"
#include "core/hub/json_text.hpp"

namespace nemo::hub {
namespace fs = std::filesystem;
namespace {

constexpr uint64_t kPage = 4096, kStartAfter = 64 << 20;

[[noreturn]] void failed(const fs::path& file) {
  const int error = errno;
  throw Error(Code::kInternal, "cannot write " + file.string() + ": " + std::strerror(error) + "; " +
                                   std::to_string(checkpoint::free_bytes(file.parent_path())) + " bytes are free there");
}

std::string shard_name(size_t i, size_t n) {
  if (n == 1) return "model.safetensors";
  char name[64];
  std::snprintf(name, sizeof name, "model-%05zu-of-%05zu.safetensors", i + 1, n);
  return name;
}

// The header is padded with blanks so that data begin with a page: copies are twice as fast from there on.
std::string header_of(std::span<const TensorPlan> tensors) {
  Json header = Json::object();
  header["__metadata__"] = {{"format", "pt"}};
  uint64_t at = 0;
  for (const TensorPlan& t : tensors) {
    header[t.name] = {{"dtype", t.dtype}, {"shape", t.shape}, {"data_offsets", {at, at + t.bytes()}}};
    at += t.bytes();
  }
  std::string text = header.dump();
  text.resize((text.size() + sizeof(uint64_t) + kPage - 1) / kPage * kPage - sizeof(uint64_t), ' ');
  return text;
}

}  // namespace

uint64_t TensorPlan::bytes() const {
  uint64_t n = element_bytes(dtype);
  for (const int64_t size : shape) n *= static_cast<uint64_t>(size);
  return n;
}

SafetensorsWriter::SafetensorsWriter(fs::path folder, std::vector<TensorPlan> tensors, uint64_t max_shard_bytes)
    : folder_(std::move(folder)), tensors_(std::move(tensors)) {
  uint64_t filled = 0;
  shards_.push_back({"", 0, 0});
  for (size_t i = 0; i < tensors_.size(); ++i) {
    const uint64_t bytes = tensors_[i].bytes();
    if (filled > 0 && filled + bytes > max_shard_bytes) shards_.push_back({"", i, i}), filled = 0;
    shards_.back().end = i + 1;
    filled += bytes;
  }
  for (size_t i = 0; i < shards_.size(); ++i) shards_[i].name = shard_name(i, shards_.size());
  open(shards_[0]);
}

SafetensorsWriter::~SafetensorsWriter() {
  if (file_ < 0) return;
  ::close(file_);
  std::error_code ignored;
  for (size_t i = 0; i <= shard_; ++i) fs::remove(folder_ / (shards_[i].name + ".partial"), ignored);
}

void SafetensorsWriter::open(const Shard& shard) {
  const fs::path path = folder_ / (shard.name + ".partial");
  file_ = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (file_ < 0) failed(path);
  at_ = started_ = 0;
  const std::string header = header_of(std::span(tensors_).subspan(shard.begin, shard.end - shard.begin));
  const uint64_t size = header.size();
  put(&size, sizeof size);
  put(header.data(), header.size());
}

void SafetensorsWriter::put(const void* data, uint64_t bytes) {
  const auto* at = static_cast<const char*>(data);
  while (bytes > 0) {
    const ssize_t done = ::write(file_, at, std::min<uint64_t>(bytes, 1u << 30));
    if (done < 0 && errno == EINTR) continue;
    if (done <= 0) failed(folder_ / shards_[shard_].name);
    at += done, at_ += static_cast<uint64_t>(done), bytes -= static_cast<uint64_t>(done);
  }
  if (at_ < started_ + kStartAfter) return;
  (void)::sync_file_range(file_, static_cast<off_t>(started_), static_cast<off_t>(at_ - started_), SYNC_FILE_RANGE_WRITE);
  started_ = at_;
}

void SafetensorsWriter::close() {
  if (::fsync(file_) != 0) failed(folder_ / shards_[shard_].name);  // a name is given only to what is on the disk
  const int file = file_;
  file_ = -1;
  if (::close(file) != 0) failed(folder_ / shards_[shard_].name);
}

void SafetensorsWriter::next(uint64_t bytes) {
  if (next_ >= tensors_.size() || bytes != tensors_[next_].bytes())
    throw Error(Code::kInvalidArgument, "safetensors: a tensor comes that was not planned");
  if (next_ == shards_[shard_].end) {
    close();
    open(shards_[++shard_]);
  }
  ++next_;
}

void SafetensorsWriter::write(const std::byte* data, uint64_t bytes) {
  next(bytes);
  put(data, bytes);
}

void SafetensorsWriter::write(uint64_t bytes, const checkpoint::Produce& produce) {
  next(bytes);
  checkpoint::pour(bytes, at_, produce, [this](uint64_t, std::span<const std::byte> block) { put(block.data(), block.size()); });
}

void SafetensorsWriter::finish() {
  if (next_ != tensors_.size()) throw Error(Code::kInvalidArgument, "safetensors: tensor " + tensors_[next_].name + " was not written");
  close();
  for (const Shard& s : shards_) fs::rename(folder_ / (s.name + ".partial"), folder_ / s.name);
  if (shards_.size() == 1) return;
  Json map = Json::object();
  uint64_t total = 0;
  for (const Shard& s : shards_)
    for (size_t i = s.begin; i < s.end; ++i) map[tensors_[i].name] = s.name, total += tensors_[i].bytes();
  const Json index{{"metadata", {{"total_size", total}}}, {"weight_map", map}};
  checkpoint::write_file(folder_ / "model.safetensors.index.json", dump_json(index));
}

}  // namespace nemo::hub
