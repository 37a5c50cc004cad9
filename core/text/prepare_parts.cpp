#include "core/text/prepare_parts.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

#include "core/base/error.hpp"

namespace nemo::text {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kPartBytes = uint64_t{16} << 20;

std::string read_range(const fs::path& file, uint64_t begin, uint64_t end) {
  std::ifstream in(file, std::ios::binary);
  std::string out(end - begin, '\0');
  in.seekg(static_cast<std::streamoff>(begin));
  in.read(out.data(), static_cast<std::streamsize>(out.size()));
  if (!in) throw Error(Code::kNotFound, file.string() + ": cannot be read; has it changed since the start?");
  return out;
}

// The position behind the first newline at or behind `from`.
uint64_t behind_line(std::ifstream& in, uint64_t from, uint64_t size) {
  in.clear();
  in.seekg(static_cast<std::streamoff>(from));
  char buffer[1 << 16];
  while (from < size) {
    in.read(buffer, static_cast<std::streamsize>(std::min<uint64_t>(sizeof buffer, size - from)));
    const auto n = static_cast<size_t>(in.gcount());
    if (n == 0) break;
    if (const void* found = std::memchr(buffer, '\n', n)) return from + static_cast<uint64_t>(static_cast<const char*>(found) - buffer) + 1;
    from += n;
  }
  return size;
}

// Takes the string at a key of the outermost object out of a line, without building the rest.
class KeyReader : public nlohmann::json_sax<nlohmann::json> {
 public:
  KeyReader(const std::string& key, std::string& out) : key_(key), out_(out) {}
  [[nodiscard]] bool found() const { return found_; }

  bool null() override { return other(); }
  bool boolean(bool) override { return other(); }
  bool number_integer(number_integer_t) override { return other(); }
  bool number_unsigned(number_unsigned_t) override { return other(); }
  bool number_float(number_float_t, const string_t&) override { return other(); }
  bool binary(binary_t&) override { return other(); }
  bool string(string_t& value) override {
    if (wanted_) {
      out_.swap(value);
      found_ = true;
    }
    wanted_ = false;
    return true;
  }
  bool start_object(std::size_t) override { return open(); }
  bool end_object() override { return close(); }
  bool start_array(std::size_t) override { return open(); }
  bool end_array() override { return close(); }
  bool key(string_t& name) override {
    wanted_ = depth_ == 1 && name == key_;
    return true;
  }
  bool parse_error(std::size_t, const std::string&, const nlohmann::detail::exception&) override { return false; }

 private:
  bool other() {
    wanted_ = false;
    return true;
  }
  bool open() {
    wanted_ = false;
    ++depth_;
    return true;
  }
  bool close() {
    --depth_;
    return true;
  }
  const std::string& key_;
  std::string& out_;
  int depth_ = 0;
  bool wanted_ = false, found_ = false;
};

uint64_t line_number(const fs::path& file, uint64_t offset) {
  const std::string before = read_range(file, 0, offset);
  return 1 + static_cast<uint64_t>(std::count(before.begin(), before.end(), '\n'));
}

// Appends documents in the output's type.
class PartWriter {
 public:
  PartWriter(const Tokenizer& tokenizer, const PrepareSettings& settings, sdk::TokenType type)
      : tokenizer_(tokenizer), append_eod_(settings.append_eod), split_lines_(settings.split_lines), type_(type) {}

  // One document, or where `empty_line_ends` and lines are split, several.
  void add(std::string_view text, bool empty_line_ends) {
    if (!split_lines_) {
      sequence(text);
      return end_document();
    }
    while (!text.empty()) {
      const size_t end = std::min(text.find('\n'), text.size());
      const std::string_view line = text.substr(0, end);
      text.remove_prefix(std::min(end + 1, text.size()));
      if (line.find_first_not_of(" \t\r") != std::string_view::npos)
        sequence(line.substr(0, line.find_last_not_of('\r') + 1));
      else if (empty_line_ends)
        end_document();
    }
    end_document();
  }

  TokenPart part;

 private:
  void sequence(std::string_view text) {
    uint64_t n = 0;
    tokenizer_.encode_to(text, [&](std::span<const int32_t> ids) {
      put(ids);
      n += ids.size();
    });
    if (n > INT32_MAX - 1) throw Error(Code::kUnsupported, "a sequence of " + std::to_string(n) + " tokens; the format allows 2147483647");
    if (n > 0) part.lengths.push_back(static_cast<uint32_t>(n) | kDocumentGoesOn);
  }

  // Nothing where the document has no tokens.
  void end_document() {
    if (part.lengths.empty() || (part.lengths.back() & kDocumentGoesOn) == 0) return;
    part.lengths.back() &= ~kDocumentGoesOn;
    if (!append_eod_) return;
    const auto eod = static_cast<int32_t>(tokenizer_.eos());
    put({&eod, 1});
    ++part.lengths.back();
  }

  void put(std::span<const int32_t> ids) {
    const size_t at = part.tokens.size();
    if (type_ == sdk::TokenType::kI32) {
      part.tokens.append(reinterpret_cast<const char*>(ids.data()), ids.size_bytes());
      return;
    }
    part.tokens.resize(at + 2 * ids.size());
    char* out = part.tokens.data() + at;
    for (size_t i = 0; i < ids.size(); ++i) {
      const auto v = static_cast<uint16_t>(ids[i]);
      std::memcpy(out + 2 * i, &v, 2);
    }
  }
  const Tokenizer& tokenizer_;
  bool append_eod_, split_lines_;
  sdk::TokenType type_;
};

void encode_lines(const std::string& bytes, const fs::path& file, const PrepareSettings& settings, const InputPart& part, PartWriter& out) {
  std::string text;
  for (size_t at = 0; at < bytes.size();) {
    const size_t end = std::min(bytes.find('\n', at), bytes.size());
    const std::string_view line(bytes.data() + at, end - at);
    const size_t begin = at;
    at = end + 1;
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    KeyReader reader(settings.json_key, text);
    const bool valid = nlohmann::json::sax_parse(line, &reader);
    if (valid && reader.found()) {
      out.add(text, false);
      continue;
    }
    const std::string place = file.string() + ":" + std::to_string(line_number(file, part.begin + begin));
    throw Error(Code::kDataLoss,
                place + (valid ? ": no string \"" + settings.json_key + "\" in this object; --json-key names the field to read"
                               : ": not valid JSON (in UTF-8)"));
  }
}

}  // namespace

bool is_json_lines(const fs::path& file) { return file.extension() == ".jsonl" || file.extension() == ".json"; }

std::vector<InputPart> cut_inputs(const std::vector<fs::path>& inputs) {
  std::vector<InputPart> parts;
  for (size_t i = 0; i < inputs.size(); ++i) {
    std::ifstream in(inputs[i], std::ios::binary);
    if (!in || !fs::is_regular_file(inputs[i])) throw Error(Code::kNotFound, inputs[i].string() + ": cannot be read as a file");
    const uint64_t size = fs::file_size(inputs[i]);
    for (uint64_t begin = 0; begin < size;) {
      const uint64_t end = is_json_lines(inputs[i]) && size - begin > kPartBytes ? behind_line(in, begin + kPartBytes, size) : size;
      parts.push_back({i, begin, end});
      begin = end;
    }
  }
  return parts;
}

TokenPart encode_part(const Tokenizer& tokenizer, const PrepareSettings& settings, sdk::TokenType type, const InputPart& part) {
  const fs::path& file = settings.inputs[part.input];
  const std::string bytes = read_range(file, part.begin, part.end);
  PartWriter out(tokenizer, settings, type);
  if (is_json_lines(file))
    encode_lines(bytes, file, settings, part, out);
  else
    out.add(bytes, true);
  return std::move(out.part);
}

void sync_path(const fs::path& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  const bool ok = fd >= 0 && ::fsync(fd) == 0;
  if (fd >= 0) ::close(fd);
  if (!ok) throw Error(Code::kDevice, path.string() + ": cannot be written to the disk; is it full?");
}

void write_part(const fs::path& file, const TokenPart& part) {
  fs::path passing = file;
  passing += ".tmp";
  std::ofstream out(passing, std::ios::binary);
  const uint64_t count = part.lengths.size();
  out.write(reinterpret_cast<const char*>(&count), sizeof count);
  out.write(reinterpret_cast<const char*>(part.lengths.data()), static_cast<std::streamsize>(count * sizeof(uint32_t)));
  out.write(part.tokens.data(), static_cast<std::streamsize>(part.tokens.size()));
  out.close();
  if (!out) throw Error(Code::kDevice, passing.string() + ": could not be written; is the disk full?");
  sync_path(passing);
  fs::rename(passing, file);
}

TokenPart read_part(const fs::path& file) {
  const std::string bytes = read_range(file, 0, fs::file_size(file));
  TokenPart part;
  uint64_t count = 0;
  if (bytes.size() >= sizeof count) std::memcpy(&count, bytes.data(), sizeof count);
  if (bytes.size() < sizeof count || count > (bytes.size() - sizeof count) / sizeof(uint32_t))
    throw Error(Code::kDataLoss, file.string() + ": damaged; remove the folder it is in and start again");
  part.lengths.resize(count);
  std::memcpy(part.lengths.data(), bytes.data() + sizeof count, count * sizeof(uint32_t));
  part.tokens = bytes.substr(sizeof count + count * sizeof(uint32_t));
  return part;
}

}  // namespace nemo::text
