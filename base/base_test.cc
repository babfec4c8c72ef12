#include <string>
#include <thread>

#include "absl/strings/escaping.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/crc32c.h"
#include "base/digest.h"
#include "base/error.h"
#include "base/ids.h"
#include "base/metrics.h"
#include "base/queue.h"
#include "base/status.h"

namespace narthex {
namespace {

TEST(Crc32cTest, MatchesRfc3720) {
  EXPECT_EQ(Crc32c("123456789"), 0xE3069283u);
  EXPECT_EQ(Crc32c(std::string(32, '\0')), 0x8A9136AAu);
}

TEST(Crc32cTest, GoesOnOverPieces) {
  const std::string data(100'000, 'x');

  EXPECT_EQ(Crc32c(data.substr(777), Crc32c(data.substr(0, 777))), Crc32c(data));
}

TEST(DigestTest, StreamedEqualsWhole) {
  const std::string data = RandomBytes(100'000);
  Xxh3Hasher hasher;
  hasher.Update(data.substr(0, 33));
  hasher.Update(data.substr(33));

  EXPECT_EQ(hasher.Finish(), Xxh3(data));
  EXPECT_EQ(Xxh3("").size(), 16u);
}

TEST(DigestTest, MatchesKnownValues) {
  EXPECT_EQ(absl::BytesToHexString(Md5("abc")), "900150983cd24fb0d6963f7d28e17f72");
  EXPECT_EQ(absl::BytesToHexString(Sha256("abc")),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(absl::BytesToHexString(Xxh3("")), "99aa06d3014798d86001c324468d497f");
}

TEST(ErrorTest, CarriesReasonAndMetadata) {
  const absl::Status status = NotFound("SESSION_NOT_FOUND", "there is no session A", {{"session", "A"}});
  const absl::Status annotated = Annotate(status, "archiving");

  EXPECT_EQ(ErrorReason(annotated), "SESSION_NOT_FOUND");
  EXPECT_EQ(ErrorMetadataOf(annotated).at("session"), "A");
  EXPECT_EQ(annotated.message(), "archiving: there is no session A");
  EXPECT_EQ(ErrorReason(absl::OkStatus()), "");
}

TEST(IdsTest, AreWellFormedAndDiffer) {
  EXPECT_THAT(NewUuid(),
              testing::MatchesRegex("[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"));
  EXPECT_EQ(NewRandomId(10).size(), 16u);
  EXPECT_NE(NewUuid(), NewUuid());
}

TEST(BoundedQueueTest, BlocksWhenFullAndDrainsAfterClose) {
  BoundedQueue<int> queue(2);
  std::thread producer([&] {
    for (int i = 0; i < 100; ++i) EXPECT_TRUE(queue.Push(i));
    queue.Close();
  });
  int sum = 0;
  while (auto item = queue.Pop()) sum += *item;
  producer.join();

  EXPECT_EQ(sum, 4950);
  EXPECT_FALSE(queue.Push(1));
}

TEST(MetricsTest, ExposesText) {
  Metrics::Global().Count("test_total", "a test", 3, {{"kind", "a"}});

  EXPECT_THAT(Metrics::Global().Text(), testing::HasSubstr("narthex_test_total{kind=\"a\"} 3"));
}

}  // namespace
}  // namespace narthex
