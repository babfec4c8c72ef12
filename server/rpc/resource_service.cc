#include "server/rpc/resource_service.h"

#include <string>
#include <vector>

#include "base/error.h"
#include "base/limits.h"
#include "base/status.h"
#include "server/rpc/convert.h"

namespace narthex::rpc {
namespace {

absl::Status Protocol(absl::string_view what) { return InvalidArgument("UPLOAD_PROTOCOL", what, {}); }

// The messages of AddResourceFiles behind `open`, as files.
class MessageStream : public archiving::FileStream {
 public:
  explicit MessageStream(WatchedReader<v1::AddResourceFilesRequest>& reader) : reader_(reader) {}

  absl::StatusOr<bool> Next(archiving::IncomingFile* file) override {
    if (!pending_) NX_RETURN_IF_ERROR(ReadMessage());
    pending_ = false;
    if (message_.has_finish()) return false;
    if (!message_.has_file()) return Protocol("after a file's bytes comes `file` or `finish`");
    if (message_.file().size_bytes() < 0) return InvalidField("size_bytes", "negative");
    file->path = message_.file().path();
    file->size_bytes = size_ = message_.file().size_bytes();
    file->sha256_hex = message_.file().sha256();
    file->format = message_.file().format();
    return true;
  }

  absl::Status Read(const archive::ByteSink& sink) override {
    int64_t got = 0;
    while (true) {
      NX_RETURN_IF_ERROR(ReadMessage());
      if (message_.message_case() != v1::AddResourceFilesRequest::kData) break;
      got += static_cast<int64_t>(message_.data().size());
      if (message_.data().size() > limits::kChunkMaxBytes || got > size_) {
        return Protocol("more bytes than the file has");
      }
      NX_RETURN_IF_ERROR(sink(message_.data()));
    }
    pending_ = true;
    return got == size_ ? absl::OkStatus() : Protocol("fewer bytes than the file has");
  }

 private:
  absl::Status ReadMessage() {
    return reader_.Read(&message_)
               ? absl::OkStatus()
               : absl::CancelledError("the stream ended before `finish`; nothing was added");
  }

  WatchedReader<v1::AddResourceFilesRequest>& reader_;
  v1::AddResourceFilesRequest message_;
  bool pending_ = false;  // message_ is still to be looked at
  int64_t size_ = 0;
};

}  // namespace

grpc::Status ResourceServiceImpl::ListResources(grpc::ServerContext* context,
                                                const v1::ListResourcesRequest* request,
                                                v1::ListResourcesResponse* response) {
  return with_.gate.Unary(
      context, response, [&](const auth::Caller& caller) -> absl::StatusOr<v1::ListResourcesResponse> {
        NX_ASSIGN_OR_RETURN(const auto session, Find(caller, request->session(), SessionRight::kRead));
        NX_ASSIGN_OR_RETURN(const auto resources,
                            with_.database.session_reader().ListResources(session.accession_id));
        v1::ListResourcesResponse answer;
        for (const bool own : {true, false}) {
          for (const metadata::Resource& resource : resources) {
            if (resource.scan_id.empty() == own) *answer.add_resources() = ToProto(resource);
          }
        }
        return answer;
      });
}

grpc::Status ResourceServiceImpl::AddResourceFiles(grpc::ServerContext* context,
                                                   grpc::ServerReader<v1::AddResourceFilesRequest>* reader,
                                                   v1::AddResourceFilesResponse* response) {
  return with_.gate.Stream(context, [&](const auth::Caller& caller) -> absl::Status {
    v1::AddResourceFilesRequest first;
    auto client = with_.gate.Watched(context, reader);
    if (!client.Read(&first) || !first.has_open()) return Protocol("the first message is `open`");
    const v1::AddResourceFilesRequest::Open& open = first.open();
    NX_ASSIGN_OR_RETURN(const auto session, Find(caller, open.session(), SessionRight::kEdit));
    const archiving::SessionResources::Target target{
        session.accession_id, {open.scan(), open.resource()}, open.format(), open.content()};
    MessageStream stream(client);
    NX_ASSIGN_OR_RETURN(const auto added,
                        with_.resources.Add(target, stream, {caller.user(), open.comment(), ""}));
    *response->mutable_resource() = ToProto(added.resource);
    for (const metadata::File& file : added.files) *response->add_files() = ToProto(file);
    return absl::OkStatus();
  });
}

grpc::Status ResourceServiceImpl::RemoveResourceFiles(grpc::ServerContext* context,
                                                      const v1::RemoveResourceFilesRequest* request,
                                                      v1::RemoveResourceFilesResponse* response) {
  return with_.gate.Unary(
      context, response, [&](const auth::Caller& caller) -> absl::StatusOr<v1::RemoveResourceFilesResponse> {
        // They are kept until a purge, but for whoever looks they are deleted.
        NX_ASSIGN_OR_RETURN(const auto session, Find(caller, request->session(), SessionRight::kOwn));
        NX_ASSIGN_OR_RETURN(
            const int64_t count,
            with_.resources.Remove(session.accession_id, {request->scan(), request->resource()},
                                   {request->paths().begin(), request->paths().end()},
                                   {caller.user(), request->comment(), request->request_id()}));
        v1::RemoveResourceFilesResponse answer;
        answer.set_file_count(static_cast<int32_t>(count));
        return answer;
      });
}

grpc::Status ResourceServiceImpl::CheckSession(grpc::ServerContext* context,
                                               const v1::CheckSessionRequest* request,
                                               grpc::ServerWriter<v1::CheckSessionResponse>* writer) {
  return with_.gate.Stream(context, [&](const auth::Caller& caller) -> absl::Status {
    if (request->adopt() && !request->repair()) return InvalidField("adopt", "needs repair");
    // A share's viewers read images; what lies beside them on the disk is not theirs to see.
    NX_ASSIGN_OR_RETURN(
        const auto session,
        Find(caller, request->session(), request->repair() ? SessionRight::kOwn : SessionRight::kEdit));
    NX_ASSIGN_OR_RETURN(
        const auto result,
        with_.check.Run(session.accession_id, {request->repair(), request->adopt(), request->sizes_only()},
                        {caller.user(), "", ""}));
    v1::CheckSessionResponse answer;
    auto client = with_.gate.Watched(context, writer);
    int repaired = 0;
    for (const archiving::CheckFinding& finding : result.findings) {
      v1::CheckSessionResponse::Finding* told = answer.mutable_finding();
      told->set_kind(finding.kind);
      told->set_place(finding.place);
      told->set_detail(finding.detail);
      told->set_repaired(finding.repaired);
      if (finding.repaired) ++repaired;
      if (!client.Write(answer)) return absl::CancelledError("the client went away");
    }
    v1::CheckSessionResponse::Summary* summary = answer.mutable_summary();
    summary->set_file_count(static_cast<int32_t>(result.file_count));
    summary->set_size_bytes(result.size_bytes);
    summary->set_finding_count(static_cast<int32_t>(result.findings.size()));
    summary->set_repaired_count(repaired);
    client.Write(answer);
    return absl::OkStatus();
  });
}

}  // namespace narthex::rpc
