#include "index_cache.hpp"

#include <algorithm>
#include <atomic>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <optional>

#include "md5.hpp"
#include "nemo/cpp/config.hpp"
#include "nemo/cpp/mapped_file.hpp"
#include "nemo/cpp/output_file.hpp"

namespace nemo::megatron {
namespace {

constexpr const char* kArrays[] = {"document_index.npy", "sample_index.npy", "shuffle_index.npy"};
constexpr const char *kDescription = "description.txt", *kChecksums = "checksums.txt";

std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (static_cast<unsigned char>(c) < 0x20) {
      char escape[8];
      std::snprintf(escape, sizeof escape, "\\u%04x", c);
      out += escape;
      continue;
    }
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + '"';
}

// As Python prints a float.
std::string number(double value) {
  char text[32];
  std::string out(text, std::to_chars(text, text + sizeof text, value).ptr);
  return out.find_first_of(".en") == std::string::npos ? out + ".0" : out;
}

std::string matrix(const std::vector<Share>& shares) {
  std::string out = "[";
  for (const Share& s : shares) {
    if (out.size() > 1) out += ", ";
    out += s.present() ? "[" + number(s.begin) + ", " + number(s.end) + "]" : "null";
  }
  return out + "]";
}

// The header that numpy writes.
std::string npy_header(const char* type, const std::string& shape) {
  std::string text = std::string("{'descr': '") + type + "', 'fortran_order': False, 'shape': (" + shape + "), }";
  while ((10 + text.size() + 1) % 64 != 0) text += ' ';
  text += '\n';
  std::string out("\x93NUMPY\x01\x00", 8);
  out += static_cast<char>(text.size() & 0xff);
  out += static_cast<char>(text.size() >> 8);
  return out + text;
}
std::string vector_header(const char* type, size_t n) { return npy_header(type, std::to_string(n) + ","); }
std::string pairs_header(const char* type, size_t n) { return npy_header(type, std::to_string(n) + ", 2"); }

template <class T>
std::string_view bytes_of(const std::vector<T>& x) {
  return {reinterpret_cast<const char*>(x.data()), x.size() * sizeof(T)};
}

bool fits_int32(const GptIndex& index) { return index.documents.size() <= 0x7fffffff; }

std::vector<int64_t> wide(const std::vector<SamplePosition>& samples) {
  std::vector<int64_t> out;
  out.reserve(2 * samples.size());
  for (const SamplePosition& s : samples) out.push_back(s.document), out.push_back(s.offset);
  return out;
}

// Writes beside and renames; another process that builds the same maps has another name beside. Returns the md5.
std::string put(const std::string& path, std::string_view header, std::string_view content) {
  static std::atomic<unsigned> count{0};
  sdk::OutputFile file(path + ".tmp." + std::to_string(::getpid()) + "." + std::to_string(count++), sdk::OutputFile::Mode::kReplace);
  Md5 digest;
  for (const std::string_view part : {header, content}) {
    file.write(part);
    digest.update(part);
  }
  file.replace(path);
  return digest.hex();
}

// The array behind the header; nullopt where the file has another header or size.
template <class T>
std::optional<std::vector<T>> take(const sdk::MappedFile& file, const std::string& header, size_t n) {
  if (file.size() != header.size() + n * sizeof(T) || file.view().substr(0, header.size()) != header) return std::nullopt;
  std::vector<T> out(n);
  if (n > 0) std::memcpy(static_cast<void*>(out.data()), file.data() + header.size(), n * sizeof(T));
  return out;
}

// Nothing in the maps leads outside of the dataset or of the maps.
bool within(const GptIndexRequest& r, const GptIndex& index) {
  const auto document = [&](int32_t d) { return d >= r.first_document && d < r.end_document; };
  const auto sample = [&](const SamplePosition& s) { return s.document < index.documents.size() && s.offset >= -1; };
  const auto shuffled = [&](uint32_t s) { return s < index.shuffle.size(); };
  return std::all_of(index.documents.begin(), index.documents.end(), document) &&
         std::all_of(index.samples.begin(), index.samples.end(), sample) &&
         std::all_of(index.shuffle.begin(), index.shuffle.end(), shuffled);
}

std::string first_damaged(const std::string& stem, const sdk::MappedFile (&files)[3]) {
  const std::string wanted(sdk::MappedFile(stem + kChecksums).view());
  const std::string name = std::filesystem::path(stem).filename().string();
  for (size_t i = 0; i < 3; ++i)
    if (wanted.find(md5(files[i].view()) + "  " + name + kArrays[i] + "\n") == std::string::npos) return stem + kArrays[i];
  return "";
}

[[noreturn]] void folder_fault(const std::string& folder, const std::string& what) {
  sdk::config_fault("index_mapping_dir",
                    "index maps cannot be kept in " + folder + ": " + what +
                        "; name a folder that can be written, or leave index_mapping_dir out to build the maps in memory");
}

}  // namespace

IndexCache::IndexCache(std::string folder, std::function<void(const std::string&)> warn)
    : folder_(std::move(folder)), warn_(std::move(warn)) {
  std::error_code error;
  std::filesystem::create_directories(folder_, error);
  if (error) folder_fault(folder_, error.message());
}

std::string IndexCache::describe(const IndexCacheKey& key, const GptIndexRequest& r, const std::function<int32_t(int64_t)>& length) {
  Md5 lengths;
  for (int64_t d = r.first_document; d < r.end_document; ++d) {
    const int32_t n = length(d);
    lengths.update({reinterpret_cast<const char*>(&n), sizeof n});
  }
  const auto boolean = [](bool b) { return std::string(b ? "true" : "false"); };
  const std::pair<const char*, std::string> fields[] = {
      {"class", quoted("GPTDataset")},
      {"dataset_path", quoted(key.dataset)},
      {"num_samples", r.num_samples == 0 ? "null" : std::to_string(r.num_samples)},
      {"index_split", quoted(key.split_name == "validation" ? "valid" : key.split_name)},
      {"random_seed", std::to_string(r.seed)},
      {"sequence_length", std::to_string(r.seq_length)},
      {"split", quoted(key.split)},
      {"split_matrix", matrix(key.shares)},
      {"add_extra_token_to_sequence", boolean(r.extra_token != 0)},
      {"drop_last_partial_sequence", boolean(r.last_sample == LastSample::kDrop)},
      {"documents", "[" + std::to_string(r.first_document) + ", " + std::to_string(r.end_document) + "]"},
      {"document_lengths_md5", quoted(lengths.hex())},
  };
  std::string out;
  for (const auto& [name, value] : fields) out += (out.empty() ? "{\n    " : ",\n    ") + quoted(name) + ": " + value;
  return out + "\n}";
}

bool IndexCache::load(const std::string& stem, const GptIndexRequest& request, GptIndex& index) const {
  if (!sdk::is_regular_file(stem + kChecksums)) return false;
  try {
    const sdk::MappedFile files[] = {sdk::MappedFile(stem + kArrays[0]), sdk::MappedFile(stem + kArrays[1]),
                                     sdk::MappedFile(stem + kArrays[2])};
    if (const std::string damaged = first_damaged(stem, files); !damaged.empty()) {
      warn_(damaged + " is damaged; the index maps are built again");
      return false;
    }
    const auto n_documents = static_cast<size_t>((request.end_document - request.first_document) * index.epochs);
    const auto n_samples = static_cast<size_t>(count_samples(request, index));
    auto documents = take<int32_t>(files[0], vector_header("<i4", n_documents), n_documents);
    auto shuffle = take<uint32_t>(files[2], vector_header("<u4", n_samples), n_samples);
    auto samples = take<SamplePosition>(files[1], pairs_header("<i4", n_samples + 1), n_samples + 1);
    const auto long_samples = take<int64_t>(files[1], pairs_header("<i8", n_samples + 1), 2 * (n_samples + 1));
    if (long_samples) {
      samples.emplace();
      for (size_t i = 0; i < long_samples->size(); i += 2)
        samples->push_back({static_cast<uint32_t>((*long_samples)[i]), static_cast<int32_t>((*long_samples)[i + 1])});
    }
    GptIndex found = index;
    if (documents && samples && shuffle)
      found.documents = std::move(*documents), found.samples = std::move(*samples), found.shuffle = std::move(*shuffle);
    if (found.documents.empty() || !within(request, found)) {
      warn_(stem + "*: the index maps are not of this dataset; they are built again");
      return false;
    }
    index = std::move(found);
    return true;
  } catch (const sdk::Error& e) {  // one of the files is not there
    warn_(std::string(e.what()) + "; the index maps are built again");
    return false;
  }
}

void IndexCache::store(const std::string& stem, const std::string& description, const GptIndex& index) const {
  static_assert(sizeof(SamplePosition) == 2 * sizeof(int32_t));
  std::vector<int64_t> long_samples;
  if (!fits_int32(index)) long_samples = wide(index.samples);
  const size_t n = index.samples.size();
  try {
    const std::string digests[] = {put(stem + kArrays[0], vector_header("<i4", index.documents.size()), bytes_of(index.documents)),
                                   long_samples.empty() ? put(stem + kArrays[1], pairs_header("<i4", n), bytes_of(index.samples))
                                                        : put(stem + kArrays[1], pairs_header("<i8", n), bytes_of(long_samples)),
                                   put(stem + kArrays[2], vector_header("<u4", index.shuffle.size()), bytes_of(index.shuffle))};
    put(stem + kDescription, "", description);
    std::string sums;
    const std::string name = std::filesystem::path(stem).filename().string();
    for (size_t i = 0; i < 3; ++i) sums += digests[i] + "  " + name + kArrays[i] + "\n";
    put(stem + kChecksums, "", sums);
  } catch (const sdk::Error& e) {
    folder_fault(folder_, e.what());
  }
}

GptIndex IndexCache::get(const IndexCacheKey& key, const GptIndexRequest& request, const std::function<int32_t(int64_t)>& length,
                         const std::string& name) const {
  GptIndex index = plan_gpt_index(request, length, name);
  const std::string description = describe(key, request, length);
  const std::string split = key.split_name == "validation" ? "valid" : key.split_name;
  const std::string stem = folder_ + "/" + md5(description) + "-GPTDataset-" + split + "-";
  if (load(stem, request, index)) return index;
  fill_gpt_index(request, length, index);
  store(stem, description, index);
  return index;
}

}  // namespace nemo::megatron
