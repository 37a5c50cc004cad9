// core/base/error.hpp - the one exception type of the core.
#pragma once

#include <stdexcept>
#include <string>

namespace nemo {

enum class Code {
  kInvalidArgument,  // a caller broke a contract: a bug
  kConfig,           // the recipe or command line is wrong: exit code 2
  kNotFound,
  kDataLoss,  // truncated or corrupted file
  kUnsupported,
  kOutOfMemory,
  kCancelled,
  kDevice,
  kPeer,
  kInternal,
};

// `what()` is the whole message for the user: what is wrong, where (file:line:column, op, tensor, rank), and what would fix it.
class Error : public std::runtime_error {
 public:
  Error(Code code, const std::string& message) : std::runtime_error(message), code_(code) {}
  [[nodiscard]] Code code() const { return code_; }

 private:
  Code code_;
};

}  // namespace nemo
