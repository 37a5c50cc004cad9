// core/plugin/kind.hpp - the kinds of components as words, and the C table that each kind has.
#pragma once

#include <span>
#include <string_view>

#include "nemo/nemo.h"

namespace nemo::plugin {

// "model", "strategy", ...; a number that is no kind gives "unknown".
[[nodiscard]] std::string_view kind_name(nemo_kind kind);
// NEMO_KIND_*, or 0 for a word that is no kind.
[[nodiscard]] nemo_kind kind_from_name(std::string_view name);
// All kinds, in numeric order.
[[nodiscard]] std::span<const nemo_kind> all_kinds();

template <class Api>
inline constexpr nemo_kind kKindOf = 0;
template <>
inline constexpr nemo_kind kKindOf<nemo_model_api> = NEMO_KIND_MODEL;
template <>
inline constexpr nemo_kind kKindOf<nemo_strategy_api> = NEMO_KIND_STRATEGY;
template <>
inline constexpr nemo_kind kKindOf<nemo_data_api> = NEMO_KIND_DATA;
template <>
inline constexpr nemo_kind kKindOf<nemo_precision_api> = NEMO_KIND_PRECISION;
template <>
inline constexpr nemo_kind kKindOf<nemo_peft_api> = NEMO_KIND_PEFT;
template <>
inline constexpr nemo_kind kKindOf<nemo_logger_api> = NEMO_KIND_LOGGER;
template <>
inline constexpr nemo_kind kKindOf<nemo_backend_api> = NEMO_KIND_BACKEND;

}  // namespace nemo::plugin
