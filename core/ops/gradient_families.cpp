#include "core/ops/gradient_families.hpp"

namespace nemo::ops {

using graph::Attrs;
using graph::ValueId;

Attrs attrs_of(const graph::Op& op, std::initializer_list<const char*> names) {
  Attrs attrs;
  for (const char* name : names)
    if (const auto found = op.attrs.find(name); found != op.attrs.end()) attrs.insert(*found);
  return attrs;
}

void give_one(Backward& b, size_t i, std::string_view name, std::vector<ValueId> inputs, Attrs attrs) {
  if (b.needs(i)) b.give(i, b.emit({name, std::move(inputs), std::move(attrs), {b.buffer(i)}})[0]);
}

void give_many(Backward& b, std::string_view name, std::vector<ValueId> inputs, Attrs attrs, const std::vector<size_t>& of) {
  const graph::OpRow& row = graph::op_row(name);
  std::vector<ValueId> preset;
  std::vector<bool> skip;
  for (size_t j = 0; j < of.size(); ++j) {
    const bool gradient_buffer = row.outputs[j].type == graph::TypeRule::kGradient;
    preset.push_back(gradient_buffer ? b.buffer(of[j]) : 0);
    skip.push_back(row.outputs[j].optional && !b.needs(of[j]));
  }
  const auto out = b.emit({name, std::move(inputs), std::move(attrs), preset, skip});
  for (size_t j = 0; j < of.size(); ++j)
    if (out[j] != 0 && b.needs(of[j])) b.give(of[j], out[j]);
}

int64_t size_of_input(const Backward& b, size_t i, size_t d) { return b.graph().value(b.op().inputs[i]).dims[d].size; }

}  // namespace nemo::ops
