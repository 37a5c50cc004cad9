// nemo/cpp/node_impl.hpp - the definitions of nemo/cpp/node.hpp; included by one source of a backend plugin.
#pragma once

#include <algorithm>
#include <charconv>
#include <cstring>

#include "nemo/cpp/core.hpp"
#include "nemo/cpp/node.hpp"

namespace nemo::sdk {

namespace node_detail {

inline std::vector<std::string_view> split(std::string_view text, std::string_view separator) {
  std::vector<std::string_view> out;
  while (true) {
    const size_t at = text.find(separator);
    out.push_back(text.substr(0, at));
    if (at == std::string_view::npos) return out;
    text.remove_prefix(at + separator.size());
  }
}

inline std::string_view trim(std::string_view s) {
  while (!s.empty() && s.front() == ' ') s.remove_prefix(1);
  while (!s.empty() && s.back() == ' ') s.remove_suffix(1);
  return s;
}

template <class T>
const T& element(const T* first, uint64_t i, uint64_t stride) {
  return *reinterpret_cast<const T*>(reinterpret_cast<const char*>(first) + i * (stride ? stride : sizeof(T)));
}

inline Tensor to_tensor(const nemo_tensor& raw) {
  Tensor t;
  t.dtype = raw.dtype;
  if (t.dtype == 0) return t;
  t.shape.assign(raw.t.shape, raw.t.shape + raw.t.ndim);
  t.strides.resize(t.shape.size());
  int64_t stride = 1;
  for (size_t i = t.shape.size(); i-- > 0;) {
    t.strides[i] = raw.t.strides != nullptr ? raw.t.strides[i] : stride;
    stride *= t.shape[i];
  }
  return t;
}

// The view [dims 0..split) x [dims split..): nothing where the strides do not allow it. Dimensions of size 1 have no stride worth looking
// at.
inline std::optional<Matrix> collapse(const Tensor& t, int split) {
  Matrix m;
  int64_t expected = 1;
  for (int i = t.rank() - 1; i >= split; --i) {
    if (t.shape[i] != 1 && t.strides[i] != expected) return std::nullopt;
    expected *= t.shape[i];
  }
  m.cols = m.ld = expected;
  int64_t outer = 0;
  for (int i = split - 1; i >= 0; --i) {
    if (t.shape[i] == 1) continue;
    if (outer == 0)
      m.ld = t.strides[i];
    else if (t.strides[i] != outer)
      return std::nullopt;
    outer = t.strides[i] * t.shape[i];
    m.rows *= t.shape[i];
  }
  return m;
}

inline std::string shape_text(const Tensor& t) {
  if (!t.present()) return "-";
  std::string s(name_of(t.dtype));
  s += '[';
  for (size_t i = 0; i < t.shape.size(); ++i) s += (i ? " " : "") + std::to_string(t.shape[i]);
  return s + ']';
}

}  // namespace node_detail

int64_t Tensor::size() const {
  int64_t n = 1;
  for (int64_t d : shape) n *= d;
  return n;
}

struct Node::Slot {
  std::string_view name, mark;
  std::vector<std::string_view> factors;  // "d" or "*a"
  bool optional = false, output = false;
  size_t index = 0;
};

Node::Node(const nemo_node& raw, const OpRow& row, const Dialect& dialect) : row_(row), dialect_(dialect), scope_(to_view(raw.scope)) {
  for (uint64_t i = 0; i < raw.n_inputs; ++i)
    inputs_.push_back(node_detail::to_tensor(node_detail::element(raw.inputs, i, raw.tensor_stride)));
  for (uint64_t i = 0; i < raw.n_outputs; ++i)
    outputs_.push_back(node_detail::to_tensor(node_detail::element(raw.outputs, i, raw.tensor_stride)));
  for (uint64_t i = 0; i < raw.n_attrs; ++i) attrs_.push_back(node_detail::element(raw.attrs, i, raw.attr_stride));
  check_signature();
}

std::string Node::describe() const {
  std::string s = std::string(dialect_.backend) + ": op " + std::string(row_.name);
  if (!scope_.empty()) s += " (" + std::string(scope_) + ")";
  s += " on";
  for (const Tensor& t : inputs_) s += " " + node_detail::shape_text(t);
  s += " ->";
  for (const Tensor& t : outputs_) s += " " + node_detail::shape_text(t);
  return s;
}

void Node::refuse(const std::string& why) const { throw Error(NEMO_CODE_UNSUPPORTED, describe() + ": " + why); }
void Node::contradict(const std::string& why) const {
  throw Error(NEMO_CODE_INVALID_ARGUMENT, describe() + ": " + why + "; the row is \"" + std::string(row_.signature) + "\"");
}

const nemo_attr* Node::find(std::string_view name) const {
  for (const nemo_attr& a : attrs_)
    if (to_view(a.name) == name) return &a;
  return nullptr;
}

// The text behind "=" in the row; an attribute without default is required.
std::optional<std::string_view> Node::default_of(std::string_view name) const {
  for (std::string_view item : node_detail::split(row_.attributes, ";")) {
    item = node_detail::trim(item);
    if (item.substr(0, item.find(':')) != name) continue;
    const size_t at = item.find('=');
    if (at == std::string_view::npos) contradict("attribute " + std::string(name) + " is required");
    return item.substr(at + 1);
  }
  return std::nullopt;
}

bool Node::has_attribute(std::string_view name) const {
  for (std::string_view item : node_detail::split(row_.attributes, ";"))
    if (node_detail::trim(item).substr(0, node_detail::trim(item).find(':')) == name) return true;
  return false;
}

int64_t Node::integer(std::string_view name) const {
  if (const nemo_attr* a = find(name)) {
    if (a->type != NEMO_ATTR_INT) contradict("attribute " + std::string(name) + " must be an int");
    return a->i;
  }
  const std::string_view text = default_of(name).value();
  int64_t v = 0;
  std::from_chars(text.data(), text.data() + text.size(), v);
  return v;
}

double Node::number(std::string_view name) const {
  if (const nemo_attr* a = find(name)) {
    if (a->type != NEMO_ATTR_FLOAT && a->type != NEMO_ATTR_INT) contradict("attribute " + std::string(name) + " must be a float");
    return a->type == NEMO_ATTR_INT ? static_cast<double>(a->i) : a->f;
  }
  const std::string_view text = default_of(name).value();
  double v = 0;
  std::from_chars(text.data(), text.data() + text.size(), v);
  return v;
}

std::string_view Node::string(std::string_view name) const {
  const nemo_attr* a = find(name);
  if (a == nullptr) return default_of(name).value();
  if (a->type != NEMO_ATTR_STRING) contradict("attribute " + std::string(name) + " must be a string");
  return to_view(a->s);
}

View<double> Node::numbers(std::string_view name) const {
  const nemo_attr* a = find(name);
  if (a == nullptr || a->type != NEMO_ATTR_FLOATS) contradict("attribute " + std::string(name) + " (floats) is required");
  return {a->floats, a->n};
}

Matrix Node::matrix(const Tensor& t, int split) const {
  const std::optional<Matrix> m = node_detail::collapse(t, split);
  if (!m) refuse("this stride pattern of " + node_detail::shape_text(t) + " has no view as rows of contiguous elements");
  return *m;
}

void Node::need_contiguous(const Tensor& t) const {
  if (t.present() && !node_detail::collapse(t, 0)) refuse("the tensor " + node_detail::shape_text(t) + " must be contiguous");
}

Aligned Node::align(const std::vector<const Tensor*>& tensors) const {
  for (int split = 0; split <= tensors.front()->rank(); ++split) {
    Aligned a;
    bool fits = true;
    for (const Tensor* t : tensors) {
      const std::optional<Matrix> m = t->present() ? node_detail::collapse(*t, split) : Matrix{a.rows, a.cols, 0};
      fits = fits && m;
      if (!fits) break;
      a.rows = m->rows, a.cols = m->cols;
      a.ld.push_back(m->ld);
    }
    if (fits) return a;
  }
  refuse("the stride patterns have no common view as rows of contiguous elements");
}

std::vector<Node::Slot> Node::parse_signature() const {
  std::vector<Slot> slots;
  const auto sides = node_detail::split(row_.signature, "->");
  for (size_t side = 0; side < 2; ++side) {
    size_t index = 0;
    for (std::string_view text : node_detail::split(sides[side], ",")) {
      text = node_detail::trim(text);
      const size_t open = text.find('['), close = text.find(']');
      Slot slot;
      slot.name = text.substr(0, open);
      slot.optional = !text.empty() && text.back() == '?';
      slot.output = side == 1;
      slot.index = index++;
      for (std::string_view f : node_detail::split(text.substr(open + 1, close - open - 1), " "))
        if (!f.empty()) slot.factors.push_back(f);
      std::string_view rest = text.substr(close + 1);
      if (!rest.empty() && rest.front() == ':') slot.mark = rest.substr(1, rest.find_first_of("+?") - 1);
      slots.push_back(std::move(slot));
    }
  }
  return slots;
}

const Tensor& Node::tensor(const Slot& slot) const { return slot.output ? outputs_[slot.index] : inputs_[slot.index]; }

// Ranks of the groups: given by attributes, or what is left in a tensor whose other groups are known.
void Node::bind_groups(const std::vector<Slot>& slots) {
  std::map<char, int> ranks;
  if (has_attribute("contract")) ranks['k'] = static_cast<int>(integer("contract"));
  if (has_attribute("axes")) ranks['n'] = static_cast<int>(integer("axes"));
  for (bool progress = true; progress;) {
    progress = false;
    for (const Slot& slot : slots) {
      if (!tensor(slot).present()) continue;
      int left = tensor(slot).rank(), unknown = 0;
      char letter = 0;
      for (std::string_view f : slot.factors) {
        if (f[0] != '*')
          --left;
        else if (auto it = ranks.find(f[1]); it != ranks.end())
          left -= it->second;
        else
          ++unknown, letter = f[1];
      }
      if (left < 0 || (unknown == 0 && left != 0)) contradict("tensor " + std::string(slot.name) + " has the wrong number of dimensions");
      if (unknown == 1) ranks[letter] = left, progress = true;
    }
  }
  for (auto [letter, rank] : ranks) groups_[letter].assign(rank, -1);
}

void Node::bind_sizes(const std::vector<Slot>& slots) {
  auto bind = [&](int64_t& bound, int64_t size, const Slot& slot) {
    if (bound >= 0 && bound != size) contradict("tensor " + std::string(slot.name) + " disagrees with the others about a size");
    bound = size;
  };
  for (const Slot& slot : slots) {
    if (!tensor(slot).present()) continue;
    size_t dim = 0;
    for (std::string_view f : slot.factors) {
      if (f[0] == '*')
        for (int64_t& bound : groups_[f[1]]) bind(bound, tensor(slot).shape[dim++], slot);
      else
        bind(letters_.try_emplace(f[0], -1).first->second, tensor(slot).shape[dim++], slot);
    }
    if (tensor(slot).rank() > 0 && tensor(slot).shape.back() > 1 && tensor(slot).strides.back() != 1)
      refuse("the last dimension of tensor " + std::string(slot.name) + " must be contiguous");
  }
  for (const auto& [letter, sizes] : groups_) {
    int64_t n = 1;
    for (int64_t s : sizes) n *= s;
    letters_[letter] = n;
  }
}

bool Node::computes(nemo_dtype d) const {
  return std::find(dialect_.computes.begin(), dialect_.computes.end(), d) != dialect_.computes.end();
}

void Node::check_dtypes(const std::vector<Slot>& slots) {
  for (const Slot& slot : slots)
    if (compute_ == 0 && slot.mark.empty() && tensor(slot).present()) compute_ = tensor(slot).dtype;
  for (const Slot& slot : slots)
    if (compute_ == 0 && slot.mark == "acc" && tensor(slot).present()) compute_ = tensor(slot).dtype;
  const nemo_dtype acc = compute_ == NEMO_DTYPE_F64 ? NEMO_DTYPE_F64 : NEMO_DTYPE_F32;
  if (compute_ != 0 && !computes(compute_)) {
    std::string words;
    for (const nemo_dtype d : dialect_.computes) words += " " + std::string(name_of(d));
    refuse("computes in these dtypes only:" + words);
  }
  for (const Slot& slot : slots) {
    const Tensor& t = tensor(slot);
    if (!t.present()) continue;
    bool ok = true;
    if (slot.mark.empty())
      ok = t.dtype == compute_;
    else if (slot.mark == "acc")
      ok = t.dtype == acc;
    else if (slot.mark == "grad")
      ok = computes(t.dtype);
    else if (slot.mark != "any")
      ok = name_of(t.dtype) == slot.mark;
    if (!ok) refuse("tensor " + std::string(slot.name) + " has dtype " + std::string(name_of(t.dtype)));
  }
}

void Node::check_signature() {
  const std::vector<Slot> slots = parse_signature();
  size_t n_in = 0, n_out = 0;
  for (const Slot& slot : slots) (slot.output ? n_out : n_in) += 1;
  if (inputs_.size() > n_in || outputs_.size() > n_out) contradict("too many tensors");
  inputs_.resize(n_in);
  outputs_.resize(n_out);
  for (const Slot& slot : slots)
    if (!slot.optional && !tensor(slot).present()) contradict("tensor " + std::string(slot.name) + " is missing");
  bind_groups(slots);
  bind_sizes(slots);
  check_dtypes(slots);
}

}  // namespace nemo::sdk
