#include "core/text/jinja/template.hpp"

#include "core/base/error.hpp"

namespace nemo::text::jinja {

Template::Template(std::string_view source, std::string where) : where_(std::move(where)), body_(parse(source, where_)) {}

std::string Template::render(Evaluator::Variables variables) const {
  for (auto& [name, value] : builtins()) variables.try_emplace(name, value);
  Evaluator evaluator(std::move(variables));
  try {
    return evaluator.render(body_);
  } catch (const Fault& fault) {
    if (fault.raised) throw Error(Code::kInvalidArgument, fault.message);
    throw Error(Code::kInvalidArgument, where_ + ":" + std::to_string(evaluator.line()) + ": " + fault.message);
  }
}

}  // namespace nemo::text::jinja
