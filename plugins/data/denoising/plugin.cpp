// plugins/data/denoising/plugin.cpp - pretraining of encoders: span corruption for T5, masked tokens for BERT.
#include "nemo/cpp/plugin.hpp"

#include <cmath>
#include <numeric>

#include "draws.hpp"
#include "masked_tokens.hpp"
#include "nemo/cpp/text_files.hpp"
#include "span_corruption.hpp"
#include "special_tokens.hpp"

namespace nemo::denoising {
namespace {

using namespace sdk;

std::vector<Field> corpus_fields(const char* split_doc, const char* files_doc) {
  return {
      list("files", NEMO_FIELD_PATH, "[]", files_doc),
      list("paths", NEMO_FIELD_STRING, "[]", "or Megatron datasets: prefixes (paths without .bin/.idx), made with the run's tokenizer"),
      list("split", NEMO_FIELD_FLOAT, "[0.9, 0.1]", split_doc).min(0),
  };
}

std::vector<Field> joined(std::vector<Field> a, std::vector<Field> b) {
  for (Field& f : b) a.push_back(std::move(f));
  return a;
}

const Schema& span_schema() {
  static const Schema instance(joined(
      corpus_fields("shares of train, validation and test (one to three numbers, scaled to sum 1): consecutive parts of the row of tokens",
                    "text files or globs, UTF-8"),
      {
          string("document_separator", "\"\"", "text between documents within a file; empty: each file is one document"),
          integer("encoder_seq_length", "0", "tokens that the encoder reads; seq_length is the decoder's; 0 = seq_length")
              .min(0)
              .unit("tokens"),
          number("noise_density", "0.15", "share of the text that falls out").min(0.001).max(0.9),
          number("mean_noise_span_length", "3", "mean length of the spans").min(1).unit("tokens"),
          special_tokens_field(),
          string("sentinel_token", "\"<extra_id_{}>\"", "special_tokens = \"tokenizer\": text of sentinel {}"),
          string("pad_token", "\"<pad>\"", "special_tokens = \"tokenizer\": fills, and begins the decoder's input"),
          integer("num_sentinels", "100", "special_tokens = \"added\": sentinels behind the vocabulary").min(1).max(100000),
      }));
  return instance;
}

const Schema& mask_schema() {
  static const Schema instance(
      joined(corpus_fields("shares of train, validation and test (one to three numbers, scaled to sum 1): consecutive documents",
                           "text files or globs, UTF-8: a sentence per line, an empty line between documents"),
             {
                 choice("sentence_task", "\"next\"",
                        {{"none", "no second part"},
                         {"next", "in half of the samples the second part is from elsewhere, as in BERT"},
                         {"order", "in half of the samples the parts are swapped, as in Megatron and ALBERT"}},
                        "what field next_sentence_labels tells (1: so)"),
                 number("mask_share", "0.15", "share of the tokens that is to be found").min(0).max(1),
                 number("mask_token_share", "0.8", "of these, share that becomes the mask token").min(0).max(1),
                 number("random_token_share", "0.1", "of these, share that becomes a random token; the rest stays").min(0).max(1),
                 number("short_share", "0.1", "share of samples that are shorter than seq_length, by any length").min(0).max(1),
                 special_tokens_field(),
                 string("pad_token", "\"[PAD]\"", "special_tokens = \"tokenizer\": fills"),
                 string("cls_token", "\"[CLS]\"", "special_tokens = \"tokenizer\": begins a sample"),
                 string("sep_token", "\"[SEP]\"", "special_tokens = \"tokenizer\": ends a part"),
                 string("mask_token", "\"[MASK]\"", "special_tokens = \"tokenizer\": stands for a hidden token"),
             }));
  return instance;
}

// Things [begin, end) of the named split; absent where the settings do not have it.
struct Range {
  int64_t begin = 0, end = 0;
  bool present = false;
};

Range part_of(const Config& config, const std::string& split, int64_t things) {
  constexpr std::string_view kSplits[] = {"train", "validation", "test"};
  const std::vector<double> shares = config.numbers("split");
  const double sum = std::accumulate(shares.begin(), shares.end(), 0.0);
  if (shares.empty() || shares.size() > std::size(kSplits) || !(sum > 0))
    config_fault("split", "split is one to three shares (train, validation, test) with a sum above 0, for example [0.9, 0.1]");
  double before = 0;
  for (size_t i = 0; i < shares.size(); before += shares[i++])
    if (kSplits[i] == split && shares[i] > 0)
      return {std::llround(static_cast<double>(things) * before / sum),
              std::llround(static_cast<double>(things) * (before + shares[i]) / sum), true};
  return {};
}

std::shared_ptr<const Corpus> open_corpus(const Config& config, const DataRequest& request, const Cut& cut) {
  const std::vector<std::string> files = config.strings("files"), paths = config.strings("paths");
  if (files.empty() == paths.empty())
    config_fault("files", std::string(files.empty() ? "neither" : "both of") + " files and paths are given; give one of them");
  if (!request.tokenizer) config_fault(files.empty() ? "paths" : "files", "this data needs a tokenizer, for its special tokens too");
  if (!paths.empty()) return std::make_shared<const Corpus>(Corpus::of_indexed(paths));
  return std::make_shared<const Corpus>(Corpus::of_text(find_files(files, "files"), request.tokenizer, cut));
}

// Behind the vocabulary, where tokens are added: pad, end of text, sentinels.
std::vector<int32_t> sentinels(const Config& config, const TokenizerView& tokenizer, int64_t spans) {
  if (adds_tokens(config) && spans > config.integer("num_sentinels"))
    config_fault("num_sentinels", "samples have " + std::to_string(spans) + " spans; num_sentinels must be at least that");
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < spans; ++i) {
    std::string text = config.string("sentinel_token");
    if (const size_t at = text.find("{}"); at != std::string::npos) text.replace(at, 2, std::to_string(i));
    ids.push_back(adds_tokens(config) ? static_cast<int32_t>(tokenizer.vocab_size() + 2 + i)
                                      : token_of_text(tokenizer, text, "sentinel_token"));
  }
  return ids;
}

int32_t end_of_text(const Config& config, const TokenizerView& tokenizer) {
  if (tokenizer.eos() >= 0) return static_cast<int32_t>(tokenizer.eos());
  if (!adds_tokens(config))
    config_fault("special_tokens", "the tokenizer has no end-of-text token, which ends what encoder and decoder read; set \"added\"");
  return static_cast<int32_t>(tokenizer.vocab_size() + 1);
}

std::unique_ptr<SampleSource> open_spans(const Config& config, const DataRequest& request) {
  if (!part_of(config, request.split, 0).present) return nullptr;
  Cut cut;
  cut.separator = config.string("document_separator");
  if (request.tokenizer) cut.end = end_of_text(config, request.tokenizer);
  const auto corpus = open_corpus(config, request, cut);
  SpanTask task;
  task.seq = request.seq_length;
  task.encoder_seq = encoder_seq_length(config, request.seq_length);
  task.sizes = longest_text(task.encoder_seq, config.number("noise_density"), config.number("mean_noise_span_length"));
  if (task.sizes.text == 0)
    config_fault("encoder_seq_length", "an encoder of " + std::to_string(task.encoder_seq) + " tokens has no room for a text with a span");
  if (task.sizes.decoder() > task.seq)
    config_fault("seq_length", "the decoder writes " + std::to_string(task.sizes.decoder()) + " tokens (spans and sentinels of " +
                                   std::to_string(task.sizes.text) + " tokens of text), seq_length has room for " +
                                   std::to_string(task.seq));
  task.pad = special_token(config, request.tokenizer, "pad_token", 0);
  task.end = end_of_text(config, request.tokenizer);
  task.sentinels = sentinels(config, request.tokenizer, task.sizes.spans);
  const Range range = part_of(config, request.split, corpus->tokens());
  if (range.end - range.begin < task.sizes.text)
    config_fault("split", "the " + request.split + " text has " + std::to_string(range.end - range.begin) + " tokens, one sample needs " +
                              std::to_string(task.sizes.text) + "; give more text, a larger share, or a smaller encoder_seq_length");
  return std::make_unique<SpanCorruption>(corpus, range.begin, range.end, std::move(task), request.split == "train", stream_key(request));
}

std::unique_ptr<SampleSource> open_masks(const Config& config, const DataRequest& request) {
  if (!part_of(config, request.split, 0).present) return nullptr;
  Cut cut;
  cut.lines = true;
  const auto corpus = open_corpus(config, request, cut);
  const std::string pairs = config.string("sentence_task");
  MaskTask task;
  task.seq = request.seq_length;
  task.share = config.number("mask_share");
  task.masked = config.number("mask_token_share"), task.random = config.number("random_token_share");
  if (task.masked + task.random > 1 + 1e-9) config_fault("random_token_share", "mask_token_share and random_token_share exceed 1 together");
  task.short_share = config.number("short_share");
  task.pairs = pairs == "none" ? SentenceTask::kNone : pairs == "next" ? SentenceTask::kNext : SentenceTask::kOrder;
  task.vocabulary = request.tokenizer.vocab_size();
  task.pad = special_token(config, request.tokenizer, "pad_token", 0), task.cls = special_token(config, request.tokenizer, "cls_token", 1);
  task.sep = special_token(config, request.tokenizer, "sep_token", 2),
  task.mask = special_token(config, request.tokenizer, "mask_token", 3);
  if (task.seq < task.specials() + 2)
    config_fault("seq_length", "a sample takes " + std::to_string(task.specials() + 2) + " tokens and more, seq_length has room for " +
                                   std::to_string(task.seq));
  const Range range = part_of(config, request.split, corpus->num_documents());
  auto source = std::make_unique<MaskedTokens>(corpus, range.begin, range.end, task, request.split == "train", stream_key(request));
  if (source->num_samples() == 0)
    config_fault("split", "the " + request.split + " part has " + std::to_string(range.end - range.begin) + " of " +
                              std::to_string(corpus->num_documents()) + " documents, and none with " +
                              (task.pairs == SentenceTask::kNone ? "a sentence" : "two sentences") +
                              "; documents end at empty lines, sentences at line ends");
  return source;
}

bool spans_have(const Config&, std::string_view name) { return name == "encoder_tokens" || name == "encoder_lengths"; }
bool masks_have(const Config& config, std::string_view name) {
  return name == "positions" || name == "token_types" || name == "lengths" ||
         (name == "next_sentence_labels" && config.string("sentence_task") != "none");
}

void text_of(const Config& config, const nemo_sink& sink) {
  const std::vector<std::string> files = config.strings("files");
  if (files.empty()) config_fault("files", "a tokenizer that learns its vocabulary from the text needs text files");
  for_each_text(find_files(files, "files"), [&](std::string_view text) { check(sink.write(sink.ctx, text.data(), text.size())); });
}

int64_t spans_add(const Config& config) { return adds_tokens(config) ? 2 + config.integer("num_sentinels") : 0; }
int64_t masks_add(const Config& config) { return adds_tokens(config) ? 4 : 0; }

constexpr nemo_data_api kSpans = data_api<open_spans, spans_have, text_of, spans_add>();
constexpr nemo_data_api kMasks = data_api<open_masks, masks_have, text_of, masks_add>();

}  // namespace
}  // namespace nemo::denoising

NEMO_PLUGIN("data:span_corruption\0data:masked_tokens\0",
            nemo::sdk::component(NEMO_KIND_DATA, "span_corruption", "1.0.0", "text with spans replaced by sentinels, as T5 is pretrained",
                                 &nemo::denoising::kSpans, nemo::denoising::span_schema().get()),
            nemo::sdk::component(NEMO_KIND_DATA, "masked_tokens", "1.0.0",
                                 "text with hidden tokens and pairs of parts, as BERT is pretrained", &nemo::denoising::kMasks,
                                 nemo::denoising::mask_schema().get()))
