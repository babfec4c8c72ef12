#include "base/md5_lanes.h"

#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/digest.h"

namespace narthex {
namespace {

// With each width of vectors that this CPU has.
class Md5EachTest : public testing::TestWithParam<size_t> {};
INSTANTIATE_TEST_SUITE_P(Lanes, Md5EachTest, testing::Values(1, 8, 16));

std::vector<std::string> Expected(const std::vector<absl::string_view>& messages) {
  std::vector<std::string> digests;
  for (const absl::string_view message : messages) digests.push_back(Md5(message));
  return digests;
}

TEST_P(Md5EachTest, EveryLengthAroundTheBlocks) {
  std::string text;
  for (int i = 0; i < 300; ++i) text.push_back(static_cast<char>(i * 7 + i / 64));
  std::vector<absl::string_view> messages;
  for (size_t length = 0; length <= text.size(); ++length)
    messages.push_back(absl::string_view(text).substr(0, length));

  EXPECT_EQ(Md5Each(messages, GetParam()), Expected(messages));
}

TEST_P(Md5EachTest, ManyOfDifferentSizes) {
  std::mt19937 random(20261126);
  std::vector<std::string> texts;
  for (int i = 0; i < 100; ++i) {
    std::string text(random() % 20'000, '\0');
    for (char& c : text) c = static_cast<char>(random());
    texts.push_back(std::move(text));
  }
  const std::vector<absl::string_view> messages(texts.begin(), texts.end());

  EXPECT_EQ(Md5Each(messages, GetParam()), Expected(messages));
}

TEST_P(Md5EachTest, NoneAndFew) {
  EXPECT_THAT(Md5Each({}, GetParam()), testing::IsEmpty());
  for (size_t count = 1; count <= 4; ++count) {
    const std::vector<absl::string_view> messages(count, "abc");
    EXPECT_EQ(Md5Each(messages, GetParam()), Expected(messages));
  }
}

}  // namespace
}  // namespace narthex
