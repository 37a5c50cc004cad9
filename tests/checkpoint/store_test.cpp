#include <cmath>

#include "tests/checkpoint/sample.hpp"

namespace nemo::checkpoint {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
namespace fs = std::filesystem;

class Checkpoints : public testing::Test {
 protected:
  void save(int64_t step, double val_loss) { write_sample(store_.path_of(step), step, {{"val_loss", val_loss}}); }
  std::vector<int64_t> steps() const {
    std::vector<int64_t> found;
    for (const Entry& entry : store_.list()) found.push_back(entry.step);
    return found;
  }
  void truncate(int64_t step) { fs::resize_file(store_.path_of(step) / kTensorFile, 100); }
  TemporaryFolder folder_;
  Store store_{folder_.path() / "checkpoints"};
};

TEST_F(Checkpoints, of_a_new_run_are_none) {
  EXPECT_THAT(steps(), ElementsAre());
  EXPECT_FALSE(store_.latest_good().has_value());
  EXPECT_THAT(store_.prune({.keep_top_k = 1}), ElementsAre());
}

TEST_F(Checkpoints, are_listed_by_step_and_only_when_complete) {
  save(1000000000, 1), save(200, 2), save(30, 3), save(40, 4);
  fs::remove(store_.path_of(40) / kManifestFile);
  fs::create_directory(folder_.path() / "checkpoints" / "notes");
  EXPECT_THAT(steps(), ElementsAre(30, 200, 1000000000));
  EXPECT_EQ(store_.path_of(200).filename(), "step_00000200");
  EXPECT_EQ(store_.list()[1].facts.metrics.at("val_loss"), 2);
}

TEST_F(Checkpoints, latest_good_is_the_newest) {
  save(100, 1), save(200, 2);
  EXPECT_EQ(store_.latest_good()->step, 200);
}

TEST_F(Checkpoints, damaged_newest_is_an_error_that_offers_the_last_good_one) {
  save(100, 1), save(200, 2), save(300, 3);
  truncate(200), truncate(300);
  const Error e = error_of([&] { (void)store_.latest_good(); });
  EXPECT_EQ(e.code(), Code::kDataLoss);
  EXPECT_THAT(e.what(),
              AllOf(HasSubstr((store_.path_of(300) / kTensorFile).string()), HasSubstr((store_.path_of(200) / kTensorFile).string()),
                    HasSubstr("last good checkpoint is " + store_.path_of(100).string())));
  const Survey survey = store_.survey();
  EXPECT_EQ(survey.good->step, 100);
  ASSERT_EQ(survey.damaged.size(), 2u);
  EXPECT_EQ(survey.damaged[0].path, store_.path_of(300));
}

TEST_F(Checkpoints, all_damaged_is_an_error_that_says_so) {
  save(100, 1);
  truncate(100);
  EXPECT_THAT(error_of([&] { (void)store_.latest_good(); }).what(), HasSubstr("no other checkpoint"));
}

TEST_F(Checkpoints, pruning_keeps_the_best_and_the_newest) {
  save(1, 1.0), save(2, 0.5), save(3, 2.0), save(4, 0.7), save(5, 3.0);
  const std::vector<Entry> removed = store_.prune({.keep_top_k = 2});
  EXPECT_THAT(steps(), ElementsAre(2, 4, 5));
  EXPECT_EQ(removed.size(), 2u);
  EXPECT_EQ(listing(folder_.path() / "checkpoints").size(), 3u);
}

TEST_F(Checkpoints, pruning_can_prefer_the_largest) {
  save(1, 1.0), save(2, 0.5), save(3, 2.0), save(4, 0.1);
  store_.prune({.keep_top_k = 1, .mode = Mode::kMax});
  EXPECT_THAT(steps(), ElementsAre(3, 4));
}

TEST_F(Checkpoints, without_the_metric_rank_last_and_newer_first) {
  save(1, 9.0), save(2, NAN);
  write_sample(store_.path_of(3), 3);
  write_sample(store_.path_of(4), 4);
  store_.prune({.keep_top_k = 2, .keep_last = 0});
  EXPECT_THAT(steps(), ElementsAre(1, 4));
}

TEST_F(Checkpoints, with_equal_metrics_the_newer_stays) {
  save(1, 1.0), save(2, 1.0), save(3, 1.0);
  store_.prune({.keep_top_k = 1, .keep_last = 0});
  EXPECT_THAT(steps(), ElementsAre(3));
}

TEST_F(Checkpoints, minus_one_keeps_all_and_zero_keeps_the_newest) {
  save(1, 1.0), save(2, 2.0), save(3, 3.0);
  store_.prune({.keep_top_k = -1});
  EXPECT_THAT(steps(), ElementsAre(1, 2, 3));
  store_.prune({.keep_top_k = 0});
  EXPECT_THAT(steps(), ElementsAre(3));
}

TEST_F(Checkpoints, damaged_ones_are_neither_counted_nor_removed_by_pruning) {
  save(1, 1.0), save(2, 2.0), save(3, 0.1);
  truncate(3);
  store_.prune({.keep_top_k = 1});
  EXPECT_THAT(steps(), ElementsAre(1, 2));
  EXPECT_TRUE(fs::exists(store_.path_of(3)));
}

}  // namespace
}  // namespace nemo::checkpoint
