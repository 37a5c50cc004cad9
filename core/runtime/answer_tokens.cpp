#include "core/runtime/answer_tokens.hpp"

#include "core/runtime/data_source.hpp"
#include "core/text/extended_tokenizer.hpp"

namespace nemo::runtime {

std::unique_ptr<text::Tokenizer> with_added_tokens(const Setup& setup, std::unique_ptr<text::Tokenizer> tokenizer) {
  const config::Section& data = setup.section("data");
  const int64_t added = added_tokens(setup);
  if (added < 2 || !data.knows("sentinel_token")) return tokenizer;
  std::vector<std::string> names{data.get_string("pad_token"), "</s>"};
  for (int64_t i = 0; i + 2 < added; ++i) {
    std::string name = data.get_string("sentinel_token");
    if (const size_t at = name.find("{}"); at != std::string::npos) name.replace(at, 2, std::to_string(i));
    names.push_back(std::move(name));
  }
  return std::make_unique<text::ExtendedTokenizer>(std::move(tokenizer), std::move(names), 1);
}

int32_t start_of_answer(const Setup& setup, const text::Tokenizer& tokenizer) {
  const config::Section& data = setup.section("data");
  if (!data.knows("pad_token")) return -1;
  const std::vector<int32_t> ids = tokenizer.encode(data.get_string("pad_token"));
  return ids.size() == 1 ? ids[0] : -1;
}

std::vector<int32_t> source_of(const text::Tokenizer& tokenizer, const std::string& prompt) {
  std::vector<int32_t> ids = tokenizer.encode_special(prompt);
  if (tokenizer.eos() >= 0 && (ids.empty() || ids.back() != tokenizer.eos())) ids.push_back(static_cast<int32_t>(tokenizer.eos()));
  return ids;
}

}  // namespace nemo::runtime
