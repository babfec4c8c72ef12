#include "server/rpc/archive_service.h"

#include <algorithm>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

#include "base/digest.h"
#include "base/error.h"
#include "base/log.h"
#include "base/status.h"
#include "server/rpc/convert.h"

namespace narthex::rpc {
namespace {

constexpr size_t kPieceBytes = 1 << 20;
// Files that one look into the database brings while downloading.
constexpr int kFilesPage = 1000;

// Whether the filter names the status DELETED; who may see deleted sessions finds them only then.
bool NamesDeleted(const metadata::FilterNode* node) {
  if (node == nullptr) return false;
  if (node->kind == metadata::FilterNode::Kind::kCompare) {
    return absl::EqualsIgnoreCase(node->field, "status") && absl::EqualsIgnoreCase(node->value, "DELETED") &&
           node->op != metadata::FilterNode::Op::kNe;
  }
  return std::any_of(node->children.begin(), node->children.end(),
                     [](const metadata::FilterNode& child) { return NamesDeleted(&child); });
}

// The record of a deleted session is read by its id; its label may be another one's by now.
bool ById(absl::string_view name) { return absl::StartsWith(name, "sessions/"); }

}  // namespace

grpc::Status ArchiveServiceImpl::SearchSessions(grpc::ServerContext* context,
                                                const v1::SearchSessionsRequest* request,
                                                v1::SearchSessionsResponse* response) {
  return gate_.Unary(
      context, response, [&](const auth::Caller& caller) -> absl::StatusOr<v1::SearchSessionsResponse> {
        NX_ASSIGN_OR_RETURN(const int size, PageSize(request->page_size()));
        metadata::SearchRequest search;
        NX_ASSIGN_OR_RETURN(search.filter, metadata::SessionFilter::Parse(request->filter()));
        search.order_by = request->order_by();
        search.page = {size, request->page_token()};
        search.count_total = request->count_total();
        NX_ASSIGN_OR_RETURN(
            const auto found,
            database_.session_reader().Search(search, caller.Visible(NamesDeleted(search.filter.root()))));
        v1::SearchSessionsResponse answer;
        for (const auto& session : found.sessions) *answer.add_sessions() = View(caller, session);
        answer.set_next_page_token(found.next_page_token);
        answer.set_total_size(static_cast<int32_t>(found.total_count.value_or(0)));
        return answer;
      });
}

grpc::Status ArchiveServiceImpl::SearchScans(grpc::ServerContext* context,
                                             const v1::SearchScansRequest* request,
                                             v1::SearchScansResponse* response) {
  return gate_.Unary(context, response,
                     [&](const auth::Caller& caller) -> absl::StatusOr<v1::SearchScansResponse> {
                       NX_ASSIGN_OR_RETURN(const int size, PageSize(request->page_size()));
                       metadata::SearchRequest search;
                       NX_ASSIGN_OR_RETURN(search.filter, metadata::SessionFilter::Parse(request->filter()));
                       search.order_by = request->order_by();
                       search.page = {size, request->page_token()};
                       search.count_total = request->count_total();
                       NX_ASSIGN_OR_RETURN(const auto found,
                                           database_.session_reader().SearchScans(
                                               search, caller.Visible(NamesDeleted(search.filter.root()))));
                       v1::SearchScansResponse answer;
                       for (const auto& from : found.scans) {
                         v1::FoundScan& to = *answer.add_scans();
                         to.set_session(absl::StrCat("sessions/", from.session));
                         to.set_project(from.project);
                         to.set_subject(from.subject);
                         to.set_label(from.label);
                         *to.mutable_scan() = ToProto(from.scan);
                       }
                       answer.set_next_page_token(found.next_page_token);
                       answer.set_total_size(found.total_count.value_or(0));
                       return answer;
                     });
}

grpc::Status ArchiveServiceImpl::GetSession(grpc::ServerContext* context,
                                            const v1::GetSessionRequest* request, v1::Session* response) {
  return gate_.Unary(context, response, [&](const auth::Caller& caller) -> absl::StatusOr<v1::Session> {
    NX_ASSIGN_OR_RETURN(const auto session, Find(caller, request->name(), Right::kRead));
    return View(caller, session);
  });
}

grpc::Status ArchiveServiceImpl::GetSessionDocument(grpc::ServerContext* context,
                                                    const v1::GetSessionDocumentRequest* request,
                                                    v1::GetSessionDocumentResponse* response) {
  return gate_.Unary(context, response,
                     [&](const auth::Caller& caller) -> absl::StatusOr<v1::GetSessionDocumentResponse> {
                       NX_ASSIGN_OR_RETURN(const auto session, Find(caller, request->name(), Right::kRead));
                       NX_ASSIGN_OR_RETURN(const auto contents, Contents(caller, session));
                       v1::GetSessionDocumentResponse answer;
                       answer.set_xml(contents.document.Reveal());
                       return answer;
                     });
}

grpc::Status ArchiveServiceImpl::ListScans(grpc::ServerContext* context, const v1::ListScansRequest* request,
                                           v1::ListScansResponse* response) {
  return gate_.Unary(
      context, response, [&](const auth::Caller& caller) -> absl::StatusOr<v1::ListScansResponse> {
        NX_ASSIGN_OR_RETURN(const auto session, Find(caller, request->session(), Right::kRead,
                                                     /*with_deleted=*/ById(request->session())));
        NX_ASSIGN_OR_RETURN(const auto scans, database_.session_reader().ListScans(session.accession_id));
        v1::ListScansResponse answer;
        for (const auto& scan : scans) *answer.add_scans() = ToProto(scan);
        return answer;
      });
}

grpc::Status ArchiveServiceImpl::ListFiles(grpc::ServerContext* context, const v1::ListFilesRequest* request,
                                           v1::ListFilesResponse* response) {
  return gate_.Unary(
      context, response, [&](const auth::Caller& caller) -> absl::StatusOr<v1::ListFilesResponse> {
        NX_ASSIGN_OR_RETURN(const auto session, Find(caller, request->session(), Right::kRead,
                                                     /*with_deleted=*/ById(request->session())));
        NX_ASSIGN_OR_RETURN(const int size, PageSize(request->page_size()));
        metadata::SessionReader::FileQuery query;
        if (!request->scan().empty()) query.scan_id = request->scan();
        if (!request->resource().empty()) query.resource = request->resource();
        query.page = {size, request->page_token()};
        NX_ASSIGN_OR_RETURN(const auto list,
                            database_.session_reader().ListFiles(session.accession_id, query));
        v1::ListFilesResponse answer;
        for (const auto& file : list.files) *answer.add_files() = ToProto(file);
        answer.set_next_page_token(list.next_page_token);
        return answer;
      });
}

absl::Status ArchiveServiceImpl::ReadBytes(const metadata::Session& session, const metadata::File& file,
                                           int64_t offset,
                                           const std::function<absl::Status(absl::string_view)>& sink) const {
  const auto damaged = [&](absl::string_view what) -> absl::Status {
    // A merge may have replaced it meanwhile, or a purge removed it: that is no damage.
    const auto now = database_.session_reader().Get(session.accession_id, metadata::Visibility::All());
    if (absl::IsNotFound(now.status())) {
      return FailedPrecondition("SESSION_NOT_ACTIVE",
                                absl::StrCat("session ", session.accession_id, " was deleted meanwhile"),
                                {{"session", session.accession_id}});
    }
    if (now.ok() && now->etag != session.etag) {
      return Error(
          absl::StatusCode::kAborted, "ETAG_MISMATCH",
          absl::StrCat("session ", session.accession_id, " was changed while it was read; read it again"),
          {{"session", session.accession_id}});
    }
    Log(LogLevel::kError, "archived file damaged",
        {{"session", session.accession_id}, {"path", file.path}, {"what", what}});
    return DataLoss("ARCHIVED_BYTES_CORRUPT",
                    absl::StrCat("file ", file.path, " of session ", session.accession_id,
                                 " is damaged: ", what, "; tell the administrator"),
                    {{"session", session.accession_id}, {"path", file.path}});
  };
  auto opened =
      with_.file_system.Open(absl::StrCat(with_.archive_root, "/", session.folder, "/", file.path), {});
  if (!opened.ok()) return damaged(opened.status().message());
  std::string buffer(std::min<uint64_t>(kPieceBytes, std::max<int64_t>(file.size_bytes, 1)), '\0');
  Xxh3Hasher hasher;
  uint64_t at = static_cast<uint64_t>(offset);
  const uint64_t size = static_cast<uint64_t>(file.size_bytes);
  while (at < size) {
    const size_t want = std::min<uint64_t>(buffer.size(), size - at);
    NX_ASSIGN_OR_RETURN(const size_t got, (*opened)->ReadAt(at, buffer.data(), want));
    if (got == 0) return damaged("it is shorter than it was");
    const absl::string_view bytes(buffer.data(), got);
    hasher.Update(bytes);
    at += got;
    // The last piece goes out only when the whole is known to be right.
    if (at == size && offset == 0 && !file.xxh3_stored.empty() && hasher.Finish() != file.xxh3_stored) {
      return damaged("its digest has changed");
    }
    NX_RETURN_IF_ERROR(sink(bytes));
  }
  return absl::OkStatus();
}

grpc::Status ArchiveServiceImpl::ReadFile(grpc::ServerContext* context, const v1::ReadFileRequest* request,
                                          grpc::ServerWriter<v1::ReadFileResponse>* writer) {
  const auto read = [&](const auth::Caller& caller) -> absl::Status {
    NX_ASSIGN_OR_RETURN(const auto session, Find(caller, request->session(), Right::kRead));
    if (request->offset() < 0) return InvalidField("offset", "negative");
    metadata::SessionReader::FileQuery query;
    query.path = request->path();
    query.page.size = 1;
    NX_ASSIGN_OR_RETURN(const auto list, database_.session_reader().ListFiles(session.accession_id, query));
    if (list.files.empty()) {
      return NotFound("FILE_NOT_FOUND",
                      absl::StrCat("session ", session.accession_id, " has no file ", request->path()),
                      {{"session", session.accession_id}, {"path", request->path()}});
    }
    v1::ReadFileResponse answer;
    auto client = gate_.Watched(context, writer);
    return ReadBytes(session, list.files.front(), request->offset(), [&](absl::string_view bytes) {
      answer.set_data(bytes.data(), bytes.size());
      return client.Write(answer) ? absl::OkStatus() : absl::CancelledError("the client went away");
    });
  };
  return gate_.Stream(context, read);
}

grpc::Status ArchiveServiceImpl::DownloadSession(grpc::ServerContext* context,
                                                 const v1::DownloadSessionRequest* request,
                                                 grpc::ServerWriter<v1::DownloadSessionResponse>* writer) {
  const auto download = [&](const auth::Caller& caller) -> absl::Status {
    NX_ASSIGN_OR_RETURN(const auto session, Find(caller, request->session(), Right::kRead));
    const absl::flat_hash_set<std::string> skip(request->skip_paths().begin(), request->skip_paths().end());
    const absl::flat_hash_set<std::string> scans(request->scans().begin(), request->scans().end());
    const absl::flat_hash_set<std::string> labels(request->resources().begin(), request->resources().end());
    int64_t to_skip = request->skip_count();
    metadata::SessionReader::FileQuery query;
    query.page.size = kFilesPage;
    const absl::Status gone = absl::CancelledError("the client went away");
    auto client = gate_.Watched(context, writer);
    do {
      NX_ASSIGN_OR_RETURN(const auto list, database_.session_reader().ListFiles(session.accession_id, query));
      for (const metadata::File& file : list.files) {
        if ((!scans.empty() && !scans.contains(file.scan_id)) ||
            (!labels.empty() && !labels.contains(file.resource)) || to_skip-- > 0 ||
            skip.contains(file.path)) {
          continue;
        }
        v1::DownloadSessionResponse answer;
        *answer.mutable_file() = ToProto(file);
        if (!client.Write(answer)) return gone;
        answer.Clear();
        NX_RETURN_IF_ERROR(ReadBytes(session, file, 0, [&](absl::string_view bytes) {
          answer.set_data(bytes.data(), bytes.size());
          return client.Write(answer) ? absl::OkStatus() : gone;
        }));
      }
      query.page.token = list.next_page_token;
    } while (!query.page.token.empty());
    return absl::OkStatus();
  };
  return gate_.Stream(context, download);
}

grpc::Status ArchiveServiceImpl::ListSessionHistory(grpc::ServerContext* context,
                                                    const v1::ListSessionHistoryRequest* request,
                                                    v1::ListSessionHistoryResponse* response) {
  return gate_.Unary(
      context, response, [&](const auth::Caller& caller) -> absl::StatusOr<v1::ListSessionHistoryResponse> {
        NX_ASSIGN_OR_RETURN(const auto session, Find(caller, request->name(), Right::kRead, true));
        if (SeesThroughShare(caller, session)) {
          return Error(absl::StatusCode::kPermissionDenied, "PERMISSION_DENIED",
                       absl::StrCat("the history of session ", session.accession_id,
                                    " belongs to its own project; it is only shared with yours"),
                       {{"session", session.accession_id}});
        }
        NX_ASSIGN_OR_RETURN(const auto entries, database_.session_reader().ListHistory(session.accession_id));
        v1::ListSessionHistoryResponse answer;
        for (auto it = entries.rbegin(); it != entries.rend(); ++it) {
          *answer.add_entries() = ToProto(*it);
        }
        return answer;
      });
}

}  // namespace narthex::rpc
