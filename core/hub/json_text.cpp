#include "core/hub/json_text.hpp"

#include <cmath>
#include <fstream>
#include <limits>
#include <set>
#include <vector>

#include "core/base/error.hpp"

namespace nemo::hub {
namespace {

constexpr int kMaxDepth = 64;
constexpr uintmax_t kMaxBytes = 100'000'000;
constexpr const char* kFloatKey = "__float__";
constexpr std::string_view kWords[] = {"-Infinity", "Infinity", "NaN"};

// The text with bare words made objects; strings are left alone.
std::string quoted_floats(std::string_view text, bool& found) {
  std::string out;
  out.reserve(text.size());
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      out += c;
      if (c == '\\' && i + 1 < text.size()) out += text[++i];
      if (c == '"') in_string = false;
      continue;
    }
    in_string = c == '"';
    std::string_view word;
    for (const std::string_view w : kWords)
      if (text.substr(i, w.size()) == w) word = w;
    if (word.empty()) {
      out += c;
      continue;
    }
    found = true;
    out += std::string("{\"") + kFloatKey + "\": \"" + std::string(word) + "\"}";
    i += word.size() - 1;
  }
  return out;
}

// The inverse, on dumped text: the object around each key becomes its word.
std::string bare_text(std::string text) {
  const std::string key = std::string("\"") + kFloatKey + "\": \"";
  for (size_t at = text.find(key); at != std::string::npos; at = text.find(key, at)) {
    const size_t open = text.rfind('{', at), close = text.find('}', at), word = at + key.size();
    text.replace(open, close - open + 1, text.substr(word, text.find('"', word) - word));
    at = open;
  }
  return text;
}

[[noreturn]] void bad(const std::string& where, const std::string& why) { throw Error(Code::kDataLoss, where + ": " + why); }

}  // namespace

JsonText parse_json(std::string_view text, const std::string& where) {
  JsonText out;
  const std::string clean = quoted_floats(text, out.bare_floats);
  std::vector<std::set<std::string>> keys;
  const auto watch = [&](int depth, Json::parse_event_t event, Json& value) {
    if (depth > kMaxDepth) bad(where, "nests deeper than " + std::to_string(kMaxDepth));
    if (event == Json::parse_event_t::object_start) keys.resize(static_cast<size_t>(depth) + 1), keys.back().clear();
    if (event != Json::parse_event_t::key) return true;
    const std::string& key = value.get_ref<const std::string&>();
    keys.resize(static_cast<size_t>(depth));
    if (!keys.back().insert(key).second) bad(where, "has '" + key + "' twice");
    return true;
  };
  try {
    out.root = Json::parse(clean, watch);
  } catch (const nlohmann::json::exception& e) {
    bad(where, std::string("is not JSON: ") + e.what());
  }
  if (!out.root.is_object()) bad(where, "is no JSON object");
  return out;
}

std::string read_text(const std::filesystem::path& file) {
  std::ifstream in(file, std::ios::binary);
  if (!in || !std::filesystem::is_regular_file(file)) throw Error(Code::kNotFound, "no file " + file.string());
  if (std::filesystem::file_size(file) > kMaxBytes) bad(file.string(), "is larger than 100 MB");
  return {std::istreambuf_iterator<char>(in), {}};
}

JsonText read_json(const std::filesystem::path& file) { return parse_json(read_text(file), file.string()); }

std::string dump_json(const Json& root, bool bare_floats) {
  try {
    return (bare_floats ? bare_text(root.dump(2)) : root.dump(2)) + "\n";
  } catch (const nlohmann::json::exception& e) {
    throw Error(Code::kInternal, std::string("cannot write JSON: ") + e.what());
  }
}

bool to_double(const Json& value, double& out) {
  if (value.is_number()) {
    out = value.get<double>();
    return true;
  }
  if (!value.is_object() || value.size() != 1 || !value.contains(kFloatKey) || !value[kFloatKey].is_string()) return false;
  const std::string word = value[kFloatKey];
  if (word == "NaN")
    out = std::numeric_limits<double>::quiet_NaN();
  else if (word == "Infinity" || word == "-Infinity")
    out = word[0] == '-' ? -std::numeric_limits<double>::infinity() : std::numeric_limits<double>::infinity();
  else
    return false;
  return true;
}

Json from_double(double value) {
  if (std::isfinite(value)) return value;
  return Json{{kFloatKey, std::isnan(value) ? "NaN" : value < 0 ? "-Infinity" : "Infinity"}};
}

}  // namespace nemo::hub
