#include "core/dist/world.hpp"

#include <sstream>

namespace nemo::dist {
namespace {

constexpr auto kBeat = std::chrono::milliseconds(500);
constexpr auto kEchoPatience = std::chrono::seconds(5);  // in which the store notices the end of a connection, with room for a busy node

std::unique_ptr<StoreServer> serve(const Environment& e, const WorldOptions& options) {
  if (e.rank != 0) return nullptr;
  const bool local = e.master_addr == "127.0.0.1" || e.master_addr == "localhost";
  Socket listener = e.store_fd >= 0 ? Socket(e.store_fd) : listen_on(e.master_port, local ? Reach::kLoopback : Reach::kAll, false);
  return std::make_unique<StoreServer>(std::move(listener), ServerOptions{e.world_size, options.watchdog});
}

// The lines of both texts at which they first differ.
std::string first_difference(const std::string& a, const std::string& b) {
  std::istringstream left(a), right(b);
  std::string x, y;
  while (true) {
    const bool more = static_cast<bool>(std::getline(left, x)), more2 = static_cast<bool>(std::getline(right, y));
    if (!more) x = "nothing";
    if (!more2) y = "nothing";
    if (x != y || (!more && !more2)) return "one rank has\n  " + x + "\nand another has\n  " + y;
  }
}

}  // namespace

World::World(const Environment& environment, WorldOptions options)
    : environment_(environment), options_(std::move(options)), server_(serve(environment_, options_)) {
  store_ = connect();
  pulse_ = connect();
  (void)pulse_->ask({Verb::kHello, rank(), 0, {}, {}}, options_.patience);
  thread_ = std::thread([this] { beat_until_done(); });
  try {
    meet("start");
  } catch (...) {
    finish();
    throw;
  }
}

World::~World() { finish(); }

std::unique_ptr<StoreClient> World::connect() const {
  return std::make_unique<StoreClient>(environment_.master_addr, server_ ? server_->port() : environment_.master_port, options_.patience);
}

void World::meet(StoreClient& store, const std::string& name) const { (void)store.meet(name, {}, size(), options_.patience, nullptr); }

void World::require_agreement(const std::string& what, const std::string& text) {
  std::string difference;
  if (store_->meet("agree: " + what, text, size(), options_.patience, &difference)) return;
  const size_t split = difference.find('\0');
  throw Error(Code::kConfig, "the ranks do not agree on " + what + ": " +
                                 first_difference(difference.substr(0, split), difference.substr(split + 1)) +
                                 "\nall ranks must run the same recipe with the same program and plugins");
}

void World::note(const char* doing, int64_t step) {
  doing_.store(doing, std::memory_order_relaxed);
  step_.store(step, std::memory_order_relaxed);
  progress_.fetch_add(1, std::memory_order_relaxed);
}

void World::beat_until_done() {
  std::unique_lock lock(mutex_);
  while (!wake_.wait_for(lock, kBeat, [&] { return done_; })) {
    lock.unlock();
    std::string failure;
    try {
      const std::string doing = "step " + std::to_string(step_.load()) + ": " + doing_.load();
      const auto patience = options_.watchdog.count() > 0 ? options_.watchdog : std::chrono::milliseconds(std::chrono::minutes(1));
      const Reply reply = pulse_->ask({Verb::kBeat, progress_.load(), 0, {}, doing}, patience);
      if (reply.status == Status::kFailed) failure = reply.value;
    } catch (const Error& e) {
      if (leaving_) return;  // the main thread waits for the others itself, and learns whether they came
      failure = e.what();
    }
    lock.lock();
    if (failure.empty() || done_) continue;
    lock.unlock();
    if (options_.on_failure) options_.on_failure(failure);
    return;
  }
}

std::string World::fail(const std::string& message, bool follows) {
  try {
    const auto until = Clock::now() + kEchoPatience;
    const auto own = connect();
    while (follows && Clock::now() < until) {
      const Reply reply = own->ask({Verb::kBeat, 0, 0, {}, {}}, kEchoPatience);
      if (reply.status == Status::kFailed) return reply.value;
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
    return own->ask({Verb::kFail, 0, 0, {}, message}, kEchoPatience).value;
  } catch (const Error& e) {
    return follows ? e.what() : message;
  }
}

void World::leave() {
  leaving_ = true;
  meet("end");
  finish();
}

void World::finish() {
  {
    const std::lock_guard lock(mutex_);
    if (done_) return;
    done_ = true;
  }
  wake_.notify_all();
  if (thread_.joinable() && thread_.get_id() != std::this_thread::get_id()) thread_.join();
  try {
    (void)pulse_->ask({Verb::kBye, 0, 0, {}, {}}, std::chrono::seconds(5));
  } catch (const Error&) {
    return;  // rank 0 has ended before: it does not miss this rank either
  }
}

}  // namespace nemo::dist
