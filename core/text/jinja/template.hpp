// core/text/jinja/template.hpp - a template that can be rendered: the subset of Jinja2 that published chat templates use.
//
// Output, if, for (else, filter, recursive, break, continue), set (also of namespaces and blocks), macro, call, filter, with, raw;
// expressions with filters, tests, slices, calls and the methods of Python's strings and dicts. No inheritance, includes or imports.
#pragma once

#include <string>

#include "core/text/jinja/ast.hpp"
#include "core/text/jinja/evaluator.hpp"

namespace nemo::text::jinja {

// Immutable after construction; any thread may render.
class Template {
 public:
  // Throws Error(kDataLoss) with WHERE:line.
  Template(std::string_view source, std::string where);
  // Throws Error(kInvalidArgument): what the template raised itself, or WHERE:line and what is wrong.
  [[nodiscard]] std::string render(Evaluator::Variables variables) const;

 private:
  std::string where_;
  Body body_;
};

}  // namespace nemo::text::jinja
