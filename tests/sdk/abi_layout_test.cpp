// The layout of every struct and the value of every constant of the C headers, against tests/sdk/abi_layout.txt. A difference is an ABI
// change: after 1.0 only additions at the end of a struct and new constants are allowed. NEMO_REWRITE_GOLDENS=1 rewrites the file.
#include <gmock/gmock.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <regex>
#include <set>
#include <sstream>

#include "nemo/nemo.h"

namespace nemo::sdk_test {
namespace {

namespace fs = std::filesystem;
const fs::path kHeaders = fs::path(NEMO_SOURCE_DIR) / "sdk/include/nemo";
const fs::path kSnapshot = fs::path(NEMO_SOURCE_DIR) / "tests/sdk/abi_layout.txt";

std::string text_of(const fs::path& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::string without_comments(const std::string& text) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const size_t open = std::min(text.find("/*", at), text.size());
    out += text.substr(at, open - at);
    at = open == text.size() ? open : text.find("*/", open) + 2;
  }
  return out;
}

std::map<std::string, std::string> headers() {
  std::map<std::string, std::string> out;
  for (const auto& entry : fs::directory_iterator(kHeaders))
    if (entry.path().extension() == ".h") out[entry.path().filename()] = without_comments(text_of(entry.path()));
  return out;
}

std::string measured_structs() {
  std::ostringstream out;
#define STRUCT(type) out << #type " size " << sizeof(type) << " align " << alignof(type) << "\n";
#define FIELD(type, field) out << "  " #field " at " << offsetof(type, field) << " size " << sizeof(type::field) << "\n";
#include "abi_fields.def"
#undef STRUCT
#undef FIELD
  return out.str();
}

// NEMO_SDK_BUILD and NEMO_ABI_DRAFT say when, not what.
std::string constants() {
  static const std::regex line(R"(#define (NEMO_[A-Z0-9_]+) ([0-9]+u?|"[^"]*")\s)");
  std::string out;
  for (const auto& [name, text] : headers())
    for (std::sregex_iterator it(text.begin(), text.end(), line), end; it != end; ++it)
      if ((*it)[1] != "NEMO_SDK_BUILD" && (*it)[1] != "NEMO_ABI_DRAFT") out += name + " " + (*it)[1].str() + " " + (*it)[2].str() + "\n";
  return out;
}

// "type.field" of every struct in the headers.
std::set<std::string> declared_fields() {
  static const std::regex structure(R"(typedef struct (\w+) \{([^}]*)\} \w+;)"), function(R"(\(\*(\w+)\)\()"),
      plain(R"((\w+)\s*(\[\d+\])?\s*$)");
  std::set<std::string> out;
  for (const auto& [name, text] : headers())
    for (std::sregex_iterator it(text.begin(), text.end(), structure), end; it != end; ++it) {
      std::istringstream body((*it)[2].str());
      std::smatch found;
      for (std::string statement; std::getline(body, statement, ';');)
        if (std::regex_search(statement, found, function) || std::regex_search(statement, found, plain))
          out.insert((*it)[1].str() + "." + found[1].str());
    }
  return out;
}

TEST(abi_layout, is_that_of_the_snapshot) {
  const std::string now = measured_structs() + "\n" + constants();
  if (std::getenv("NEMO_REWRITE_GOLDENS") != nullptr) std::ofstream(kSnapshot) << now;
  EXPECT_EQ(text_of(kSnapshot), now) << "the ABI changed; if that is meant, run this test with NEMO_REWRITE_GOLDENS=1 and review the diff";
}

TEST(abi_layout, covers_every_field_of_every_struct) {
  std::set<std::string> measured;
#define STRUCT(type)
#define FIELD(type, field) measured.insert(#type "." #field);
#include "abi_fields.def"
#undef STRUCT
#undef FIELD
  EXPECT_EQ(measured, declared_fields()) << "tests/sdk/abi_fields.def and the headers differ";
}

TEST(abi_layout, structs_end_with_their_last_field) {
#define STRUCT(type) size_t end_##type = 0, size_##type = sizeof(type);
#define FIELD(type, field) end_##type = offsetof(type, field) + sizeof(type::field);
#include "abi_fields.def"
#undef STRUCT
#undef FIELD
#define STRUCT(type) EXPECT_EQ(end_##type, size_##type) << #type " has padding at its end; a later field would change no size";
#define FIELD(type, field)
#include "abi_fields.def"
#undef STRUCT
#undef FIELD
}

TEST(abi_layout, the_umbrella_header_includes_every_header) {
  const auto all = headers();
  for (const auto& [name, text] : all) {
    if (name == "nemo.h") continue;
    EXPECT_THAT(all.at("nemo.h"), testing::HasSubstr("#include \"nemo/" + name + "\""));
  }
}

}  // namespace
}  // namespace nemo::sdk_test
