#include "core/runtime/score.hpp"

#include <algorithm>
#include <cmath>

#include "core/base/error.hpp"
#include "core/passes/build.hpp"
#include "core/passes/cache.hpp"
#include "core/runtime/answer_tokens.hpp"
#include "core/runtime/evaluate.hpp"
#include "core/runtime/snapshot.hpp"

namespace nemo::runtime {
namespace {

constexpr int32_t kNotScored = -100;

// Whether the model is an encoder-decoder. A model whose tokens see later ones gives no probability to a text.
bool check_scores(const Setup& setup, const graph::BuildFacts& facts) {
  const graph::Graph graph = placed(setup.section("model"), [&] { return passes::build(*setup.model, &setup.section("model"), facts); });
  if (const std::string op = passes::sees_later_tokens(graph); !op.empty())
    throw Error(Code::kUnsupported, "model '" + setup.model->id + "' reads text in both directions (" + op +
                                        "): it gives no probability to a text or to a choice; `nemo-host validate` measures its own loss");
  return passes::has_encoder(graph);
}

double log_likelihood_of_answer(Scorer& scorer, const std::string& context, const std::string& answer) {
  const size_t first = answer.find_first_not_of(' ');
  const std::vector<int32_t> labels = scorer.tokenizer().encode(first == std::string::npos ? answer : answer.substr(first));
  if (labels.empty()) return 0;
  if (static_cast<int64_t>(labels.size()) > scorer.window())
    throw Error(Code::kConfig, "a choice of " + std::to_string(labels.size()) + " tokens does not fit the decoder's " +
                                   std::to_string(scorer.window()) + " (data.seq_length)");
  const std::vector<int32_t> source = source_of(scorer.tokenizer(), context);
  const size_t kept = std::min(source.size(), static_cast<size_t>(scorer.source_window()));
  return -scorer.negative_log_likelihood_of_answer(std::span(source).last(kept), labels);
}

}  // namespace

Scorer::Scorer(const Setup& setup, const RunContext& context, const std::filesystem::path& checkpoint) {
  const checkpoint::Reader reader(checkpoint, checkpoint::Verify::kSizes);
  if (!std::filesystem::exists(checkpoint / "tokenizer"))
    throw Error(Code::kConfig,
                "the checkpoint '" + checkpoint.string() + "' has no tokenizer (it was trained on token ids), so it cannot read a text");
  tokenizer_ = text::load_tokenizer(checkpoint / "tokenizer");
  EngineOptions options;
  options.purposes = {passes::Purpose::kEvaluate};
  options.facts = build_facts(setup, tokenizer_.get());
  options.facts.micro_batch_size = 1;
  options.facts.batch_fields.clear();
  options.facts.fields_known = false;  // the text is not of the data
  answers_ = check_scores(setup, options.facts);
  if (answers_) tokenizer_ = with_added_tokens(setup, std::move(tokenizer_));
  if (answers_) start_ = start_of_answer(setup, *tokenizer_);
  options.short_sequences = short_sequences(setup, options.facts);
  options.observe = context.observe;
  engine_ = std::make_unique<Engine>(setup, options);
  engine_->check_fits(setup);
  engine_->allocate();
  restore(reader, engine_->state(), engine_->device(), Restore::kParameters);
}

Scorer::~Scorer() = default;

double Scorer::negative_log_likelihood(std::span<const int32_t> tokens, size_t first) {
  if (first == tokens.size()) return 0;
  Batch batch;
  std::vector<int32_t>&inputs = batch.fields["tokens"], &labels = batch.fields["labels"];
  inputs.assign(static_cast<size_t>(window()), 0);
  labels.assign(static_cast<size_t>(window()), kNotScored);
  std::copy(tokens.begin(), tokens.end() - 1, inputs.begin());
  std::copy(tokens.begin() + static_cast<std::ptrdiff_t>(first), tokens.end(), labels.begin() + static_cast<std::ptrdiff_t>(first) - 1);
  batch.unmasked_tokens = static_cast<int64_t>(tokens.size() - first);
  return run(std::move(batch), static_cast<int64_t>(tokens.size()));
}

double Scorer::run(Batch batch, int64_t tokens) {
  Program& program = engine_->program(passes::Purpose::kEvaluate, tokens);
  feed(engine_->device(), program, batch, 0, 0);
  program.run();
  return read_scalar(engine_->device(), program, "loss");
}

int64_t Scorer::source_window() const {
  const graph::BuildFacts& facts = engine_->facts();
  return facts.encoder_seq_length != 0 ? facts.encoder_seq_length : facts.seq_length;
}

double Scorer::negative_log_likelihood_of_answer(std::span<const int32_t> source, std::span<const int32_t> answer) {
  if (start_ < 0) throw Error(Code::kConfig, "neither the checkpoint nor its data says which token the decoder's answers begin with");
  Batch batch;
  std::vector<int32_t>&inputs = batch.fields["tokens"], &labels = batch.fields["labels"], &read = batch.fields["encoder_tokens"];
  inputs.assign(static_cast<size_t>(window()), 0);
  labels.assign(static_cast<size_t>(window()), kNotScored);
  read.assign(static_cast<size_t>(source_window()), 0);
  inputs[0] = start_;
  std::copy(answer.begin(), answer.end() - 1, inputs.begin() + 1);
  std::copy(answer.begin(), answer.end(), labels.begin());
  std::copy(source.begin(), source.end(), read.begin());
  batch.fields["encoder_lengths"] = {static_cast<int32_t>(source.size())};
  batch.unmasked_tokens = static_cast<int64_t>(answer.size());
  return run(std::move(batch), static_cast<int64_t>(answer.size()));
}

double Perplexity::per_token() const { return std::exp(nats / static_cast<double>(std::max<int64_t>(tokens, 1))); }
double Perplexity::bits_per_byte() const { return nats / std::log(2.0) / static_cast<double>(std::max<int64_t>(bytes, 1)); }

std::vector<int32_t> opening(const text::Tokenizer& tokenizer) {
  const std::vector<int32_t> around = tokenizer.encode_special("");
  if (tokenizer.bos() >= 0 && !around.empty() && around[0] == tokenizer.bos()) return {around[0]};
  return {};
}

Perplexity perplexity(Scorer& scorer, std::string_view text, int64_t stride, const std::function<bool()>& go_on) {
  if (scorer.answers())
    throw Error(Code::kUnsupported,
                "an encoder-decoder gives answers a probability, not texts by themselves: measure --choices, or its own loss with "
                "`nemo-host validate`");
  std::vector<int32_t> tokens = opening(scorer.tokenizer());
  const std::vector<int32_t> ids = scorer.tokenizer().encode(text);
  tokens.insert(tokens.end(), ids.begin(), ids.end());
  Perplexity out;
  out.bytes = static_cast<int64_t>(text.size());
  const auto widest = static_cast<size_t>(scorer.window()) + 1;
  for (size_t next = 1; next < tokens.size() && go_on();) {
    const size_t end = std::min(tokens.size(), next == 1 ? widest : next + static_cast<size_t>(stride));
    const size_t begin = end > widest ? end - widest : 0;
    out.nats += scorer.negative_log_likelihood(std::span(tokens).subspan(begin, end - begin), next - begin);
    out.tokens += static_cast<int64_t>(end - next);
    next = end;
  }
  return out;
}

double log_likelihood(Scorer& scorer, const std::string& context, const std::string& continuation) {
  if (scorer.answers()) return log_likelihood_of_answer(scorer, context, continuation);
  const text::Tokenizer& t = scorer.tokenizer();
  // Spaces between the two belong to the word that follows them.
  std::string head = context, tail = continuation;
  while (head.ends_with(' ')) {
    head.pop_back();
    tail.insert(tail.begin(), ' ');
  }
  std::vector<int32_t> tokens = opening(t);
  const std::vector<int32_t> whole = t.encode(head + tail);
  const size_t before = std::min(t.encode(head).size(), whole.size());
  if (tokens.empty() && before == 0 && t.eos() >= 0) tokens.push_back(static_cast<int32_t>(t.eos()));
  const size_t first = std::max<size_t>(tokens.size() + before, 1);
  tokens.insert(tokens.end(), whole.begin(), whole.end());
  const size_t scored = tokens.size() - std::min(first, tokens.size()), widest = static_cast<size_t>(scorer.window()) + 1;
  if (scored + 1 > widest)
    throw Error(Code::kConfig, "a continuation of " + std::to_string(scored) + " tokens does not fit the model's window of " +
                                   std::to_string(scorer.window()) + " (data.seq_length)");
  const size_t kept = std::min(tokens.size(), widest);
  return -scorer.negative_log_likelihood(std::span(tokens).last(kept), kept - scored);
}

}  // namespace nemo::runtime
