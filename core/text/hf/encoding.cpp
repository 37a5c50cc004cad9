#include "core/text/hf/encoding.hpp"

#include <algorithm>

#include "core/base/error.hpp"

namespace nemo::text::hf {
namespace {

template <class T>
std::vector<T> slice(const std::vector<T>& v, size_t begin, size_t end) {
  return {v.begin() + static_cast<std::ptrdiff_t>(begin), v.begin() + static_cast<std::ptrdiff_t>(end)};
}

template <class T>
void put_behind(std::vector<T>& v, const std::vector<T>& more) {
  v.insert(v.end(), more.begin(), more.end());
}

std::vector<Span> ranges(size_t size, size_t length, size_t stride, Direction direction) {
  std::vector<Span> out;
  const size_t step = length - stride;
  for (size_t done = 0; done < size; done += step) {
    const size_t end = direction == Direction::kRight ? std::min(done + length, size) : size - done;
    const size_t begin = direction == Direction::kRight ? done : end - std::min(end, length);
    out.push_back({static_cast<uint32_t>(begin), static_cast<uint32_t>(end)});
    if (direction == Direction::kRight ? end == size : begin == 0) break;
  }
  return out;
}

void truncate_one(Encoding& e, size_t length, const Truncation& how) {
  if (length >= e.size()) return;
  if (length == 0) {
    Encoding empty;
    empty.overflowing.push_back(std::move(e));
    e = std::move(empty);
    return;
  }
  const auto stride = static_cast<size_t>(how.stride);
  if (stride >= length)
    throw Error(Code::kConfig, "truncation: stride " + std::to_string(how.stride) + " must be smaller than the " + std::to_string(length) +
                                   " tokens that are left beside special tokens");
  const std::vector<Span> parts = ranges(e.size(), length, stride, how.direction);
  Encoding out = e.part(parts[0].begin, parts[0].end);
  for (size_t i = 1; i < parts.size(); ++i) out.overflowing.push_back(e.part(parts[i].begin, parts[i].end));
  e = std::move(out);
}

void truncate_longest(Encoding& first, Encoding& second, const Truncation& how) {
  const auto most = static_cast<size_t>(how.max_length);
  size_t shorter = first.size(), longer = second.size();
  const bool swapped = shorter > longer;
  if (swapped) std::swap(shorter, longer);
  longer = shorter > most ? shorter : std::max(shorter, most - shorter);
  if (shorter + longer > most) {
    shorter = most / 2;
    longer = shorter + most % 2;
  }
  if (swapped) std::swap(shorter, longer);
  truncate_one(first, shorter, how);
  truncate_one(second, longer, how);
}

Direction read_direction(const Field& f) {
  const std::string name = f.string_or("direction", "Right");
  if (name != "Left" && name != "Right") f.at("direction").fail("expected \"Left\" or \"Right\", found \"" + name + "\"");
  return name == "Left" ? Direction::kLeft : Direction::kRight;
}

void pad_one(Encoding& e, size_t length, const Padding& how) {
  for (Encoding& o : e.overflowing) pad_one(o, length, how);
  if (e.size() >= length) return;
  const size_t n = length - e.size();
  const bool left = how.direction == Direction::kLeft;
  const auto grow = [&](auto& v, const auto& value) { v.insert(left ? v.begin() : v.end(), n, value); };
  grow(e.ids, how.id);
  grow(e.type_ids, how.type_id);
  grow(e.tokens, how.token);
  grow(e.offsets, Span{});
  grow(e.special_mask, uint8_t{1});
  grow(e.attention_mask, uint8_t{0});
}

}  // namespace

void Encoding::add(int32_t id, std::string token, Span offset, int32_t type_id, bool special) {
  ids.push_back(id);
  type_ids.push_back(type_id);
  tokens.push_back(std::move(token));
  offsets.push_back(offset);
  special_mask.push_back(special ? 1 : 0);
  attention_mask.push_back(1);
}

void Encoding::append(const Encoding& other) {
  std::vector<Encoding> overflow;
  const auto joined = [](const Encoding& a, const Encoding& b) {
    Encoding e = a;
    e.append(b);
    return e;
  };
  for (const Encoding& mine : overflowing) {
    overflow.push_back(joined(mine, other));
    for (const Encoding& theirs : other.overflowing) overflow.push_back(joined(mine, theirs));
  }
  for (const Encoding& theirs : other.overflowing) overflow.push_back(joined(*this, theirs));
  put_behind(ids, other.ids);
  put_behind(type_ids, other.type_ids);
  put_behind(tokens, other.tokens);
  put_behind(offsets, other.offsets);
  put_behind(special_mask, other.special_mask);
  put_behind(attention_mask, other.attention_mask);
  overflowing = std::move(overflow);
}

Encoding Encoding::part(size_t begin, size_t end) const {
  return {slice(ids, begin, end),
          slice(type_ids, begin, end),
          slice(tokens, begin, end),
          slice(offsets, begin, end),
          slice(special_mask, begin, end),
          slice(attention_mask, begin, end),
          {}};
}

std::optional<Truncation> read_truncation(const Field& f) {
  if (f.is_null()) return std::nullopt;
  Truncation t;
  t.max_length = f.at("max_length").integer_between(0, 1 << 30);
  if (f.has("stride")) t.stride = f.at("stride").integer_between(0, 1 << 30);
  t.direction = read_direction(f);
  const std::string strategy = f.string_or("strategy", "LongestFirst");
  if (strategy == "OnlyFirst")
    t.strategy = Strategy::kOnlyFirst;
  else if (strategy == "OnlySecond")
    t.strategy = Strategy::kOnlySecond;
  else if (strategy != "LongestFirst")
    f.at("strategy").unsupported("unknown strategy '" + strategy + "' (known: LongestFirst, OnlyFirst, OnlySecond)");
  return t;
}

std::optional<Padding> read_padding(const Field& f) {
  if (f.is_null()) return std::nullopt;
  Padding p;
  const Field strategy = f.at("strategy");
  if (strategy.json().is_object())
    p.length = strategy.at("Fixed").integer_between(0, 1 << 30);
  else if (strategy.string() != "BatchLongest")
    strategy.unsupported("unknown strategy '" + strategy.string() + "' (known: BatchLongest, Fixed)");
  if (f.has("pad_to_multiple_of")) p.multiple_of = f.at("pad_to_multiple_of").integer_between(0, 1 << 30);
  p.id = static_cast<int32_t>(f.integer_or("pad_id", 0));
  p.type_id = static_cast<int32_t>(f.integer_or("pad_type_id", 0));
  p.token = f.string_or("pad_token", "[PAD]");
  p.direction = read_direction(f);
  return p;
}

void truncate(Encoding& first, Encoding* second, const Truncation& how) {
  if (how.max_length == 0) {
    truncate_one(first, 0, how);
    if (second != nullptr) truncate_one(*second, 0, how);
    return;
  }
  const size_t total = first.size() + (second != nullptr ? second->size() : 0), most = static_cast<size_t>(how.max_length);
  if (total <= most) return;
  if (how.strategy == Strategy::kLongestFirst) {
    if (second != nullptr) return truncate_longest(first, *second, how);
    return truncate_one(first, most, how);
  }
  Encoding* target = how.strategy == Strategy::kOnlyFirst ? &first : second;
  if (target == nullptr) throw Error(Code::kConfig, "truncation: the strategy OnlySecond needs a second text");
  if (target->size() <= total - most)
    throw Error(Code::kConfig, "truncation: the text to be cut has " + std::to_string(target->size()) + " tokens, but " +
                                   std::to_string(total - most) + " would have to go");
  truncate_one(*target, target->size() - (total - most), how);
}

void pad(std::vector<Encoding>& batch, const Padding& how) {
  size_t length = 0;
  if (how.length)
    length = static_cast<size_t>(*how.length);
  else
    for (const Encoding& e : batch) length = std::max(length, e.size());
  if (how.multiple_of && *how.multiple_of > 0) {
    const auto multiple = static_cast<size_t>(*how.multiple_of);
    length = (length + multiple - 1) / multiple * multiple;
  }
  for (Encoding& e : batch) pad_one(e, length, how);
}

}  // namespace nemo::text::hf
