// What is kept of answers, and who asks when several want the same.

#include "server/deidentify/web_fetcher.h"

#include <thread>

#include "absl/synchronization/notification.h"
#include <gtest/gtest.h>

#include "base/error.h"
#include "base/limits_url.h"

namespace narthex::deidentify {
namespace {

class UrlCacheTest : public testing::Test {
 protected:
  UrlCache::Get Answers(absl::StatusOr<std::string> answer) {
    return [this, answer](absl::string_view) {
      ++asked_;
      return answer;
    };
  }
  FakeClock clock_;
  UrlCache cache_{clock_};
  int asked_ = 0;
};

TEST_F(UrlCacheTest, AsksOncePerUrlForAWhile) {
  for (int i = 0; i < 2000; ++i) EXPECT_EQ(*cache_.Fetch("http://a/1", Answers("one")), "one");
  EXPECT_EQ(*cache_.Fetch("http://a/2", Answers("two")), "two");
  EXPECT_EQ(asked_, 2);

  clock_.Advance(absl::Seconds(limits::kUrlCacheSeconds.get()));

  EXPECT_EQ(*cache_.Fetch("http://a/1", Answers("three")), "three");
}

TEST_F(UrlCacheTest, RemembersFailuresForAMomentOnly) {
  const absl::Status failed = Error(absl::StatusCode::kUnavailable, "ANONYMIZATION_FAILED", "no answer");
  EXPECT_EQ(cache_.Fetch("http://a/1", Answers(failed)).status(), failed);
  EXPECT_EQ(cache_.Fetch("http://a/1", Answers("late")).status(), failed);

  clock_.Advance(absl::Seconds(limits::kUrlFailureCacheSeconds.get()));

  EXPECT_EQ(*cache_.Fetch("http://a/1", Answers("late")), "late");
  EXPECT_EQ(asked_, 2);
}

TEST_F(UrlCacheTest, ThreadsThatWantTheSameWaitForOne) {
  absl::Notification begun, go;
  std::thread first([&] {
    EXPECT_EQ(*cache_.Fetch("http://a/1",
                            [&](absl::string_view) {
                              begun.Notify();
                              go.WaitForNotification();
                              return "one";
                            }),
              "one");
  });
  begun.WaitForNotification();
  std::thread second([&] { EXPECT_EQ(*cache_.Fetch("http://a/1", Answers("two")), "one"); });

  go.Notify();
  first.join();
  second.join();

  EXPECT_EQ(asked_, 0);
}

TEST_F(UrlCacheTest, KeepsNoMoreThanItsLimit) {
  for (size_t i = 0; i < 3 * limits::kUrlCacheMaxEntries; ++i) {
    EXPECT_TRUE(cache_.Fetch(absl::StrCat("http://a/", i), Answers("x")).ok());
    EXPECT_LE(cache_.size(), limits::kUrlCacheMaxEntries.get());
  }
}

TEST(FetchUrlTest, AsksNobodyElse) {
  for (const char* url : {"ftp://a.example/x", "http://b.example/x", "http://a.example@b.example/",
                          "http://a.example:8080/x", "file:///etc/passwd", "gopher://a.example/", ""}) {
    const auto answer = FetchUrl(url, {"a.example"});
    EXPECT_EQ(ErrorReason(answer.status()), "ANONYMIZATION_FAILED") << url;
  }
}

}  // namespace
}  // namespace narthex::deidentify
