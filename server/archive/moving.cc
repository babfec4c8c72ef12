// Sessions that get another project, subject or label, with what the script of the project makes of their
// files.
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

#include "base/crash_point.h"
#include "base/error.h"
#include "base/ids.h"
#include "base/log.h"
#include "base/status.h"
#include "server/archive/file_work.h"
#include "server/archive/moved_files.h"
#include "server/archive/session_changes.h"
#include "storage/archive/layout.h"

namespace narthex::archiving {
namespace {

constexpr size_t kRequestIdMaxBytes = 48;  // fixed: an operation id has 64

bool IsNamedTheSame(const metadata::Session& a, const metadata::Session& b) {
  return a.project == b.project && a.subject == b.subject && a.label == b.label;
}

// The id of the operation; the same for the same request.
std::string OperationOf(const metadata::Change& change) {
  const std::string& request = change.request_id;
  const bool repeatable = !request.empty() && request.size() <= kRequestIdMaxBytes &&
                          archive::SanitizeComponent(request) == request && !absl::StrContains(request, '.');
  return absl::StrCat(kFileWorkPrefix, repeatable ? request : NewRandomId());
}

absl::Status Busy(const std::string& accession_id, absl::string_view why) {
  return Error(absl::StatusCode::kAborted, "SESSION_BUSY", why, {{"session", accession_id}});
}

// Nobody knows whether an attempt was committed that lost the database meanwhile: the next start finds out.
absl::Status CheckUnsettled(metadata::Database& database, const std::string& accession_id,
                            const std::string& operation) {
  NX_ASSIGN_OR_RETURN(const auto holds, database.holds().ListHolds());
  for (const metadata::SessionHold& hold : holds) {
    if (hold.holder == operation)
      return Busy(accession_id, "an earlier attempt of this request is not settled");
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<metadata::Session> SessionChanges::Rename(const std::string& accession_id,
                                                         const RenameOptions& options,
                                                         const metadata::Change& change, const Edit& edit) {
  const std::string& etag = options.etag;
  const std::string operation = OperationOf(change);
  NX_ASSIGN_OR_RETURN(const auto committed, with_.database.sessions().FindRequest(operation));
  if (committed) return with_.database.session_reader().Get(accession_id, metadata::Visibility::All(true));
  NX_ASSIGN_OR_RETURN(const SessionContents now, ReadContents(with_.database.session_reader(), accession_id));
  metadata::SessionUpdate update;
  NX_RETURN_IF_ERROR(edit(now, update));
  const metadata::Session after = Applied(now, update).session;
  if (IsNamedTheSame(now.session, after) || with_.plans == nullptr || !with_.anonymizes_moved ||
      !with_.anonymizes_moved(after.project)) {
    return Update(accession_id, etag, change, edit);
  }
  NX_ASSIGN_OR_RETURN(auto plan, with_.plans->Project(after.project));
  if (plan == nullptr) return Update(accession_id, etag, change, edit);
  NX_RETURN_IF_ERROR(CheckUnsettled(with_.database, accession_id, operation));

  FileWork work({with_.database, with_.file_system, with_.archive_root}, operation);
  NX_RETURN_IF_ERROR(work.Open(accession_id));
  NX_RETURN_IF_ERROR(work.Hold());
  std::vector<FieldDefinition> definitions;
  if (with_.field_definitions) {
    NX_ASSIGN_OR_RETURN(definitions, with_.field_definitions(after.project));
  }
  MovedFiles moved(
      {work, with_.file_system, with_.types, *with_.plans, std::move(definitions), options.accept_leftovers},
      std::move(plan), deidentify::VariablesOf(after.project, after.subject, after.label));
  NX_RETURN_IF_ERROR(moved.Look());
  metadata::Change noted = change;
  if (!moved.nothing_changes()) {
    NX_RETURN_IF_ERROR(moved.Write(change));
    noted.note = absl::StrCat(change.note, change.note.empty() ? "" : "; ", moved.Note());
  }
  CrashPoint("move.written");
  const auto with_files = [&](const SessionContents& contents, metadata::SessionUpdate& all) -> absl::Status {
    if (!etag.empty() && contents.session.etag != etag) {
      return Error(absl::StatusCode::kAborted, "ETAG_MISMATCH",
                   absl::StrCat("session ", accession_id, " was changed by somebody else meanwhile"),
                   {{"session", accession_id}});
    }
    NX_RETURN_IF_ERROR(edit(contents, all));
    if (!IsNamedTheSame(Applied(contents, all).session, after))
      return Busy(accession_id, "the session got another name meanwhile; try again");
    if (moved.nothing_changes()) return absl::OkStatus();
    return moved.Describe(contents, all);
  };
  NX_ASSIGN_OR_RETURN(metadata::Session session, work.Commit(*this, noted, with_files));
  Log(LogLevel::kInfo, "session renamed, with its project's script",
      {{"session", accession_id}, {"operation", operation}});
  return session;
}

}  // namespace narthex::archiving
