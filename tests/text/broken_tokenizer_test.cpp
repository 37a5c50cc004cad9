// Bad tokenizer files: one clear error that names the file and the field, never a crash.
#include <unistd.h>

#include <random>

#include "core/text/chat_template.hpp"
#include "core/text/hf/hf_tokenizer.hpp"
#include "core/text/tiktoken_tokenizer.hpp"
#include "tests/text/golden_files.hpp"

namespace nemo::text {
namespace {

using nlohmann::json;

json small() {
  return json::parse(R"({
    "version": "1.0", "truncation": null, "padding": null,
    "added_tokens": [{"id": 6, "content": "<s>", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true}],
    "normalizer": {"type": "Sequence", "normalizers": [{"type": "NFKC"}, {"type": "Lowercase"}, {"type": "Replace", "pattern": {"Regex": "x+"}, "content": "y"}]},
    "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "Split", "pattern": {"Regex": "\\p{N}"}, "behavior": "Isolated", "invert": false}, {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "first", "split": true}]},
    "post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}], "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}], "special_tokens": {"<s>": {"id": "<s>", "ids": [6], "tokens": ["<s>"]}}},
    "decoder": {"type": "Sequence", "decoders": [{"type": "ByteFallback"}, {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "first", "split": true}]},
    "model": {"type": "BPE", "dropout": null, "unk_token": "?", "continuing_subword_prefix": null, "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true, "ignore_merges": false,
              "vocab": {"?": 0, "a": 1, "b": 2, "ab": 3, "\u2581": 4, "\u2581ab": 5}, "merges": [["a", "b"], ["\u2581", "ab"]]}})");
}

hf::HfTokenizer load(const std::string& text) { return hf::HfTokenizer({{"tokenizer.json", text}}, "dir/tokenizer.json"); }

std::string error_of(Code code, const std::function<void(json&)>& change) {
  json j = small();
  change(j);
  return message_of(code, [&] { (void)load(j.dump()); });
}

TEST(BrokenTokenizer, the_small_one_works) {
  const hf::HfTokenizer t = load(small().dump());
  EXPECT_EQ(t.encode("AB ab?"), (std::vector<int32_t>{5, 5, 0}));
  EXPECT_EQ(t.encode_special("ab"), (std::vector<int32_t>{6, 5}));
}

TEST(BrokenTokenizer, errors_name_file_and_field) {
  const auto loss = Code::kDataLoss, unsupported = Code::kUnsupported;
  EXPECT_EQ(error_of(loss, [](json& j) { j.erase("model"); }), "dir/tokenizer.json: tokenizer: the field \"model\" is missing");
  EXPECT_EQ(error_of(unsupported, [](json& j) { j["normalizer"]["normalizers"][1]["type"] = "Lowercas"; }).substr(0, 112),
            "dir/tokenizer.json: tokenizer.normalizer.normalizers[1].type: unknown type 'Lowercas'; did you mean 'Lowercase'?");
  EXPECT_EQ(error_of(loss, [](json& j) { j["model"]["merges"][1][1] = "zz"; }),
            "dir/tokenizer.json: tokenizer.model.merges: merge 1: its right side \"zz\" is not in the vocabulary");
  EXPECT_EQ(error_of(loss, [](json& j) { j["model"]["vocab"]["a"] = "one"; }),
            "dir/tokenizer.json: tokenizer.model.vocab: token \"a\" has \"one\" where an integer id belongs");
  EXPECT_EQ(error_of(loss, [](json& j) { j["model"]["vocab"]["a"] = 2; }),
            "dir/tokenizer.json: tokenizer.model.vocab: token \"b\" has id 2, which \"a\" has too");
  EXPECT_EQ(error_of(loss, [](json& j) { j["model"]["unk_token"] = "<unk>"; }),
            "dir/tokenizer.json: tokenizer.model.unk_token: the unknown token \"<unk>\" is not in the vocabulary");
  EXPECT_EQ(error_of(unsupported, [](json& j) { j["model"]["dropout"] = 0.1; }),
            "dir/tokenizer.json: tokenizer.model.dropout: BPE dropout makes encoding random and is not supported; set it to null");
  EXPECT_NE(
      error_of(loss, [](json& j) { j["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = "(a"; }).find("is no regular expression"),
      std::string::npos);
  EXPECT_EQ(error_of(loss, [](json& j) { j["post_processor"]["single"][0]["SpecialToken"]["id"] = "<x>"; }),
            "dir/tokenizer.json: tokenizer.post_processor.single[0].SpecialToken: the special token \"<x>\" is not in \"special_tokens\"");
  EXPECT_NE(error_of(loss,
                     [](json& j) {
                       j["normalizer"] = {{"type", "Precompiled"}, {"precompiled_charsmap", "A*=="}};
                     })
                .find("not valid base64"),
            std::string::npos);
  EXPECT_NE(error_of(loss,
                     [](json& j) {
                       j["normalizer"] = {{"type", "Precompiled"}, {"precompiled_charsmap", "/////w=="}};
                     })
                .find("damaged"),
            std::string::npos);
}

TEST(BrokenTokenizer, nesting_has_a_limit) {
  const std::string message = error_of(Code::kDataLoss, [](json& j) {
    for (int i = 0; i < 100; ++i) j["normalizer"] = {{"type", "Sequence"}, {"normalizers", {j["normalizer"]}}};
  });
  EXPECT_NE(message.find("nested too deeply"), std::string::npos) << message;
}

TEST(BrokenTokenizer, truncated_and_ill_encoded_json_names_the_place) {
  const std::string whole = small().dump(1);
  EXPECT_NE(message_of(Code::kDataLoss, [&] { (void)load(whole.substr(0, 300)); }).find("the file ends early (truncated?)"),
            std::string::npos);
  EXPECT_EQ(message_of(Code::kDataLoss, [&] { (void)load("{\n\"a\": \"\xFF\"}"); }).substr(0, 21), "dir/tokenizer.json:2:");
}

// Every mutation either loads, and then encodes and decodes, or ends with an Error.
TEST(BrokenTokenizer, random_changes_of_a_file_never_crash) {
  const std::string whole = small().dump();
  const std::vector<std::string> pieces = {"null",         "-1",   "1e99",        "[]",          "{}",      "\"\"",
                                           "\"Sequence\"", "true", "99999999999", "\"\\u0000\"", "\"<s>\"", "0.5"};
  std::mt19937 random(7);
  int loaded = 0, refused = 0;
  for (int i = 0; i < 3000; ++i) {
    std::string text = whole;
    if (i % 2 == 0) {
      for (unsigned n = random() % 3 + 1; n > 0; --n)
        text[random() % text.size()] = static_cast<char>(random() % 3 == 0 ? random() : "[]{}\",:01x"[random() % 10]);
    } else {  // one value becomes another
      json j = json::parse(text);
      std::vector<json::json_pointer> places;
      const json flat = j.flatten();
      for (const auto& [path, value] : flat.items()) {
        json::json_pointer p(path);
        for (unsigned up = random() % 3; up > 0 && !p.empty(); --up) p.pop_back();
        places.push_back(p);
      }
      j[places[random() % places.size()]] = json::parse(pieces[random() % pieces.size()]);
      text = j.dump();
    }
    try {
      const hf::HfTokenizer t = load(text);
      const hf::Encoding e = t.encode_all("Ab x1 \u00e9<s>", "b", hf::Specials::kAdd);
      for (const int32_t id : e.ids)
        if (id >= 0 && id < t.vocab_size()) (void)t.decode({&id, 1});
      ++loaded;
    } catch (const Error& error) {
      ++refused;
      ASSERT_STRNE(error.what(), "");
    }
  }
  EXPECT_GT(loaded, 100);
  EXPECT_GT(refused, 100);
}

std::string rank_error(const std::string& ranks) {
  return message_of(Code::kDataLoss, [&] { TiktokenTokenizer t({{"tokenizer.model", ranks}}, "m.model"); });
}

TEST(BrokenTokenizer, tiktoken_errors_name_the_line) {
  EXPECT_EQ(rank_error("IQ== 0\nIg== 2\n"), "m.model:2: rank 2 where 1 belongs; ranks count up from 0");
  EXPECT_EQ(rank_error("IQ== 0\n*** 1\n"), "m.model:2: \"***\" is not base64");
  EXPECT_EQ(rank_error("IQ== 0\nIQ== 1\n"), "m.model:2: these bytes have a rank already");
  EXPECT_EQ(rank_error("IQ==0\n"), "m.model:1: expected base64, a space and a rank; the line has no space");
  EXPECT_NE(rank_error("IQ== 0\n").find("no rank for byte 0"), std::string::npos);
}

std::string template_error(const std::string& source) {
  const auto chat = nlohmann::ordered_json::parse(R"([{"role": "user", "content": "hi"}])");
  try {
    (void)ChatTemplate(source, "t.jinja", "", "").render(chat, Turn::kNone);
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

TEST(BrokenTemplate, errors_name_the_line) {
  EXPECT_EQ(template_error("a\n{{ messages[0].content.nothing.more }}"), "t.jinja:2: 'str object' has no attribute 'nothing'");
  EXPECT_EQ(template_error("{{ nobody.name }}"), "t.jinja:1: 'nobody' is undefined");
  EXPECT_EQ(template_error("\n\n{% if x %}"), "t.jinja:3: expected 'endif', found the end of the template");
  EXPECT_EQ(template_error("{{ 1 +* 2 }}"), "t.jinja:1: expected a value, found '*'");
  EXPECT_EQ(template_error("{{ raise_exception('no: ' ~ 1) }}"), "no: 1");
  EXPECT_EQ(template_error("{{ messages | nofilter }}"), "t.jinja:1: no filter named 'nofilter'");
}

TEST(BrokenTemplate, hostile_templates_end_with_an_error) {
  EXPECT_NE(template_error("{{ " + std::string(5000, '(') + "1" + std::string(5000, ')') + " }}").find("nested too deeply"),
            std::string::npos);
  EXPECT_NE(template_error("{{ 'x' * 99999999999 }}").find("64 MiB"), std::string::npos);
  EXPECT_NE(template_error("{% for i in range(99999999) %}{% endfor %}").find("too long"), std::string::npos);
  EXPECT_NE(template_error("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}").find("too deeply"), std::string::npos);
  EXPECT_NE(template_error(
                "{% for a in range(1000) %}{% for b in range(1000) %}{% for c in range(1000) %}{{ a }}{% endfor %}{% endfor %}{% endfor %}")
                .find("t.jinja:1"),
            std::string::npos);
  EXPECT_NE(template_error("{% set x = messages.append(1) %}").find("unsafe"), std::string::npos);
}

TEST(Tokenizer, files_of_others_survive_saving_and_loading) {
  for (const char* name : {"llama3", "bert_uncased", "t5_unigram", "tiktoken", "spm_bpe_llama"}) {
    const auto dir = std::filesystem::path(::testing::TempDir()) / ("nemo_text_others_" + std::to_string(::getpid()));
    std::filesystem::remove_all(dir);
    std::filesystem::create_directories(dir);
    const auto t = load_tokenizer(goldens_root() / name);
    t->save(dir);
    const auto back = load_tokenizer(dir);
    EXPECT_EQ(back->type(), t->type());
    EXPECT_EQ(back->eos(), t->eos());
    EXPECT_EQ(back->encode("The cat sat on a mat, 123."), t->encode("The cat sat on a mat, 123."));
    ASSERT_EQ(back->files().size(), t->files().size());
    for (size_t i = 0; i < t->files().size(); ++i) EXPECT_EQ(back->files()[i].bytes, t->files()[i].bytes);
    std::filesystem::remove_all(dir);
  }
}

}  // namespace
}  // namespace nemo::text
