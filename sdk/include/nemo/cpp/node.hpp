// nemo/cpp/node.hpp - a node as a backend's kernels see it: the row of nemo/ops.def applied to the tensors that the host gave. The
// constructor checks ranks, sizes and dtypes against the row, so that a kernel only has to refuse layouts that it cannot do. One source of
// the plugin includes nemo/cpp/node_impl.hpp.
#pragma once

#include <iterator>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "nemo/backend.h"

namespace nemo::sdk {

constexpr std::string_view name_of(nemo_dtype d) {
  constexpr std::string_view names[] = {"none", "f32", "f64", "bf16", "f16", "i32", "i64", "u8", "e4m3", "e5m2"};
  return d >= 0 && d < 10 ? names[d] : names[0];
}

constexpr int64_t size_of(nemo_dtype d) {
  switch (d) {
    case NEMO_DTYPE_F64:
    case NEMO_DTYPE_I64:
      return 8;
    case NEMO_DTYPE_F32:
    case NEMO_DTYPE_I32:
      return 4;
    case NEMO_DTYPE_BF16:
    case NEMO_DTYPE_F16:
      return 2;
    default:
      return 1;
  }
}

// A view of values that someone else owns, as std::span<const T> of C++20.
template <class T>
class View {
 public:
  constexpr View(const T* data, size_t size) : data_(data), size_(size) {}
  template <class Values, class = decltype(std::data(std::declval<const Values&>()))>
  constexpr View(const Values& values) : data_(std::data(values)), size_(std::size(values)) {}
  constexpr const T* data() const { return data_; }
  constexpr size_t size() const { return size_; }
  constexpr const T* begin() const { return data_; }
  constexpr const T* end() const { return data_ + size_; }
  constexpr const T& operator[](size_t i) const { return data_[i]; }

 private:
  const T* data_;
  size_t size_;
};

// What a backend computes in, and how its messages name it.
struct Dialect {
  std::string_view backend;   // "cpu backend"
  View<nemo_dtype> computes;  // dtypes of unmarked tensors
};

struct OpRow {
  std::string_view name, signature, whole, attributes;
};

struct Tensor {
  nemo_dtype dtype = 0;  // 0: absent
  std::vector<int64_t> shape;
  std::vector<int64_t> strides;  // in elements

  bool present() const { return dtype != 0; }
  int rank() const { return static_cast<int>(shape.size()); }
  int64_t size() const;
};

// A tensor seen as a matrix: rows `ld` elements apart, columns contiguous.
struct Matrix {
  int64_t rows = 1, cols = 1, ld = 1;
};

// Tensors of one shape seen as matrices with the same rows and columns.
struct Aligned {
  int64_t rows = 1, cols = 1;
  std::vector<int64_t> ld;
};

class Node {
 public:
  // Throws sdk::Error: INVALID_ARGUMENT where the tensors contradict the row, UNSUPPORTED for dtypes that the backend does not compute in.
  Node(const nemo_node& raw, const OpRow& row, const Dialect& dialect);

  const Tensor& in(size_t i) const { return inputs_.at(i); }
  const Tensor& out(size_t i) const { return outputs_.at(i); }
  // Dtype of the unmarked tensors; of the `:acc` ones where there are none.
  nemo_dtype compute() const { return compute_; }
  int64_t size(char letter) const { return letters_.at(letter); }  // of a letter; product of the sizes of a group
  int group_rank(char letter) const { return static_cast<int>(groups_.at(letter).size()); }

  // Attributes; the row's default where the node has none.
  int64_t integer(std::string_view name) const;
  double number(std::string_view name) const;
  std::string_view string(std::string_view name) const;
  View<double> numbers(std::string_view name) const;
  bool has_attribute(std::string_view name) const;  // in the row

  // The first `split` dimensions as rows, the others as columns. Refuses what has no such view.
  Matrix matrix(const Tensor& t, int split) const;
  // Absent tensors get ld 0.
  Aligned align(const std::vector<const Tensor*>& tensors) const;
  // Refuses tensors whose elements are not contiguous in row-major order.
  void need_contiguous(const Tensor& t) const;

  // Throws UNSUPPORTED with op, scope, dtypes and shapes.
  [[noreturn]] void refuse(const std::string& why) const;

 private:
  [[noreturn]] void contradict(const std::string& why) const;
  const nemo_attr* find(std::string_view name) const;
  std::optional<std::string_view> default_of(std::string_view name) const;
  std::string describe() const;
  void check_signature();
  struct Slot;
  std::vector<Slot> parse_signature() const;
  void bind_groups(const std::vector<Slot>& slots);
  void bind_sizes(const std::vector<Slot>& slots);
  void check_dtypes(const std::vector<Slot>& slots);
  const Tensor& tensor(const Slot& slot) const;

  [[nodiscard]] bool computes(nemo_dtype d) const;

  OpRow row_;
  Dialect dialect_;
  std::string_view scope_;
  std::vector<Tensor> inputs_, outputs_;
  std::vector<nemo_attr> attrs_;  // views into the host's memory: valid during prepare
  std::map<char, std::vector<int64_t>> groups_;
  std::map<char, int64_t> letters_;
  nemo_dtype compute_ = 0;
};

}  // namespace nemo::sdk
