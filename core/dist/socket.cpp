#include "core/dist/socket.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <thread>
#include <utility>

#include "core/base/error.hpp"

namespace nemo::dist {
namespace {

[[noreturn]] void fail(const std::string& doing) { throw Error(Code::kPeer, doing + ": " + std::strerror(errno)); }

struct FreeAddresses {
  void operator()(addrinfo* list) const { freeaddrinfo(list); }
};

std::unique_ptr<addrinfo, FreeAddresses> resolve(const std::string& host, uint16_t port) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* list = nullptr;
  if (const int status = getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &list); status != 0)
    throw Error(Code::kPeer, "cannot resolve '" + host + "' (MASTER_ADDR): " + gai_strerror(status));
  return std::unique_ptr<addrinfo, FreeAddresses>(list);
}

// Milliseconds until the deadline, as poll takes them.
int left(Clock::time_point deadline) {
  const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
  return static_cast<int>(std::max<int64_t>(0, std::min<int64_t>(ms, 1 << 30)));
}

void receive_exactly(const Socket& socket, char* to, size_t bytes, Clock::time_point deadline) {
  for (size_t done = 0; done < bytes;) {
    pollfd ready{socket.fd(), POLLIN, 0};
    const int n = poll(&ready, 1, left(deadline));
    if (n < 0 && errno == EINTR) continue;
    if (n == 0) throw Error(Code::kPeer, "the rendezvous store does not answer in time");
    const ssize_t got = recv(socket.fd(), to + done, bytes - done, 0);
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (got < 0) fail("lost the connection to the rendezvous store");
    if (got == 0) throw Error(Code::kPeer, "the rendezvous store has closed the connection: rank 0 is gone");
    done += static_cast<size_t>(got);
  }
}

}  // namespace

Socket& Socket::operator=(Socket&& other) noexcept {
  std::swap(fd_, other.fd_);
  return *this;
}

Socket::~Socket() {
  if (fd_ >= 0) close(fd_);
}

int Socket::release() { return std::exchange(fd_, -1); }

Socket listen_on(uint16_t port, Reach reach, bool inherit) {
  Socket socket(::socket(AF_INET, SOCK_STREAM | (inherit ? 0 : SOCK_CLOEXEC), 0));
  if (!socket.is_open()) fail("cannot make a socket");
  const int on = 1;
  setsockopt(socket.fd(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(reach == Reach::kLoopback ? INADDR_LOOPBACK : INADDR_ANY);
  if (bind(socket.fd(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    fail("cannot listen on port " + std::to_string(port) + " (MASTER_PORT)");
  if (listen(socket.fd(), SOMAXCONN) != 0) fail("cannot listen on port " + std::to_string(port));
  return socket;
}

uint16_t port_of(const Socket& socket) {
  sockaddr_in address{};
  socklen_t size = sizeof address;
  if (getsockname(socket.fd(), reinterpret_cast<sockaddr*>(&address), &size) != 0) fail("cannot read a socket's port");
  return ntohs(address.sin_port);
}

Socket connect_to(const std::string& host, uint16_t port, Clock::time_point deadline) {
  for (auto pause = std::chrono::milliseconds(2);; pause = std::min(pause * 2, std::chrono::milliseconds(500))) {
    const auto addresses = resolve(host, port);
    for (const addrinfo* a = addresses.get(); a != nullptr; a = a->ai_next) {
      Socket socket(::socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, a->ai_protocol));
      if (!socket.is_open() || connect(socket.fd(), a->ai_addr, a->ai_addrlen) != 0) continue;
      const int on = 1;
      setsockopt(socket.fd(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
      return socket;
    }
    if (Clock::now() > deadline) fail("cannot reach the rendezvous store at " + host + ":" + std::to_string(port) + " (rank 0)");
    std::this_thread::sleep_for(pause);
  }
}

void send_frame(const Socket& socket, std::string_view payload) {
  if (payload.size() > kMaxFrame) throw Error(Code::kInvalidArgument, "a message to the rendezvous store is too long");
  const auto size = static_cast<uint32_t>(payload.size());
  std::string frame(reinterpret_cast<const char*>(&size), sizeof size);
  frame += payload;
  for (size_t done = 0; done < frame.size();) {
    const ssize_t sent = send(socket.fd(), frame.data() + done, frame.size() - done, MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) fail("lost the connection to the rendezvous store");
    done += static_cast<size_t>(sent);
  }
}

std::string receive_frame(const Socket& socket, Clock::time_point deadline) {
  uint32_t size = 0;
  receive_exactly(socket, reinterpret_cast<char*>(&size), sizeof size, deadline);
  if (size > kMaxFrame) throw Error(Code::kPeer, "the peer at the rendezvous port does not speak this protocol");
  std::string payload(size, '\0');
  receive_exactly(socket, payload.data(), size, deadline);
  return payload;
}

}  // namespace nemo::dist
