// Collectives between two devices, each a rank in a thread of its own: by NCCL's kernels and by copy engines.
#include <gtest/gtest.h>

#include <barrier>
#include <condition_variable>
#include <functional>
#include <map>
#include <mutex>
#include <thread>

#include "nemo/ext/collectives.h"
#include "tests/backend_cpu/fake_host.hpp"
#include "tests/backend_cuda/gpu.hpp"

// What the ranks share.
struct nemo_store {
  std::mutex lock;
  std::condition_variable changed;
  std::map<std::string, std::string> values;
};

namespace nemo::backend_cuda {
namespace {

using backend_cpu::check;
using backend_cpu::normal_array;
using backend_cpu::Shape;

constexpr int64_t kRanks = 2;
constexpr uint64_t kArena = uint64_t{256} << 20;

std::string text(nemo_str s) { return std::string(s.ptr, s.len); }

nemo_error* set(nemo_store* store, nemo_str key, const void* bytes, uint64_t len) {
  const std::lock_guard hold(store->lock);
  store->values[text(key)] = std::string(static_cast<const char*>(bytes), len);
  store->changed.notify_all();
  return nullptr;
}

nemo_error* get(nemo_store* store, nemo_str key, int64_t timeout_ms, nemo_sink sink) {
  std::unique_lock hold(store->lock);
  const auto there = [&] { return store->values.count(text(key)) != 0; };
  if (!store->changed.wait_for(hold, std::chrono::milliseconds(timeout_ms), there))
    return new nemo_error{NEMO_CODE_PEER_FAILED, "nobody has set " + text(key)};
  const std::string value = store->values[text(key)];
  return sink.write(sink.ctx, value.data(), value.size());
}

constexpr nemo_store_api kStore{sizeof(nemo_store_api), 0, set, get};

void join(const Gpu& gpu, nemo_store& store, int64_t rank) {
  const auto* api = static_cast<const nemo_collectives_api*>(gpu.api().get_extension(gpu.handle(), NEMO_STR(NEMO_EXT_COLLECTIVES)));
  const nemo_group group{sizeof(nemo_group), 0, NEMO_STR("tp"), NEMO_STR("test"), rank, kRanks, 30000, &kStore, &store};
  check(api->join(gpu.handle(), &group));
}

using Body = std::function<Arrays(const Gpu&, int64_t rank)>;

enum class By { kernels, engines, own_copies };

// What `body` gives on each rank.
std::vector<Arrays> among_ranks(By by, const Body& body) {
  set_setting("copy_engine", by == By::kernels ? 0 : 1);
  set_setting("peer_exchange", by == By::own_copies ? 1 : 0);
  nemo_store store;
  std::barrier done(kRanks);
  std::vector<std::string> faults(kRanks);
  std::vector<Arrays> results(kRanks);
  std::vector<std::thread> threads;
  for (int64_t rank = 0; rank < kRanks; ++rank)
    threads.emplace_back([&, rank] {
      try {
        const Gpu gpu(rank, kArena, [&](const Gpu& opened) { join(opened, store, rank); });
        results[static_cast<size_t>(rank)] = body(gpu, rank);
        done.arrive_and_wait();
      } catch (const std::exception& e) {
        faults[static_cast<size_t>(rank)] = e.what();
        done.arrive_and_drop();
      }
    });
  for (std::thread& t : threads) t.join();
  for (const std::string& fault : faults) EXPECT_EQ(fault, "");
  return results;
}

bool two_devices() {
  std::string reason;
  return device_count(&reason) >= kRanks;
}

Attrs over_tp(std::initializer_list<sdk::Attr> more) {
  Attrs attrs{{"mesh", "tp"}};
  attrs.insert(attrs.end(), more);
  return attrs;
}

// Launched twice, and once out of a capture: all three give the same.
Arrays thrice(const Gpu& gpu, const char* op, const Array& x, const Array& like, const Attrs& attrs) {
  Arrays all;
  for (const How how : {How::eager, How::eager, How::replayed}) {
    Arrays out{like};
    gpu.run(op, {x}, out, attrs, 0, how);
    all.push_back(out[0]);
  }
  return all;
}

void expect_equal(const std::vector<Arrays>& a, const std::vector<Arrays>& b) {
  for (size_t rank = 0; rank < kRanks; ++rank) {
    ASSERT_EQ(a[rank].size(), b[rank].size());
    for (size_t i = 0; i < a[rank].size(); ++i) EXPECT_TRUE(a[rank][i].content() == b[rank][i].content()) << "rank " << rank << ", " << i;
  }
}

struct Case {
  nemo_dtype dtype;
  Shape part;
  int64_t dim;
};

const Case kCases[] = {{NEMO_DTYPE_BF16, {1, 1024, 2048}, 1},
                       {NEMO_DTYPE_BF16, {2, 512, 2048}, 1},
                       {NEMO_DTYPE_F32, {2, 1 << 20}, 0},
                       {NEMO_DTYPE_F32, {1, 1021, 1031}, 1}};  // parts that do not begin at 16 bytes

Shape whole_of(const Case& c) {
  Shape whole = c.part;
  whole[static_cast<size_t>(c.dim)] *= kRanks;
  return whole;
}

TEST(Collectives, a_sum_by_copy_engines_has_the_bits_of_a_sum_by_nccl) {
  if (!two_devices()) GTEST_SKIP() << "needs two devices";
  for (const Case& c : kCases) {
    const Body body = [&](const Gpu& gpu, int64_t rank) {
      return thrice(gpu, "reduce_scatter", normal_array(c.dtype, whole_of(c), 7 + static_cast<uint64_t>(rank)), Array(c.dtype, c.part),
                    over_tp({{"dim", c.dim}, {"op", "sum"}}));
    };
    const std::vector<Arrays> kernels = among_ranks(By::kernels, body);
    expect_equal(among_ranks(By::engines, body), kernels);
    expect_equal(among_ranks(By::own_copies, body), kernels);
  }
}

TEST(Collectives, a_gather_by_copy_engines_gives_the_same) {
  if (!two_devices()) GTEST_SKIP() << "needs two devices";
  for (const Case& c : kCases) {
    const Body body = [&](const Gpu& gpu, int64_t rank) {
      return thrice(gpu, "all_gather", normal_array(c.dtype, c.part, 7 + static_cast<uint64_t>(rank)), Array(c.dtype, whole_of(c)),
                    over_tp({{"dim", c.dim}}));
    };
    const std::vector<Arrays> engines = among_ranks(By::engines, body);
    expect_equal(engines, among_ranks(By::kernels, body));
    EXPECT_TRUE(engines[0][0].content() == engines[1][0].content()) << "ranks differ";
  }
}

}  // namespace
}  // namespace nemo::backend_cuda
