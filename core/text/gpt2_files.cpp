#include "core/text/gpt2_files.hpp"

#include <nlohmann/json.hpp>
#include <unordered_map>
#include <unordered_set>

#include "core/base/error.hpp"
#include "core/text/text_file.hpp"
#include "core/text/utf8.hpp"

namespace nemo::text {
namespace {

[[noreturn]] void fail(const std::string& message) { throw Error(Code::kDataLoss, message); }

// GPT-2's alphabet: printable Latin-1 characters stand for themselves, the other bytes in order for U+0100, U+0101 ...
const std::array<char32_t, 256>& byte_alphabet() {
  static const std::array<char32_t, 256> alphabet = [] {
    std::array<char32_t, 256> a{};
    char32_t next = 0x100;
    for (char32_t b = 0; b < 256; ++b) {
      const bool printable = (b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
      a[b] = printable ? b : next++;
    }
    return a;
  }();
  return alphabet;
}

class ByteReader {
 public:
  ByteReader() {
    for (int b = 0; b < 256; ++b) bytes_[byte_alphabet()[static_cast<size_t>(b)]] = static_cast<char>(b);
  }
  // False if the token has a character that is not in the alphabet.
  bool read(std::string_view token, std::string& out) const {
    for (size_t at = 0; at < token.size();) {
      const CodePoint c = decode_code_point(token, at);
      const auto found = c.valid ? bytes_.find(c.value) : bytes_.end();
      if (found == bytes_.end()) return false;
      out.push_back(found->second);
      at += c.length;
    }
    return true;
  }

 private:
  std::unordered_map<char32_t, char> bytes_;
};

nlohmann::json parse_object(std::string_view json, std::string_view where) {
  nlohmann::json parsed;
  try {
    parsed = nlohmann::json::parse(json);
  } catch (const nlohmann::json::parse_error& e) {
    const bool ended = e.byte > json.size();
    fail(place_in_text(where, json, e.byte == 0 ? 0 : e.byte - 1) + ": the vocabulary is no valid JSON" +
         (ended ? ": the file ends early (truncated?)" : ""));
  }
  if (!parsed.is_object())
    fail(std::string(where) + ":1:1: a vocabulary is a JSON object {\"token\": id, ...}, found " + parsed.type_name());
  if (parsed.empty()) fail(std::string(where) + ":1:1: the vocabulary is empty");
  return parsed;
}

void find_byte_ids(Gpt2Vocabulary& v, std::string_view where) {
  v.byte_ids.fill(-1);
  for (size_t id = 0; id < v.bytes.size(); ++id)
    if (v.bytes[id].size() == 1) v.byte_ids[static_cast<uint8_t>(v.bytes[id][0])] = static_cast<int32_t>(id);
  for (size_t b = 0; b < 256; ++b)
    if (v.byte_ids[b] < 0)
      fail(std::string(where) + ": the vocabulary has no token for byte " + std::to_string(b) + " (written " +
           describe_code_point(byte_alphabet()[b]) + "); a byte-level vocabulary has all 256");
}

std::string_view without_carriage_return(std::string_view line) {
  if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
  return line;
}

}  // namespace

Gpt2Vocabulary parse_gpt2_vocabulary(std::string_view json, std::string_view where) {
  const nlohmann::json parsed = parse_object(json, where);
  const size_t n = parsed.size();
  Gpt2Vocabulary v;
  v.written.resize(n);
  v.bytes.resize(n);
  std::vector<bool> taken(n);
  const ByteReader reader;
  for (const auto& [token, id] : parsed.items()) {
    const std::string at = std::string(where) + ": token \"" + token + "\"";
    if (!id.is_number_integer()) fail(at + " has " + id.dump() + " where an integer id belongs");
    const auto value = id.get<int64_t>();
    if (value < 0 || value >= static_cast<int64_t>(n))
      fail(at + " has id " + std::to_string(value) + "; the ids of " + std::to_string(n) + " tokens must be 0 to " + std::to_string(n - 1));
    const auto index = static_cast<size_t>(value);
    if (taken[index]) fail(at + " has id " + std::to_string(value) + ", which \"" + v.written[index] + "\" has too");
    taken[index] = true;
    v.written[index] = token;
    if (token.empty() || !reader.read(token, v.bytes[index]))
      fail(at + " is not written in the byte-level alphabet; this is no GPT-2 style vocabulary");
  }
  find_byte_ids(v, where);
  return v;
}

std::vector<Merge> parse_gpt2_merges(std::string_view text, const Gpt2Vocabulary& vocabulary, std::string_view where) {
  std::unordered_map<std::string_view, int32_t> ids;
  ids.reserve(vocabulary.written.size());
  for (size_t i = 0; i < vocabulary.written.size(); ++i) ids.emplace(vocabulary.written[i], static_cast<int32_t>(i));
  std::vector<Merge> merges;
  std::unordered_set<uint64_t> seen;
  size_t number = 0;
  const auto bad = [&](const std::string& what) { fail(std::string(where) + ":" + std::to_string(number) + ": " + what); };
  const auto id_of = [&](std::string_view token, const char* what) {
    const auto found = ids.find(token);
    if (found == ids.end())
      bad(std::string(what) + " \"" + std::string(token) + "\" of the merge is not in the vocabulary; do the two files belong together?");
    return found->second;
  };
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    const std::string_view line = without_carriage_return(text.substr(at, end - at));
    at = end + 1;
    ++number;
    if (line.empty() || (number == 1 && line.starts_with("#version"))) continue;
    const size_t space = line.find(' ');
    if (space == 0 || space == std::string_view::npos || space + 1 == line.size() || line.find(' ', space + 1) != std::string_view::npos)
      bad("a merge is two tokens with one space between them, found \"" + replace_invalid_utf8(line) + "\"");
    const std::string_view left = line.substr(0, space), right = line.substr(space + 1);
    const Merge merge{id_of(left, "left side"), id_of(right, "right side"), id_of(std::string(left) + std::string(right), "result")};
    if (!seen.insert(static_cast<uint64_t>(merge.left) << 32 | static_cast<uint32_t>(merge.right)).second) bad("this merge occurs twice");
    merges.push_back(merge);
  }
  return merges;
}

std::string write_gpt2_vocabulary(const Gpt2Vocabulary& vocabulary) {
  nlohmann::json out = nlohmann::json::object();
  for (size_t i = 0; i < vocabulary.written.size(); ++i) out[vocabulary.written[i]] = i;
  return out.dump();
}

std::string write_gpt2_merges(std::span<const Merge> merges, const Gpt2Vocabulary& vocabulary) {
  std::string out = "#version: 0.2\n";
  for (const Merge& m : merges)
    out += vocabulary.written[static_cast<size_t>(m.left)] + " " + vocabulary.written[static_cast<size_t>(m.right)] + "\n";
  return out;
}

}  // namespace nemo::text
