#include "core/hub/safetensors.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <system_error>

#include "core/base/error.hpp"
#include "core/hub/element.hpp"
#include "core/hub/json_text.hpp"
#include "core/hub/mxfp4.hpp"

namespace nemo::hub {
namespace fs = std::filesystem;
namespace {

static_assert(std::endian::native == std::endian::little, "safetensors data are little-endian");
constexpr uint64_t kMaxHeader = 100'000'000;  // as the reference implementation
constexpr const char* kMetadata = "__metadata__";
constexpr const char* kIndexFile = "model.safetensors.index.json";

[[noreturn]] void bad(const fs::path& file, const std::string& why) { throw Error(Code::kDataLoss, file.string() + ": " + why); }
[[noreturn]] void bad(const fs::path& file, const std::string& tensor, const std::string& why) {
  bad(file, "tensor " + tensor + " " + why);
}

uint64_t natural(const Json& value, const fs::path& file, const std::string& tensor, const char* what) {
  if (!value.is_number_unsigned()) bad(file, tensor, std::string("has a ") + what + " that is no natural number");
  return value.get<uint64_t>();
}

const Json& member(const Json& entry, const char* key, const fs::path& file, const std::string& tensor) {
  if (!entry.is_object() || !entry.contains(key)) bad(file, tensor, std::string("has no '") + key + "' in the header");
  return entry[key];
}

// Bytes that the shape needs; what exceeds 2^62 cannot be right.
uint64_t needed_bytes(const StoredTensor& t, const fs::path& file, const std::string& name) {
  uint64_t n = element_bytes(t.dtype);
  for (const int64_t size : t.shape)
    if (__builtin_mul_overflow(n, static_cast<uint64_t>(size), &n) || n > uint64_t{1} << 62)
      bad(file, name, "has a shape beyond all sizes");
  return n;
}

StoredTensor read_entry(const Json& entry, const fs::path& file, const std::string& name, uint64_t data_begin, uint64_t data_bytes) {
  StoredTensor t;
  const Json& dtype = member(entry, "dtype", file, name);
  if (!dtype.is_string() || element_bytes(dtype.get<std::string>()) == 0) bad(file, name, "has the unknown dtype " + dtype.dump());
  t.dtype = dtype.get<std::string>();
  const Json& shape = member(entry, "shape", file, name);
  if (!shape.is_array()) bad(file, name, "has a shape that is no list");
  for (const Json& size : shape) {
    const uint64_t n = natural(size, file, name, "size");
    if (n > uint64_t{1} << 62) bad(file, name, "has a shape beyond all sizes");
    t.shape.push_back(static_cast<int64_t>(n));
  }
  const Json& offsets = member(entry, "data_offsets", file, name);
  if (!offsets.is_array() || offsets.size() != 2) bad(file, name, "has data_offsets that are no pair");
  const uint64_t begin = natural(offsets[0], file, name, "data offset"), end = natural(offsets[1], file, name, "data offset");
  if (begin > end || end > data_bytes)
    bad(file, name,
        "lies at [" + std::to_string(begin) + ", " + std::to_string(end) + ") of " + std::to_string(data_bytes) + " bytes of data" +
            (end > data_bytes ? " (truncated file?)" : ""));
  t.begin = data_begin + begin, t.bytes = end - begin;
  if (const uint64_t needed = needed_bytes(t, file, name); needed != t.bytes)
    bad(file, name, "has " + std::to_string(t.bytes) + " bytes, but " + describe(t.dtype, t.shape) + " needs " + std::to_string(needed));
  return t;
}

// Ranges follow one another from the first byte of data to the last.
void check_cover(const std::map<std::string, StoredTensor>& tensors, const fs::path& file, uint64_t data_begin, uint64_t size) {
  std::vector<std::pair<const StoredTensor*, const std::string*>> order;
  order.reserve(tensors.size());
  for (const auto& [name, t] : tensors) order.emplace_back(&t, &name);
  std::sort(order.begin(), order.end(), [](const auto& a, const auto& b) {
    return std::tie(a.first->begin, a.first->bytes, *a.second) < std::tie(b.first->begin, b.first->bytes, *b.second);
  });
  uint64_t at = data_begin;
  const std::string* last = nullptr;
  for (const auto& [t, name] : order) {
    if (t->begin < at) bad(file, *name, "overlaps with tensor " + *last);
    if (t->begin > at) bad(file, *name, "follows " + std::to_string(t->begin - at) + " bytes that belong to no tensor");
    at += t->bytes;
    last = name;
  }
  if (at != size) bad(file, std::to_string(size - at) + " bytes at the end belong to no tensor");
}

}  // namespace

std::string describe(std::string_view dtype, std::span<const int64_t> shape) {
  std::string text = std::string(dtype) + (dtype.empty() ? "[" : " [");
  for (size_t i = 0; i < shape.size(); ++i) text += (i == 0 ? "" : " ") + std::to_string(shape[i]);
  return text + "]";
}

SafetensorsFile::SafetensorsFile(const fs::path& path) : path_(path) {
  try {
    file_ = checkpoint::Descriptor(path, O_RDONLY);
  } catch (const std::system_error& e) {
    throw Error(Code::kNotFound, path.string() + ": cannot be opened: " + e.code().message());
  }
  const int fd = file_.get();
  struct stat info {};
  const bool regular = ::fstat(fd, &info) == 0 && S_ISREG(info.st_mode);
  size_ = regular ? static_cast<uint64_t>(info.st_size) : 0;
  void* mapped = size_ >= 8 ? ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, fd, 0) : MAP_FAILED;
  if (size_ < 8) bad(path, "is too short to be a safetensors file (" + std::to_string(size_) + " bytes)");
  if (mapped == MAP_FAILED) throw Error(Code::kInternal, path.string() + ": cannot be mapped: " + std::strerror(errno));
  bytes_ = static_cast<std::byte*>(mapped);
  try {
    uint64_t header = 0;
    std::memcpy(&header, bytes_, sizeof header);
    if (header > kMaxHeader) bad(path, "states a header of " + std::to_string(header) + " bytes; at most 100 MB are legal");
    if (header > size_ - 8)
      bad(path, "states a header of " + std::to_string(header) + " bytes, but has " + std::to_string(size_ - 8) + " (truncated?)");
    const JsonText text = parse_json({reinterpret_cast<const char*>(bytes_) + 8, header}, path.string() + ": header");
    for (const auto& [name, entry] : text.root.items())
      if (name != kMetadata) tensors_.emplace(name, read_entry(entry, path, name, 8 + header, size_ - 8 - header));
    check_cover(tensors_, path, 8 + header, size_);
  } catch (...) {
    ::munmap(bytes_, size_);
    throw;
  }
}

SafetensorsFile::~SafetensorsFile() { ::munmap(bytes_, size_); }

void SafetensorsFile::read(uint64_t begin, std::span<std::byte> out) const {
  try {
    checkpoint::read_at(file_, begin, out, path_);
  } catch (const std::system_error& e) {
    bad(path_, std::string("cannot be read: ") + e.what());
  }
}

void SafetensorsFile::release(const StoredTensor& tensor) const {
  const uint64_t page = static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
  const uint64_t begin = (tensor.begin + page - 1) / page * page, end = (tensor.begin + tensor.bytes) / page * page;
  if (begin < end) ::madvise(bytes_ + begin, end - begin, MADV_DONTNEED);
}

ModelFiles::ModelFiles(const fs::path& folder) {
  const fs::path single = folder / "model.safetensors", index = folder / kIndexFile;
  if (fs::exists(single)) {
    add(single);
    return;
  }
  if (!fs::exists(index))
    throw Error(Code::kNotFound, "'" + folder.string() + "' has neither model.safetensors nor " + kIndexFile +
                                     (fs::exists(folder / "pytorch_model.bin") || fs::exists(folder / "pytorch_model.bin.index.json")
                                          ? "; pickled weights (pytorch_model.bin) are not read: save them as safetensors first"
                                          : ""));
  const JsonText text = read_json(index);
  if (!text.root.contains("weight_map") || !text.root["weight_map"].is_object()) bad(index, "has no object 'weight_map'");
  std::map<std::string, std::vector<std::string>> shards;
  for (const auto& [name, file] : text.root["weight_map"].items()) {
    if (!file.is_string()) bad(index, name, "has no file name");
    const std::string shard = file.get<std::string>();
    if (shard.empty() || shard.find('/') != std::string::npos || shard[0] == '.')
      bad(index, name, "lies in '" + shard + "', which is no file of the folder");
    shards[shard].push_back(name);
  }
  for (const auto& [shard, names] : shards) add(folder / shard);
  for (const auto& [shard, names] : shards)
    for (const std::string& name : names)
      if (const auto it = tensors_.find(name); it == tensors_.end() || it->second.file->path().filename() != shard)
        bad(index, name, "is not in " + shard + ", where the index says it is");
  for (const auto& [name, entry] : tensors_)
    if (!text.root["weight_map"].contains(name)) bad(entry.file->path(), name, std::string("is not listed in ") + kIndexFile);
}

void ModelFiles::add(const fs::path& path) {
  files_.push_back(std::make_unique<SafetensorsFile>(path));
  for (const auto& [name, tensor] : files_.back()->tensors()) {
    const auto [it, fresh] = tensors_.emplace(name, Entry{files_.back().get(), &tensor, nullptr});
    if (!fresh) bad(path, name, "is also in " + it->second.file->path().filename().string());
  }
}

ModelFiles::~ModelFiles() = default;

void ModelFiles::Entry::release() const {
  if (packed != nullptr) return packed->release();
  file->release(*tensor);
}

size_t ModelFiles::unpack_mxfp4(std::string_view word) {
  constexpr std::string_view kBlocks = "_blocks", kScales = "_scales";
  std::vector<std::string> names;
  for (const auto& [name, entry] : tensors_)
    if (name.ends_with(kBlocks)) names.push_back(name.substr(0, name.size() - kBlocks.size()));
  for (const std::string& name : names) {
    const auto blocks = tensors_.find(name + std::string(kBlocks)), scales = tensors_.find(name + std::string(kScales));
    if (scales == tensors_.end()) bad(blocks->second.file->path(), blocks->first, "has no " + name + "_scales beside it");
    packed_.push_back(std::make_unique<PackedTensor>(packed_tensor(name, blocks->second, scales->second, word)));
    const Entry joined{blocks->second.file, &packed_.back()->tensor, packed_.back().get()};
    if (!tensors_.emplace(name, joined).second) bad(joined.file->path(), name, "is there as itself and in MXFP4");
    tensors_.erase(blocks), tensors_.erase(scales);
  }
  return names.size();
}

uint64_t ModelFiles::bytes() const {
  uint64_t n = 0;
  for (const auto& [name, entry] : tensors_) n += entry.tensor->bytes;
  return n;
}

}  // namespace nemo::hub
