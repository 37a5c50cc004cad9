#include "core/runtime/ceilings.hpp"

#include <algorithm>

#include "core/runtime/convert.hpp"
#include "core/runtime/initialize.hpp"

namespace nemo::runtime {
namespace {

constexpr int64_t kPattern = 1 << 20;  // random elements, repeated

struct Operand {
  Buffer buffer;
  TensorSpec spec;
};

Operand random_operand(Device& device, graph::DType dtype, std::vector<int64_t> shape) {
  int64_t n = 1;
  for (const int64_t d : shape) n *= d;
  Operand out{device.allocate(n * size_of(dtype), "ceiling"), {dtype, std::move(shape), {}}};
  std::vector<float> values(static_cast<size_t>(std::min(n, kPattern)));
  initialize(values, 0, "ceiling", {graph::Init::Kind::kNormal, 0, 1}, n);
  std::vector<std::byte> encoded(values.size() * static_cast<size_t>(size_of(dtype)));
  from_f32(values, dtype, encoded.data());
  const auto whole = n * size_of(dtype), piece = static_cast<int64_t>(encoded.size());
  for (int64_t at = 0; at < whole; at += piece) device.send(out.buffer.data() + at, encoded.data(), std::min(piece, whole - at));
  device.synchronize();
  return out;
}

class Bench {
 public:
  Bench(Device& device, std::string_view op, const std::vector<const Operand*>& in, const std::vector<const Operand*>& out,
        const graph::Attrs& attrs)
      : device_(device), begin_(device.make_mark()), end_(device.make_mark()) {
    std::vector<TensorSpec> inputs, outputs;
    for (const Operand* o : in)
      inputs.push_back(o != nullptr ? o->spec : TensorSpec{}), in_.push_back(o != nullptr ? o->buffer.data() : nullptr);
    for (const Operand* o : out) outputs.push_back(o->spec), out_.push_back(o->buffer.data());
    prepared_ = device.prepare(op, "ceiling", inputs, outputs, attrs);
    workspace_ = device.allocate(prepared_.workspace_bytes, "ceiling workspace");
  }
  // Milliseconds per launch.
  double run(int launches) {
    nemo_launch raw{};
    raw.struct_size = sizeof raw;
    raw.inputs = in_.data();
    raw.outputs = out_.data();
    raw.workspace = workspace_.data();
    device_.record(begin_);
    for (int i = 0; i < launches; ++i) device_.launch(prepared_.kernel.get(), raw);
    device_.record(end_);
    return device_.elapsed(begin_, end_) / launches;
  }

 private:
  Device& device_;
  Mark begin_, end_;
  std::vector<void*> in_, out_;
  PreparedKernel prepared_;
  Buffer workspace_;
};

double best_of(Bench& bench, int rounds, int launches) {
  double best = bench.run(launches);
  for (int i = 0; i < rounds; ++i) best = std::min(best, bench.run(launches));
  return best;
}

}  // namespace

double measure_narrow_product(Device& device, graph::DType dtype) {
  const int64_t n = device.is_cpu() ? 512 : 8192;
  const Operand x = random_operand(device, dtype, {n, n}), y = random_operand(device, dtype, {n, n});
  const auto empty = [&](graph::DType type, std::vector<int64_t> shape, int64_t elements) {
    return Operand{device.allocate(elements * size_of(type), "ceiling"), {type, std::move(shape), {}}};
  };
  const Operand top = empty(graph::DType::kF32, {}, 1), factor = empty(graph::DType::kF32, {}, 1);
  const Operand q = empty(graph::DType::kE4M3, {n, n}, n * n), qt = empty(graph::DType::kE4M3, {n, n}, n * n);
  Bench(device, "amax", {&x}, {&top}, {}).run(1);
  Bench(device, "quantize", {&x, &top}, {&q, &qt, &factor}, {{"dtype", std::string("e4m3")}}).run(1);
  Bench product(device, "linear_fp8", {&q, &qt, &factor, &factor, nullptr}, {&y}, {{"dtype", std::string(to_string(dtype))}});
  const double flops = 2.0 * static_cast<double>(n) * static_cast<double>(n) * static_cast<double>(n);
  const int sustained = std::clamp(static_cast<int>(400 / best_of(product, 2, 1)), 1, 2000);
  if (!device.is_cpu()) static_cast<void>(product.run(sustained));
  return flops / product.run(device.is_cpu() ? 2 : sustained) * 1e3;
}

Ceilings measure_ceilings(Device& device, graph::DType dtype) {
  Ceilings c;
  {
    const int64_t n = (device.is_cpu() ? int64_t{64} << 20 : int64_t{512} << 20) / size_of(dtype);
    const Operand x = random_operand(device, dtype, {n}), y = random_operand(device, dtype, {n});
    Bench copy(device, "scale", {&x}, {&y}, {{"alpha", 1.5}});
    c.copy = 2.0 * static_cast<double>(n * size_of(dtype)) / best_of(copy, 5, device.is_cpu() ? 1 : 10) * 1e3;
  }
  c.product_size = device.is_cpu() ? 1024 : 8192;
  const int64_t n = c.product_size;
  const Operand x = random_operand(device, dtype, {n, n}), w = random_operand(device, dtype, {n, n}),
                y = random_operand(device, dtype, {n, n});
  Bench product(device, "linear", {&x, &w, nullptr}, {&y}, {});
  const double flops = 2.0 * static_cast<double>(n) * static_cast<double>(n) * static_cast<double>(n);
  const double shortest = best_of(product, 3, 1);
  c.product_short = flops / shortest * 1e3;
  const int sustained = std::clamp(static_cast<int>(700 / shortest), 1, 2000);  // 0.7 s to heat, as much to measure
  if (!device.is_cpu()) static_cast<void>(product.run(sustained));
  c.product = flops / product.run(device.is_cpu() ? 3 : sustained) * 1e3;
  return c;
}

}  // namespace nemo::runtime
