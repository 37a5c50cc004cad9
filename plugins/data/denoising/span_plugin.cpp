// plugins/data/denoising/span_plugin.cpp - datamodule span_corruption.
#include "nemo/cpp/plugin.hpp"
#include "settings.hpp"
#include "span_corruption.hpp"
#include "special_tokens.hpp"

namespace nemo::denoising {
namespace {

using namespace sdk;

const Schema& schema() {
  static const Schema instance(
      with_corpus("text files or globs, UTF-8",
                  "shares of train, validation and test (one to three numbers, scaled to sum 1): consecutive parts of the row of tokens",
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

std::unique_ptr<SampleSource> open(const Config& config, const DataRequest& request) {
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

bool has_field(const Config&, std::string_view name) { return name == "encoder_tokens" || name == "encoder_lengths"; }

int64_t added(const Config& config) { return adds_tokens(config) ? 2 + config.integer("num_sentinels") : 0; }

constexpr nemo_data_api kApi = data_api<open, has_field, text_of, added>();

}  // namespace
}  // namespace nemo::denoising

NEMO_PLUGIN("data:span_corruption\0",
            nemo::sdk::component(NEMO_KIND_DATA, "span_corruption", "1.0.0", "text with spans replaced by sentinels, as T5 is pretrained",
                                 &nemo::denoising::kApi, nemo::denoising::schema().get()))
