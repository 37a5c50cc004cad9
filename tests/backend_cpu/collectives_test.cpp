// The collective rows among three ranks, each a device of its own in a thread of its own.
#include <gtest/gtest.h>

#include <barrier>
#include <condition_variable>
#include <functional>
#include <map>
#include <mutex>
#include <thread>

#include "nemo/ext/collectives.h"
#include "tests/backend_cpu/fake_host.hpp"
#include "tests/backend_cpu/golden.hpp"

// What the ranks of one run share.
struct nemo_store {
  std::mutex lock;
  std::condition_variable changed;
  std::map<std::string, std::string> values;
};

namespace nemo::backend_cpu {
namespace {

constexpr int64_t kRanks = 3;

std::string text(nemo_str s) { return std::string(s.ptr, s.len); }

nemo_error* set(nemo_store* store, nemo_str key, const void* bytes, uint64_t len) {
  const std::lock_guard hold(store->lock);
  store->values[text(key)] = std::string(static_cast<const char*>(bytes), len);
  store->changed.notify_all();
  return nullptr;
}

nemo_error* get(nemo_store* store, nemo_str key, int64_t timeout_ms, nemo_sink sink) {
  std::string value;
  {
    std::unique_lock hold(store->lock);
    const auto there = [&] { return store->values.count(text(key)) != 0; };
    if (!store->changed.wait_for(hold, std::chrono::milliseconds(timeout_ms), there))
      return new nemo_error{NEMO_CODE_PEER_FAILED, "nobody has set " + text(key)};
    value = store->values[text(key)];
  }
  return sink.write(sink.ctx, value.data(), value.size());
}

constexpr nemo_store_api kStore{sizeof(nemo_store_api), 0, set, get};

void join(const Device& on, nemo_store& store, int64_t rank) {
  const void* found = on.api().get_extension(on.handle(), NEMO_STR(NEMO_EXT_COLLECTIVES));
  if (found == nullptr) throw std::runtime_error("the backend has no " NEMO_EXT_COLLECTIVES);
  const nemo_group group{sizeof(nemo_group), 0, NEMO_STR("tp"), NEMO_STR("test"), rank, kRanks, 30000, &kStore, &store};
  check(static_cast<const nemo_collectives_api*>(found)->join(on.handle(), &group));
}

// Runs `body` as every rank at once; an exception of one is a failure of the test.
void among_ranks(const std::function<void(const Device&, int64_t rank)>& body) {
  nemo_store store;
  std::barrier done(kRanks);  // a rank that left early would break the others' connections
  std::vector<std::string> faults(kRanks);
  std::vector<std::thread> threads;
  for (int64_t rank = 0; rank < kRanks; ++rank)
    threads.emplace_back([&, rank] {
      const Device own(1);
      try {
        join(own, store, rank);
        body(own, rank);
      } catch (const std::exception& e) {
        faults[static_cast<size_t>(rank)] = e.what();
      }
      done.arrive_and_wait();
    });
  for (std::thread& t : threads) t.join();
  for (const std::string& fault : faults) EXPECT_EQ(fault, "");
}

// Element e of what rank r has; small whole numbers, so that sums are exact in every dtype.
double number(int64_t rank, int64_t e) { return static_cast<double>(rank * 16 + e); }

Array filled(nemo_dtype dtype, Shape shape, const std::function<double(int64_t)>& value) {
  Array a(dtype, std::move(shape));
  for (int64_t e = 0; e < a.size(); ++e) a.set(e, value(e));
  return a;
}

Array own(nemo_dtype dtype, Shape shape, int64_t rank) {
  return filled(dtype, std::move(shape), [&](int64_t e) { return number(rank, e); });
}

// The same attributes on every rank.
Attrs over_tp(std::initializer_list<sdk::Attr> more = {}) {
  Attrs attrs{{"mesh", "tp"}};
  attrs.insert(attrs.end(), more);
  return attrs;
}

TEST(Collectives, all_reduce_gives_every_rank_the_sum_or_the_largest) {
  for (const nemo_dtype dtype : {F32, F64, BF16})
    among_ranks([&](const Device& on, int64_t rank) {
      const Array mine = own(dtype, {2, 4}, rank);
      const Array sum = on.apply("all_reduce", {mine}, {Array(dtype, {2, 4})}, over_tp({{"op", "sum"}}))[0];
      const Array most = on.apply("all_reduce", {mine}, {Array(dtype, {2, 4})}, over_tp({{"op", "max"}}))[0];
      for (int64_t e = 0; e < 8; ++e) {
        EXPECT_EQ(sum.get(e), number(0, e) + number(1, e) + number(2, e));
        EXPECT_EQ(most.get(e), number(2, e));
      }
    });
}

// [2 4] of every rank, joined along dimension 0 or 1.
TEST(Collectives, all_gather_joins_the_ranks_in_order_along_the_dimension) {
  among_ranks([](const Device& on, int64_t rank) {
    const Array mine = own(F32, {2, 4}, rank);
    const Array rows = on.apply("all_gather", {mine}, {Array(F32, {6, 4})}, over_tp({{"dim", 0}}))[0];
    const Array columns = on.apply("all_gather", {mine}, {Array(F32, {2, 12})}, over_tp({{"dim", 1}}))[0];
    for (int64_t r = 0; r < kRanks; ++r)
      for (int64_t e = 0; e < 8; ++e) {
        EXPECT_EQ(rows.get(r * 8 + e), number(r, e));
        EXPECT_EQ(columns.get(e / 4 * 12 + r * 4 + e % 4), number(r, e));
      }
  });
}

// Of [6 2] and [2 6], summed over the ranks, each gets its [2 2].
TEST(Collectives, reduce_scatter_gives_each_rank_its_part_of_the_sum) {
  for (const nemo_dtype dtype : {F32, F64, BF16})
    among_ranks([&](const Device& on, int64_t rank) {
      const auto sum = [](int64_t e) { return number(0, e) + number(1, e) + number(2, e); };
      const Array rows =
          on.apply("reduce_scatter", {own(dtype, {6, 2}, rank)}, {Array(dtype, {2, 2})}, over_tp({{"dim", 0}, {"op", "sum"}}))[0];
      const Array columns =
          on.apply("reduce_scatter", {own(dtype, {2, 6}, rank)}, {Array(dtype, {2, 2})}, over_tp({{"dim", 1}, {"op", "sum"}}))[0];
      for (int64_t e = 0; e < 4; ++e) {
        EXPECT_EQ(rows.get(e), sum(rank * 4 + e));
        EXPECT_EQ(columns.get(e), sum(e / 2 * 6 + rank * 2 + e % 2));
      }
    });
}

// [6 2] cut along dimension 0, the parts received joined along dimension 1: [2 6].
TEST(Collectives, all_to_all_cuts_one_dimension_and_joins_another) {
  among_ranks([](const Device& on, int64_t rank) {
    const Array got =
        on.apply("all_to_all", {own(F32, {6, 2}, rank)}, {Array(F32, {2, 6})}, over_tp({{"split_dim", 0}, {"concat_dim", 1}}))[0];
    for (int64_t from = 0; from < kRanks; ++from)
      for (int64_t e = 0; e < 4; ++e) EXPECT_EQ(got.get(e / 2 * 6 + from * 2 + e % 2), number(from, rank * 4 + e));
  });
}

TEST(Collectives, send_and_recv_pass_a_value_to_the_next_rank) {
  among_ranks([](const Device& on, int64_t rank) {
    if (rank > 0) {
      const Array got = on.apply("recv", {Array(F32, {})}, {Array(F32, {2, 4})}, over_tp({{"offset", -1}}))[0];
      for (int64_t e = 0; e < 8; ++e) EXPECT_EQ(got.get(e), number(rank - 1, e));
    }
    if (rank + 1 < kRanks) (void)on.apply("send", {own(F32, {2, 4}, rank)}, {Array(F32, {})}, over_tp({{"offset", 1}}));
  });
}

TEST(Collectives, ring_shift_brings_what_the_rank_before_has) {
  among_ranks([](const Device& on, int64_t rank) {
    const Array got = on.apply("ring_shift", {own(F32, {2, 4}, rank)}, {Array(F32, {2, 4})}, over_tp())[0];
    for (int64_t e = 0; e < 8; ++e) EXPECT_EQ(got.get(e), number((rank + kRanks - 1) % kRanks, e));
  });
}

// Experts 2 r and 2 r + 1 are on rank r. Rank 0 deals to all ranks, rank 1 to rank 0 alone, rank 2 to none but itself.
const std::vector<std::vector<int64_t>> kDealt{{0, 2, 3, 5}, {0, 1, 1, 1}, {4, 4, 5, 5}};

TEST(Collectives, rows_of_experts_go_to_their_ranks_and_return_to_their_places) {
  among_ranks([](const Device& on, int64_t rank) {
    constexpr int64_t kRoom = 12, kWidth = 3;
    const auto& dealt = kDealt[static_cast<size_t>(rank)];
    const Array ids = filled(I32, {4}, [&](int64_t e) { return static_cast<double>(dealt[static_cast<size_t>(e)]); });
    const Arrays plan = on.apply("moe_exchange_plan", {ids}, {Array(I32, {kRoom}), Array(I32, {2, kRanks})},
                                 over_tp({{"experts", 2}, {"r", kRoom}, {"n", kRanks}}));
    const Array rows = own(F32, {4, kWidth}, rank);
    const Array got = on.apply("moe_exchange", {rows, plan[1], ids}, {Array(F32, {kRoom, kWidth})}, over_tp({{"r", kRoom}}))[0];
    int64_t at = 0;
    for (int64_t from = 0; from < kRanks; ++from)
      for (int64_t i = 0; i < 4; ++i) {
        const int64_t expert = kDealt[static_cast<size_t>(from)][static_cast<size_t>(i)];
        if (expert / 2 != rank) continue;
        EXPECT_EQ(plan[0].get(at), expert);
        for (int64_t d = 0; d < kWidth; ++d) EXPECT_EQ(got.get(at * kWidth + d), number(from, i * kWidth + d));
        ++at;
      }
    for (; at < kRoom; ++at) {
      EXPECT_EQ(plan[0].get(at), -1);
      for (int64_t d = 0; d < kWidth; ++d) EXPECT_EQ(got.get(at * kWidth + d), 0);
    }
    const Array back = on.apply("moe_exchange_back", {got, plan[1], ids}, {Array(F32, {4, kWidth})}, over_tp())[0];
    for (int64_t e = 0; e < 4 * kWidth; ++e) EXPECT_EQ(back.get(e), rows.get(e));
  });
}

TEST(Collectives, a_peer_outside_the_group_is_refused) {
  among_ranks([](const Device& on, int64_t rank) {
    if (rank != 0) return;
    Arrays out{Array(F32, {})};
    EXPECT_THROW(on.run("send", {own(F32, {2}, 0)}, out, over_tp({{"offset", kRanks}})), std::runtime_error);
  });
}

}  // namespace
}  // namespace nemo::backend_cpu
