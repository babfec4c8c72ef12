// From our statuses to gRPC's, with google.rpc.ErrorInfo, and the frame of every call: who asks, then what.
#pragma once

#include <atomic>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include <grpcpp/grpcpp.h>

#include "server/auth/authenticator.h"
#include "server/auth/caller.h"
#include "server/auth/project_cache.h"
#include "server/ingest/admission.h"
#include "server/rpc/certificate.h"
#include "server/rpc/stall_watch.h"

namespace narthex::rpc {

// `status` with its reason and metadata as ErrorInfo of domain "narthex". A status without reason is a defect
// of ours: it is logged, and its reason becomes INTERNAL.
grpc::Status ToGrpc(const absl::Status& status);

// The catalogue's name (errors.proto) for a reason that modules below the services use among themselves.
std::string WireReason(const std::string& reason);

// Whether the caller is a part of this process.
bool InProcess(const grpc::ServerContext& context);

// google.rpc.Status of `status`, serialized: what an operation's error holds.
std::string ToRpcStatus(const absl::Status& status);

// Lets calls in. Thread-safe.
class Gate {
 public:
  // Borrows all four.
  Gate(auth::Authenticator& authenticator, const auth::ProjectCache& projects, StallWatch& stalls,
       ingest::Admission& admission)
      : authenticator_(authenticator), projects_(projects), stalls_(stalls), admission_(admission) {}

  // Whether calls without a token are let in, as auth::kGuest. May change while calls run.
  void AdmitGuests(bool admit) { guests_ = admit; }

  // Before the first call.
  void BindCertificates(CertificateUser binding) { certificate_user_ = binding; }

  // UNAUTHENTICATED: no bearer token in the metadata `authorization`, or none that is valid, or the peer's
  // certificate is of somebody else (CERTIFICATE_USER).
  // Calls go through Unary and Stream, which also tell the database who asks.
  absl::StatusOr<auth::Caller> Admit(const grpc::ServerContext& context) const;

  // Room for one more call that lasts: a watch, a wait, a download; until the place is destroyed. Calls of
  // this process have room of their own. RESOURCE_EXHAUSTED (OVERLOADED).
  absl::StatusOr<ingest::Places::Place> Stay(const auth::Caller& caller,
                                             const grpc::ServerContext& context) const {
    return Enter(admission_.long_calls(), caller, context);
  }

  // A unary call: `body` is absl::StatusOr<Response>(const auth::Caller&). What it does may take its time, so
  // users have a share of these calls, too: RESOURCE_EXHAUSTED (OVERLOADED).
  template <typename Response, typename Body>
  grpc::Status Unary(grpc::ServerContext* context, Response* response, Body body) const {
    auto caller = Admit(*context);
    if (!caller.ok()) return ToGrpc(caller.status());
    const auto place = Enter(admission_.calls(), *caller, *context);
    if (!place.ok()) return ToGrpc(place.status());
    const auth::CallScope scope(*caller);
    absl::StatusOr<Response> answer = body(*caller);
    if (!answer.ok()) return ToGrpc(answer.status());
    *response = *std::move(answer);
    return grpc::Status::OK;
  }

  // The writer of a call that streams answers: whoever stops reading does not hold a thread for ever.
  template <typename Message>
  WatchedWriter<Message> Watched(grpc::ServerContext* context, grpc::ServerWriter<Message>* writer) const {
    return {stalls_, *context, *writer};
  }
  // The reader of a call that takes a stream: likewise of whoever stops sending.
  template <typename Message>
  WatchedReader<Message> Watched(grpc::ServerContext* context, grpc::ServerReader<Message>* reader) const {
    return {stalls_, *context, *reader};
  }

  // A call that streams, which takes a place (Stay): `body` is absl::Status(const auth::Caller&) and runs on
  // this thread.
  template <typename Body>
  grpc::Status Stream(grpc::ServerContext* context, Body body) const {
    auto caller = Admit(*context);
    if (!caller.ok()) return ToGrpc(caller.status());
    const auto place = Stay(*caller, *context);
    if (!place.ok()) return ToGrpc(place.status());
    const auth::CallScope scope(*caller);
    return ToGrpc(body(*caller));
  }

 private:
  static absl::StatusOr<ingest::Places::Place> Enter(ingest::Places& places, const auth::Caller& caller,
                                                     const grpc::ServerContext& context);

  auth::Authenticator& authenticator_;
  const auth::ProjectCache& projects_;
  StallWatch& stalls_;
  ingest::Admission& admission_;
  std::atomic<bool> guests_ = false;
  CertificateUser certificate_user_ = CertificateUser::kAny;
};

}  // namespace narthex::rpc
