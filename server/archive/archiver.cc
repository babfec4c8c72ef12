#include "server/archive/archiver.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

#include "base/error.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/status.h"
#include "server/archive/filing.h"
#include "storage/archive/layout.h"

namespace narthex::archiving {
namespace {

using prearchive::BuiltObject;
using prearchive::ConflictRow;
using prearchive::SessionRow;

// Between attempts while the database is away.
constexpr absl::Duration kFirstWait = absl::Milliseconds(200);
constexpr absl::Duration kLongestWait = absl::Seconds(5);

}  // namespace

absl::StatusOr<std::string> Archiver::Archive(const operations::Operation& operation,
                                              operations::Progress& progress) {
  absl::StatusOr<std::string> archived = TryArchive(operation, progress);
  // Without its database the archive can neither refuse nor accept: it waits.
  for (absl::Duration wait = kFirstWait; absl::IsUnavailable(archived.status());
       wait = std::min(2 * wait, kLongestWait)) {
    if (progress.cancelled()) break;
    if (!progress.SleepFor(wait)) {
      return Error(absl::StatusCode::kUnavailable, "SHUTTING_DOWN",
                   "the operation goes on at the next start");
    }
    archived = TryArchive(operation, progress);
  }
  const std::string reason = ErrorReason(archived.status());
  if (!archived.ok() && reason != "ARCHIVE_CONFLICT" && reason != "SHUTTING_DOWN") {
    Fail(operation.target, archived.status());
  }
  return archived;
}

absl::StatusOr<std::string> Archiver::TryArchive(const operations::Operation& operation,
                                                 operations::Progress& progress) {
  const std::string& id = operation.target;
  // After a crash behind the transaction, only the tidying up is left.
  NX_ASSIGN_OR_RETURN(const auto committed, with_.database.sessions().FindRequest(operation.id));
  const auto row = with_.prearchive.Get(id);
  if (!row.ok()) {
    if (absl::IsNotFound(row.status()) && committed) return committed->accession_id;
    return row.status();
  }
  if (row->state() != static_cast<int>(prearchive::State::kArchiving)) {
    // The process died between the operation's row and the session's.
    NX_RETURN_IF_ERROR(with_.prearchive
                           .Apply(id, prearchive::Event::kArchive,
                                  [&](SessionRow& changed) { changed.set_operation(operation.id); })
                           .status());
  }
  if (!committed) {
    NX_ASSIGN_OR_RETURN(const std::vector<ConflictRow> conflicts, with_.checker.Check(*row, operation.id));
    int policy = 0;
    if (const auto it = operation.arguments.find("policy"); it != operation.arguments.end()) {
      if (!absl::SimpleAtoi(it->second, &policy)) policy = 0;
    }
    if (Checker::Refuses(conflicts, static_cast<ConflictPolicy>(policy))) {
      std::vector<std::string> texts;
      for (const ConflictRow& conflict : conflicts) {
        if (conflict.type() == static_cast<int>(ConflictType::kWarn)) continue;
        texts.push_back(absl::StrCat(conflict.code(), ": ", conflict.message()));
      }
      NX_RETURN_IF_ERROR(with_.prearchive
                             .Apply(id, prearchive::Event::kArchiveConflict,
                                    [&](SessionRow& changed) {
                                      changed.clear_conflicts();
                                      for (const ConflictRow& conflict : conflicts)
                                        *changed.add_conflicts() = conflict;
                                    })
                             .status());
      return FailedPrecondition(
          "ARCHIVE_CONFLICT",
          absl::StrCat("session ", id, " cannot be archived: ", absl::StrJoin(texts, "; ")),
          {{"session", id}});
    }
  }
  auto filed = committed ? Tidy(operation, committed->accession_id) : File(operation, progress, *row);
  if (!filed.ok()) return filed.status();
  NX_RETURN_IF_ERROR(with_.prearchive.Remove(id, *filed));
  Metrics::Global().Count("sessions_archived_total", "Sessions that went into the archive.");
  Log(LogLevel::kInfo, "session archived",
      {{"session", id}, {"accession", *filed}, {"operation", operation.id}});
  return filed;
}

// The database knows the session; at most its journal is left to be removed.
absl::StatusOr<std::string> Archiver::Tidy(const operations::Operation& operation,
                                           const std::string& accession_id) {
  NX_ASSIGN_OR_RETURN(const metadata::Session session,
                      with_.database.session_reader().Get(accession_id, metadata::Visibility::All(true)));
  archive::SessionWriter::Options options;
  options.archive_root = with_.archive_root;
  options.operation_id = operation.id;
  options.folder = session.folder;
  const auto writer = archive::SessionWriter::Open(options, with_.file_system);
  // Without our journal there is nothing to do: Finish was the last step before the crash.
  if (absl::IsAlreadyExists(writer.status())) return accession_id;
  NX_RETURN_IF_ERROR(writer.status());
  if ((*writer)->state() != archive::SessionWriter::State::kPublished) {
    NX_RETURN_IF_ERROR((*writer)->Abandon());
    return DataLoss("ARCHIVED_BYTES_CORRUPT",
                    absl::StrCat("the folder of session ", accession_id, " is gone"),
                    {{"session", accession_id}});
  }
  NX_RETURN_IF_ERROR((*writer)->Finish());
  return accession_id;
}

absl::Status Archiver::RemoveLeftovers(const std::function<bool(const std::string& operation_id)>& ended) {
  NX_ASSIGN_OR_RETURN(const std::vector<std::string> operations,
                      archive::ListUnfinished(with_.archive_root, with_.file_system));
  for (const std::string& operation : operations) {
    if (!ended(operation)) continue;
    NX_RETURN_IF_ERROR(archive::RemoveIncoming(with_.archive_root, operation, with_.file_system));
    Log(LogLevel::kInfo, "leftover of an archive operation removed", {{"operation", operation}});
  }
  return absl::OkStatus();
}

void Archiver::Fail(absl::string_view id, const absl::Status& status) {
  const auto failed = with_.prearchive.Apply(id, prearchive::Event::kArchiveFailed, [&](SessionRow& row) {
    row.set_error(std::string(status.message()));
  });
  if (!failed.ok()) Log(LogLevel::kError, "state not changed", {{"session", id}, {"error", failed.status()}});
}

absl::StatusOr<std::unique_ptr<archive::SessionWriter>> Archiver::OpenWriter(const SessionRow& row,
                                                                             const std::string& operation_id,
                                                                             Filing& filing) {
  archive::SessionWriter::Options options;
  options.archive_root = with_.archive_root;
  options.operation_id = operation_id;
  options.folder = archive::SessionFolder(row.key().project(), row.key().label());
  auto writer = archive::SessionWriter::Open(options, with_.file_system);
  if (absl::IsAlreadyExists(writer.status())) {
    // The folder of a session of that label which was deleted: its files stay, so this one lies beside it.
    options.folder = absl::StrCat(options.folder, ".", filing.reservation.accession_id);
    writer = archive::SessionWriter::Open(options, with_.file_system);
  }
  if (writer.ok()) filing.folder = options.folder;
  return writer;
}

absl::StatusOr<std::string> Archiver::File(const operations::Operation& operation,
                                           operations::Progress& progress, const SessionRow& row) {
  Filing filing;
  NX_ASSIGN_OR_RETURN(filing.reservation, with_.database.sessions().Reserve(
                                              row.key().project(), row.key().subject(), operation.id));
  NX_ASSIGN_OR_RETURN(filing.built, prearchive::BuildModel(with_.prearchive, with_.types, row.id()));
  NX_ASSIGN_OR_RETURN(const auto writer, OpenWriter(row, operation.id, filing));
  absl::Status written = WriteObjects(filing, *writer, row, progress);
  if (written.ok()) written = WriteCatalogs(filing, *writer, operation);
  if (written.ok()) written = writer->Publish();
  if (!written.ok()) {
    if (ErrorReason(written) != "SHUTTING_DOWN") writer->Abandon().IgnoreError();
    return written;
  }
  metadata::Change change;
  change.user = operation.user;
  change.request_id = operation.id;
  auto committed = with_.database.sessions().Commit(Describe(filing, row, operation), change);
  if (!committed.ok()) {
    // Unknown or unavailable: the files stay, and the next attempt (or start) goes on from here.
    if (absl::IsUnavailable(committed.status())) return committed.status();
    writer->Abandon().IgnoreError();
    return committed.status();
  }
  NX_RETURN_IF_ERROR(writer->Finish());
  return committed->accession_id;
}

}  // namespace narthex::archiving
