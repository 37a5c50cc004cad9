#include "core/runtime/generate.hpp"

#include <algorithm>

#include "core/base/error.hpp"
#include "core/runtime/answer_tokens.hpp"
#include "core/runtime/text_stream.hpp"

namespace nemo::runtime {
namespace {

// One prompt while it is continued.
struct Running {
  Running(const text::Tokenizer& tokenizer, const GenerateSettings& settings) : stream(tokenizer, settings.stop) {}
  TextStream stream;
  Continuation out;
  bool done = false;
};

// Draws of different prompts are independent: the prompt's index is in the upper half of the position.
int64_t draw_position(size_t prompt, size_t token) { return static_cast<int64_t>(prompt << 32 | token); }

}  // namespace

TextGenerator::TextGenerator(const Setup& setup, const RunContext& context, const std::filesystem::path& checkpoint, int64_t batch)
    : context_(context) {
  const checkpoint::Reader reader(checkpoint, checkpoint::Verify::kSizes);
  if (!std::filesystem::exists(checkpoint / "tokenizer"))
    throw Error(Code::kConfig,
                "the checkpoint '" + checkpoint.string() + "' has no tokenizer (it was trained on token ids), so it cannot read a prompt");
  tokenizer_ = text::load_tokenizer(checkpoint / "tokenizer");
  EngineOptions options;
  options.facts = build_facts(setup, tokenizer_.get());
  options.facts.micro_batch_size = batch;
  options.facts.batch_fields.clear();
  options.facts.fields_known = false;  // the prompt is not of the data
  options.purposes = generation_purposes(setup, options.facts);
  options.short_sequences = short_sequences(setup, options.facts);
  options.observe = context.observe;
  engine_ = std::make_unique<Engine>(setup, options);
  engine_->check_fits(setup);
  engine_->allocate();
  restore(reader, engine_->state(), engine_->device(), Restore::kParameters);
  model_ = make_sequence_model(*engine_);
  if (!answers()) return;
  tokenizer_ = with_added_tokens(setup, std::move(tokenizer_));
  start_ = start_of_answer(setup, *tokenizer_);
}

std::vector<int32_t> TextGenerator::encode(const std::string& prompt) const {
  if (answers()) {
    std::vector<int32_t> source = source_of(*tokenizer_, prompt);
    if (source.empty()) throw Error(Code::kConfig, "the prompt is empty and the tokenizer has no end-of-text token; give --prompt");
    if (const auto n = static_cast<int64_t>(source.size()); n > model_->source_length())
      throw Error(Code::kConfig, "the prompt has " + std::to_string(n) + " tokens, and the encoder reads " +
                                     std::to_string(model_->source_length()) +
                                     "; raise data.encoder_seq_length (data.seq_length where the data has no such setting)");
    return source;
  }
  std::vector<int32_t> tokens = tokenizer_->encode(prompt);
  if (tokens.empty() && tokenizer_->bos() >= 0) tokens.push_back(static_cast<int32_t>(tokenizer_->bos()));
  if (tokens.empty()) throw Error(Code::kConfig, "the prompt is empty and the tokenizer has no begin-of-text token; give --prompt");
  return tokens;
}

std::vector<Continuation> TextGenerator::generate(const std::vector<std::vector<int32_t>>& prompts, const GenerateSettings& settings,
                                                  const Emit& emit) {
  std::vector<std::vector<int32_t>> sequences = prompts;
  if (answers()) {
    if (start_ < 0) throw Error(Code::kConfig, "neither the checkpoint nor its data says which token the decoder's answers begin with");
    model_->read(prompts);
    sequences.assign(prompts.size(), {start_});
  }
  const int64_t most = answers() ? std::min(settings.max_tokens, model_->context()) : settings.max_tokens;
  std::vector<Running> running;
  for (size_t n = 0; n < prompts.size(); ++n) running.emplace_back(*tokenizer_, settings);
  const auto finish = [&](size_t n, Ending ending) {
    running[n].done = true;
    running[n].out.ending = ending;
    emit(n, running[n].stream.rest());
  };
  for (int64_t i = 0; i < most; ++i) {
    if (context_.interrupted->load() || std::all_of(running.begin(), running.end(), [](const Running& r) { return r.done; })) break;
    std::vector<std::vector<float>> logits = model_->next_logits(sequences);
    for (size_t n = 0; n < sequences.size(); ++n) {
      if (running[n].done) continue;
      logits[n].resize(std::min(logits[n].size(), static_cast<size_t>(tokenizer_->vocab_size())));
      const int32_t next = sample(logits[n], settings.sampling, draw_position(n, running[n].out.tokens.size()));
      if (next == tokenizer_->eos()) {
        finish(n, Ending::kEndOfText);
        continue;
      }
      sequences[n].push_back(next);
      running[n].out.tokens.push_back(next);
      emit(n, running[n].stream.take(next));
      if (running[n].stream.stopped()) finish(n, Ending::kStop);
    }
  }
  std::vector<Continuation> out;
  for (size_t n = 0; n < running.size(); ++n) {
    if (!running[n].done) finish(n, context_.interrupted->load() ? Ending::kInterrupted : Ending::kMaxTokens);
    running[n].out.text = running[n].stream.text();
    out.push_back(std::move(running[n].out));
  }
  return out;
}

}  // namespace nemo::runtime
