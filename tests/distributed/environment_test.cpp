#include "core/dist/environment.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "core/base/error.hpp"

namespace nemo::dist {
namespace {

using Variables = std::map<std::string, std::string>;

Lookup in(const Variables& variables) {
  return [&variables](const char* name) {
    const auto found = variables.find(name);
    return found == variables.end() ? nullptr : found->second.c_str();
  };
}

TEST(Environment, torchruns_words_are_read) {
  const Variables v{{"RANK", "5"},         {"WORLD_SIZE", "8"},     {"LOCAL_RANK", "1"}, {"LOCAL_WORLD_SIZE", "4"},
                    {"MASTER_ADDR", "n0"}, {"MASTER_PORT", "29500"}};
  const auto e = read_environment(in(v));
  ASSERT_TRUE(e);
  EXPECT_EQ(e->rank, 5);
  EXPECT_EQ(e->world_size, 8);
  EXPECT_EQ(e->local_rank, 1);
  EXPECT_EQ(e->local_size, 4);
  EXPECT_EQ(e->master_addr, "n0");
  EXPECT_EQ(e->master_port, 29500);
}

TEST(Environment, slurms_words_are_read_under_srun_only) {
  Variables v{{"SLURM_PROCID", "3"},          {"SLURM_NTASKS", "16"},           {"SLURM_LOCALID", "3"},
              {"SLURM_NTASKS_PER_NODE", "8"}, {"SLURM_NODELIST", "gpu[07-08]"}, {"SLURM_JOB_ID", "123456"}};
  EXPECT_FALSE(read_environment(in(v)));
  v["SLURM_STEP_ID"] = "0";
  const auto e = read_environment(in(v));
  ASSERT_TRUE(e);
  EXPECT_EQ(e->rank, 3);
  EXPECT_EQ(e->local_size, 8);
  EXPECT_EQ(e->master_addr, "gpu07");
  EXPECT_EQ(e->master_port, 20000 + 123456 % 20000);
}

TEST(Environment, one_process_is_no_world) {
  EXPECT_FALSE(read_environment(in({})));
  EXPECT_FALSE(read_environment(in({{"RANK", "0"}, {"WORLD_SIZE", "1"}})));
}

TEST(Environment, what_is_missing_or_wrong_is_named) {
  const auto fault = [](const Variables& v) {
    try {
      (void)read_environment(in(v));
    } catch (const Error& e) {
      return std::string(e.what());
    }
    return std::string();
  };
  EXPECT_THAT(fault({{"RANK", "0"}, {"WORLD_SIZE", "2"}}), testing::HasSubstr("MASTER_ADDR"));
  EXPECT_THAT(fault({{"RANK", "2"}, {"WORLD_SIZE", "2"}}), testing::HasSubstr("RANK = '2': expected a number from 0 to 1"));
  EXPECT_THAT(fault({{"RANK", "x"}, {"WORLD_SIZE", "2"}}), testing::HasSubstr("RANK = 'x'"));
}

TEST(Environment, the_first_host_of_a_node_list_is_found) {
  EXPECT_EQ(first_host("node1"), "node1");
  EXPECT_EQ(first_host("a,b"), "a");
  EXPECT_EQ(first_host("node[03-06,9],login1"), "node03");
  EXPECT_EQ(first_host("node[7,9]"), "node7");
  EXPECT_EQ(first_host("login1,node[7,9]"), "login1");
}

}  // namespace
}  // namespace nemo::dist
