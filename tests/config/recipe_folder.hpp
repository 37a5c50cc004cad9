// tests/config/recipe_folder.hpp - a folder of files for one test, and what a call's error says.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "core/base/error.hpp"

namespace nemo::config {

class RecipeFolder : public testing::Test {
 protected:
  RecipeFolder() {
    const testing::TestInfo* test = testing::UnitTest::GetInstance()->current_test_info();
    folder_ = std::filesystem::temp_directory_path() / ("nemo_config_" + std::string(test->name()) + "_" + std::to_string(getpid()));
    std::filesystem::create_directories(folder_);
  }
  ~RecipeFolder() override { std::filesystem::remove_all(folder_); }

  // The full path of the written file.
  std::string write(const std::string& name, const std::string& text) const {
    const std::filesystem::path file = folder_ / name;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text;
    return file.string();
  }
  std::string path(const std::string& name) const { return (folder_ / name).string(); }

  std::filesystem::path folder_;
};

template <class Call>
std::string message_of(Call&& call, Code code = Code::kConfig) {
  try {
    call();
  } catch (const Error& e) {
    EXPECT_EQ(static_cast<int>(e.code()), static_cast<int>(code)) << e.what();
    return e.what();
  }
  return "(no error)";
}

}  // namespace nemo::config
