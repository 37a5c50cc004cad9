// nemo/cpp/rope_settings.hpp - the settings of rotary positions, shared by model plugins, and their two forms in config.json.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "nemo/cpp/hf_config.hpp"
#include "nemo/cpp/rope.hpp"

namespace nemo::sdk {
inline namespace v1 {

// rotary_base, rotary_percent and rope_scaling.*; `base` is a literal.
inline std::vector<Field> rope_fields(std::string_view base = "10000") {
  return {
      number("rotary_base", base, "theta: the slowest pair turns once in about 2 pi theta tokens").min(1.0001).changes_checkpoint(),
      number("rotary_percent", "1", "share of each head that turns").min(0).max(1).changes_checkpoint(),
      choice("rope_scaling.type", "\"none\"",
             {{"none", "plain RoPE"},
              {"linear", "all frequencies divided by factor"},
              {"llama3", "low frequencies divided, as in Llama 3.1"},
              {"yarn", "YaRN: a ramp over the pairs, and scaled attention"},
              {"longrope", "LongRoPE: a factor per pair, other ones for sequences beyond the first context"}},
             "how positions are stretched to a longer context")
          .changes_checkpoint(),
      number("rope_scaling.factor", "1", "new context / original context").min(1).changes_checkpoint(),
      integer("rope_scaling.original_max_position_embeddings", "0", "llama3, yarn, longrope: first context; 0 = max_position_embeddings")
          .min(0)
          .unit("tokens")
          .changes_checkpoint(),
      number("rope_scaling.low_freq_factor", "1", "llama3: wavelengths above original / this are stretched").min(0).changes_checkpoint(),
      number("rope_scaling.high_freq_factor", "4", "llama3: wavelengths below original / this are kept").min(0).changes_checkpoint(),
      number("rope_scaling.beta_fast", "32", "yarn: pairs that turn more often in the first context are kept").min(0).changes_checkpoint(),
      number("rope_scaling.beta_slow", "1", "yarn: pairs that turn less often are stretched in full").min(0).changes_checkpoint(),
      number("rope_scaling.attention_factor", "0", "yarn, longrope: scale of rotated q and k; 0 = from factor and mscale")
          .min(0)
          .changes_checkpoint(),
      number("rope_scaling.mscale", "0", "yarn, DeepSeek's scale: numerator; 0 = unset").min(0).changes_checkpoint(),
      number("rope_scaling.mscale_all_dim", "0", "yarn, DeepSeek's scale: denominator; 0 = unset").min(0).changes_checkpoint(),
      boolean("rope_scaling.truncate", "true", "yarn: the ramp starts and ends at whole pairs").changes_checkpoint(),
      list("rope_scaling.short_factor", NEMO_FIELD_FLOAT, "[]",
           "longrope: divides each pair's frequency where data.seq_length is within the first context")
          .min(0)
          .changes_checkpoint(),
      list("rope_scaling.long_factor", NEMO_FIELD_FLOAT, "[]", "longrope: the same for longer sequences").min(0).changes_checkpoint(),
  };
}

inline RopeType rope_type(std::string_view word) {
  if (word == "linear") return RopeType::kLinear;
  if (word == "llama3") return RopeType::kLlama3;
  if (word == "yarn") return RopeType::kYarn;
  return word == "longrope" ? RopeType::kLong : RopeType::kNone;
}

inline void check_pair_factors(const Config& c, const char* setting, int64_t pairs) {
  const std::vector<double> factors = c.numbers(setting);
  if (int64_t(factors.size()) != pairs)
    config_fault(setting, std::string(setting) + " has " + std::to_string(factors.size()) +
                              " factors; longrope needs one for each of the " + std::to_string(pairs) + " pairs that turn");
  if (std::any_of(factors.begin(), factors.end(), [](double f) { return f <= 0; }))
    config_fault(setting, std::string(setting) + " has a factor that is not above 0");
}

// The settings under rope_scaling. `pairs`: of a head, that turn. `sequence`: the tokens of a sequence, by which longrope chooses its
// factors (they are those of a program, not of what a sequence happens to hold).
inline RopeScaling rope_scaling(const Config& c, int64_t pairs, int64_t max_positions, int64_t sequence) {
  RopeScaling s;
  s.type = rope_type(c.string("rope_scaling.type"));
  s.factor = c.number("rope_scaling.factor");
  s.original_positions = double(c.integer("rope_scaling.original_max_position_embeddings"));
  if (s.original_positions == 0) s.original_positions = double(max_positions);
  s.low_freq_factor = c.number("rope_scaling.low_freq_factor");
  s.high_freq_factor = c.number("rope_scaling.high_freq_factor");
  s.beta_fast = c.number("rope_scaling.beta_fast");
  s.beta_slow = c.number("rope_scaling.beta_slow");
  s.attention_factor = c.number("rope_scaling.attention_factor");
  s.mscale = c.number("rope_scaling.mscale");
  s.mscale_all_dim = c.number("rope_scaling.mscale_all_dim");
  s.truncate = c.boolean("rope_scaling.truncate");
  if (s.type == RopeType::kLlama3 && s.high_freq_factor <= s.low_freq_factor)
    config_fault("rope_scaling.high_freq_factor", "rope_scaling.high_freq_factor must be above rope_scaling.low_freq_factor");
  if (s.type == RopeType::kYarn && (s.beta_slow <= 0 || s.beta_fast <= s.beta_slow))
    config_fault("rope_scaling.beta_fast", "yarn needs 0 < rope_scaling.beta_slow < rope_scaling.beta_fast");
  if (s.type != RopeType::kLong) return s;
  for (const char* factors : {"rope_scaling.short_factor", "rope_scaling.long_factor"}) check_pair_factors(c, factors, pairs);
  if (s.factor == 1) s.factor = double(max_positions) / s.original_positions;
  s.pair_factor = c.numbers(double(sequence) > s.original_positions ? "rope_scaling.long_factor" : "rope_scaling.short_factor");
  return s;
}

// Frequencies of the part of a head of `head` elements that turns.
inline RopeFrequencies rope_of_settings(const Config& c, int64_t head, int64_t max_positions, int64_t sequence) {
  const auto turning = int64_t(double(head) * c.number("rotary_percent"));
  if (turning % 2 != 0)
    config_fault(turning == head ? "kv_channels" : "rotary_percent",
                 "rotary positions turn pairs: the head size " + std::to_string(turning) + " must be even");
  return rope_frequencies(turning, c.number("rotary_base"), rope_scaling(c, turning / 2, max_positions, sequence));
}

// Where config.json has the parameters of one kind of layer: "rope_parameters" (transformers 5), "rope_parameters.full_attention"; and
// under which keys transformers 4 has theta and scaling. `partial`: the model has partial_rotary_factor.
struct HfRope {
  std::string modern = "rope_parameters";
  std::string theta = "rope_theta", scaling = "rope_scaling";
  double missing_theta = 10000;
  bool partial = false;
  double missing_partial = 1;
};

namespace rope {

struct Number {
  const char* setting;  // below rope_scaling
  const char* key;
};
constexpr Number kLlama3Numbers[] = {
    {"factor", "factor"}, {"low_freq_factor", "low_freq_factor"}, {"high_freq_factor", "high_freq_factor"}};
constexpr Number kYarnNumbers[] = {{"factor", "factor"},       {"beta_fast", "beta_fast"},
                                   {"beta_slow", "beta_slow"}, {"attention_factor", "attention_factor"},
                                   {"mscale", "mscale"},       {"mscale_all_dim", "mscale_all_dim"}};

inline void import_numbers(HfConfig& c, const std::string& at, const Number* numbers, size_t n) {
  for (size_t i = 0; i < n; ++i)
    if (const std::string key = at + "." + numbers[i].key; c.json().has(key))
      c.put(std::string("rope_scaling.") + numbers[i].setting, c.json().number(key));
}

// The first files of Phi-3 call it "su", or "yarn". transformers takes the ratio of the contexts for the factor where both are given.
inline void import_long(HfConfig& c, const std::string& at, const std::string& type) {
  Json& j = c.json();
  if (type != "longrope" && type != "su" && type != "yarn") c.refuse(at + ".rope_type", "\"" + type + "\"");
  c.put("rope_scaling.type", "longrope");
  c.put("rope_scaling.short_factor", j.numbers(at + ".short_factor"));
  c.put("rope_scaling.long_factor", j.numbers(at + ".long_factor"));
  c.put("rope_scaling.attention_factor", j.number(at + ".attention_factor", 0));
  const int64_t first = j.integer("original_max_position_embeddings", j.integer(at + ".original_max_position_embeddings", 0));
  c.put("rope_scaling.original_max_position_embeddings", first);
  const double factor = j.number(at + ".factor", 1);
  if (first == 0) c.put("rope_scaling.factor", factor);
}

// `at`: the object that has the type and its parameters; absent or null where positions are plain.
inline void import_scaling(HfConfig& c, const std::string& at) {
  Json& j = c.json();
  const std::string type = j.string(at + ".rope_type", j.string(at + ".type", "default"));
  if (type == "default") return c.put("rope_scaling.type", "none");
  if (type == "longrope" || j.has(at + ".short_factor")) return import_long(c, at, type);
  if (type != "linear" && type != "llama3" && type != "yarn") c.refuse(at + ".rope_type", "\"" + type + "\"");
  c.put("rope_scaling.type", type);
  if (type == "linear") return c.put("rope_scaling.factor", j.number(at + ".factor"));
  if (type == "llama3")
    import_numbers(c, at, kLlama3Numbers, std::size(kLlama3Numbers));
  else
    import_numbers(c, at, kYarnNumbers, std::size(kYarnNumbers));
  if (type == "yarn" && j.has(at + ".truncate")) c.put("rope_scaling.truncate", j.boolean(at + ".truncate"));
  // transformers takes the context of the stretched model where the first one is not given.
  c.put("rope_scaling.original_max_position_embeddings",
        j.integer(at + ".original_max_position_embeddings",
                  j.integer("original_max_position_embeddings", j.integer("max_position_embeddings", 0))));
}

// Phi-3 of transformers 4 accepts the type and the two lists there and nothing else; the first context stands beside the last one.
inline void export_long(HfConfig& c, const std::string& at) {
  Json& j = c.json();
  const std::string key = at + (j.has(at + ".type")                                   ? ".type"
                                : at == "rope_parameters" || j.has(at + ".rope_type") ? ".rope_type"
                                                                                      : ".type");
  if (const std::string old = j.string(key, ""); !j.has(at + ".short_factor") || (old != "su" && old != "yarn")) j.set(key, "longrope");
  j.set(at + ".short_factor", c.config().numbers("rope_scaling.short_factor"));
  j.set(at + ".long_factor", c.config().numbers("rope_scaling.long_factor"));
  if (const double scale = c.number_of("rope_scaling.attention_factor"); scale != 0) j.set(at + ".attention_factor", scale);
  const int64_t first = c.integer_of("rope_scaling.original_max_position_embeddings");
  if (first != 0 && !j.has(at + ".original_max_position_embeddings")) j.set("original_max_position_embeddings", first);
  if (first == 0 && c.number_of("rope_scaling.factor") != 1) j.set(at + ".factor", c.number_of("rope_scaling.factor"));
}

inline void export_scaling(HfConfig& c, const std::string& at) {
  Json& j = c.json();
  const std::string type = c.string_of("rope_scaling.type");
  if (type == "longrope") return export_long(c, at);
  j.set(at + (j.has(at + ".type") ? ".type" : ".rope_type"), type == "none" ? "default" : type);
  if (type == "none") return;
  const auto write = [&](const Number* numbers, size_t n) {
    for (size_t i = 0; i < n; ++i) {
      const double value = c.number_of(std::string("rope_scaling.") + numbers[i].setting);
      if (value != 0 && (type != "linear" || i == 0)) j.set(at + "." + numbers[i].key, value);
    }
  };
  if (type == "yarn")
    write(kYarnNumbers, std::size(kYarnNumbers));
  else
    write(kLlama3Numbers, std::size(kLlama3Numbers));
  if (type == "yarn" && (!c.boolean_of("rope_scaling.truncate") || j.has(at + ".truncate")))
    j.set(at + ".truncate", c.boolean_of("rope_scaling.truncate"));
  const int64_t first = c.integer_of("rope_scaling.original_max_position_embeddings");
  if (type != "linear" && first != 0 &&
      (type == "llama3" || j.has(at + ".original_max_position_embeddings") || !j.has("original_max_position_embeddings")))
    j.set(at + ".original_max_position_embeddings", first);
}

}  // namespace rope

// rotary_base, rotary_percent and rope_scaling.* in either form; export keeps the form that is there, a new config.json gets that of
// transformers 4, which 5 reads as well.
inline void hf_rope(HfConfig& c, const HfRope& where = {}) {
  Json& j = c.json();
  const bool modern = j.has(where.modern);
  const std::string theta = modern ? where.modern + ".rope_theta" : where.theta;
  const std::string scaling = modern ? where.modern : where.scaling;
  if (c.importing()) {
    c.put("rotary_base", j.number(theta, j.number(where.theta, where.missing_theta)));
    if (where.partial)
      c.put("rotary_percent", j.number(where.modern + ".partial_rotary_factor", j.number("partial_rotary_factor", where.missing_partial)));
    else
      c.expect_number("partial_rotary_factor", 1), c.expect_number(where.modern + ".partial_rotary_factor", 1);
    return rope::import_scaling(c, scaling);
  }
  j.set(theta, c.number_of("rotary_base"));
  if (where.partial) {
    if (modern) j.set(where.modern + ".partial_rotary_factor", c.number_of("rotary_percent"));
    if (!modern || j.has("partial_rotary_factor")) j.set("partial_rotary_factor", c.number_of("rotary_percent"));
  }
  if (!modern && c.string_of("rope_scaling.type") == "none") return j.set_null(scaling);
  rope::export_scaling(c, scaling);
}

}  // namespace v1
}  // namespace nemo::sdk
