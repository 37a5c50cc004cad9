#include "core/plugin/sha256.hpp"

#include <gtest/gtest.h>

#include "core/base/error.hpp"
#include "fixture_files.hpp"

namespace nemo::plugin {
namespace {

// FIPS 180-4 examples (NIST CSRC).
TEST(sha256, gives_the_standard_digests) {
  EXPECT_EQ(sha256(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(sha256("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(sha256("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(sha256(std::string(1000000, 'a')), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(sha256, of_a_file_is_that_of_its_bytes) {
  const Folder folder;
  const std::string bytes(200001, 'q');
  EXPECT_EQ(sha256_of_file(folder.write("f", bytes)), sha256(bytes));
  EXPECT_THROW((void)sha256_of_file(folder.path() / "absent"), Error);
}

}  // namespace
}  // namespace nemo::plugin
