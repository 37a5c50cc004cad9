// tests/graph/expect_error.hpp - runs a body that must throw nemo::Error and hands back its message; a body that does not throw fails the
// test.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <string>

#include "core/base/error.hpp"

namespace nemo::testing {

inline std::string message_of(Code code, const std::function<void()>& body) {
  try {
    body();
  } catch (const Error& error) {
    EXPECT_EQ(static_cast<int>(error.code()), static_cast<int>(code)) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "nothing was thrown";
  return "";
}

}  // namespace nemo::testing
