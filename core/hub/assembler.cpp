#include <algorithm>
#include <cstring>

#include "core/hub/element.hpp"
#include "core/hub/export.hpp"

namespace nemo::hub {

Assembler::Assembler(const TensorMap& map, std::vector<uint64_t> elements, Read read)
    : map_(map), elements_(std::move(elements)), read_(std::move(read)) {
  for (size_t p = 0; p < elements_.size(); ++p) open_.push_back(map_.pieces_of(p).size());
}

std::vector<std::string> Assembler::order() const {
  std::vector<std::pair<size_t, const std::string*>> found;  // by the first piece, which follows the parameters
  for (const auto& [name, tensor] : map_.tensors()) found.emplace_back(tensor.pieces[0], &name);
  std::sort(found.begin(), found.end());
  std::vector<std::string> names;
  names.reserve(found.size());
  for (const auto& [piece, name] : found) names.push_back(*name);
  return names;
}

Assembler::Loaded& Assembler::load(size_t parameter, nemo_dtype dtype) {
  Loaded& l = loaded_[parameter];
  if (l.dtype != dtype) {
    l.dtype = dtype;
    l.bytes.resize(elements_[parameter] * element_bytes(word_of(dtype)));
    read_(parameter, dtype, l.bytes.data());
  }
  return l;
}

// The parameter that is the tensor, element for element, and serves nothing else; SIZE_MAX where there is none.
size_t Assembler::whole(const TheirTensor& tensor, uint64_t count) const {
  const Piece& piece = map_.pieces()[tensor.pieces[0]];
  const bool same = tensor.pieces.size() == 1 && piece.box.is_run() && piece.count() == count && elements_[piece.parameter] == count;
  return same && open_[piece.parameter] == 1 ? piece.parameter : SIZE_MAX;
}

std::optional<size_t> Assembler::take_whole(const std::string& theirs) {
  const TheirTensor& wanted = map_.tensors().at(theirs);
  uint64_t count = 1;
  for (const int64_t size : wanted.shape) count *= static_cast<uint64_t>(size);
  const size_t p = whole(wanted, count);
  if (p == SIZE_MAX || loaded_.contains(p)) return std::nullopt;
  --open_[p];
  return p;
}

const std::vector<std::byte>& Assembler::tensor(const std::string& theirs, nemo_dtype dtype) {
  const size_t element = element_bytes(word_of(dtype));
  const TheirTensor& wanted = map_.tensors().at(theirs);
  uint64_t count = 1;
  for (const int64_t size : wanted.shape) count *= static_cast<uint64_t>(size);
  out_ = {};  // before anything is read: two large tensors are never held at once
  if (const size_t p = whole(wanted, count); p != SIZE_MAX) {
    out_ = std::move(load(p, dtype).bytes);
    loaded_.erase(p);
    --open_[p];
    return out_;
  }
  out_.resize(count * element);
  for (const size_t i : wanted.pieces) {
    const Piece& piece = map_.pieces()[i];
    const std::byte* dense = load(piece.parameter, dtype).bytes.data() + piece.first * element;
    if (piece.outer != 1) {
      dense_.resize(piece.count() * element);
      for (uint64_t o = 0; o < piece.outer; ++o)
        std::memcpy(&dense_[o * piece.run * element], dense + o * piece.step * element, piece.run * element);
      dense = dense_.data();
    }
    scatter(dense, piece.box, element, out_.data());
    if (--open_[piece.parameter] == 0) loaded_.erase(piece.parameter);
  }
  return out_;
}

}  // namespace nemo::hub
