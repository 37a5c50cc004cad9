#include "core/runtime/generate.hpp"

#include <algorithm>

#include "core/base/error.hpp"
#include "core/runtime/convert.hpp"

namespace nemo::runtime {

std::vector<float> LogitsModel::next_logits(std::span<const int32_t> tokens) {
  Program& program = engine_.program(passes::Purpose::kLogits);
  Batch batch;
  std::vector<int32_t>& padded = batch.fields["tokens"];
  padded.assign(static_cast<size_t>(context()), 0);
  std::copy(tokens.begin(), tokens.end(), padded.begin());
  feed(engine_.device(), program, batch, 0, 0);
  program.run();
  const graph::Graph& g = program.compiled().graph;
  const graph::Value& logits = g.value(g.find_output("logits"));
  const int64_t vocab = logits.dims.back().size, bytes = vocab * size_of(logits.dtype);
  std::vector<std::byte> raw(static_cast<size_t>(bytes));
  engine_.device().copy_out(raw.data(), program.output("logits") + (static_cast<int64_t>(tokens.size()) - 1) * bytes, bytes);
  std::vector<float> out(static_cast<size_t>(vocab));
  to_f32(raw.data(), logits.dtype, out);
  return out;
}

void generate(const Setup& setup, const RunContext& context, const std::filesystem::path& checkpoint, const std::string& prompt,
              const GenerateSettings& settings, const std::function<void(const std::string&)>& emit) {
  const checkpoint::Reader reader(checkpoint, checkpoint::Verify::kSizes);
  if (!std::filesystem::exists(checkpoint / "tokenizer"))
    throw Error(Code::kConfig,
                "the checkpoint '" + checkpoint.string() + "' has no tokenizer (it was trained on token ids), so it cannot read a prompt");
  const auto tokenizer = text::load_tokenizer(checkpoint / "tokenizer");
  std::vector<int32_t> tokens = tokenizer->encode(prompt);
  if (tokens.empty() && tokenizer->bos() >= 0) tokens.push_back(static_cast<int32_t>(tokenizer->bos()));
  if (tokens.empty()) throw Error(Code::kConfig, "the prompt is empty and the tokenizer has no begin-of-text token; give --prompt");
  EngineOptions options;
  options.purposes = {passes::Purpose::kLogits};
  options.facts = build_facts(setup, tokenizer.get());
  options.facts.micro_batch_size = 1;
  options.facts.batch_fields.clear();
  options.observe = context.observe;
  Engine engine(setup, options);
  engine.check_fits(setup);
  engine.allocate();
  restore(reader, engine.state(), engine.device(), Restore::kParameters);
  LogitsModel model(engine);
  for (int64_t i = 0; i < settings.max_tokens && !context.interrupted->load(); ++i) {
    const size_t seen = std::min(tokens.size(), static_cast<size_t>(model.context()));
    std::vector<float> logits = model.next_logits(std::span(tokens).last(seen));
    logits.resize(static_cast<size_t>(std::min<int64_t>(static_cast<int64_t>(logits.size()), tokenizer->vocab_size())));
    const int32_t next = sample(logits, settings.sampling, i);
    if (next == tokenizer->eos()) break;
    tokens.push_back(next);
    emit(tokenizer->decode(std::span(tokens).last(1)));
  }
}

}  // namespace nemo::runtime
