// A server of the services that the clients use, in memory and in this process, for tests. It checks what a
// server must check of an upload (order, checksums, digests, sizes), answers out of order, and misbehaves on
// request. Thread-safe.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "google/longrunning/operations.grpc.pb.h"
#include "grpcpp/grpcpp.h"

#include "narthex/v1/archive_service.grpc.pb.h"
#include "narthex/v1/prearchive_service.grpc.pb.h"
#include "narthex/v1/project_service.grpc.pb.h"
#include "narthex/v1/settings_service.grpc.pb.h"
#include "narthex/v1/upload_service.grpc.pb.h"

namespace narthex::client {

// A grpc::Status with an ErrorInfo, as the real server makes it.
grpc::Status FakeError(grpc::StatusCode code, const std::string& reason, const std::string& message,
                       const std::map<std::string, std::string>& metadata = {});

class FakeServer {
 public:
  struct Faults {
    // Ends the Upload stream with UNAVAILABLE after so many outcomes were sent; -1: never. Counts down once.
    int break_stream_after_outcomes = -1;
    // The outcome is kept, but the stream breaks before it is sent. Used with the former.
    bool lose_outcome_at_break = false;
    // Answers each group of this many objects in reverse order.
    int reverse_group = 1;
    // Flips one bit of the n-th object's stored bytes before its digest is checked; -1: never.
    int damage_object = -1;
    // Every unary call of GetUpload fails with UNAVAILABLE so often.
    int unavailable_calls = 0;
    // How long an outcome takes.
    absl::Duration outcome_delay = absl::ZeroDuration();
    // Bytes of objects are checked and forgotten.
    bool forget_bytes = false;
    // Ends the archived file's download after this many bytes; -1: never.
    int64_t break_download_after = -1;
    // The download sends other bytes than its digests say.
    bool corrupt_download = false;
  };

  // Serves on a free port of 127.0.0.1, and in the process. Nonempty `token`: calls without it are refused.
  explicit FakeServer(std::string token = "");
  ~FakeServer();

  std::string address() const;
  std::shared_ptr<grpc::Channel> InProcessChannel();
  void SetFaults(const Faults& faults);

  // Objects by upload name and sequence, as they were stored (empty if forget_bytes).
  std::map<int64_t, std::string> objects(const std::string& upload) const;
  std::map<int64_t, v1::ObjectOutcome> outcomes(const std::string& upload) const;
  std::vector<std::string> uploads() const;
  // Objects received on all streams, repeated ones included; messages, packs, chunks.
  int64_t received_objects() const;
  int64_t received_packs() const;
  int64_t received_chunks() const;
  // Bytes received by the last ImportArchive.
  std::string imported() const;

  // Puts a session with these files into the archive.
  void AddSession(const v1::Session& session, const std::map<std::string, std::string>& files);
  void AddPrearchiveSession(const v1::PrearchiveSession& session);

 private:
  class State;
  class Uploads;
  class Prearchive;
  class Archive;
  class Projects;
  class Settings;
  class Operations;

  std::unique_ptr<State> state_;
  std::vector<std::unique_ptr<grpc::Service>> services_;
  std::unique_ptr<grpc::Server> server_;
  int port_ = 0;
};

}  // namespace narthex::client
