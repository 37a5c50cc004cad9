#include "core/dist/store_server.hpp"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <map>
#include <unordered_map>
#include <vector>

#include "core/dist/members.hpp"
#include "core/dist/message.hpp"

namespace nemo::dist {
namespace {

constexpr auto kTick = std::chrono::milliseconds(100);
constexpr size_t kMaxKeys = 1 << 20;

struct Connection {
  Socket socket;
  std::string in, out;
  int64_t rank = -1;  // the member whose own connection this is
};

struct Waiter {
  int fd;
  Clock::time_point deadline;
};

struct Meeting {
  std::vector<Waiter> waiting;
  std::string value;  // of the first to come
  std::string differs;
};

}  // namespace

class StoreServer::Loop {
 public:
  Loop(Socket listener, int wake, const ServerOptions& options)
      : listener_(std::move(listener)), wake_(wake), epoll_(epoll_create1(EPOLL_CLOEXEC)), members_(options.world_size, options.watchdog) {
    watch(listener_.fd(), EPOLLIN);
    watch(wake_, EPOLLIN);
    fcntl(listener_.fd(), F_SETFL, O_NONBLOCK);
  }

  void run() {
    std::array<epoll_event, 64> events{};
    Clock::time_point next_tick = Clock::now();
    while (true) {
      const int n = epoll_wait(epoll_.fd(), events.data(), static_cast<int>(events.size()), static_cast<int>(kTick.count()));
      for (int i = 0; i < n; ++i) {
        const int fd = events[static_cast<size_t>(i)].data.fd;
        if (fd == wake_) return;
        if (fd == listener_.fd())
          accept_all();
        else
          serve(fd, events[static_cast<size_t>(i)].events);
      }
      if (Clock::now() < next_tick) continue;
      next_tick = Clock::now() + kTick;
      tick();
    }
  }

 private:
  void watch(int fd, uint32_t events) {
    epoll_event event{};
    event.events = events;
    event.data.fd = fd;
    epoll_ctl(epoll_.fd(), EPOLL_CTL_ADD, fd, &event);
  }

  void accept_all() {
    while (true) {
      Socket socket(accept4(listener_.fd(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
      if (!socket.is_open()) return;
      const int on = 1, fd = socket.fd();
      setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
      watch(fd, EPOLLIN);
      connections_[fd].socket = std::move(socket);
    }
  }

  void serve(int fd, uint32_t events) {
    const auto found = connections_.find(fd);
    if (found == connections_.end()) return;
    Connection& c = found->second;
    if ((events & EPOLLOUT) != 0) flush(c);
    if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) == 0) return;
    std::array<char, 65536> buffer;  // NOLINT: written by recv
    ssize_t got = 0;
    while ((got = recv(fd, buffer.data(), buffer.size(), 0)) > 0) c.in.append(buffer.data(), static_cast<size_t>(got));
    const bool ended = got == 0 || (errno != EAGAIN && errno != EINTR);
    if (!take_frames(c) || ended) drop(fd);
  }

  // False where the peer does not speak the protocol.
  bool take_frames(Connection& c) {
    size_t at = 0;
    while (c.in.size() - at >= 4) {
      uint32_t size = 0;
      std::memcpy(&size, c.in.data() + at, 4);
      if (size > kMaxFrame) return false;
      if (c.in.size() - at - 4 < size) break;
      try {
        handle(c, decode_request(std::string_view(c.in).substr(at + 4, size)));
      } catch (const Error&) {
        return false;
      }
      at += 4 + size;
    }
    c.in.erase(0, at);
    return true;
  }

  void drop(int fd) {
    const auto found = connections_.find(fd);
    const int64_t rank = found->second.rank;
    connections_.erase(found);  // closes; epoll forgets it
    for (auto& [key, list] : getters_) std::erase_if(list, [&, &key = key](const Waiter& w) { return w.fd == fd; });
    if (rank >= 0 && members_.is_present(rank)) fail("rank " + std::to_string(rank) + " has ended without a word" + members_.doing(rank));
  }

  void handle(Connection& c, const Request& r) {
    const auto now = Clock::now();
    if (r.verb == Verb::kBye && c.rank >= 0) members_.bye(c.rank);
    if (r.verb == Verb::kFail) fail(r.value);
    if (r.verb == Verb::kBeat && c.rank >= 0) members_.beat(c.rank, r.number, r.value, now);
    if (r.verb == Verb::kHello) {
      if (!members_.valid(r.number)) throw Error(Code::kPeer, "no such rank");
      c.rank = r.number;
      members_.hello(r.number, now);
    }
    const int fd = c.socket.fd();
    if (!failure_.empty()) return reply(fd, {Status::kFailed, 0, failure_});
    switch (r.verb) {
      case Verb::kSet:
        return set(fd, r);
      case Verb::kAdd:
        return reply(fd, {Status::kOk, counters_[r.key] += r.number, {}});
      case Verb::kGet:
        if (const auto value = values_.find(r.key); value != values_.end()) return reply(fd, {Status::kOk, 0, value->second});
        getters_[r.key].push_back({fd, now + std::chrono::milliseconds(r.number)});
        return;
      case Verb::kMeet:
        return meet(fd, r, now);
      default:
        return reply(fd, {});
    }
  }

  void set(int fd, const Request& r) {
    if (values_.size() >= kMaxKeys) throw Error(Code::kPeer, "too many keys");
    values_[r.key] = r.value;
    const auto waiting = getters_.find(r.key);
    if (waiting != getters_.end()) {
      for (const Waiter& w : waiting->second) reply(w.fd, {Status::kOk, 0, r.value});
      getters_.erase(waiting);
    }
    reply(fd, {});
  }

  void meet(int fd, const Request& r, Clock::time_point now) {
    Meeting& m = meetings_[r.key];
    if (m.waiting.empty())
      m.value = r.value;
    else if (r.value != m.value && m.differs.empty())
      m.differs = m.value + '\0' + r.value;
    m.waiting.push_back({fd, now + std::chrono::milliseconds(r.number2)});
    if (static_cast<int64_t>(m.waiting.size()) < r.number) return;
    const Reply answer{m.differs.empty() ? Status::kOk : Status::kDiffers, 0, m.differs};
    for (const Waiter& w : m.waiting) reply(w.fd, answer);
    meetings_.erase(r.key);
  }

  void reply(int fd, const Reply& r) {
    const auto found = connections_.find(fd);
    if (found == connections_.end()) return;
    const std::string payload = encode(r);
    const auto size = static_cast<uint32_t>(payload.size());
    found->second.out.append(reinterpret_cast<const char*>(&size), 4).append(payload);
    flush(found->second);
  }

  void flush(Connection& c) {
    while (!c.out.empty()) {
      const ssize_t sent = send(c.socket.fd(), c.out.data(), c.out.size(), MSG_NOSIGNAL);
      if (sent < 0 && errno == EINTR) continue;
      if (sent < 0) break;  // full, or gone: its end is seen by recv
      c.out.erase(0, static_cast<size_t>(sent));
    }
    epoll_event event{};
    event.events = EPOLLIN | (c.out.empty() ? 0u : static_cast<uint32_t>(EPOLLOUT));
    event.data.fd = c.socket.fd();
    epoll_ctl(epoll_.fd(), EPOLL_CTL_MOD, c.socket.fd(), &event);
  }

  void fail(const std::string& message) {
    if (!failure_.empty()) return;
    failure_ = message;
    const Reply answer{Status::kFailed, 0, failure_};
    for (const auto& [key, list] : getters_)
      for (const Waiter& w : list) reply(w.fd, answer);
    for (const auto& [key, m] : meetings_)
      for (const Waiter& w : m.waiting) reply(w.fd, answer);
    getters_.clear();
    meetings_.clear();
  }

  void tick() {
    const auto now = Clock::now();
    for (auto& [key, list] : getters_)
      std::erase_if(list, [&, &key = key](const Waiter& w) {
        if (w.deadline > now) return false;
        reply(w.fd, {Status::kTimeout, 0, "nobody has set '" + key + "'"});
        return true;
      });
    std::erase_if(getters_, [](const auto& entry) { return entry.second.empty(); });
    for (auto it = meetings_.begin(); it != meetings_.end();) {
      if (it->second.waiting.front().deadline > now) {
        ++it;
        continue;
      }
      const std::string missing = members_.missing();
      const Reply answer{Status::kTimeout, 0,
                         std::to_string(it->second.waiting.size()) + " ranks have come to '" + it->first + "'" +
                             (missing.empty() ? "" : "; not heard of: rank " + missing)};
      for (const Waiter& w : it->second.waiting) reply(w.fd, answer);
      it = meetings_.erase(it);
    }
    if (const std::string stalled = members_.stalled(now); !stalled.empty()) fail(stalled);
  }

  Socket listener_;
  int wake_;
  Socket epoll_;
  Members members_;
  std::unordered_map<int, Connection> connections_;
  std::map<std::string, std::string> values_;
  std::map<std::string, int64_t> counters_;
  std::map<std::string, std::vector<Waiter>> getters_;
  std::map<std::string, Meeting> meetings_;
  std::string failure_;
};

StoreServer::StoreServer(Socket listener, const ServerOptions& options)
    : port_(port_of(listener)),
      wake_(eventfd(0, EFD_CLOEXEC)),
      loop_(std::make_unique<Loop>(std::move(listener), wake_.fd(), options)),
      thread_([this] { loop_->run(); }) {}

StoreServer::~StoreServer() {
  const uint64_t one = 1;
  if (write(wake_.fd(), &one, sizeof one) < 0) std::abort();  // an eventfd takes it
  thread_.join();
}

}  // namespace nemo::dist
