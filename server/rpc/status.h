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
#include "server/rpc/certificate.h"
#include "server/rpc/stall_watch.h"

namespace narthex::rpc {

// `status` with its reason and metadata as ErrorInfo of domain "narthex". A status without reason is a defect
// of ours: it is logged, and its reason becomes INTERNAL.
grpc::Status ToGrpc(const absl::Status& status);

// The catalogue's name (errors.proto) for a reason that modules below the services use among themselves.
std::string WireReason(const std::string& reason);

// google.rpc.Status of `status`, serialized: what an operation's error holds.
std::string ToRpcStatus(const absl::Status& status);

// Lets calls in. Thread-safe.
class Gate {
 public:
  // Borrows all three.
  Gate(auth::Authenticator& authenticator, const auth::ProjectCache& projects, StallWatch& stalls)
      : authenticator_(authenticator), projects_(projects), stalls_(stalls) {}

  // Whether calls without a token are let in, as auth::kGuest. May change while calls run.
  void AdmitGuests(bool admit) { guests_ = admit; }

  // Before the first call.
  void BindCertificates(CertificateUser binding) { certificate_user_ = binding; }

  // UNAUTHENTICATED: no bearer token in the metadata `authorization`, or none that is valid, or the peer's
  // certificate is of somebody else (CERTIFICATE_USER).
  // Calls go through Unary and Stream, which also tell the database who asks.
  absl::StatusOr<auth::Caller> Admit(const grpc::ServerContext& context) const;

  // A unary call: `body` is absl::Status(const auth::Caller&), or absl::StatusOr<Response>(const
  // auth::Caller&).
  template <typename Response, typename Body>
  grpc::Status Unary(grpc::ServerContext* context, Response* response, Body body) const {
    auto caller = Admit(*context);
    if (!caller.ok()) return ToGrpc(caller.status());
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

  // A call that streams: `body` is absl::Status(const auth::Caller&) and runs on this thread.
  template <typename Body>
  grpc::Status Stream(grpc::ServerContext* context, Body body) const {
    auto caller = Admit(*context);
    if (!caller.ok()) return ToGrpc(caller.status());
    const auth::CallScope scope(*caller);
    return ToGrpc(body(*caller));
  }

 private:
  auth::Authenticator& authenticator_;
  const auth::ProjectCache& projects_;
  StallWatch& stalls_;
  std::atomic<bool> guests_ = false;
  CertificateUser certificate_user_ = CertificateUser::kAny;
};

}  // namespace narthex::rpc
