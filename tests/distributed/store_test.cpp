#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "core/dist/world.hpp"

namespace nemo::dist {
namespace {

using std::chrono::milliseconds;
using testing::HasSubstr;

struct Running {
  explicit Running(ServerOptions options) : server(listen_on(0, Reach::kLoopback, false), options) {}
  [[nodiscard]] StoreClient client() const { return {"127.0.0.1", server.port(), milliseconds(5000)}; }
  StoreServer server;
};

std::string failure_of(const std::function<void()>& body) {
  try {
    body();
  } catch (const Error& e) {
    return e.what();
  }
  return "no failure";
}

TEST(Store, get_waits_for_another_ranks_set) {
  const Running run({2, milliseconds(0)});
  StoreClient reader = run.client();
  std::jthread writer([&] {
    std::this_thread::sleep_for(milliseconds(50));
    run.client().set("key", std::string("a\0b", 3));
  });
  EXPECT_EQ(reader.get("key", milliseconds(5000)), std::string("a\0b", 3));
}

TEST(Store, get_times_out_naming_the_key) {
  const Running run({1, milliseconds(0)});
  StoreClient client = run.client();
  EXPECT_THAT(failure_of([&] { (void)client.get("nobody's", milliseconds(200)); }), HasSubstr("nobody's"));
}

TEST(Store, add_counts_over_all_clients) {
  const Running run({2, milliseconds(0)});
  StoreClient a = run.client(), b = run.client();
  EXPECT_EQ(a.add("n", 3), 3);
  EXPECT_EQ(b.add("n", 4), 7);
}

TEST(Store, a_meeting_ends_when_all_are_there_and_tells_what_differs) {
  const Running run({3, milliseconds(0)});
  for (const bool same : {true, false}) {
    std::vector<std::jthread> ranks;
    for (int r = 0; r < 3; ++r)
      ranks.emplace_back([&, r] {
        StoreClient client = run.client();
        std::string difference;
        EXPECT_EQ(client.meet("m", same || r < 2 ? "x" : "y", 3, milliseconds(5000), &difference), same);
        EXPECT_EQ(difference.size(), same ? 0U : 3U);
      });
  }
}

TEST(Store, a_meeting_that_fails_names_the_ranks_that_never_came) {
  const Running run({3, milliseconds(0)});
  StoreClient client = run.client();
  (void)client.ask({Verb::kHello, 0, 0, {}, {}}, milliseconds(1000));
  EXPECT_THAT(failure_of([&] { (void)client.meet("m", "", 3, milliseconds(200), nullptr); }), HasSubstr("not heard of: rank 1, 2"));
}

TEST(Store, a_rank_that_ends_without_goodbye_fails_everyone_who_waits) {
  const Running run({2, milliseconds(0)});
  StoreClient waiting = run.client();
  std::jthread dying([&] {
    StoreClient client = run.client();
    (void)client.ask({Verb::kHello, 1, 0, {}, {}}, milliseconds(1000));
    (void)client.ask({Verb::kBeat, 1, 0, {}, "step 3: reading"}, milliseconds(1000));
    std::this_thread::sleep_for(milliseconds(50));
  });
  EXPECT_THAT(failure_of([&] { (void)waiting.get("never", milliseconds(5000)); }),
              HasSubstr("rank 1 has ended without a word (step 3: reading)"));
}

TEST(Store, a_rank_that_says_goodbye_is_not_missed) {
  const Running run({1, milliseconds(0)});
  {
    StoreClient client = run.client();
    (void)client.ask({Verb::kHello, 0, 0, {}, {}}, milliseconds(1000));
    (void)client.ask({Verb::kBye, 0, 0, {}, {}}, milliseconds(1000));
  }
  std::this_thread::sleep_for(milliseconds(100));
  EXPECT_EQ(run.client().add("n", 1), 1);
}

TEST(Store, the_watchdog_names_the_rank_with_the_least_progress) {
  const Running run({2, milliseconds(300)});
  StoreClient a = run.client(), b = run.client();
  (void)a.ask({Verb::kHello, 0, 0, {}, {}}, milliseconds(1000));
  (void)b.ask({Verb::kHello, 1, 0, {}, {}}, milliseconds(1000));
  Reply last;
  for (int i = 0; i < 20 && last.status == Status::kOk; ++i) {
    (void)a.ask({Verb::kBeat, 7, 0, {}, "step 4: computing"}, milliseconds(1000));
    last = b.ask({Verb::kBeat, 6, 0, {}, "step 4: reading"}, milliseconds(1000));
    std::this_thread::sleep_for(milliseconds(50));
  }
  EXPECT_EQ(last.status, Status::kFailed);
  EXPECT_THAT(last.value, HasSubstr("furthest behind: rank 1 (step 4: reading)"));
}

TEST(Store, a_stray_client_is_dropped_and_harms_nobody) {
  const Running run({1, milliseconds(0)});
  const Socket stray = connect_to("127.0.0.1", run.server.port(), Clock::now() + milliseconds(1000));
  send_frame(stray, "GET / HTTP/1.1\r\n\r\n");
  EXPECT_THROW((void)receive_frame(stray, Clock::now() + milliseconds(2000)), Error);
  EXPECT_EQ(run.client().add("n", 1), 1);
}

}  // namespace
}  // namespace nemo::dist
