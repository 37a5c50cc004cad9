// Damaged checkpoints and full disks: the file is named, the last good checkpoint is offered and stays.
#include <sys/mount.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>

#include "tests/e2e/same_tensors.hpp"
#include "tests/e2e/sandbox.hpp"

namespace nemo::e2e {
namespace {

class CheckpointFault : public Sandbox {
 protected:
  void SetUp() override { ASSERT_THAT(pretrain("run"), succeeds()); }
  [[nodiscard]] fs::path tensors(int64_t step) const { return checkpoint("run", step) / "checkpoint.h5"; }

  void flip_byte(const fs::path& file) const {
    std::string bytes = read(file);
    bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 1);
    std::ofstream(file, std::ios::binary) << bytes;
  }

  // Every command that reads a checkpoint.
  std::vector<Finished> readers() {
    return {pretrain("run", {"trainer.max_steps=16"}), nemo({"validate", "--recipe", "tiny.toml", "job.name=run"}),
            nemo({"generate", "--checkpoint", "runs/run", "--prompt", "the"}),
            nemo({"generate", "--checkpoint", "runs/run/checkpoints/step_00000012", "--prompt", "the"}),
            nemo({"validate", "--recipe", "tiny.toml", "--checkpoint", "runs/run/checkpoints/step_00000012"})};
  }
};

TEST_F(CheckpointFault, a_truncated_file_is_named_and_the_last_good_checkpoint_offered) {
  fs::resize_file(tensors(12), 1000);
  for (const Finished& end : readers()) {
    EXPECT_THAT(end, fails_with(kFailed, "step_00000012/checkpoint.h5 is damaged", "1000 bytes", "truncated", "last good checkpoint",
                                "step_00000008"));
    EXPECT_EQ(end.out, "");
  }
}

TEST_F(CheckpointFault, a_flipped_bit_is_found_and_the_last_good_checkpoint_offered) {
  flip_byte(tensors(12));
  for (const Finished& end : readers()) {
    EXPECT_THAT(end, fails_with(kFailed, "step_00000012/checkpoint.h5 is damaged", "checksum", "last good checkpoint", "step_00000008"));
    EXPECT_EQ(end.out, "");
  }
}

TEST_F(CheckpointFault, damage_to_any_file_is_found) {
  for (const char* file : {"manifest.json", "recipe.toml", "tokenizer/nemo_tokenizer.json"}) {
    const fs::path path = checkpoint("run", 12) / file;
    const std::string good = read(path);
    flip_byte(path);
    for (const Finished& end : readers()) EXPECT_THAT(end, fails_with(kFailed, file, "step_00000008")) << file;
    std::ofstream(path, std::ios::binary) << good;
  }
}

TEST_F(CheckpointFault, all_damaged_are_all_named) {
  for (const int64_t step : {4, 8, 12}) flip_byte(tensors(step));
  EXPECT_THAT(pretrain("run", {"trainer.max_steps=16"}), fails_with(kFailed, "step_00000012/checkpoint.h5", "step_00000008/checkpoint.h5",
                                                                    "step_00000004/checkpoint.h5", "no other checkpoint"));
}

TEST_F(CheckpointFault, the_run_goes_on_from_the_last_good_one_once_the_damaged_is_removed) {
  const std::vector<double> before = column("run", "loss");
  fs::remove_all(checkpoint("run", 12));
  EXPECT_THAT(pretrain("run"), succeeds("step_00000008 at step 8"));
  EXPECT_EQ(column("run", "loss"), before);
}

TEST_F(CheckpointFault, a_full_disk_leaves_earlier_checkpoints_and_names_the_path) {
  fs::copy(run_folder("run"), run_folder("copy"), fs::copy_options::recursive);
  Command command = pretraining("run", {"trainer.max_steps=16"});
  command.file_size_limit = 200 << 10;  // less than checkpoint.h5 takes
  EXPECT_THAT(run(command), fails_with(kFailed, "cannot save checkpoint " + checkpoint("run", 16).string(), "File too large",
                                       "earlier checkpoints are untouched"));
  EXPECT_EQ(checkpoints("run"), checkpoints("copy"));
  EXPECT_EQ(tensor_difference(checkpoint("run", 12), checkpoint("copy", 12)), "");
  EXPECT_THAT(pretrain("run", {"trainer.max_steps=16"}), succeeds("resumed from"));
  EXPECT_TRUE(fs::exists(checkpoint("run", 16)));
}

TEST_F(CheckpointFault, a_full_file_system_is_reported_before_the_run_is_harmed) {
  const fs::path mounted = folder() / "runs";
  fs::remove_all(mounted);
  fs::create_directory(mounted);
  if (::mount("tmpfs", mounted.c_str(), "tmpfs", 0, "size=900k") != 0) GTEST_SKIP() << "needs the right to mount a tmpfs";
  const Finished end = pretrain("run", {"trainer.max_steps=40"});
  EXPECT_THAT(end, fails_with(kFailed, "cannot save checkpoint " + run_folder("run").string(), "bytes are free",
                              "earlier checkpoints are untouched"));
  const Words left = checkpoints("run");
  EXPECT_FALSE(left.empty());
  for (const std::string& name : left) EXPECT_EQ(name.find(".partial"), std::string::npos) << name;
  EXPECT_THAT(nemo({"validate", "--recipe", "tiny.toml", "job.name=run"}), succeeds());
  ::umount(mounted.c_str());
}

TEST_F(CheckpointFault, a_log_folder_that_cannot_be_written_is_named_with_its_setting) {
  write("file", "in the way");
  EXPECT_THAT(pretrain("run", {"log.dir=file"}), fails_with(kFailed, "'file/run'", "Not a directory", "log.dir"));
}

TEST_F(CheckpointFault, a_log_folder_without_permission_is_named_with_its_setting) {
  if (::geteuid() == 0) GTEST_SKIP() << "root may write everywhere";
  fs::create_directory(folder() / "locked");
  fs::permissions(folder() / "locked", fs::perms::owner_read | fs::perms::owner_exec);
  EXPECT_THAT(pretrain("run", {"log.dir=locked"}), fails_with(kFailed, "'locked/run'", "Permission denied", "log.dir"));
}

TEST_F(CheckpointFault, plain_h5py_reads_the_parameters_by_name) {
  const char* chosen = std::getenv("NEMO_TEST_PYTHON");
  const std::string python = chosen == nullptr ? "python3" : chosen;
  if (std::system((python + " -c 'import h5py' 2> /dev/null").c_str()) != 0)
    GTEST_SKIP() << python << " has no h5py; set NEMO_TEST_PYTHON to one that has";
  ASSERT_THAT(pretrain("again"), succeeds());
  const std::string script = NEMO_SOURCE_DIR "/tests/e2e/same_datasets.py ";
  EXPECT_EQ(
      std::system((python + " " + script + tensors(12).string() + " " + (checkpoint("again", 12) / "checkpoint.h5").string()).c_str()), 0);
}

}  // namespace
}  // namespace nemo::e2e
