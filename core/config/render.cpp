#include "core/config/render.hpp"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

namespace nemo::config {
namespace {

using Row = std::vector<std::string>;

size_t width_of(const std::string& text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xc0) != 0x80; }));
}

std::string aligned(const std::vector<Row>& rows, const std::string& separator) {
  std::vector<size_t> widths;
  for (const Row& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (size_t i = 0; i + 1 < row.size(); ++i) widths[i] = std::max(widths[i], width_of(row[i]));
  }
  std::string out;
  for (const Row& row : rows) {
    std::string line;
    for (size_t i = 0; i < row.size(); ++i) {
      line += (i ? separator : "") + row[i];
      if (i + 1 < row.size()) line.append(widths[i] - width_of(row[i]), ' ');
    }
    line.erase(line.find_last_not_of(' ') + 1);
    out += line + "\n";
  }
  return out;
}

std::string default_text(const Field& field) {
  if (field.is(NEMO_FIELD_REQUIRED)) return "required";
  return field.default_value ? to_literal(*field.default_value) : "unset";
}

std::string limits(const Field& field) {
  const std::string text = range_text(field);
  return text.empty() ? field.unit : text;
}

struct ToJson {
  nlohmann::ordered_json operator()(const List& list) const {
    auto out = nlohmann::ordered_json::array();
    for (const Value& v : list) out.push_back(std::visit(*this, v.data));
    return out;
  }
  nlohmann::ordered_json operator()(const Foreign& v) const { return v.kind; }
  // JSON has no infinities: they are written as TOML writes them.
  nlohmann::ordered_json operator()(double v) const {
    return std::isfinite(v) ? nlohmann::ordered_json(v) : nlohmann::ordered_json(to_literal({v}));
  }
  template <class T>
  nlohmann::ordered_json operator()(const T& v) const {
    return v;
  }
};

nlohmann::ordered_json field_to_json(const Field& field) {
  nlohmann::ordered_json json{{"path", field.path},
                              {"type", type_name(field)},
                              {"required", field.is(NEMO_FIELD_REQUIRED)},
                              {"secret", field.is(NEMO_FIELD_SECRET)},
                              {"changes_checkpoint", field.is(NEMO_FIELD_CHANGES_CHECKPOINT)},
                              {"doc", field.doc}};
  if (field.default_value) json["default"] = std::visit(ToJson{}, field.default_value->data);
  if (field.is(NEMO_FIELD_HAS_MIN)) json["min"] = field.min;
  if (field.is(NEMO_FIELD_HAS_MAX)) json["max"] = field.max;
  if (!field.unit.empty()) json["unit"] = field.unit;
  for (const auto& [value, doc] : field.choices) json["choices"].push_back({{"value", value}, {"doc", doc}});
  return json;
}

}  // namespace

std::string to_toml(const Configuration& configuration) {
  std::string out;
  for (const Section& section : configuration.sections()) {
    std::string lines;
    for (const Setting& setting : section.settings())
      if (setting.value && !setting.field.is(NEMO_FIELD_SECRET)) lines += setting.field.path + " = " + to_literal(*setting.value) + "\n";
    if (!lines.empty()) out += (out.empty() ? "[" : "\n[") + section.name() + "]\n" + lines;
  }
  return out;
}

std::string render_table(const Configuration& configuration) {
  std::vector<Row> rows{{"setting", "value", "origin"}};
  for (const Section& section : configuration.sections())
    for (const Setting& setting : section.settings())
      if (setting.value)
        rows.push_back({section.name() + "." + setting.field.path,
                        setting.field.is(NEMO_FIELD_SECRET) ? "(hidden)" : to_literal(*setting.value), to_string(setting.origin)});
  return aligned(rows, " | ");
}

std::string describe(const nemo_schema& schema, const std::string& owner) {
  const std::vector<Field> fields = read_schema(schema, owner);
  std::vector<Row> rows;
  for (const Field& field : fields) {
    rows.push_back({field.path, type_name(field), default_text(field), limits(field), field.doc});
    for (const auto& [value, doc] : field.choices) rows.push_back({"  = " + to_literal({value}), "", "", "", doc});
  }
  return aligned(rows, "  ");
}

std::string schema_to_json(const nemo_schema& schema, const std::string& owner) {
  auto json = nlohmann::ordered_json::array();
  for (const Field& field : read_schema(schema, owner)) json.push_back(field_to_json(field));
  return json.dump(2) + "\n";
}

}  // namespace nemo::config
