// tests/config/sample_schema.hpp - a plugin's schema with a field of every type.
#pragma once

#include <string>
#include <vector>

#include "core/config/resolver.hpp"
#include "core/config/sections.hpp"
#include "nemo/cpp/config.hpp"

namespace nemo::config {

inline const nemo_schema* llama_schema() {
  using namespace nemo::sdk;
  static const Schema schema{{
      integer("num_layers", "12", "number of blocks").min(1).max(200).unit("layers"),
      integer("vocab_size", "", "from the tokenizer if unset").min(1),
      number("init_std", "0.02", "standard deviation of the weights").min(0),
      boolean("tie", "false", "share the embedding"),
      string("title", "\"a \\\"b\\\"\"", "any text"),
      choice("activation", "\"silu\"", {{"silu", "x sigmoid(x)"}, {"gelu_tanh", "tanh approximation"}}, "of the MLP"),
      file("weights", "", "initial weights"),
      list("files", NEMO_FIELD_PATH, "[]", "data files"),
      list("dims", NEMO_FIELD_INT, "[1, 2]", "sizes").min(1),
      list("betas", NEMO_FIELD_FLOAT, "[0.9, 0.95]", "rates").min(0).max(1),
      list("names", NEMO_FIELD_STRING, "[]", "names"),
      number("rope_scaling.factor", "8.0", "stretch").min(1),
      choice("rope_scaling.type", "\"none\"", {{"none", ""}, {"llama3", ""}}, "kind of stretch"),
      nemo::sdk::Field(NEMO_FIELD_TABLE, "labels", "", "free-form"),
  }};
  return schema.get();
}

// [model] of the core and llama, and [trainer] of the core.
inline Configuration resolve(const Document& document) {
  Resolver resolver(document);
  resolver.add("model", "core", core_schema("model"));
  resolver.add("model", "llama", llama_schema());
  resolver.add("trainer", "core", core_schema("trainer"));
  return resolver.resolve();
}

inline Configuration resolve(const std::string& text, const std::vector<std::string>& overrides = {}) {
  return resolve(Document::parse(text, "r.toml", overrides));
}

}  // namespace nemo::config
