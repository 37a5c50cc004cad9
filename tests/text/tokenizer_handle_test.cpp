#include "core/text/tokenizer_handle.hpp"

#include "tests/text/text_support.hpp"

struct nemo_error {
  nemo_code code;
  std::string message;
};

namespace nemo::text {
namespace {

nemo_host_api error_host() {
  nemo_host_api api{};
  api.struct_size = sizeof api;
  api.error_new = [](nemo_host*, nemo_code code, nemo_str m) { return new nemo_error{code, std::string(m.ptr, m.len)}; };
  api.error_free = [](nemo_error* e) { delete e; };
  return api;
}

TEST(TokenizerHandle, plugins_see_the_same_ids_and_text) {
  const nemo_host_api host = error_host();
  const auto t = make_tokenizer("gpt2", {golden("vocab.json"), golden("merges.txt")}, {});
  const TokenizerHandle handle(*t, host, nullptr);
  const nemo_tokenizer_api& api = tokenizer_api();
  EXPECT_EQ(api.vocab_size(handle.get()), 901);
  EXPECT_EQ(api.bos(handle.get()), -1);
  EXPECT_EQ(api.eos(handle.get()), 900);
  std::string text;
  while (text.size() < 200000) text += "Some words, more than one piece of ids. ";
  const auto append = [](void* ctx, const void* bytes, uint64_t len) -> nemo_error* {
    static_cast<std::string*>(ctx)->append(static_cast<const char*>(bytes), len);
    return nullptr;
  };
  std::string raw, decoded;
  ASSERT_EQ(api.encode(handle.get(), {text.data(), text.size()}, {&raw, append}), nullptr);
  std::vector<int32_t> ids(raw.size() / 4);
  raw.copy(reinterpret_cast<char*>(ids.data()), raw.size());
  EXPECT_EQ(ids, t->encode(text));
  ASSERT_EQ(api.decode(handle.get(), ids.data(), ids.size(), {&decoded, append}), nullptr);
  EXPECT_EQ(decoded, text);
}

TEST(TokenizerHandle, exceptions_become_errors_and_errors_of_the_sink_pass_through) {
  const nemo_host_api host = error_host();
  const auto t = make_tokenizer("char", {}, corpus_of({"ab"}));
  const TokenizerHandle handle(*t, host, nullptr);
  std::unique_ptr<nemo_error> error(tokenizer_api().encode(handle.get(), NEMO_STR("abx"), {nullptr, nullptr}));
  ASSERT_NE(error, nullptr);
  EXPECT_EQ(error->code, NEMO_CODE_DATA_LOSS);
  EXPECT_NE(error->message.find("'x' (U+0078) at byte 2"), std::string::npos);

  nemo_error full{NEMO_CODE_OUT_OF_MEMORY, "full"};
  const auto refuse = [](void* ctx, const void*, uint64_t) { return static_cast<nemo_error*>(ctx); };
  EXPECT_EQ(tokenizer_api().encode(handle.get(), NEMO_STR("ab"), {&full, refuse}), &full);
  const int32_t bad = 9;
  error.reset(tokenizer_api().decode(handle.get(), &bad, 1, {&full, refuse}));
  EXPECT_EQ(error->code, NEMO_CODE_INVALID_ARGUMENT);
}

}  // namespace
}  // namespace nemo::text
