#include "core/dist/store_client.hpp"

namespace nemo::dist {
namespace {

constexpr auto kQuick = std::chrono::seconds(60);  // answers that wait for nobody
constexpr auto kGrace = std::chrono::seconds(10);  // beyond the store's own timeout

}  // namespace

StoreClient::StoreClient(const std::string& host, uint16_t port, std::chrono::milliseconds patience)
    : socket_(connect_to(host, port, Clock::now() + patience)) {}

Reply StoreClient::ask(const Request& request, std::chrono::milliseconds timeout) {
  const std::lock_guard lock(mutex_);
  send_frame(socket_, encode(request));
  return decode_reply(receive_frame(socket_, Clock::now() + timeout));
}

Reply StoreClient::require(const Request& request, std::chrono::milliseconds timeout) {
  Reply reply = ask(request, timeout + kGrace);
  if (reply.status == Status::kFailed) throw Error(Code::kPeer, reply.value);
  if (reply.status == Status::kTimeout) throw Error(Code::kPeer, "after " + std::to_string(timeout.count() / 1000) + " s: " + reply.value);
  return reply;
}

void StoreClient::set(const std::string& key, const std::string& value) { (void)require({Verb::kSet, 0, 0, key, value}, kQuick); }

std::string StoreClient::get(const std::string& key, std::chrono::milliseconds timeout) {
  return require({Verb::kGet, timeout.count(), 0, key, {}}, timeout).value;
}

int64_t StoreClient::add(const std::string& key, int64_t amount) { return require({Verb::kAdd, amount, 0, key, {}}, kQuick).number; }

bool StoreClient::meet(const std::string& key, const std::string& value, int64_t members, std::chrono::milliseconds timeout,
                       std::string* difference) {
  const Reply reply = require({Verb::kMeet, members, timeout.count(), key, value}, timeout);
  if (difference != nullptr) *difference = reply.value;
  return reply.status == Status::kOk;
}

}  // namespace nemo::dist
