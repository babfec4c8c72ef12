// Ends calls whose peer neither sends nor takes anything: each holds a thread and buffers of ours for
// nothing. HTTP/2 pings find dead machines; this finds living ones that do nothing. Thread-safe; one thread.
//
//   StallWatch::Guard guard(watch, *context);
//   while (guard.Waiting([&] { return stream.Read(&request); })) ...   // our own work between two does not
//   count
#pragma once

#include <atomic>
#include <cstdint>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_set.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include <grpcpp/grpcpp.h>

namespace narthex::rpc {

class StallWatch {
 public:
  explicit StallWatch(absl::Duration patience);
  ~StallWatch();

  void SetPatience(absl::Duration patience) { patience_ns_ = absl::ToInt64Nanoseconds(patience); }

  // Watches one direction of a call. One thread; others may have guards of the same call.
  class Guard {
   public:
    // Borrows both. Calls within this process are not watched: who makes them has timers of its own.
    Guard(StallWatch& watch, grpc::ServerContext& context);
    ~Guard();
    Guard(const Guard&) = delete;
    Guard& operator=(const Guard&) = delete;

    // Does what waits for the peer. Longer than the watch's patience: the call is cancelled, and so `wait`
    // ends.
    template <typename Wait>
    auto Waiting(Wait wait) {
      since_ns_ = absl::GetCurrentTimeNanos();
      const auto result = wait();
      since_ns_ = 0;
      return result;
    }

   private:
    friend class StallWatch;
    StallWatch& watch_;
    grpc::ServerContext& context_;
    const bool watched_;
    std::atomic<int64_t> since_ns_{0};  // 0: nothing is waited for
  };

 private:
  void Run();

  std::atomic<int64_t> patience_ns_;
  absl::Mutex mutex_;
  absl::flat_hash_set<Guard*> guards_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

// Writes the answers of a call whose client may stop reading them. One thread.
template <typename Message>
class WatchedWriter {
 public:
  // Borrows all three.
  WatchedWriter(StallWatch& watch, grpc::ServerContext& context, grpc::ServerWriter<Message>& writer)
      : guard_(watch, context), writer_(writer) {}

  // False: the client is gone, or took nothing for longer than the watch's patience.
  bool Write(const Message& message) {
    return guard_.Waiting([&] { return writer_.Write(message); });
  }

 private:
  StallWatch::Guard guard_;
  grpc::ServerWriter<Message>& writer_;
};

// Reads the messages of a call whose client may stop sending them. One thread.
template <typename Message>
class WatchedReader {
 public:
  // Borrows all three.
  WatchedReader(StallWatch& watch, grpc::ServerContext& context, grpc::ServerReader<Message>& reader)
      : guard_(watch, context), reader_(reader) {}

  // False: there are no more, or none came for longer than the watch's patience.
  bool Read(Message* message) {
    return guard_.Waiting([&] { return reader_.Read(message); });
  }

 private:
  StallWatch::Guard guard_;
  grpc::ServerReader<Message>& reader_;
};

}  // namespace narthex::rpc
