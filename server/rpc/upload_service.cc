#include "server/rpc/upload_service.h"

#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

#include "base/error.h"
#include "base/limits.h"
#include "base/limits_server.h"
#include "base/log.h"
#include "base/status.h"
#include "imaging/identify/labels.h"
#include "server/ingest/archive_import.h"
#include "server/rpc/convert.h"

namespace narthex::rpc {
namespace {

absl::Status Protocol(absl::string_view what) { return InvalidArgument("UPLOAD_PROTOCOL", what); }

bool SendsForOthers(const auth::Caller& caller) {
  return caller.is_admin() || caller.identity().user.all_data_admin;
}

// What the receiver of the called AE title, if there is one, says of its uploads.
void TakeFromReceiver(const ingest::Policy& policy, prearchive::UploadRow* row) {
  const ingest::ReceiverPolicy* receiver = policy.FindReceiver(row->called_ae_title());
  if (receiver == nullptr) return;
  row->set_receiver(row->called_ae_title());
  row->set_skip_anonymization(!receiver->anonymize);
  row->set_idle_build_seconds(receiver->idle_build_seconds);
  prearchive::SessionKeyRow& destination = *row->mutable_destination();
  destination.set_direct_archive(receiver->direct_archive);
  if (destination.auto_archive() == 0) destination.set_auto_archive(receiver->auto_archive);
}

}  // namespace

std::string AddressOf(const grpc::ServerContext& context) {
  const std::string peer = context.peer();
  const size_t kind = peer.find(':');
  const size_t port = peer.rfind(':');
  if (kind == std::string::npos || port <= kind) return peer;
  return peer.substr(kind + 1, port - kind - 1);
}

absl::StatusOr<prearchive::UploadRow> UploadServiceImpl::NewRow(const auth::Caller& caller,
                                                                const std::string& address,
                                                                const v1::Destination& destination,
                                                                int digest_algorithm,
                                                                const v1::ArrivalSource& source) const {
  NX_RETURN_IF_ERROR(caller.RequireUser());
  prearchive::UploadRow row;
  row.set_user(caller.user());
  row.set_digest_algorithm(digest_algorithm);
  row.set_kind("grpc");
  row.set_address(address);
  // Only who acts for others may say where objects come from: AE titles take part in routing.
  if (!source.kind().empty() && SendsForOthers(caller)) {
    row.set_kind(source.kind());
    row.set_called_ae_title(source.called_ae_title());
    row.set_calling_ae_title(source.calling_ae_title());
    if (!source.address().empty()) row.set_address(source.address());
  }
  if (source.locally_anonymized()) {
    if (with_.streams.plans == nullptr || !with_.streams.plans->IsTrusted(caller.user())) {
      return Error(absl::StatusCode::kPermissionDenied, "PERMISSION_DENIED",
                   absl::StrCat("user ", caller.user(),
                                " may not send objects as de-identified; the administrator can "
                                "add them to the setting anonymize.trusted_uploaders"));
    }
    row.set_locally_anonymized(true);
  }
  if (!destination.project().empty()) {
    const auto project = caller.Resolve(destination.project());
    if (!project) {
      NX_RETURN_IF_ERROR(caller.RequireEdit(destination.project()));
      return NotFound(
          "PROJECT_NOT_FOUND",
          absl::StrCat("there is no project ", destination.project(), "; `narthex project list` lists them"),
          {{"project", destination.project()}});
    }
    row.mutable_destination()->set_project(*project);
  }
  for (const auto& [field, value] : {std::pair("destination.subject", &destination.subject()),
                                     std::pair("destination.session", &destination.session())}) {
    if (!value->empty() && !identify::IsLabel(*value)) {
      return InvalidField(
          field, absl::StrCat("a label is 1 to ", limits::kLabelMaxBytes, " letters, digits, '_' and '-'"));
    }
  }
  row.mutable_destination()->set_subject(destination.subject());
  row.mutable_destination()->set_label(destination.session());
  row.mutable_destination()->set_auto_archive(destination.auto_archive());
  row.set_duplicates(destination.duplicates());
  if (row.kind() == "dicom") TakeFromReceiver(*with_.streams.policies.Current(), &row);
  return row;
}

absl::StatusOr<ingest::Places::Place> UploadServiceImpl::Enter(const auth::Caller& caller,
                                                               const grpc::ServerContext& context,
                                                               const v1::ArrivalSource& source) const {
  if (with_.streams.admission == nullptr || InProcess(context)) return ingest::Places::Place();
  return with_.streams.admission->uploads().Enter(source.kind() == "dicom" && SendsForOthers(caller)
                                                      ? ingest::SenderBehind(caller.user(), source.address())
                                                      : caller.user());
}

// An upload is its maker's; administrators see all.
absl::StatusOr<prearchive::UploadRow> UploadServiceImpl::GetOwn(const auth::Caller& caller,
                                                                absl::string_view name) const {
  NX_ASSIGN_OR_RETURN(const std::string id, IdOf(name, "uploads", "name"));
  NX_ASSIGN_OR_RETURN(prearchive::UploadRow row, with_.streams.uploads.Get(id));
  if (row.user() != caller.user() && !caller.is_admin()) {
    return NotFound("UPLOAD_NOT_FOUND", absl::StrCat("there is no upload ", id), {{"upload", id}});
  }
  return row;
}

grpc::Status UploadServiceImpl::CreateUpload(grpc::ServerContext* context,
                                             const v1::CreateUploadRequest* request, v1::Upload* response) {
  return with_.gate.Unary(context, response, [&](const auth::Caller& caller) -> absl::StatusOr<v1::Upload> {
    NX_ASSIGN_OR_RETURN(prearchive::UploadRow row, NewRow(caller, AddressOf(*context), request->destination(),
                                                          request->digest_algorithm(), request->source()));
    NX_ASSIGN_OR_RETURN(row, with_.streams.uploads.Create(std::move(row), request->request_id()));
    NX_ASSIGN_OR_RETURN(const auto progress, with_.streams.uploads.Progress(row.id()));
    return ToProto(row, progress);
  });
}

grpc::Status UploadServiceImpl::GetUpload(grpc::ServerContext* context, const v1::GetUploadRequest* request,
                                          v1::Upload* response) {
  return with_.gate.Unary(context, response, [&](const auth::Caller& caller) -> absl::StatusOr<v1::Upload> {
    NX_ASSIGN_OR_RETURN(const prearchive::UploadRow row, GetOwn(caller, request->name()));
    NX_ASSIGN_OR_RETURN(const auto progress, with_.streams.uploads.Progress(row.id()));
    return ToProto(row, progress);
  });
}

absl::StatusOr<prearchive::UploadRow> UploadServiceImpl::OpenUpload(const auth::Caller& caller,
                                                                    const std::string& address,
                                                                    const v1::UploadOpen& open) const {
  if (open.name().empty()) {
    NX_ASSIGN_OR_RETURN(prearchive::UploadRow row,
                        NewRow(caller, address, open.destination(), open.digest_algorithm(), open.source()));
    return with_.streams.uploads.Create(std::move(row), "");
  }
  NX_ASSIGN_OR_RETURN(prearchive::UploadRow row, GetOwn(caller, open.name()));
  if (row.state() != static_cast<int>(ingest::UploadState::kOpen)) {
    return FailedPrecondition(
        "UPLOAD_COMMITTED",
        absl::StrCat("upload ", row.id(), " is complete; open another one for more objects"),
        {{"upload", row.id()}});
  }
  return row;
}

grpc::Status UploadServiceImpl::Upload(
    grpc::ServerContext* context, grpc::ServerReaderWriter<v1::UploadResponse, v1::UploadRequest>* stream) {
  auto caller = with_.gate.Admit(*context);
  if (!caller.ok()) return ToGrpc(caller.status());
  const auth::CallScope scope(*caller);
  StallWatch::Guard reading(with_.stalls, *context);
  // A stream holds a thread from its beginning on; only of those who send for others the first message says
  // whose place it takes.
  using Place = ingest::Places::Place;
  const bool for_others = SendsForOthers(*caller);
  const auto own_place = for_others ? absl::StatusOr<Place>(Place()) : Enter(*caller, *context, {});
  if (!own_place.ok()) return ToGrpc(own_place.status());
  v1::UploadRequest request;
  if (!reading.Waiting([&] { return stream->Read(&request); }) || !request.has_open()) {
    return ToGrpc(Protocol("the first message of the stream must be `open`"));
  }
  const auto place =
      for_others ? Enter(*caller, *context, request.open().source()) : absl::StatusOr<Place>(Place());
  if (!place.ok()) return ToGrpc(place.status());
  auto row = OpenUpload(*caller, AddressOf(*context), request.open());
  if (!row.ok()) return ToGrpc(row.status());
  v1::UploadResponse opened;
  *opened.mutable_opened() = ToProto(*row, {});
  if (!stream->Write(opened)) return grpc::Status::CANCELLED;

  v1::UploadResponse answer;
  StallWatch::Guard writing(with_.stalls, *context);
  ingest::ObjectStream objects(with_.streams, *row, *caller, !request.open().name().empty(),
                               [&](const std::vector<prearchive::OutcomeRow>& outcomes) {
                                 answer.Clear();
                                 for (const auto& outcome : outcomes)
                                   *answer.add_outcomes() = ToProto(outcome);
                                 writing.Waiting([&] { return stream->Write(answer); });
                               });
  const absl::Status pumped = Pump(objects, *stream, reading);
  const absl::Status finished = objects.Finish();
  return ToGrpc(pumped.ok() ? finished : pumped);
}

absl::Status UploadServiceImpl::Pump(ingest::ObjectStream& objects,
                                     grpc::ServerReaderWriter<v1::UploadResponse, v1::UploadRequest>& stream,
                                     StallWatch::Guard& reading) const {
  v1::UploadRequest request;
  while (reading.Waiting([&] { return stream.Read(&request); })) {
    if (request.has_pack()) {
      for (const v1::WholeObject& object : request.pack().objects()) {
        NX_RETURN_IF_ERROR(
            objects.Whole(object.sequence(), object.data(), object.digest(), object.transfer_syntax_uid()));
      }
    } else if (request.has_chunk()) {
      const v1::ObjectChunk& from = request.chunk();
      ingest::ObjectStream::Chunk chunk;
      chunk.sequence = from.sequence();
      chunk.offset = from.offset();
      chunk.data = from.data();
      chunk.crc32c = from.crc32c();
      chunk.last = from.last();
      chunk.size_bytes = from.size_bytes();
      chunk.digest = from.digest();
      chunk.abandon = from.abandon();
      chunk.transfer_syntax_uid = from.transfer_syntax_uid();
      NX_RETURN_IF_ERROR(objects.Add(chunk));
    } else {
      return Protocol("after `open`, only `pack` and `chunk` may follow");
    }
  }
  return absl::OkStatus();
}

grpc::Status UploadServiceImpl::FindMissing(grpc::ServerContext* context,
                                            const v1::FindMissingRequest* request,
                                            v1::FindMissingResponse* response) {
  return with_.gate.Unary(
      context, response, [&](const auth::Caller& caller) -> absl::StatusOr<v1::FindMissingResponse> {
        if (request->digests_size() > limits::kDigestsMax)
          return InvalidField("digests", absl::StrCat("over ", limits::kDigestsMax.get()));
        const auto project = caller.Resolve(request->destination().project());
        if (!project) {
          NX_RETURN_IF_ERROR(caller.RequireEdit(request->destination().project()));
          return InvalidField("destination.project", "no such project");
        }
        v1::FindMissingResponse answer;
        std::vector<std::string> not_staged;
        for (const std::string& digest : request->digests()) {
          NX_ASSIGN_OR_RETURN(const bool staged, with_.streams.prearchive.HasDigest(*project, digest));
          if (!staged) not_staged.push_back(digest);
        }
        NX_ASSIGN_OR_RETURN(const auto archived,
                            with_.database.session_reader().FindReceived(*project, not_staged));
        const absl::flat_hash_set<std::string> have(archived.begin(), archived.end());
        for (const std::string& digest : not_staged) {
          if (!have.contains(digest)) answer.add_missing(digest);
        }
        return answer;
      });
}

absl::StatusOr<v1::CommitUploadResponse> UploadServiceImpl::Commit(const std::string& user,
                                                                   const prearchive::UploadRow& row,
                                                                   uint64_t expected_count,
                                                                   const std::vector<std::string>& manifest,
                                                                   const std::string& request_id) const {
  NX_ASSIGN_OR_RETURN(const auto progress, with_.streams.uploads.Commit(row.id(), expected_count, manifest));
  NX_ASSIGN_OR_RETURN(const auto committed, with_.streams.uploads.Get(row.id()));
  // The sender's own account of what it sent tells more than that it is done.
  const char* const completion = expected_count > 0 || !manifest.empty() ? "manifest" : "commit";
  v1::CommitUploadResponse answer;
  *answer.mutable_upload() = ToProto(committed, progress);
  for (const std::string& session : progress.sessions) {
    const std::string id = request_id.empty() ? "" : absl::StrCat(request_id, "/", session);
    NX_ASSIGN_OR_RETURN(const std::string operation, with_.build(session, user, completion, id));
    answer.add_build_operations(operation.empty() ? "" : absl::StrCat("operations/", operation));
  }
  return answer;
}

grpc::Status UploadServiceImpl::CommitUpload(grpc::ServerContext* context,
                                             const v1::CommitUploadRequest* request,
                                             v1::CommitUploadResponse* response) {
  return with_.gate.Unary(
      context, response, [&](const auth::Caller& caller) -> absl::StatusOr<v1::CommitUploadResponse> {
        if (request->expected_count() < 0) return InvalidField("expected_count", "negative");
        NX_ASSIGN_OR_RETURN(const auto row, GetOwn(caller, request->name()));
        return Commit(caller.user(), row, static_cast<uint64_t>(request->expected_count()),
                      {request->manifest().begin(), request->manifest().end()}, request->request_id());
      });
}

grpc::Status UploadServiceImpl::ImportArchive(grpc::ServerContext* context,
                                              grpc::ServerReader<v1::ImportArchiveRequest>* reader,
                                              v1::ImportArchiveResponse* response) {
  return with_.gate.Unary(
      context, response, [&](const auth::Caller& caller) -> absl::StatusOr<v1::ImportArchiveResponse> {
        NX_ASSIGN_OR_RETURN(const ingest::Places::Place place, Enter(caller, *context, {}));
        StallWatch::Guard reading(with_.stalls, *context);
        v1::ImportArchiveRequest request;
        if (!reading.Waiting([&] { return reader->Read(&request); }) || !request.has_options()) {
          return Protocol("the first message of the stream must be `options`");
        }
        const v1::ImportOptions options = request.options();
        v1::ArrivalSource source;
        source.set_kind("archive");
        NX_ASSIGN_OR_RETURN(auto row, NewRow(caller, AddressOf(*context), options.destination(), 0, source));
        row.set_kind("archive");
        NX_ASSIGN_OR_RETURN(row, with_.streams.uploads.Create(std::move(row), ""));
        v1::ImportArchiveResponse answer;
        ingest::ObjectStream objects(
            with_.streams, row, caller, false, [&](const std::vector<prearchive::OutcomeRow>& outcomes) {
              for (const auto& outcome : outcomes) {
                if (outcome.outcome() <= static_cast<int>(prearchive::Outcome::kReplaced)) continue;
                if (answer.not_kept_size() < limits::kNotKeptMax) *answer.add_not_kept() = ToProto(outcome);
              }
            });
        int64_t sequence = 0;
        const absl::Status imported = ingest::ImportArchive(
            [&]() -> absl::StatusOr<absl::string_view> {
              if (!reading.Waiting([&] { return reader->Read(&request); })) return absl::string_view();
              if (!request.has_data()) return Protocol("after `options`, only `data` may follow");
              return absl::string_view(request.data());
            },
            objects, &sequence);
        NX_RETURN_IF_ERROR(objects.Finish());
        if (context->IsCancelled()) {
          return Error(absl::StatusCode::kCancelled, "OPERATION_CANCELLED", "the client went away");
        }
        NX_RETURN_IF_ERROR(imported);
        if (options.commit()) {
          NX_ASSIGN_OR_RETURN(const auto committed, Commit(caller.user(), row, 0, {}, ""));
          *answer.mutable_upload() = committed.upload();
        } else {
          NX_ASSIGN_OR_RETURN(const auto progress, with_.streams.uploads.Progress(row.id()));
          *answer.mutable_upload() = ToProto(row, progress);
        }
        return answer;
      });
}

grpc::Status UploadServiceImpl::ListUploadOutcomes(grpc::ServerContext* context,
                                                   const v1::ListUploadOutcomesRequest* request,
                                                   v1::ListUploadOutcomesResponse* response) {
  return with_.gate.Unary(
      context, response, [&](const auth::Caller& caller) -> absl::StatusOr<v1::ListUploadOutcomesResponse> {
        NX_ASSIGN_OR_RETURN(const auto row, GetOwn(caller, request->name()));
        NX_ASSIGN_OR_RETURN(const int size, PageSize(request->page_size()));
        int64_t after = -1;
        if (!request->page_token().empty() && !absl::SimpleAtoi(request->page_token(), &after)) {
          return InvalidArgument("INVALID_PAGE_TOKEN", "this list did not give out that page token");
        }
        NX_ASSIGN_OR_RETURN(const auto outcomes, with_.streams.uploads.ListOutcomes(row.id(), after, size));
        v1::ListUploadOutcomesResponse answer;
        for (const auto& outcome : outcomes) *answer.add_outcomes() = ToProto(outcome);
        if (static_cast<int>(outcomes.size()) == size)
          answer.set_next_page_token(absl::StrCat(outcomes.back().sequence()));
        return answer;
      });
}

}  // namespace narthex::rpc
