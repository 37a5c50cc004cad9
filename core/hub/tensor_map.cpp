#include "core/hub/tensor_map.hpp"

#include <algorithm>
#include <cctype>
#include <numeric>

#include "core/base/error.hpp"
#include "core/hub/safetensors.hpp"
#include "core/plugin/error.hpp"

namespace nemo::hub {
namespace {

using plugin::guard;

std::string text(nemo_str s) { return s.len == 0 ? std::string() : std::string(s.ptr, s.len); }
TensorMap& map_of(nemo_hf_map* m) { return *reinterpret_cast<TensorMap*>(m); }

const nemo_hf_map_api kMapApi = {
    sizeof(nemo_hf_map_api),
    0,
    [](nemo_hf_map* m, const nemo_hf_rule* rule) { return guard([&] { map_of(m).add(*rule); }); },
    [](nemo_hf_map* m, nemo_str theirs, nemo_str of) { return guard([&] { map_of(m).add_alias(text(theirs), text(of)); }); },
    [](nemo_hf_map* m, nemo_str theirs) { return guard([&] { map_of(m).add_ignore(text(theirs)); }); },
    [](nemo_hf_map* m, nemo_str theirs, const int64_t* shape, uint64_t rank, double value) {
      return guard([&] { map_of(m).add_constant(text(theirs), {{shape, shape + rank}, value}); });
    },
    [](nemo_hf_map* m, nemo_str prefix, nemo_str other) { return guard([&] { map_of(m).add_spelling(text(prefix), text(other)); }); },
};

int64_t product(const std::vector<int64_t>& sizes) { return std::accumulate(sizes.begin(), sizes.end(), int64_t{1}, std::multiplies<>()); }

// The pattern with its stars replaced, left to right, by `numbers`.
std::string filled(const std::string& pattern, const std::vector<std::string>& numbers) {
  std::string out;
  size_t next = 0;
  for (const char c : pattern) {
    if (c == '*' && next < numbers.size())
      out += numbers[next++];
    else
      out += c;
  }
  return out;
}

std::vector<int64_t> dims_of(const graph::Parameter& p) {
  std::vector<int64_t> dims;
  for (const graph::Dim& d : p.dims) dims.push_back(d.size);
  return dims;
}

Box box_of(const TensorMap::Rule& r, const std::vector<int64_t>& shape) {
  Box box;
  box.view = r.view.empty() ? shape : r.view;
  box.start = r.start.empty() ? std::vector<int64_t>(box.view.size(), 0) : r.start;
  box.length = r.length.empty() ? box.view : r.length;
  box.order = r.order;
  if (box.order.empty()) {
    box.order.resize(box.view.size());
    std::iota(box.order.begin(), box.order.end(), 0);
  }
  return box;
}

// "" or what is wrong with the box of a tensor.
std::string fault_of(const Box& box, const std::vector<int64_t>& shape) {
  if (product(box.view) != product(shape)) return "its view " + describe("", box.view) + " has another size";
  std::vector<bool> seen(box.view.size());
  for (const int64_t d : box.order) {
    if (d < 0 || d >= static_cast<int64_t>(seen.size()) || seen[static_cast<size_t>(d)]) return "its order is no permutation";
    seen[static_cast<size_t>(d)] = true;
  }
  for (size_t i = 0; i < box.view.size(); ++i)
    if (box.start[i] < 0 || box.length[i] < 0 || box.start[i] + box.length[i] > box.view[i]) return "its part leaves the view";
  return "";
}

}  // namespace

bool matches(std::string_view pattern, std::string_view name, std::vector<std::string>& numbers) {
  numbers.clear();
  size_t at = 0;
  for (size_t i = 0; i < pattern.size(); ++i) {
    if (pattern[i] != '*') {
      if (at >= name.size() || name[at++] != pattern[i]) return false;
      continue;
    }
    if (pattern.substr(i) == "**") return true;
    const size_t begin = at;
    while (at < name.size() && std::isdigit(static_cast<unsigned char>(name[at])) != 0) ++at;
    if (at == begin) return false;
    numbers.emplace_back(name.substr(begin, at - begin));
  }
  return at == name.size();
}

TensorMap::TensorMap(const plugin::Component& model, const config::Section& settings, const std::vector<graph::Parameter>& parameters)
    : plugin_(model.id) {
  const auto& api = model.api<nemo_model_api>();
  if (api.hf_map == nullptr)
    throw Error(Code::kUnsupported,
                "model plugin '" + model.id + "' has no map of Hugging Face tensors, so it can be neither imported nor exported");
  plugin::check(api.hf_map(model.host, &settings, &kMapApi, reinterpret_cast<nemo_hf_map*>(this)));
  resolve(parameters);
}

void TensorMap::add(const nemo_hf_rule& r) {
  const uint64_t boxed = r.view_rank != 0 ? r.view_rank : r.rank;
  const auto list = [](const int64_t* values, uint64_t n) {
    return values == nullptr ? std::vector<int64_t>() : std::vector<int64_t>(values, values + n);
  };
  if ((r.start == nullptr) != (r.length == nullptr) || (r.rank == 0 && (r.view_rank != 0 || r.start != nullptr || r.order != nullptr)))
    throw Error(Code::kInvalidArgument, "the rule for " + text(r.theirs) + " cuts or permutes a tensor without giving its shape");
  rules_.push_back({r.flags, text(r.theirs), text(r.ours), list(r.shape, r.rank), list(r.view, r.view_rank), list(r.start, boxed),
                    list(r.length, boxed), list(r.order, boxed), r.ours_dim, r.ours_start, r.ours_length});
}

void TensorMap::resolve(const std::vector<graph::Parameter>& parameters) {
  by_parameter_.resize(parameters.size());
  std::vector<std::string> numbers;
  for (size_t p = 0; p < parameters.size(); ++p)
    for (const Rule& rule : rules_)
      if (matches(rule.ours, parameters[p].name, numbers)) apply(rule, parameters[p], p, numbers);
  check_cover(parameters);
}

void TensorMap::apply(const Rule& rule, const graph::Parameter& parameter, size_t index, const std::vector<std::string>& numbers) {
  const auto broken = [&](const std::string& why) {
    throw Error(Code::kInternal,
                "model plugin '" + plugin_ + "': the map of " + rule.theirs + " to " + parameter.name + " is wrong: " + why);
  };
  const std::vector<int64_t> dims = dims_of(parameter);
  const bool stacked = (rule.flags & NEMO_HF_STACK) != 0;
  if (stacked && (dims.empty() || rule.ours_length != 0)) broken("a stack fills a whole parameter");
  if (rule.ours_dim < 0 || rule.ours_dim >= std::max<int64_t>(1, static_cast<int64_t>(dims.size())))
    broken("the parameter has no such dimension");
  const auto dim = static_cast<size_t>(rule.ours_dim);
  const auto inner = static_cast<uint64_t>(product({dims.begin() + static_cast<int64_t>(std::min(dim + 1, dims.size())), dims.end()}));
  const int64_t whole = dims.empty() ? 1 : dims[dim];
  for (int64_t k = 0; k < (stacked ? dims[0] : 1); ++k) {
    const int64_t start = stacked ? k : rule.ours_start, length = stacked ? 1 : rule.ours_length == 0 ? whole - start : rule.ours_length;
    if (start < 0 || length < 0 || start + length > whole) broken("its part leaves the parameter");
    std::vector<std::string> filling = numbers;
    if (stacked) filling.push_back(std::to_string(k));
    std::vector<int64_t> shape = rule.shape;
    if (shape.empty()) {
      shape = dims;
      if (stacked) shape.erase(shape.begin());
      if (!stacked && rule.ours_length != 0) shape[dim] = length;
    }
    Piece piece{index,
                filled(rule.theirs, filling),
                box_of(rule, shape),
                0,
                0,
                0,
                0,
                (rule.flags & NEMO_HF_OPTIONAL) != 0,
                (rule.flags & NEMO_HF_PADDED) != 0};
    if (const std::string why = fault_of(piece.box, shape); !why.empty()) broken(why);
    piece.run = static_cast<uint64_t>(length) * inner, piece.step = static_cast<uint64_t>(whole) * inner;
    piece.first = static_cast<uint64_t>(start) * inner;
    piece.outer = static_cast<uint64_t>(product(dims)) / std::max<uint64_t>(piece.step, 1);
    if (piece.outer == 1) piece.step = piece.run;
    if (piece.count() != piece.box.count()) broken(std::to_string(piece.box.count()) + " elements for " + std::to_string(piece.count()));
    const auto [tensor, fresh] = tensors_.try_emplace(piece.theirs, TheirTensor{shape, {}});
    if (!fresh && tensor->second.shape != shape) broken("two rules give it different shapes");
    tensor->second.pieces.push_back(pieces_.size());
    by_parameter_[index].push_back(pieces_.size());
    pieces_.push_back(std::move(piece));
  }
}

void TensorMap::check_cover(const std::vector<graph::Parameter>& parameters) const {
  const std::string who = "model plugin '" + plugin_ + "': ";
  for (size_t p = 0; p < parameters.size(); ++p) {
    uint64_t covered = 0;
    bool padded = false;
    for (const size_t i : by_parameter_[p]) covered += pieces_[i].count(), padded = padded || pieces_[i].padded;
    const auto whole = static_cast<uint64_t>(product(dims_of(parameters[p])));
    if (by_parameter_[p].empty())
      throw Error(Code::kInternal, who + "its map of Hugging Face tensors has no rule for parameter " + parameters[p].name);
    if (covered > whole || (covered < whole && !padded))
      throw Error(Code::kInternal, who + "its map fills " + std::to_string(covered) + " of the " + std::to_string(whole) + " elements of " +
                                       parameters[p].name);
  }
  for (const auto& [name, tensor] : tensors_) {
    uint64_t covered = 0;
    for (const size_t i : tensor.pieces) covered += pieces_[i].count();
    if (covered != static_cast<uint64_t>(product(tensor.shape)))
      throw Error(Code::kInternal, who + "its map uses " + std::to_string(covered) + " of the " + std::to_string(product(tensor.shape)) +
                                       " elements of tensor " + name);
  }
}

bool TensorMap::ignores(std::string_view theirs) const {
  std::vector<std::string> numbers;
  return std::any_of(ignored_.begin(), ignored_.end(), [&](const std::string& pattern) { return matches(pattern, theirs, numbers); });
}

std::string TensorMap::original_of(std::string_view theirs) const {
  std::vector<std::string> numbers;
  for (const auto& [alias, of] : aliases_)
    if (matches(alias, theirs, numbers)) return filled(of, numbers);
  return "";
}

}  // namespace nemo::hub
