#include "core/runtime/text_stream.hpp"

#include <algorithm>
#include <span>
#include <utility>

namespace nemo::runtime {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";  // what decoders give for part of a character

// Length of the longest end of `text` that `stop` begins with.
size_t overlap(std::string_view text, std::string_view stop) {
  for (size_t n = std::min(text.size(), stop.size()); n > 0; --n)
    if (text.substr(text.size() - n) == stop.substr(0, n)) return n;
  return 0;
}

}  // namespace

std::string TextStream::take(int32_t token) {
  tokens_.push_back(token);
  const std::span all(tokens_);
  const std::string before = tokenizer_.decode(all.subspan(context_, done_ - context_)), after = tokenizer_.decode(all.subspan(context_));
  if (after.size() <= before.size() || after.ends_with(kReplacement)) return "";
  text_ += after.substr(before.size());
  context_ = done_;
  done_ = tokens_.size();
  return certain();
}

std::string TextStream::rest() {
  const std::span all(tokens_);
  const std::string before = tokenizer_.decode(all.subspan(context_, done_ - context_)), after = tokenizer_.decode(all.subspan(context_));
  if (!stopped_ && after.size() > before.size()) text_ += after.substr(before.size());
  if (!stopped_)  // part of a character, of which the rest did not come
    while (text_.size() >= given_ + kReplacement.size() && text_.ends_with(kReplacement)) text_.resize(text_.size() - kReplacement.size());
  const size_t from = std::exchange(given_, text_.size());
  return text_.substr(from);
}

std::string TextStream::certain() {
  size_t end = text_.size(), held = 0;
  for (const std::string& stop : stop_) {
    if (stop.empty()) continue;
    if (const size_t at = text_.find(stop, given_); at != std::string::npos) end = std::min(end, at), stopped_ = true;
    held = std::max(held, overlap(text_, stop));
  }
  if (stopped_)
    text_.resize(end);
  else
    end -= held;
  const size_t from = std::exchange(given_, end);
  return text_.substr(from, end - from);
}

}  // namespace nemo::runtime
