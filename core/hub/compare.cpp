#include "core/hub/compare.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <limits>

#include "core/hub/safetensors.hpp"

namespace nemo::hub {
namespace {

constexpr double kInfinite = std::numeric_limits<double>::infinity();
constexpr size_t kShown = 3;

bool same_value(const Json& a, const Json& b) {
  double x = 0, y = 0;
  if (a.is_number() && b.is_number() && a.is_number_float() != b.is_number_float()) return false;  // transformers tells them apart
  if (to_double(a, x) && to_double(b, y)) return x == y || (std::isnan(x) && std::isnan(y));
  if (a.is_object() && b.is_object())
    return std::all_of(a.items().begin(), a.items().end(),
                       [&](const auto& item) { return b.contains(item.key()) && same_value(item.value(), b[item.key()]); });
  if (a.is_array() && b.is_array()) return std::equal(a.begin(), a.end(), b.begin(), b.end(), same_value);
  return a == b;
}

std::string joined(const std::vector<std::string>& differences) {
  std::string out;
  for (size_t i = 0; i < differences.size() && i < kShown; ++i) out += (i == 0 ? "" : "; ") + differences[i];
  return differences.size() > kShown ? out + "; and " + std::to_string(differences.size() - kShown) + " more" : out;
}

}  // namespace

Closeness closeness(std::span<const float> actual, std::span<const float> expected, double absolute, double relative) {
  if (actual.size() != expected.size()) return {kInfinite, kInfinite, kInfinite};
  Closeness c;
  for (size_t i = 0; i < actual.size(); ++i) {
    const double d = std::abs(static_cast<double>(actual[i]) - expected[i]);
    if (std::isnan(d)) return {kInfinite, kInfinite, kInfinite};
    c.rms += d * d / static_cast<double>(actual.size());
    c.largest = std::max(c.largest, d);
    c.worst = std::max(c.worst, d / (absolute + relative * std::abs(static_cast<double>(expected[i]))));
  }
  c.rms = std::sqrt(c.rms);
  return c;
}

double l2(std::span<const float> values) {
  double sum = 0;
  for (const float v : values) sum += static_cast<double>(v) * v;
  return std::sqrt(sum);
}

double relative_l2(std::span<const float> actual, std::span<const float> expected) {
  if (actual.size() != expected.size()) return kInfinite;
  double difference = 0;
  for (size_t i = 0; i < actual.size(); ++i) difference += std::pow(static_cast<double>(actual[i]) - expected[i], 2);
  const double size = l2(expected);
  return std::isnan(difference) ? kInfinite : difference == 0 ? 0 : std::sqrt(difference) / size;
}

double after_steps(std::span<const float> actual, std::span<const float> expected) {
  if (actual.size() != expected.size()) return kInfinite;
  double mean = 0, largest = 0;
  size_t far = 0;
  for (size_t i = 0; i < actual.size(); ++i) {
    const double d = std::abs(static_cast<double>(actual[i]) - expected[i]);
    if (std::isnan(d)) return kInfinite;
    mean += d / static_cast<double>(actual.size());
    largest = std::max(largest, d);
    far += d > 2e-5 ? 1 : 0;
  }
  return std::max({mean / 5e-6, static_cast<double>(far) / (0.01 * static_cast<double>(actual.size())), largest / 6e-3});
}

double checksum_difference(std::span<const float> actual, double sum, double absolutes) {
  double s = 0, a = 0;
  for (const float v : actual) s += v, a += std::abs(v);
  const double d = std::max(std::abs(s - sum), std::abs(a - absolutes));
  return std::isnan(d) ? kInfinite : d / (8e-5 * static_cast<double>(actual.size()));
}

void Worst::take(const std::string& from, double value) {
  ++count;
  if (std::isnan(value)) value = kInfinite;
  if (value > worst || name.empty()) worst = value, name = from;
}

std::string Worst::text(const char* what) const { return std::to_string(count) + " " + what + (count == 0 ? "" : ", worst " + name); }

std::string number_text(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.7g", value);
  return text;
}

std::string tensor_differences(const std::filesystem::path& a, const std::filesystem::path& b) {
  const ModelFiles first(a), second(b);
  std::vector<std::string> out;
  for (const auto& [name, one] : first.tensors()) {
    const auto two = second.tensors().find(name);
    if (two == second.tensors().end()) {
      out.push_back(name + " is not exported");
    } else if (one.tensor->dtype != two->second.tensor->dtype || one.tensor->shape != two->second.tensor->shape) {
      out.push_back(name + " is " + describe(two->second.tensor->dtype, two->second.tensor->shape) + " for " +
                    describe(one.tensor->dtype, one.tensor->shape));
    } else if (std::memcmp(one.data(), two->second.data(), one.tensor->bytes) != 0) {
      out.push_back(name + " has other bytes");
    }
  }
  for (const auto& [name, two] : second.tensors())
    if (!first.tensors().contains(name)) out.push_back(name + " is exported, but not in the folder");
  return joined(out);
}

std::string config_differences(const Json& a, const Json& b) {
  std::vector<std::string> out;
  for (const auto& [key, value] : a.items()) {
    if (!b.contains(key))
      out.push_back(key + " is gone");
    else if (!same_value(value, b[key]))
      out.push_back(key + " = " + b[key].dump() + " for " + value.dump());
  }
  return joined(out);
}

}  // namespace nemo::hub
