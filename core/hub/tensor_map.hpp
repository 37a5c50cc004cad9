// core/hub/tensor_map.hpp - a plugin's map of Hugging Face tensors (nemo/hf.h), resolved against the parameters of a built graph.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "core/config/section.hpp"
#include "core/graph/graph.hpp"
#include "core/hub/box.hpp"
#include "core/plugin/component.hpp"
#include "nemo/hf.h"

namespace nemo::hub {

// A part of one tensor of the checkpoint is a part of one parameter.
struct Piece {
  size_t parameter;    // index in the graph
  std::string theirs;  // the tensor's name
  Box box;             // of the tensor
  // Of the parameter: `outer` runs of `run` elements, `step` apart, the first at `first`.
  uint64_t outer, run, step, first;
  bool optional, padded;
  [[nodiscard]] uint64_t count() const { return outer * run; }
};

struct TheirTensor {
  std::vector<int64_t> shape;
  std::vector<size_t> pieces;  // together they cover it once
};

struct Constant {
  std::vector<int64_t> shape;
  double value;
};

// '*' in a pattern stands for a decimal number, a trailing "**" for any rest. On success `numbers` are the stars' texts.
[[nodiscard]] bool matches(std::string_view pattern, std::string_view name, std::vector<std::string>& numbers);

class TensorMap {
 public:
  // Asks the plugin. Throws Error(kUnsupported) where it has no map, Error(kInternal) naming the parameter or tensor where the map does not
  // cover parameters and tensors completely.
  TensorMap(const plugin::Component& model, const config::Section& settings, const std::vector<graph::Parameter>& parameters);

  [[nodiscard]] const std::vector<Piece>& pieces() const { return pieces_; }
  // By parameter: indices of its pieces.
  [[nodiscard]] const std::vector<size_t>& pieces_of(size_t parameter) const { return by_parameter_[parameter]; }
  [[nodiscard]] const std::map<std::string, TheirTensor>& tensors() const { return tensors_; }
  [[nodiscard]] const std::map<std::string, Constant>& constants() const { return constants_; }
  [[nodiscard]] const std::vector<std::pair<std::string, std::string>>& spellings() const { return spellings_; }

  [[nodiscard]] bool ignores(std::string_view theirs) const;
  // The tensor that `theirs` is another name of; "" where it is none.
  [[nodiscard]] std::string original_of(std::string_view theirs) const;

  // For the callbacks of nemo_hf_map_api.
  struct Rule {
    uint32_t flags;
    std::string theirs, ours;
    std::vector<int64_t> shape, view, start, length, order;
    int64_t ours_dim, ours_start, ours_length;
  };
  void add(const nemo_hf_rule& rule);
  void add_alias(std::string theirs, std::string of) { aliases_.emplace_back(std::move(theirs), std::move(of)); }
  void add_ignore(std::string theirs) { ignored_.push_back(std::move(theirs)); }
  void add_constant(std::string theirs, Constant c) { constants_.emplace(std::move(theirs), std::move(c)); }
  void add_spelling(std::string prefix, std::string other) { spellings_.emplace_back(std::move(prefix), std::move(other)); }

 private:
  void resolve(const std::vector<graph::Parameter>& parameters);
  void apply(const Rule& rule, const graph::Parameter& parameter, size_t index, const std::vector<std::string>& numbers);
  void check_cover(const std::vector<graph::Parameter>& parameters) const;

  std::string plugin_;
  std::vector<Rule> rules_;
  std::vector<std::pair<std::string, std::string>> aliases_, spellings_;
  std::vector<std::string> ignored_;
  std::map<std::string, Constant> constants_;
  std::vector<Piece> pieces_;
  std::vector<std::vector<size_t>> by_parameter_;
  std::map<std::string, TheirTensor> tensors_;
};

}  // namespace nemo::hub
