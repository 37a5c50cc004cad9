// core/dist/socket.hpp - TCP with frames: a 4-byte little-endian length, then that many bytes. Failures throw nemo::Error(kPeer) naming the
// peer.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

namespace nemo::dist {

using Clock = std::chrono::steady_clock;

// A longer frame is refused on both sides, so that a stray client cannot make a rank allocate.
inline constexpr uint32_t kMaxFrame = 4u << 20;

// Owns a file descriptor.
class Socket {
 public:
  Socket() = default;
  explicit Socket(int fd) : fd_(fd) {}
  Socket(Socket&& other) noexcept : fd_(other.release()) {}
  Socket& operator=(Socket&& other) noexcept;
  ~Socket();
  [[nodiscard]] int fd() const { return fd_; }
  [[nodiscard]] bool is_open() const { return fd_ >= 0; }
  int release();

 private:
  int fd_ = -1;
};

// Listens on all addresses, or on the loopback alone; port 0 takes a free one. The socket survives exec if `inherit`.
enum class Reach { kLoopback, kAll };
[[nodiscard]] Socket listen_on(uint16_t port, Reach reach, bool inherit);
[[nodiscard]] uint16_t port_of(const Socket& socket);

// Tries again until `deadline`, since the other side may start later.
[[nodiscard]] Socket connect_to(const std::string& host, uint16_t port, Clock::time_point deadline);

void send_frame(const Socket& socket, std::string_view payload);
// Throws kPeer at the deadline, or where the peer has closed.
[[nodiscard]] std::string receive_frame(const Socket& socket, Clock::time_point deadline);

}  // namespace nemo::dist
