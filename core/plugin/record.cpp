#include "core/plugin/record.hpp"

#include <algorithm>
#include <charconv>

#include "core/base/error.hpp"
#include "core/plugin/kind.hpp"

namespace nemo::plugin {
namespace {

[[noreturn]] void malformed(const std::string& detail) { throw Error(Code::kDataLoss, "malformed .nemo_plugin record: " + detail); }

std::string_view take_field(std::string_view& rest, const char* what) {
  const size_t end = rest.find('\0');
  if (end == std::string_view::npos) malformed("it ends inside " + std::string(what));
  const std::string_view field = rest.substr(0, end);
  rest.remove_prefix(end + 1);
  return field;
}

uint32_t take_number(std::string_view& rest, const char* what) {
  const std::string_view field = take_field(rest, what);
  uint32_t value = 0;
  const auto [end, fault] = std::from_chars(field.data(), field.data() + field.size(), value);
  if (fault != std::errc() || end != field.data() + field.size()) malformed(std::string(what) + " is not a number");
  return value;
}

bool is_id_character(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-' || c == '.';
}

ComponentName parse_component(std::string_view field) {
  const size_t colon = field.find(':');
  if (colon == std::string_view::npos) malformed("a component is not of the form kind:id");
  const std::string kind(field.substr(0, colon));
  ComponentName name{kind_from_name(kind), std::string(field.substr(colon + 1))};
  if (!std::all_of(kind.begin(), kind.end(), is_id_character) || !std::all_of(name.id.begin(), name.id.end(), is_id_character) ||
      name.id.empty())
    malformed("a component's kind or id has characters besides letters, digits, '_', '-' and '.'");
  if (name.kind == 0) malformed("component kind \"" + kind + "\" is not one that this host knows");
  return name;
}

}  // namespace

std::string to_string(const ComponentName& name) { return std::string(kind_name(name.kind)) + ":" + name.id; }

Record parse_record(std::string_view bytes) {
  std::string_view rest = bytes;
  if (take_field(rest, "the magic word") != NEMO_RECORD_MAGIC) malformed("it does not start with " NEMO_RECORD_MAGIC);
  Record record;
  record.abi_major = static_cast<int>(take_number(rest, "the ABI major"));
  record.abi_minor = static_cast<int>(take_number(rest, "the ABI minor"));
  record.sdk_build = take_number(rest, "the SDK build");
  record.draft = take_number(rest, "the draft flag") != 0;
  if (record.abi_major != NEMO_ABI_MAJOR) return record;
  for (std::string_view field = take_field(rest, "the component list"); !field.empty(); field = take_field(rest, "the component list")) {
    ComponentName name = parse_component(field);
    if (std::find(record.components.begin(), record.components.end(), name) != record.components.end())
      malformed("it names " + to_string(name) + " twice");
    record.components.push_back(std::move(name));
  }
  if (record.components.empty()) malformed("it names no component");
  if (rest.find_first_not_of('\0') != std::string_view::npos)
    malformed("text follows its end (two NEMO_PLUGIN or NEMO_RECORD in one library?)");
  return record;
}

}  // namespace nemo::plugin
