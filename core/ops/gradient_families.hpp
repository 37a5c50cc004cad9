// core/ops/gradient_families.hpp - parts of the gradient table that have a file of their own, and what rules share. For core/ops only.
#pragma once

#include <initializer_list>
#include <string_view>
#include <utility>
#include <vector>

#include "core/ops/gradients.hpp"

namespace nemo::ops {

using GradientFamily = std::vector<std::pair<std::string_view, GradientRule>>;
[[nodiscard]] GradientFamily attention_rules();
[[nodiscard]] GradientFamily mixture_rules();
[[nodiscard]] GradientFamily state_space_rules();

// Those of the op's attributes that are given.
[[nodiscard]] graph::Attrs attrs_of(const graph::Op& op, std::initializer_list<const char*> names);

// Emits a one-output gradient op for input i, straight into the gradient buffer where input i is a parameter.
void give_one(Backward& b, size_t i, std::string_view name, std::vector<graph::ValueId> inputs, graph::Attrs attrs = {});

// Emits a gradient op of which output j is the gradient of input `of[j]`, into the gradient buffers of those that are parameters. An output
// is left out where its row allows that and the input does not need it.
void give_many(Backward& b, std::string_view name, std::vector<graph::ValueId> inputs, graph::Attrs attrs, const std::vector<size_t>& of);

// Size of dimension d of input i.
[[nodiscard]] int64_t size_of_input(const Backward& b, size_t i, size_t d);

}  // namespace nemo::ops
