// Span corruption and masked tokens: what is hidden can be put back, shares are as asked, and the streams obey the laws of all data.
#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "nemo/cpp/indexed_file.hpp"
#include "tests/data/golden.hpp"
#include "tests/data/stream_laws.hpp"

namespace nemo::testing {
namespace {

using megatron::fresh_dir;
using megatron::write_bytes;
using nlohmann::json;
using ::testing::HasSubstr;

constexpr int32_t kBytes = 256;  // ids of the byte tokenizer
constexpr int32_t kIgnored = -100;

const text::Tokenizer& bytes() {
  static const auto t = text::make_tokenizer("byte", {}, {});
  return *t;
}

Open with(int64_t seq, const std::string& split = "train") {
  Open open;
  open.split = split;
  open.seq_length = seq;
  open.tokenizer = &bytes();
  return open;
}

// No two places look alike for long.
std::string prose(size_t n) {
  std::string out;
  for (size_t i = 0; out.size() < n; ++i) out += std::to_string(i * i * 7919 + i) + " ";
  return out.substr(0, n);
}

json spans(const std::string& file, json more = json::object()) {
  json settings{{"files", {file}}, {"split", {0.75, 0.25}}, {"special_tokens", "added"}, {"encoder_seq_length", 40}};
  settings.update(more);
  return settings;
}

// 256: pad, 257: end, from 258 on sentinels.
constexpr int32_t kPad = kBytes, kEnd = kBytes + 1, kSentinel = kBytes + 2;

// The text that encoder and labels have between them; checks sentinels and the end on the way.
std::string put_back(const Batch& b) {
  const std::vector<int32_t>&source = b.at("encoder_tokens"), &labels = b.at("labels");
  std::map<int32_t, std::string> hidden;
  int32_t now = 0;
  for (size_t i = 0; i < labels.size() && labels[i] != kEnd; ++i) {
    if (labels[i] >= kSentinel) {
      EXPECT_EQ(labels[i], kSentinel + static_cast<int32_t>(hidden.size()));
      hidden[now = labels[i]] = "";
    } else {
      hidden[now] += static_cast<char>(labels[i]);
    }
  }
  std::string text;
  int32_t next = kSentinel;
  for (int64_t i = 0; i + 1 < b.at("encoder_lengths")[0]; ++i) {
    const int32_t id = source[static_cast<size_t>(i)];
    if (id < kBytes) {
      text += static_cast<char>(id);
      continue;
    }
    EXPECT_EQ(id, next++);
    EXPECT_FALSE(hidden[id].empty());
    text += hidden[id];
  }
  EXPECT_EQ(source[static_cast<size_t>(b.at("encoder_lengths")[0] - 1)], kEnd);
  return text;
}

const std::vector<std::string> kSpanFields{"tokens", "labels", "encoder_tokens", "encoder_lengths"};

TEST(SpanCorruption, sentinels_stand_for_what_the_decoder_writes) {
  const std::string file = fresh_dir("spans") + "/a.txt", text = prose(4000);
  write_bytes(file, text);
  DataPlugin plugin("span_corruption", spans(file));
  Source source = plugin.open(with(24));
  std::multiset<std::string> first, second;
  for (int64_t i = 0; i < 2 * source.num_samples(); ++i) {
    const Batch b = source.next(kSpanFields);
    const std::string whole = put_back(b);
    EXPECT_NE(text.find(whole), std::string::npos) << whole;
    (i < source.num_samples() ? first : second).insert(whole);
    // The decoder reads what it has to write, one step late, from the pad token on.
    EXPECT_EQ(b.at("tokens")[0], kPad);
    for (size_t j = 1; j < b.at("tokens").size(); ++j) {
      const int32_t before = b.at("labels")[j - 1];
      EXPECT_EQ(b.at("tokens")[j], before == kEnd || before == kIgnored ? kPad : before) << j;
    }
  }
  EXPECT_EQ(first, second) << "every epoch has every window once";
  EXPECT_EQ(std::set<std::string>(first.begin(), first.end()).size(), first.size());
}

// seqio and transformers give 568 and 114 for these.
TEST(SpanCorruption, lengths_are_those_of_t5) {
  const std::string file = fresh_dir("span_lengths") + "/a.txt";
  write_bytes(file, prose(4000));
  DataPlugin plugin("span_corruption", spans(file, {{"encoder_seq_length", 512}, {"split", {1.0}}}));
  Source source = plugin.open(with(114));
  EXPECT_EQ(source.num_samples(), 4001 / 568);  // an end-of-text token behind the file
  const Batch b = source.next(kSpanFields);
  EXPECT_EQ(b.at("encoder_lengths")[0], 512);
  EXPECT_EQ(b.at("labels")[113], kEnd);
  EXPECT_EQ(std::count_if(b.at("labels").begin(), b.at("labels").end(), [](int32_t id) { return id >= kSentinel; }), 28);
  EXPECT_EQ(std::count_if(b.at("labels").begin(), b.at("labels").end(), [](int32_t id) { return id < kBytes; }), 85);
  EXPECT_THAT(error_of([&] { (void)plugin.open(with(113)); }).message, HasSubstr("the decoder writes 114 tokens"));
}

TEST(SpanCorruption, spans_lie_anywhere_and_have_the_mean_length) {
  const std::string file = fresh_dir("span_places") + "/a.txt";
  write_bytes(file, prose(40000));
  DataPlugin plugin("span_corruption", spans(file));
  Source source = plugin.open(with(24));
  std::map<int64_t, int64_t> lengths;
  std::vector<int64_t> first_spans;
  for (int64_t i = 0; i < source.num_samples(); ++i) {
    const Batch b = source.next(kSpanFields);
    int64_t length = -1;
    for (const int32_t id : b.at("labels")) {
      if (id >= kBytes && length >= 0) ++lengths[length];
      if (id >= kBytes) length = 0;
      if (id == kEnd) break;
      if (id < kBytes) ++length;
    }
    const auto& source_ids = b.at("encoder_tokens");
    first_spans.push_back(std::find(source_ids.begin(), source_ids.end(), kSentinel) - source_ids.begin());
  }
  for (int64_t length = 1; length <= 4; ++length) EXPECT_GT(lengths[length], 0) << length;
  EXPECT_EQ(lengths[0], 0);
  const auto [nearest, farthest] = std::minmax_element(first_spans.begin(), first_spans.end());
  EXPECT_EQ(*nearest, 1) << "a kept token comes first";
  EXPECT_GT(*farthest, 20);
}

TEST(SpanCorruption, the_stream_is_one_for_all_shards_and_seeking_equals_replaying) {
  const std::string file = fresh_dir("span_laws") + "/a.txt";
  write_bytes(file, prose(3000));
  for (const char* split : {"train", "validation"}) {
    DataPlugin plugin("span_corruption", spans(file));
    expect_stream_laws(plugin, with(24, split), kSpanFields);
  }
}

TEST(SpanCorruption, what_cannot_be_is_refused) {
  const std::string file = fresh_dir("span_faults") + "/a.txt";
  write_bytes(file, prose(900));
  const auto fault = [&](json settings, int64_t seq = 24) {
    DataPlugin plugin("span_corruption", std::move(settings));
    return error_of([&] { (void)plugin.open(with(seq)); }).message;
  };
  EXPECT_THAT(fault(spans(file, {{"files", json::array()}})), HasSubstr("neither files and paths"));
  EXPECT_THAT(fault(spans(file, {{"paths", {"x"}}})), HasSubstr("both of files and paths"));
  EXPECT_THAT(fault(spans(file, {{"num_sentinels", 1}})), HasSubstr("num_sentinels must be at least"));
  EXPECT_THAT(fault(spans(file, {{"special_tokens", "tokenizer"}})), HasSubstr("no end-of-text token"));
  EXPECT_THAT(fault(spans(file, {{"encoder_seq_length", 2}})), HasSubstr("no room"));
  EXPECT_THAT(fault(spans(file, {{"encoder_seq_length", 2000}, {"num_sentinels", 200}}), 2000), HasSubstr("one sample needs"));
}

TEST(SpanCorruption, tokens_behind_the_vocabulary_are_counted) {
  DataPlugin added("span_corruption", spans("x", {{"num_sentinels", 7}}));
  EXPECT_EQ(added.api().added_tokens(nullptr, added.config()), 9);
  DataPlugin own("span_corruption", spans("x", {{"special_tokens", "tokenizer"}}));
  EXPECT_EQ(own.api().added_tokens(nullptr, own.config()), 0);
}

// ---- masked tokens: 256 pad, 257 [CLS], 258 [SEP], 259 [MASK]
constexpr int32_t kCls = kBytes + 1, kSep = kBytes + 2, kMask = kBytes + 3;
const std::vector<std::string> kMaskFields{"tokens", "labels", "token_types", "lengths", "next_sentence_labels"};

// Documents of lines; every line is unlike every other.
std::string lines(int documents, int per_document) {
  std::string out;
  for (int d = 0; d < documents; ++d) {
    for (int i = 0; i < per_document; ++i) out += "d" + std::to_string(d) + "s" + std::to_string(i) + "x" + prose(20).substr(i % 7) + "\n";
    out += "\n";
  }
  return out;
}

json masks(const std::string& file, json more = json::object()) {
  json settings{{"files", {file}}, {"split", {0.75, 0.25}}, {"special_tokens", "added"}};
  settings.update(more);
  return settings;
}

struct Pair {
  std::string a, b;  // with what was hidden put back
};

Pair parts_of(const Batch& b) {
  Pair out;
  const auto length = static_cast<size_t>(b.at("lengths")[0]);
  EXPECT_EQ(b.at("tokens")[0], kCls);
  EXPECT_EQ(b.at("tokens")[length - 1], kSep);
  int part = 0;
  for (size_t i = 1; i < length; ++i) {
    EXPECT_EQ(b.at("token_types")[i], part) << i;
    const int32_t label = b.at("labels")[i], id = label == kIgnored ? b.at("tokens")[i] : label;
    if (id == kSep)
      ++part;
    else
      (part == 0 ? out.a : out.b) += static_cast<char>(id);
  }
  for (size_t i = length; i < b.at("tokens").size(); ++i) {
    EXPECT_EQ(b.at("tokens")[i], kBytes);
    EXPECT_EQ(b.at("labels")[i], kIgnored);
  }
  return out;
}

std::string flat(std::string text) {
  text.erase(std::remove(text.begin(), text.end(), '\n'), text.end());
  return text;
}

TEST(MaskedTokens, hidden_tokens_are_the_asked_share_and_can_be_put_back) {
  const std::string file = fresh_dir("masks") + "/a.txt", text = lines(40, 12);
  write_bytes(file, text);
  DataPlugin plugin("masked_tokens", masks(file, {{"sentence_task", "none"}, {"short_share", 0.3}}));
  EXPECT_FALSE(plugin.has_field("next_sentence_labels"));
  Source source = plugin.open(with(64));
  double places = 0, hidden = 0, masked = 0, kept = 0;
  for (int64_t i = 0; i < 4 * source.num_samples(); ++i) {
    const Batch b = source.next({"tokens", "labels", "token_types", "lengths"});
    EXPECT_NE(flat(text).find(parts_of(b).a), std::string::npos);
    places += b.at("lengths")[0];
    for (size_t j = 0; j < b.at("labels").size(); ++j) {
      if (b.at("labels")[j] == kIgnored) continue;
      ++hidden;
      masked += b.at("tokens")[j] == kMask;
      kept += b.at("tokens")[j] == b.at("labels")[j];
    }
  }
  EXPECT_NEAR(hidden / places, 0.15, 0.01);
  EXPECT_NEAR(masked / hidden, 0.8, 0.02);
  EXPECT_NEAR(kept / hidden, 0.1, 0.02);
}

TEST(MaskedTokens, half_of_the_second_parts_are_from_elsewhere_and_the_label_tells) {
  const std::string file = fresh_dir("mask_next") + "/a.txt", text = flat(lines(60, 8));
  write_bytes(file, lines(60, 8));
  DataPlugin plugin("masked_tokens", masks(file, {{"short_share", 0.0}}));
  Source source = plugin.open(with(200));
  int64_t strange = 0, n = source.num_samples();
  for (int64_t i = 0; i < n; ++i) {
    const Batch b = source.next(kMaskFields);
    const Pair p = parts_of(b);
    ASSERT_NE(text.find(p.a), std::string::npos) << p.a;
    ASSERT_NE(text.find(p.b), std::string::npos) << p.b;
    const bool elsewhere = b.at("next_sentence_labels")[0] == 1;
    strange += elsewhere;
    const auto document = [](const std::string& part) { return part.substr(part.rfind('d'), part.rfind('s') - part.rfind('d')); };
    if (elsewhere) {
      EXPECT_NE(document(p.a), document(p.b));
    } else {
      EXPECT_LT(text.find(p.a), text.find(p.b));
    }
  }
  EXPECT_NEAR(static_cast<double>(strange) / static_cast<double>(n), 0.5, 0.25);
}

TEST(MaskedTokens, swapped_parts_are_told) {
  const std::string file = fresh_dir("mask_order") + "/a.txt", text = flat(lines(30, 6));
  write_bytes(file, lines(30, 6));
  DataPlugin plugin("masked_tokens", masks(file, {{"sentence_task", "order"}, {"short_share", 0.0}}));
  Source source = plugin.open(with(220));
  std::set<int32_t> seen;
  for (int64_t i = 0; i < source.num_samples(); ++i) {
    const Batch b = source.next(kMaskFields);
    const Pair p = parts_of(b);
    const int32_t swapped = b.at("next_sentence_labels")[0];
    seen.insert(swapped);
    EXPECT_EQ(text.find(p.a) > text.find(p.b), swapped == 1);
  }
  EXPECT_EQ(seen, (std::set<int32_t>{0, 1}));
}

TEST(MaskedTokens, the_stream_is_one_for_all_shards_and_seeking_equals_replaying) {
  const std::string file = fresh_dir("mask_laws") + "/a.txt";
  write_bytes(file, lines(40, 6));
  for (const char* task : {"none", "next", "order"})
    for (const char* split : {"train", "validation"}) {
      DataPlugin plugin("masked_tokens", masks(file, {{"sentence_task", task}}));
      expect_stream_laws(plugin, with(48, split), task == std::string("none") ? std::vector<std::string>{"tokens", "labels"} : kMaskFields);
    }
}

TEST(MaskedTokens, long_sentences_are_cut_and_lonely_ones_have_no_pair) {
  const std::string file = fresh_dir("mask_long") + "/a.txt";
  write_bytes(file, prose(500) + "\n" + prose(300) + "\n\nlonely\n\n" + prose(90) + "\n" + prose(80) + "\n" + prose(70) + "\n");
  DataPlugin plugin("masked_tokens", masks(file, {{"split", {1.0}}, {"short_share", 0.0}}));
  Source source = plugin.open(with(40));
  EXPECT_EQ(source.num_samples(), 2);
  for (int i = 0; i < 8; ++i) EXPECT_EQ(source.next(kMaskFields).at("lengths")[0], 40);
  write_bytes(file, "lonely\n\nalone\n");
  EXPECT_THAT(error_of([&] { (void)plugin.open(with(40)); }).message, HasSubstr("none with two sentences"));
}

TEST(MaskedTokens, without_pairs_every_token_of_a_document_is_in_one_sample) {
  const std::string file = fresh_dir("mask_all") + "/a.txt", text = lines(5, 9) + prose(777) + "\n";
  write_bytes(file, text);
  DataPlugin plugin("masked_tokens", masks(file, {{"split", {1.0}}, {"sentence_task", "none"}, {"short_share", 0.4}}));
  Source source = plugin.open(with(40));
  std::multiset<char> seen, want;
  for (int64_t i = 0; i < source.num_samples(); ++i)
    for (const char c : parts_of(source.next({"tokens", "labels", "token_types", "lengths"})).a) seen.insert(c);
  for (const char c : flat(text)) want.insert(c);
  EXPECT_EQ(seen, want);
}

TEST(MaskedTokens, sequences_of_megatron_files_are_sentences) {
  const std::string prefix = fresh_dir("mask_indexed") + "/a";
  std::ofstream index(prefix + ".idx", std::ios::binary), tokens(prefix + ".bin", std::ios::binary);
  sdk::IndexBuilder builder(sdk::TokenType::kU16);
  const std::vector<std::vector<uint16_t>> sentences{{1, 2, 3}, {4, 5}, {6, 7, 8, 9}, {10, 11}, {12, 13, 14}};
  for (size_t i = 0; i < sentences.size(); ++i) {
    tokens.write(reinterpret_cast<const char*>(sentences[i].data()), static_cast<std::streamsize>(sentences[i].size() * 2));
    builder.add_sequence(static_cast<int64_t>(sentences[i].size()));
    if (i == 2 || i == 4) builder.end_document();
  }
  builder.write(index);
  index.close(), tokens.close();
  json settings{{"paths", {prefix}}, {"split", {1.0}}, {"special_tokens", "added"}, {"sentence_task", "order"}, {"short_share", 0.0}};
  DataPlugin plugin("masked_tokens", settings);
  Source source = plugin.open(with(20));
  ASSERT_EQ(source.num_samples(), 2);
  std::set<std::string> seen;
  for (int i = 0; i < 2; ++i) {
    const Batch b = source.next(kMaskFields);
    Pair p = parts_of(b);
    if (b.at("next_sentence_labels")[0] == 1) std::swap(p.a, p.b);
    seen.insert(p.a + p.b);
  }
  EXPECT_EQ(seen, (std::set<std::string>{"\x1\x2\x3\x4\x5\x6\x7\x8\x9", "\xa\xb\xc\xd\xe"}));
}

}  // namespace
}  // namespace nemo::testing
