// plugins/data/denoising/mask_plugin.cpp - datamodule masked_tokens.
#include "masked_tokens.hpp"
#include "nemo/cpp/plugin.hpp"
#include "settings.hpp"
#include "special_tokens.hpp"

namespace nemo::denoising {
namespace {

using namespace sdk;

const Schema& schema() {
  static const Schema instance(
      with_corpus("text files or globs, UTF-8: a sentence per line, an empty line between documents",
                  "shares of train, validation and test (one to three numbers, scaled to sum 1): consecutive documents",
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

std::unique_ptr<SampleSource> open(const Config& config, const DataRequest& request) {
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
    config_fault("split",
                 "the " + request.split + " part has " + std::to_string(range.end - range.begin) + " of " +
                     std::to_string(corpus->num_documents()) + " documents, and none with " +
                     (task.pairs == SentenceTask::kNone ? "a sentence" : "two sentences") +
                     "; in text, documents end at empty lines and sentences at line ends, in Megatron files a sequence is a sentence");
  return source;
}

bool has_field(const Config& config, std::string_view name) {
  return name == "positions" || name == "token_types" || name == "lengths" ||
         (name == "next_sentence_labels" && config.string("sentence_task") != "none");
}

int64_t added(const Config& config) { return adds_tokens(config) ? 4 : 0; }

constexpr nemo_data_api kApi = data_api<open, has_field, text_of, added>();

}  // namespace
}  // namespace nemo::denoising

NEMO_PLUGIN("data:masked_tokens\0", nemo::sdk::component(NEMO_KIND_DATA, "masked_tokens", "1.0.0",
                                                         "text with hidden tokens and pairs of parts, as BERT is pretrained",
                                                         &nemo::denoising::kApi, nemo::denoising::schema().get()))
