#include "core/text/extended_tokenizer.hpp"

#include <algorithm>
#include <array>
#include <utility>

namespace nemo::text {

ExtendedTokenizer::ExtendedTokenizer(std::unique_ptr<Tokenizer> base, std::vector<std::string> names, size_t eos)
    : base_(std::move(base)), names_(std::move(names)), eos_(eos) {}

void ExtendedTokenizer::encode_to(std::string_view text, const IdSink& ids) const {
  size_t from = 0;
  const auto flush = [&](size_t end) {
    if (end > from) base_->encode_to(text.substr(from, end - from), ids);
  };
  for (size_t at = 0; at < text.size();) {
    size_t best = names_.size();
    for (size_t i = 0; i < names_.size(); ++i)
      if (!names_[i].empty() && text.substr(at).starts_with(names_[i]) && (best == names_.size() || names_[i].size() > names_[best].size()))
        best = i;
    if (best == names_.size()) {
      ++at;
      continue;
    }
    flush(at);
    const std::array<int32_t, 1> id{static_cast<int32_t>(base_->vocab_size() + static_cast<int64_t>(best))};
    ids(id);
    at += names_[best].size();
    from = at;
  }
  flush(text.size());
}

std::string ExtendedTokenizer::decode_bytes(std::span<const int32_t> ids) const {
  const int64_t own = base_->vocab_size();
  std::string out;
  for (size_t i = 0; i < ids.size();) {
    if (ids[i] < own) {  // a run of the base's, which may decode tokens together
      const auto end = std::find_if(ids.begin() + static_cast<std::ptrdiff_t>(i), ids.end(), [&](int32_t id) { return id >= own; });
      const auto n = static_cast<size_t>(end - ids.begin()) - i;
      out += base_->decode_bytes(ids.subspan(i, n));
      i += n;
      continue;
    }
    const auto added = static_cast<size_t>(ids[i] - own);
    if (added >= names_.size()) throw_bad_id(ids[i], i);
    out += names_[added];
    ++i;
  }
  return out;
}

}  // namespace nemo::text
