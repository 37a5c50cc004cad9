// core/dist/message.hpp - requests and replies of the rendezvous store, as bytes of one frame.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include "core/base/error.hpp"

namespace nemo::dist {

enum class Verb : uint8_t {
  kHello,  // number = rank: this connection is the member's own, its end without kBye is the rank's end
  kBye,    // the rank is done
  kSet,    // key, value
  kGet,    // key, number = milliseconds to wait for it
  kAdd,    // key, number; replies with the sum
  kMeet,   // key, value, number = members, number2 = milliseconds: waits for all, and compares their values
  kBeat,   // number = progress, value = what the rank is doing
  kFail,   // value = message: the run has failed
};

enum class Status : uint8_t { kOk, kTimeout, kDiffers, kFailed };

struct Request {
  Verb verb = Verb::kBeat;
  int64_t number = 0, number2 = 0;
  std::string key, value;
};

struct Reply {
  Status status = Status::kOk;
  int64_t number = 0;
  std::string value;
};

[[nodiscard]] inline std::string encode(const Request& r) {
  const auto key = static_cast<uint32_t>(r.key.size());
  std::string out(1, static_cast<char>(r.verb));
  out.append(reinterpret_cast<const char*>(&r.number), 8).append(reinterpret_cast<const char*>(&r.number2), 8);
  return out.append(reinterpret_cast<const char*>(&key), 4).append(r.key).append(r.value);
}

[[nodiscard]] inline Request decode_request(std::string_view bytes) {
  constexpr size_t kHeader = 21;
  Request r;
  uint32_t key = 0;
  if (bytes.size() < kHeader) throw Error(Code::kPeer, "a message to the rendezvous store is cut");
  r.verb = static_cast<Verb>(bytes[0]);
  std::memcpy(&r.number, bytes.data() + 1, 8);
  std::memcpy(&r.number2, bytes.data() + 9, 8);
  std::memcpy(&key, bytes.data() + 17, 4);
  if (key > bytes.size() - kHeader) throw Error(Code::kPeer, "a message to the rendezvous store is cut");
  r.key = bytes.substr(kHeader, key);
  r.value = bytes.substr(kHeader + key);
  return r;
}

[[nodiscard]] inline std::string encode(const Reply& r) {
  std::string out(1, static_cast<char>(r.status));
  return out.append(reinterpret_cast<const char*>(&r.number), 8).append(r.value);
}

[[nodiscard]] inline Reply decode_reply(std::string_view bytes) {
  if (bytes.size() < 9) throw Error(Code::kPeer, "a reply of the rendezvous store is cut");
  Reply r{static_cast<Status>(bytes[0]), 0, std::string(bytes.substr(9))};
  std::memcpy(&r.number, bytes.data() + 1, 8);
  return r;
}

}  // namespace nemo::dist
