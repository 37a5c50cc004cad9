#include "core/hub/parity.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <set>

#include "core/hub/compare.hpp"
#include "core/hub/export.hpp"
#include "core/hub/golden.hpp"
#include "core/hub/import.hpp"
#include "core/runtime/evaluate.hpp"
#include "core/runtime/generate.hpp"
#include "core/runtime/snapshot.hpp"

namespace nemo::hub {
namespace fs = std::filesystem;
using passes::Purpose;
using runtime::Role;
namespace {

// The imported checkpoint on an engine of a given batch shape.
class Session {
 public:
  Session(const fs::path& checkpoint, plugin::Registry& registry, const runtime::RunContext& context, std::vector<int64_t> shape,
          std::set<Purpose> purposes, const Golden& golden, const std::string& device) {
    const checkpoint::Reader reader(checkpoint, checkpoint::Verify::kSizes);
    const std::string rows = std::to_string(shape.at(0));
    const std::vector<std::string> overrides{"data.seq_length=" + std::to_string(shape.at(1)), "data.micro_batch_size=" + rows,
                                             "data.global_batch_size=" + rows, device, "trainer.devices=1"};
    setup = runtime::make_setup(config::Document::parse(reader.recipe(), "recipe.toml", overrides), registry, context.warn);
    const bool trains = purposes.contains(Purpose::kTrain);
    runtime::EngineOptions options;
    options.purposes = std::move(purposes);
    options.facts = {shape[0], shape[1], 0, {}, golden.has("input_ids") ? golden.shape("input_ids").at(1) : 0};
    options.short_sequences = trains ? 0 : runtime::short_sequences(setup, options.facts);
    options.keep = trains ? runtime::Keep::kTwoMoments : runtime::Keep::kParametersOnly;
    engine = std::make_unique<runtime::Engine>(setup, options);
    engine->allocate();
    (void)runtime::restore(reader, engine->state(), engine->device(), runtime::Restore::kParameters);
    if (trains) optimizer = std::make_unique<runtime::Optimizer>(engine->device(), engine->state(), optimizer_of(golden), engine->sync());
  }

  // `tokens`: of the sequences in it, where they do not fill it.
  runtime::Program& run(Purpose purpose, const runtime::Batch& batch, int64_t tokens = INT64_MAX) {
    runtime::Program& program = engine->program(purpose, tokens);
    runtime::feed(engine->device(), program, batch, 1, 0);
    program.run();
    return program;
  }
  [[nodiscard]] const graph::Graph& graph(Purpose purpose) const { return engine->compiled(purpose).graph; }
  runtime::Batch batch(Purpose purpose, const Golden& golden, const GoldenBatch& which) { return batch_of(golden, which, graph(purpose)); }

  std::vector<float> logits(const runtime::Batch& batch, int64_t tokens = INT64_MAX) {
    runtime::Program& program = run(Purpose::kLogits, batch, tokens);
    std::vector<float> out(
        static_cast<size_t>(element_count(graph(Purpose::kLogits).value(graph(Purpose::kLogits).find_output("logits")).dims)));
    engine->device().copy_out(out.data(), program.output("logits"), static_cast<int64_t>(out.size() * sizeof(float)));
    return out;
  }
  double loss(Purpose purpose, const runtime::Batch& batch) {
    const runtime::Program& program = run(purpose, batch);
    return runtime::read_scalar(engine->device(), program, "loss") / static_cast<double>(batch.unmasked_tokens);
  }

  // Parameters or gradients (of the mean over `tokens`) in the names and layout of the folder.
  template <class Body>
  void for_each_tensor(Role role, double tokens, Body&& body) {
    const std::vector<graph::Parameter>& parameters = engine->state().parameters();
    const TensorMap map(*setup.model, setup.section("model"), parameters);
    std::vector<uint64_t> sizes;
    sizes.reserve(parameters.size());
    for (const graph::Parameter& p : parameters) sizes.push_back(static_cast<uint64_t>(element_count(p.dims)));
    Assembler assembler(map, sizes, [&](size_t p, nemo_dtype, std::byte* out) {
      std::vector<float> values =
          role == Role::kGradient && !parameters[p].trainable ? std::vector<float>(sizes[p], 0) : engine->state().read(role, p);
      for (float& v : values) v = static_cast<float>(v / tokens);
      std::copy_n(reinterpret_cast<const std::byte*>(values.data()), values.size() * sizeof(float), out);
    });
    for (const std::string& name : assembler.order()) {
      const std::vector<std::byte>& bytes = assembler.tensor(name, NEMO_DTYPE_F32);
      body(name, std::span(reinterpret_cast<const float*>(bytes.data()), bytes.size() / sizeof(float)));
    }
  }

  runtime::Setup setup;
  std::unique_ptr<runtime::Engine> engine;
  std::unique_ptr<runtime::Optimizer> optimizer;

 private:
  static runtime::OptimizerSettings optimizer_of(const Golden& golden) {
    runtime::OptimizerSettings s;
    s.decay_all = true;
    if (!golden.facts().contains("train")) return s;
    const Json& t = golden.facts()["train"];
    s.beta1 = t.at("betas").at(0), s.beta2 = t.at("betas").at(1);
    s.eps = t.at("eps"), s.weight_decay = t.at("weight_decay"), s.clip_grad_norm = t.at("clip_grad_norm");
    return s;
  }
};

class Parity {
 public:
  Parity(const ParityOptions& options, plugin::Registry& registry, const runtime::RunContext& context)
      : options_(options), registry_(registry), context_(context), golden_(options.golden), checkpoint_(options.work / "checkpoint") {}

  std::vector<ParityRow> run() {
    const ImportResult imported =
        import_model({options_.folder, checkpoint_, options_.recipe, options_.overrides}, registry_, context_.warn);
    add("import", 0, imported.plugin + ", " + std::to_string(imported.tensors) + " parameters");
    forward();
    gradients();
    if (golden_.facts().contains("train")) train();
    if (golden_.has("gen.output_ids")) greedy();
    if (golden_.has("gen.leftpad_output_ids")) left_padded();
    round_trip();
    return std::move(rows_);
  }

 private:
  void add(const std::string& check, double worst, const std::string& measured) { rows_.push_back({check, worst, measured, worst <= 1}); }
  void add_difference(const std::string& check, double actual, double expected, double bound) {
    add(check, std::abs(actual - expected) / bound, number_text(actual) + " for " + number_text(expected));
  }
  void add_close(const std::string& check, const std::vector<float>& actual, const std::vector<float>& expected, double absolute,
                 double relative) {
    const Closeness c = closeness(actual, expected, absolute, relative);
    add(check, c.worst, "max difference " + number_text(c.largest) + ", rms " + number_text(c.rms));
  }

  Session session(std::set<Purpose> purposes) {
    return {checkpoint_, registry_, context_, token_shape(golden_), std::move(purposes), golden_, options_.device};
  }

  void forward() {
    Session s = session({Purpose::kLogits, Purpose::kEvaluate});
    const bool half = !golden_.has("logits");  // stored in 16 bits, computed in f32
    const std::vector<float> logits = s.logits(s.batch(Purpose::kLogits, golden_, {""}));
    add_close("logits", logits, golden_.floats(half ? "logits_fp32_compute" : "logits"), 2e-5, 1e-4);
    if (const auto loss = golden_.number(half ? "loss_fp32_compute" : "loss"))
      add_difference("loss", s.loss(Purpose::kEvaluate, s.batch(Purpose::kEvaluate, golden_, {""})), *loss, 1e-5);
    if (half) add_close("logits, 16 bits", logits, golden_.floats("logits_16bit_compute"), 0.05, 0.05);
    if (!golden_.has("pad_logits")) return;
    std::vector<float> padded = s.logits(s.batch(Purpose::kLogits, golden_, {"pad_"}));
    const std::vector<int32_t> mask = golden_.ints("pad_attention_mask");
    // The mask of an encoder says nothing of the decoder's positions.
    if (golden_.shape("pad_attention_mask") == token_shape(golden_))
      for (size_t i = 0; i < padded.size(); ++i)
        if (mask[i / (padded.size() / mask.size())] == 0) padded[i] = 0;
    add_close("logits, padded", padded, golden_.floats("pad_logits"), 2e-5, 1e-4);
    add_difference("loss, padded", s.loss(Purpose::kEvaluate, s.batch(Purpose::kEvaluate, golden_, {"pad_"})),
                   golden_.facts().at("pad_loss"), 1e-5);
  }

  // Tensors whose true gradient is zero or nearly so: what is computed is rounding noise.
  [[nodiscard]] std::set<std::string> near_zero() const {
    std::set<std::string> names;
    if (const auto noise = golden_.facts().find("noise_float32_vs_float64"); noise != golden_.facts().end())
      for (const Json& name : noise->value("near_zero_gradients", Json::array()))
        if (name.is_string()) names.insert(name.get<std::string>());
    return names;
  }

  void gradients() {
    if (!golden_.facts().contains("grad_norms")) return;
    Session s = session({Purpose::kTrain});
    const runtime::Batch batch = s.batch(Purpose::kTrain, golden_, {""});
    (void)s.loss(Purpose::kTrain, batch);
    const Json& norms = golden_.facts()["grad_norms"];
    const std::set<std::string> tiny = near_zero();
    Worst direction, length;
    double total = 0;
    s.for_each_tensor(Role::kGradient, static_cast<double>(batch.unmasked_tokens),
                      [&](const std::string& name, std::span<const float> actual) {
                        const double norm = l2(actual);
                        total += norm * norm;
                        if (tiny.contains(name)) return;
                        if (golden_.has("grad." + name)) direction.take(name, relative_l2(actual, golden_.floats("grad." + name)) / 1e-4);
                        if (norms.contains(name))
                          length.take(name, std::abs(norm - norms[name].get<double>()) / (1e-4 * norms[name].get<double>() + 1e-12));
                      });
    add("gradients", direction.worst, direction.text("tensors, relative L2"));
    add("gradient norms", length.worst, length.text("tensors"));
    add_difference("global gradient norm", std::sqrt(total), golden_.facts().at("grad_norm"),
                   1e-4 * golden_.facts().at("grad_norm").get<double>());
  }

  void train() {
    Session s = session({Purpose::kTrain, Purpose::kLogits});
    const Json& t = golden_.facts()["train"];
    Worst losses, norms;
    for (int64_t step = 0; step < t.at("steps").get<int64_t>(); ++step) {
      const runtime::Batch batch = s.batch(Purpose::kTrain, golden_, {"train_", step});
      const auto i = static_cast<size_t>(step);
      losses.take("step " + std::to_string(step), std::abs(s.loss(Purpose::kTrain, batch) - t.at("losses").at(i).get<double>()) / 2e-5);
      const double norm = s.optimizer->step(t.at("lr"), step + 1, static_cast<double>(batch.unmasked_tokens));
      const double expected = t.at("grad_norms_before_clip").at(i);
      norms.take("step " + std::to_string(step), std::abs(norm - expected) / (1e-4 * expected));
    }
    add("training losses", losses.worst, losses.text("steps"));
    add("training gradient norms", norms.worst, norms.text("steps"));
    Worst after, sums;
    const Json checksums = t.value("param_checksums", Json::object());
    s.for_each_tensor(Role::kParameter, 1, [&](const std::string& name, std::span<const float> actual) {
      if (golden_.has("after3." + name)) after.take(name, after_steps(actual, golden_.floats("after3." + name)));
      if (checksums.contains(name) && !near_zero().contains(name))
        sums.take(name, checksum_difference(actual, checksums[name].at(0), checksums[name].at(1)));
    });
    add("after training", after.worst, after.text("tensors"));
    if (sums.count > 0) add("sums after training", sums.worst, sums.text("tensors"));
    add_close("logits after training", s.logits(s.batch(Purpose::kLogits, golden_, {""})), golden_.floats("after3_logits"), 2e-4, 1e-3);
  }

  // Continues rows of `tokens` [rows, seq], which are filled up to `given`, greedily to the end; other inputs are those of the pad batch.
  void continue_greedily(Session& s, runtime::Batch& batch, std::vector<int32_t>& tokens, int64_t rows, int64_t seq, int64_t given) {
    for (int64_t at = given; at < seq; ++at) {
      batch.fields["tokens"] = tokens;
      const std::vector<float> logits = s.logits(batch, at);
      const int64_t vocab = static_cast<int64_t>(logits.size()) / (rows * seq);
      for (int64_t r = 0; r < rows; ++r) {
        const auto from = logits.begin() + (r * seq + at - 1) * vocab;
        tokens[static_cast<size_t>(r * seq + at)] = static_cast<int32_t>(std::max_element(from, from + vocab) - from);
      }
    }
  }

  // Steps of a row before the first one where the best two logits are nearly alike: either may win there, and everything after it differs.
  // Margins are one list for all rows, or one for each.
  [[nodiscard]] int64_t certain_steps(size_t row, int64_t steps) const {
    if (!golden_.facts().contains("generate")) return steps;
    Json margins = golden_.facts()["generate"].value("margins", Json::array());
    if (!margins.empty() && margins[0].is_array()) margins = row < margins.size() ? margins[row] : Json::array();
    for (size_t i = 0; i < margins.size() && static_cast<int64_t>(i) < steps; ++i)
      if (margins[i].is_number() && margins[i].get<double>() < 1e-3) return static_cast<int64_t>(i);
    return steps;
  }

  void greedy() {
    const std::vector<int32_t> expected = golden_.ints("gen.output_ids");
    const std::vector<int64_t> shape = golden_.shape("gen.output_ids");
    const int64_t given = golden_.has("gen.prompt_ids") ? golden_.shape("gen.prompt_ids").at(1) : 1;
    Session s(checkpoint_, registry_, context_, shape, {Purpose::kLogits}, golden_, options_.device);
    runtime::Batch batch;
    if (s.graph(Purpose::kLogits).find_input("encoder_tokens") != 0) {  // what the encoder reads; the decoder's length is another one
      Session whole = session({Purpose::kLogits});
      batch = whole.batch(Purpose::kLogits, golden_, {"pad_"});
      batch.fields.erase("labels");
    }
    std::vector<int32_t> tokens(expected.size(), 0);
    for (int64_t r = 0; r < shape[0]; ++r) std::copy_n(expected.begin() + r * shape[1], given, tokens.begin() + r * shape[1]);
    continue_greedily(s, batch, tokens, shape[0], shape[1], given);
    int64_t wrong = 0, compared = 0;
    for (int64_t r = 0; r < shape[0]; ++r) {
      const int64_t steps = certain_steps(static_cast<size_t>(r), shape[1] - given);
      compared += steps;
      for (int64_t i = r * shape[1]; i < r * shape[1] + given + steps; ++i)
        wrong += tokens[static_cast<size_t>(i)] != expected[static_cast<size_t>(i)];
    }
    add("greedy tokens", wrong == 0 ? 0 : 2, std::to_string(compared - wrong) + " of " + std::to_string(compared) + " equal");
    const std::set<Purpose> purposes = runtime::generation_purposes(s.setup, s.engine->facts());
    if (purposes.contains(Purpose::kDecode)) greedy_cached(expected, shape, given, purposes, sources_of(batch));
  }

  // What the encoder reads of each sequence; nothing without an encoder.
  static std::vector<std::vector<int32_t>> sources_of(const runtime::Batch& batch) {
    const auto tokens = batch.fields.find("encoder_tokens"), lengths = batch.fields.find("encoder_lengths");
    if (tokens == batch.fields.end() || lengths == batch.fields.end()) return {};
    const auto columns = static_cast<int64_t>(tokens->second.size() / lengths->second.size());
    std::vector<std::vector<int32_t>> sources;
    for (size_t r = 0; r < lengths->second.size(); ++r) {
      const auto row = tokens->second.begin() + static_cast<int64_t>(r) * columns;
      sources.emplace_back(row, row + lengths->second[r]);
    }
    return sources;
  }

  // The same with a cache, beside a shorter prompt, which must change nothing.
  void greedy_cached(const std::vector<int32_t>& expected, const std::vector<int64_t>& shape, int64_t given,
                     const std::set<Purpose>& purposes, std::vector<std::vector<int32_t>> sources) {
    Session s(checkpoint_, registry_, context_, {shape[0] + 1, shape[1]}, purposes, golden_, options_.device);
    std::vector<std::vector<int32_t>> sequences;
    for (int64_t r = 0; r < shape[0]; ++r) {
      const auto row = expected.begin() + r * shape[1];
      sequences.emplace_back(row, row + given);
    }
    sequences.emplace_back(sequences[0].begin(), sequences[0].begin() + (given + 1) / 2);
    const auto model = runtime::make_sequence_model(*s.engine);
    if (!sources.empty()) sources.emplace_back(sources[0].begin(), sources[0].begin() + (static_cast<int64_t>(sources[0].size()) + 1) / 2);
    if (!sources.empty()) model->read(sources);
    int64_t wrong = 0, compared = 0;
    for (int64_t i = given; i < shape[1]; ++i) {
      const auto logits = model->next_logits(sequences);
      for (size_t r = 0; r < sequences.size(); ++r)
        sequences[r].push_back(static_cast<int32_t>(std::ranges::max_element(logits[r]) - logits[r].begin()));
    }
    for (int64_t r = 0; r < shape[0]; ++r)
      for (int64_t i = given; i < given + certain_steps(static_cast<size_t>(r), shape[1] - given); ++i, ++compared)
        wrong += sequences[static_cast<size_t>(r)][static_cast<size_t>(i)] != expected[static_cast<size_t>(r * shape[1] + i)];
    add("greedy, cached", wrong == 0 ? 0 : 2, std::to_string(compared - wrong) + " of " + std::to_string(compared) + " equal");
  }

  // Each row of the left-padded batch by itself, without its padding.
  void left_padded() {
    if (!golden_.facts().contains("generate") || !golden_.facts()["generate"].value("leftpad_row_equals_solo", false)) return;
    if (golden_.facts()["generate"].value("leftpad_solo_min_margin", 0.0) < 1e-3) return;
    const std::vector<int32_t> output = golden_.ints("gen.leftpad_output_ids"), mask = golden_.ints("gen.leftpad_attention_mask");
    const std::vector<int64_t> shape = golden_.shape("gen.leftpad_output_ids");
    const int64_t prompt = golden_.shape("gen.leftpad_attention_mask").at(1);
    int64_t wrong = 0;
    for (int64_t r = 0; r < shape[0]; ++r) {
      const int64_t pads = std::count(mask.begin() + r * prompt, mask.begin() + (r + 1) * prompt, 0), seq = shape[1] - pads;
      Session s(checkpoint_, registry_, context_, {1, seq}, {Purpose::kLogits}, golden_, options_.device);
      const std::vector<int32_t> expected(output.begin() + r * shape[1] + pads, output.begin() + (r + 1) * shape[1]);
      std::vector<int32_t> tokens(expected.begin(), expected.begin() + prompt - pads);
      tokens.resize(static_cast<size_t>(seq), 0);
      runtime::Batch batch;
      continue_greedily(s, batch, tokens, 1, seq, prompt - pads);
      for (size_t i = 0; i < tokens.size(); ++i) wrong += tokens[i] != expected[i];
    }
    add("greedy, left padded", wrong == 0 ? 0 : 2, std::to_string(shape[0]) + " prompts, " + std::to_string(wrong) + " tokens differ");
  }

  void round_trip() {
    ExportOptions out;
    out.from = checkpoint_;
    out.to = options_.work / "exported";
    const ExportResult result = export_model(out, registry_, context_.warn);
    const std::string tensors = tensor_differences(options_.folder, out.to);
    add("export, tensors", tensors.empty() ? 0 : 2, tensors.empty() ? std::to_string(result.tensors) + " identical" : tensors);
    const std::string config = config_differences(read_json(options_.folder / "config.json").root, read_json(out.to / "config.json").root);
    add("export, config.json", config.empty() ? 0 : 2, config.empty() ? "every key has its value" : config);
  }

  const ParityOptions& options_;
  plugin::Registry& registry_;
  const runtime::RunContext& context_;
  Golden golden_;
  fs::path checkpoint_;
  std::vector<ParityRow> rows_;
};

}  // namespace

std::vector<ParityRow> parity(const ParityOptions& options, plugin::Registry& registry, const runtime::RunContext& context) {
  return Parity(options, registry, context).run();
}

}  // namespace nemo::hub
