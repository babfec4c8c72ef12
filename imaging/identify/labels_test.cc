#include "imaging/identify/labels.h"

#include <string>

#include "gtest/gtest.h"

namespace narthex::identify {
namespace {

TEST(LabelsTest, KnowsLabels) {
  for (const char* good : {"a", "P_1-x", "0", "-", "_"}) EXPECT_TRUE(IsLabel(good)) << good;
  for (const char* bad : {"", " ", "a b", "a.b", "a/b", "J\xc3\xb6rg", "a\n"})
    EXPECT_FALSE(IsLabel(bad)) << bad;
  EXPECT_TRUE(IsLabel(std::string(64, 'x')));
  EXPECT_FALSE(IsLabel(std::string(65, 'x')));
}

TEST(LabelsTest, ReplacesEachForeignCharacterByOneUnderscore) {
  EXPECT_EQ(CleanLabel("Doe^John"), "Doe_John");
  EXPECT_EQ(CleanLabel("05aug14test"), "05aug14test");
  EXPECT_EQ(CleanLabel("a.b c/d\\e"), "a_b_c_d_e");
  EXPECT_EQ(CleanLabel("J\xc3\xb6rg"), "J_rg");         // one character of two bytes
  EXPECT_EQ(CleanLabel("\xe5\xb1\xb1^x"), "__x");       // of three
  EXPECT_EQ(CleanLabel("\xf0\x9f\x98\x80z"), "_z");     // of four
  EXPECT_EQ(CleanLabel("\xff\xc3z\xe5\xb1"), "__z__");  // malformed bytes count one each
  EXPECT_EQ(CleanLabel(""), "");
  EXPECT_EQ(CleanLabel(std::string(100, 'x')), std::string(64, 'x'));
  EXPECT_TRUE(IsLabel(CleanLabel(std::string("\0\n\r\t", 4))));
}

TEST(LabelsTest, CleansFileNames) {
  EXPECT_EQ(CleanFileName("../../etc/passwd"), "_.._etc_passwd");
  EXPECT_EQ(CleanFileName("IM 0001.dcm"), "IM_0001.dcm");
  EXPECT_EQ(CleanFileName("..."), "");
  EXPECT_EQ(CleanFileName(std::string(300, 'x')).size(), 200u);
}

}  // namespace
}  // namespace narthex::identify
