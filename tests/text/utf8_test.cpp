#include "core/text/utf8.hpp"

#include <gtest/gtest.h>

namespace nemo::text {
namespace {

TEST(Utf8, every_character_survives_encoding_and_decoding) {
  for (char32_t c = 0; c < 0x110000; ++c) {
    if (c >= 0xD800 && c < 0xE000) continue;
    std::string bytes;
    append_code_point(bytes, c);
    const CodePoint back = decode_code_point(bytes, 0);
    ASSERT_TRUE(back.valid) << describe_code_point(c);
    ASSERT_TRUE(back.value == c) << describe_code_point(c);
    ASSERT_EQ(back.length, bytes.size());
  }
}

TEST(Utf8, each_maximal_broken_part_becomes_one_replacement_character) {
  const std::string r = "\xEF\xBF\xBD";
  EXPECT_EQ(replace_invalid_utf8("a\x80z"), "a" + r + "z");
  EXPECT_EQ(replace_invalid_utf8("\xC0\xAF"), r + r);                                            // overlong
  EXPECT_EQ(replace_invalid_utf8("\xED\xA0\x80"), r + r + r);                                    // surrogate
  EXPECT_EQ(replace_invalid_utf8("\xF4\x90\x80\x80"), r + r + r + r);                            // above U+10FFFF
  EXPECT_EQ(replace_invalid_utf8("\xE2\x82"), r);                                                // truncated: one maximal part
  EXPECT_EQ(replace_invalid_utf8("\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41"), r + r + r + r + "A");  // The Unicode Standard, table 3-8
}

TEST(Utf8, a_sequence_that_ends_with_the_text_is_cut_off_and_a_wrong_one_is_not) {
  EXPECT_TRUE(decode_code_point("\xE2\x82", 0).cut_off);
  EXPECT_FALSE(decode_code_point("\xE2\x41", 0).cut_off);
  EXPECT_FALSE(decode_code_point("\xFF", 0).cut_off);
}

}  // namespace
}  // namespace nemo::text
