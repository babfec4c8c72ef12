#include "server/gateway/socket.h"

#include "absl/strings/match.h"
#include "absl/time/clock.h"
#include "gtest/gtest.h"
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "server/gateway/wire_reader.h"

namespace narthex::gateway {
namespace {

// Two ends of a TCP connection.
struct Pair {
  Pair()
      : listener(Listen({"127.0.0.1", 0}).value()),
        left(Socket::Connect({"127.0.0.1", LocalPort(listener.get())}).value()),
        right(Accept()) {}

  UniqueFd Accept() {
    while (true) {
      UniqueFd fd(accept(listener.get(), nullptr, nullptr));
      if (fd.valid()) return fd;
    }
  }

  UniqueFd listener;
  Socket left;
  Socket right;
};

int Option(const Socket& socket, int name) {
  int value = -1;
  socklen_t length = sizeof(value);
  EXPECT_EQ(getsockopt(socket.fd(), IPPROTO_TCP, name, &value, &length), 0);
  return value;
}

absl::Time Soon() { return absl::Now() + absl::Seconds(10); }

TEST(SocketTest, SendsWithoutDelay) {
  Pair pair;
  EXPECT_NE(Option(pair.left, TCP_NODELAY), 0);
  EXPECT_NE(Option(pair.right, TCP_NODELAY), 0);
}

// Linux delays acknowledgements again as soon as a socket answers what it received; a sender with Nagle's
// algorithm then stalls for 40 ms with each object. So each wait for more must re-arm TCP_QUICKACK.
TEST(SocketTest, AcknowledgesAtOnceWhenItWaits) {
  Pair pair;
  char byte = 'x';
  for (int i = 0; i < 5; ++i) {
    const int off = 0;
    ASSERT_EQ(setsockopt(pair.right.fd(), IPPROTO_TCP, TCP_QUICKACK, &off, sizeof(off)), 0);
    ASSERT_EQ(Option(pair.right, TCP_QUICKACK), 0);
    ASSERT_TRUE(pair.left.Send("a", Soon()).ok());
    ASSERT_EQ(pair.right.Receive(&byte, 1, Soon(), nullptr).value(), 1);
    EXPECT_TRUE(absl::IsDeadlineExceeded(
        pair.right.Receive(&byte, 1, absl::Now() + absl::Milliseconds(1), nullptr).status()));
    EXPECT_EQ(Option(pair.right, TCP_QUICKACK), 1) << i;
    ASSERT_TRUE(pair.right.Send("b", Soon()).ok());
  }
}

TEST(SocketTest, WaitsUntilDeadlineStopOrEnd) {
  Pair pair;
  StopSignal stop;
  char byte = 'x';
  EXPECT_TRUE(absl::IsDeadlineExceeded(
      pair.right.Receive(&byte, 1, absl::Now() + absl::Milliseconds(5), &stop).status()));
  ASSERT_TRUE(pair.left.Send("a", Soon()).ok());
  stop.Set();
  EXPECT_TRUE(stop.IsSet());
  while (!pair.right.Receive(&byte, 1, Soon(), nullptr).ok()) {
  }
  EXPECT_TRUE(absl::IsCancelled(pair.right.Receive(&byte, 1, Soon(), &stop).status()));
  pair.left.ShutdownWrite();
  EXPECT_EQ(pair.right.Receive(&byte, 1, Soon(), nullptr).value(), 0);
}

TEST(SocketTest, GivesUpOnAPeerThatDoesNotRead) {
  Pair pair;
  const std::string much(64 << 20, 'x');
  EXPECT_TRUE(absl::IsDeadlineExceeded(pair.left.Send(much, absl::Now() + absl::Milliseconds(50))));
}

TEST(WireReaderTest, PeeksReadsAndSkipsAcrossItsBuffer) {
  Pair pair;
  StopSignal stop;
  WireReader reader(pair.right, stop);
  std::string sent(WireReader::kBufferBytes + 1000, '\0');
  for (size_t i = 0; i < sent.size(); ++i) sent[i] = static_cast<char>(i * 7 + i / 251);
  ASSERT_TRUE(pair.left.Send(sent, Soon()).ok());
  reader.ExpectWithin(absl::Seconds(10));

  EXPECT_EQ(reader.Peek(10).value(), sent.substr(0, 10));
  reader.Consume(4);
  ASSERT_TRUE(reader.Skip(6).ok());
  size_t at = 10;
  while (at < WireReader::kBufferBytes - 3) {
    const absl::string_view piece = reader.Read(WireReader::kBufferBytes - 3 - at).value();
    ASSERT_EQ(piece, absl::string_view(sent).substr(at, piece.size()));
    at += piece.size();
  }
  EXPECT_EQ(reader.Peek(900).value(), sent.substr(at, 900));
  reader.Consume(900);
  ASSERT_TRUE(reader.Skip(sent.size() - at - 900).ok());
  EXPECT_EQ(reader.received_bytes(), sent.size());
  pair.left.ShutdownWrite();
  EXPECT_TRUE(absl::IsOutOfRange(reader.Peek(1).status()));
}

TEST(WireReaderTest, WantsProgress) {
  Pair pair;
  StopSignal stop;
  WireReader reader(pair.right, stop);
  reader.ExpectProgress(absl::Milliseconds(30));
  ASSERT_TRUE(pair.left.Send("abc", Soon()).ok());
  EXPECT_TRUE(reader.Peek(3).ok());
  EXPECT_TRUE(absl::IsDeadlineExceeded(reader.Peek(4).status()));
}

TEST(ListenTest, SaysWhyItCannot) {
  const UniqueFd taken = Listen({"127.0.0.1", 0}).value();
  const absl::Status in_use = Listen({"127.0.0.1", LocalPort(taken.get())}, "--grpc-listen").status();
  EXPECT_TRUE(absl::IsUnavailable(in_use)) << in_use;
  EXPECT_TRUE(absl::StartsWith(in_use.message(), "--grpc-listen: ")) << in_use;
  EXPECT_TRUE(absl::IsInvalidArgument(Listen({"no such host", 1}).status()));
}

}  // namespace
}  // namespace narthex::gateway
