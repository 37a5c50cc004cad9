// core/hub/json_text.hpp - JSON of others, read with distrust, and the infinities that Python writes into it.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

namespace nemo::hub {

using Json = nlohmann::ordered_json;

// Python's json writes infinities and NaN as bare words; transformers 5 writes {"__float__": "Infinity"}. In memory it is always the
// latter.
struct JsonText {
  Json root;
  bool bare_floats = false;  // the text had bare words
};

// `where` names the source in errors. Throws Error(kDataLoss) for text that is not JSON, nests deeper than 64, has a key twice in one
// object, or whose root is no object.
[[nodiscard]] JsonText parse_json(std::string_view text, const std::string& where);
// Throws Error(kNotFound) where there is no such file, Error(kDataLoss) where it is larger than 100 MB.
[[nodiscard]] JsonText read_json(const std::filesystem::path& file);
// Indented text that ends with a newline.
[[nodiscard]] std::string dump_json(const Json& root, bool bare_floats = false);

// {"__float__": "Infinity"} and numbers as a double; false if `value` is neither.
[[nodiscard]] bool to_double(const Json& value, double& out);
[[nodiscard]] Json from_double(double value);

[[nodiscard]] std::string read_text(const std::filesystem::path& file);

}  // namespace nemo::hub
