// AnonymizationService.
#pragma once

#include <string>

#include "imaging/anonymize/diff.h"
#include "narthex/v1/anonymization_service.grpc.pb.h"
#include "server/auth/project_cache.h"
#include "server/deidentify/plan_editor.h"
#include "server/deidentify/plans.h"
#include "server/prearchive/prearchive.h"
#include "server/rpc/status.h"

namespace narthex::rpc {

v1::AttributeChange ToProto(const anonymize::AttributeChange& change);

// The beginning of an object of a session: its header, and enough behind it that the bulk data are seen for
// what they are.
absl::StatusOr<std::string> ReadHead(prearchive::Prearchive& prearchive, const std::string& session,
                                     const prearchive::ObjectRow& object);

class AnonymizationServiceImpl final : public v1::AnonymizationService::Service {
 public:
  AnonymizationServiceImpl(const Gate& gate, deidentify::Plans& plans, prearchive::Prearchive& prearchive,
                           const auth::ProjectCache& projects)
      : gate_(gate), plans_(plans), prearchive_(prearchive), projects_(projects) {}

  grpc::Status GetScript(grpc::ServerContext* context, const v1::GetScriptRequest* request,
                         v1::AnonymizationScript* response) override;
  grpc::Status SetScript(grpc::ServerContext* context, const v1::SetScriptRequest* request,
                         v1::AnonymizationScript* response) override;
  grpc::Status CheckScript(grpc::ServerContext* context, const v1::CheckScriptRequest* request,
                           v1::CheckScriptResponse* response) override;
  grpc::Status PreviewScript(grpc::ServerContext* context, const v1::PreviewScriptRequest* request,
                             v1::PreviewScriptResponse* response) override;

 private:
  class Preview;
  // The project's id; "" for the site. Projects that the caller may not know do not exist.
  absl::StatusOr<std::string> Resolve(const auth::Caller& caller, const std::string& project) const;
  v1::AnonymizationScript Show(const metadata::Script& script, const auth::Caller& caller) const;
  // What a preview runs: with the real secret only for who may use the project.
  absl::StatusOr<std::shared_ptr<const deidentify::Plan>> PlanOf(const v1::PreviewScriptRequest& request,
                                                                 const std::string& project,
                                                                 const auth::Caller& caller) const;
  absl::Status PreviewSession(const prearchive::SessionRow& session, const grpc::ServerContext& context,
                              Preview& preview) const;

  const Gate& gate_;
  deidentify::Plans& plans_;
  prearchive::Prearchive& prearchive_;
  const auth::ProjectCache& projects_;
};

}  // namespace narthex::rpc
