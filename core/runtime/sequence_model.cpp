#include "core/runtime/sequence_model.hpp"

#include <algorithm>

#include "core/base/error.hpp"
#include "core/passes/build.hpp"
#include "core/passes/cache.hpp"
#include "core/runtime/convert.hpp"

namespace nemo::runtime {

using passes::Purpose;

SequenceModel::SequenceModel(Engine& engine) : engine_(engine) {
  const Purpose any = engine.has(Purpose::kEncode) ? Purpose::kEncode : engine.has(Purpose::kLogits) ? Purpose::kLogits : Purpose::kDecode;
  has_encoder_ = passes::has_encoder(engine.compiled(any).graph);
}

int64_t SequenceModel::source_length() const {
  const graph::BuildFacts& facts = engine_.facts();
  return facts.encoder_seq_length != 0 ? facts.encoder_seq_length : facts.seq_length;
}

void SequenceModel::read(Sequences sources) {
  if (!has_encoder_) throw Error(Code::kInvalidArgument, "the model has no encoder that could read a source");
  const auto columns = static_cast<size_t>(source_length()), rows = static_cast<size_t>(batch());
  std::vector<int32_t>&tokens = source_.fields["encoder_tokens"], &lengths = source_.fields["encoder_lengths"];
  tokens.assign(rows * columns, 0);
  lengths.assign(rows, 1);  // rows without a source read one token, which nobody asks for
  for (size_t row = 0; row < sources.size(); ++row) {
    const std::vector<int32_t>& source = sources[row];
    if (source.size() > columns || row >= rows)
      throw Error(Code::kInvalidArgument, "source " + std::to_string(row) + " has " + std::to_string(source.size()) +
                                              " tokens; the encoder reads " + std::to_string(rows) + " sources of at most " +
                                              std::to_string(columns) + " (data.encoder_seq_length)");
    std::copy(source.begin(), source.end(), tokens.begin() + static_cast<int64_t>(row * columns));
    lengths[row] = static_cast<int32_t>(source.size());
  }
  forget();
}

std::span<const int32_t> SequenceModel::seen(const std::vector<int32_t>& sequence) const {
  return std::span(sequence).last(std::min(sequence.size(), static_cast<size_t>(context())));
}

void SequenceModel::run(Program& program, std::vector<int32_t> tokens, std::vector<int32_t> positions) {
  Batch batch = source_;
  batch.fields["tokens"] = std::move(tokens);
  batch.fields["positions"] = std::move(positions);
  feed(engine_.device(), program, batch, 0, 0);
  program.run();
}

std::vector<float> SequenceModel::logits_at(const Program& program, int64_t row, int64_t column) {
  const graph::Graph& g = program.compiled().graph;
  const graph::Value& logits = g.value(g.find_output("logits"));
  const int64_t vocab = logits.dims.back().size, bytes = vocab * size_of(logits.dtype);
  std::vector<std::byte> raw(static_cast<size_t>(bytes));
  engine_.device().copy_out(raw.data(), program.output("logits") + (row * logits.dims[1].size + column) * bytes, bytes);
  std::vector<float> out(static_cast<size_t>(vocab));
  to_f32(raw.data(), logits.dtype, out);
  return out;
}

// Positions behind the given tokens are padding that causal attention never sees.
std::vector<std::vector<float>> WholeModel::next_logits(Sequences sequences) {
  const auto columns = static_cast<size_t>(context());
  std::vector<int32_t> tokens(static_cast<size_t>(batch()) * columns, 0), positions(tokens.size());
  for (size_t i = 0; i < positions.size(); ++i) positions[i] = static_cast<int32_t>(i % columns);
  for (size_t row = 0; row < sequences.size(); ++row) {
    const auto part = seen(sequences[row]);
    std::copy(part.begin(), part.end(), tokens.begin() + static_cast<int64_t>(row * columns));
  }
  std::vector<std::vector<float>> logits(sequences.size());
  for (const bool short_positions : {true, false}) {
    const Program* ran = nullptr;
    for (size_t row = 0; row < sequences.size(); ++row) {
      const auto n = static_cast<int64_t>(seen(sequences[row]).size());
      if (engine_.is_short(n) != short_positions) continue;
      if (ran == nullptr) {
        Program& program = engine_.program(Purpose::kLogits, n);
        run(program, tokens, positions);
        ran = &program;
      }
      logits[row] = logits_at(*ran, static_cast<int64_t>(row), n - 1);
    }
  }
  return logits;
}

CachedModel::CachedModel(Engine& engine)
    : SequenceModel(engine),
      cached_(static_cast<size_t>(batch())),
      logits_(cached_.size()),
      short_(cached_.size()),
      running_state_(passes::has_running_state(engine.program(Purpose::kDecode).compiled().graph)) {}

void CachedModel::forget() {
  for (size_t row = 0; row < cached_.size(); ++row) cached_[row].clear(), logits_[row].clear();
  Program& program = engine_.program(Purpose::kEncode);
  const std::vector<int32_t> zeros(static_cast<size_t>(batch()), 0);
  engine_.device().copy_in(program.input("cache_start"), zeros.data(), static_cast<int64_t>(zeros.size() * sizeof(int32_t)));
  feed(engine_.device(), program, source_, 0, 0);
  program.run();
}

// Keeps of each row's cache the tokens that its sequence begins with, and its logits where that is all; else the last token is computed.
void CachedModel::forget_what_differs(Sequences sequences) {
  for (size_t row = 0; row < cached_.size(); ++row) {
    const auto part = row < sequences.size() ? seen(sequences[row]) : std::span<const int32_t>();  // every run writes to all rows
    std::vector<int32_t>& cached = cached_[row];
    const bool short_positions = engine_.is_short(static_cast<int64_t>(part.size()));
    if (short_[row] != short_positions) cached.clear(), logits_[row].clear();
    short_[row] = short_positions;
    if (!logits_[row].empty() && std::ranges::equal(cached, part)) continue;
    logits_[row].clear();
    const size_t most = std::min(cached.size(), part.empty() ? 0 : part.size() - 1);
    auto same =
        static_cast<size_t>(std::mismatch(part.begin(), part.begin() + static_cast<int64_t>(most), cached.begin()).first - part.begin());
    if (running_state_ && same < cached.size()) same = 0;
    cached.resize(same);
  }
}

size_t CachedModel::missing(Sequences sequences, size_t row, bool short_positions) const {
  return short_[row] == short_positions && row < sequences.size() ? seen(sequences[row]).size() - cached_[row].size() : 0;
}

// A row whose turn it is not writes behind what it has.
CachedModel::Turn CachedModel::take(Sequences sequences, int64_t columns, bool short_positions) const {
  const auto rows = static_cast<size_t>(batch());
  Turn turn;
  turn.tokens.assign(rows * static_cast<size_t>(columns), 0);
  turn.positions.assign(turn.tokens.size(), 0);
  turn.start.assign(rows, 0);
  turn.count.assign(rows, 0);
  for (size_t row = 0; row < rows; ++row) {
    const auto part = row < sequences.size() ? seen(sequences[row]) : std::span<const int32_t>();
    const size_t start = std::min(cached_[row].size(), part.size());
    turn.start[row] = static_cast<int32_t>(start);
    turn.count[row] = static_cast<int32_t>(std::min(missing(sequences, row, short_positions), static_cast<size_t>(columns)));
    for (int64_t i = 0; i < columns; ++i) {
      const size_t at = row * static_cast<size_t>(columns) + static_cast<size_t>(i);
      if (i < turn.count[row]) turn.tokens[at] = part[start + static_cast<size_t>(i)];
      turn.positions[at] = static_cast<int32_t>(std::min<int64_t>(turn.start[row] + i, context() - 1));
    }
  }
  return turn;
}

void CachedModel::advance(Sequences sequences, Purpose purpose, bool short_positions) {
  Program& program = short_positions ? engine_.program(purpose, 1) : engine_.program(purpose);
  const graph::Graph& g = program.compiled().graph;
  const Turn turn = take(sequences, g.value(g.find_input("tokens")).dims[1].size, short_positions);
  const auto put = [&](const char* input, const std::vector<int32_t>& values) {
    if (g.find_input(input) != 0)
      engine_.device().copy_in(program.input(input), values.data(), static_cast<int64_t>(values.size() * sizeof(int32_t)));
  };
  put("cache_start", turn.start);
  put("cache_count", turn.count);
  run(program, turn.tokens, turn.positions);
  for (size_t row = 0; row < sequences.size(); ++row) {
    if (turn.count[row] == 0) continue;
    const auto part = seen(sequences[row]);
    const auto added = part.subspan(static_cast<size_t>(turn.start[row]), static_cast<size_t>(turn.count[row]));
    cached_[row].insert(cached_[row].end(), added.begin(), added.end());
    if (cached_[row].size() == part.size()) logits_[row] = logits_at(program, static_cast<int64_t>(row), turn.count[row] - 1);
  }
}

std::vector<std::vector<float>> CachedModel::next_logits(Sequences sequences) {
  forget_what_differs(sequences);
  for (const bool short_positions : {true, false})
    for (;;) {
      size_t most = 0;
      for (size_t row = 0; row < sequences.size(); ++row) most = std::max(most, missing(sequences, row, short_positions));
      if (most == 0) break;
      advance(sequences, most > 1 ? Purpose::kPrefill : Purpose::kDecode, short_positions);
    }
  return {logits_.begin(), logits_.begin() + static_cast<int64_t>(sequences.size())};
}

std::set<Purpose> generation_purposes(const Setup& setup, const graph::BuildFacts& facts) {
  const graph::Graph graph = placed(setup.section("model"), [&] { return passes::build(*setup.model, &setup.section("model"), facts); });
  if (const std::string op = passes::sees_later_tokens(graph); !op.empty())
    throw Error(Code::kUnsupported, "model '" + setup.model->id + "' reads text in both directions (" + op +
                                        "): it fills gaps and continues nothing, so there is no next token to ask it for");
  if (!passes::why_not_cached(graph).empty()) return {Purpose::kLogits};
  if (passes::has_encoder(graph)) return {Purpose::kPrefill, Purpose::kDecode, Purpose::kEncode};
  return {Purpose::kPrefill, Purpose::kDecode};
}

std::unique_ptr<SequenceModel> make_sequence_model(Engine& engine) {
  if (engine.has(Purpose::kDecode)) return std::make_unique<CachedModel>(engine);
  return std::make_unique<WholeModel>(engine);
}

}  // namespace nemo::runtime
