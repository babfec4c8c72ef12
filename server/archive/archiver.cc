#include "server/archive/archiver.h"

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"

#include "base/crash_point.h"
#include "base/error.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/status.h"
#include "server/archive/filing.h"
#include "storage/archive/layout.h"

namespace narthex::archiving {
namespace {

using prearchive::ConflictRow;
using prearchive::SessionRow;

// Between attempts while the database is away.
constexpr absl::Duration kFirstWait = absl::Milliseconds(200);
constexpr absl::Duration kLongestWait = absl::Seconds(5);  // fixed: between two tries

ConflictPolicy PolicyOf(const operations::Operation& operation) {
  int policy = 0;
  const auto argument = operation.arguments.find("policy");
  if (argument == operation.arguments.end() || !absl::SimpleAtoi(argument->second, &policy) ||
      policy < static_cast<int>(ConflictPolicy::kNone) ||
      policy > static_cast<int>(ConflictPolicy::kOverwrite)) {
    return ConflictPolicy::kNone;
  }
  return static_cast<ConflictPolicy>(policy);
}

// What passes by itself: the database is away, or a disk is full (its own or the archive's).
bool IsWorthWaiting(const absl::Status& status) {
  const std::string reason = ErrorReason(status);
  return absl::IsUnavailable(status) || reason == "DISK_FULL" || reason == "DATABASE_FULL";
}

// How long a part of archiving a session took: its files, durable, or the one transaction.
void Took(absl::string_view step, absl::Duration duration) {
  Metrics::Global().ObserveSeconds("archive_step_seconds", "Time of the parts of archiving a session.",
                                   absl::ToDoubleSeconds(duration), {{"step", std::string(step)}});
}

}  // namespace

absl::StatusOr<std::string> Archiver::Archive(const operations::Operation& operation,
                                              operations::Progress& progress) {
  absl::StatusOr<std::string> archived = TryArchive(operation, progress);
  // Without its database the archive can neither refuse nor accept, and without space it cannot write: it
  // waits.
  for (absl::Duration wait = kFirstWait; IsWorthWaiting(archived.status());
       wait = std::min(2 * wait, kLongestWait)) {
    if (progress.cancelled()) break;
    if (!progress.SleepFor(wait)) {
      return Error(absl::StatusCode::kUnavailable, "SHUTTING_DOWN",
                   "the operation goes on at the next start");
    }
    archived = TryArchive(operation, progress);
  }
  const std::string reason = ErrorReason(archived.status());
  if (reason == "SHUTTING_DOWN") return archived;
  // What was given up while the database was away may have been committed: the next start settles it.
  if (!absl::IsUnavailable(archived.status())) {
    if (const absl::Status released = with_.database.holds().Release(operation.id); !released.ok())
      Log(LogLevel::kWarning, "hold not released", {{"operation", operation.id}, {"error", released}});
  }
  if (operations::IsPostponed(archived.status()) && progress.cancelled()) {
    archived = Error(absl::StatusCode::kCancelled, "OPERATION_CANCELLED",
                     "archiving was cancelled while it waited; nothing was filed");
  }
  if (!archived.ok() && reason != "ARCHIVE_CONFLICT" && !operations::IsPostponed(archived.status())) {
    const absl::Status failed = Fail(operation.target, archived.status());
    if (operations::PassesByItself(failed)) return operations::Postponed(failed.message());
  }
  return archived;
}

absl::StatusOr<std::string> Archiver::TryArchive(const operations::Operation& operation,
                                                 operations::Progress& progress) {
  const std::string& id = operation.target;
  // After a crash behind the transaction, only the tidying up is left.
  NX_ASSIGN_OR_RETURN(const auto before, with_.database.sessions().FindRequest(operation.id));
  const auto row = with_.prearchive.Get(id);
  if (!row.ok()) {
    if (absl::IsNotFound(row.status()) && before)
      return ArchiveResult{before->accession_id, before->merged, before->counts, {}}.ToText();
    return row.status();
  }
  if (row->state() != static_cast<int>(prearchive::State::kArchiving)) {
    // The process died between the operation's row and the session's.
    NX_RETURN_IF_ERROR(with_.prearchive
                           .Apply(id, prearchive::Event::kArchive,
                                  [&](SessionRow& changed) { changed.set_operation(operation.id); })
                           .status());
  }
  metadata::CommittedSession committed;
  if (before) {
    committed = *before;
    NX_RETURN_IF_ERROR(Tidy(operation, committed));
  } else {
    NX_RETURN_IF_ERROR(CheckConflicts(operation, *row));
    NX_ASSIGN_OR_RETURN(committed, File(operation, progress, *row));
  }
  // Before the session goes: without it nobody would ask again.
  NX_RETURN_IF_ERROR(with_.database.holds().Release(operation.id));
  CrashPoint("archive.finished");
  NX_RETURN_IF_ERROR(with_.prearchive.Remove(id, committed.accession_id));
  CrashPoint("archive.released");
  Metrics::Global().Count("sessions_archived_total", "Sessions that went into the archive.");
  Log(LogLevel::kInfo, committed.merged ? "session merged" : "session archived",
      {{"session", id}, {"accession", committed.accession_id}, {"operation", operation.id}});
  return ArchiveResult{committed.accession_id, committed.merged, committed.counts, LeftOutOf(*row)}.ToText();
}

absl::Status Archiver::CheckConflicts(const operations::Operation& operation, const SessionRow& row) {
  NX_ASSIGN_OR_RETURN(const std::vector<ConflictRow> conflicts, with_.checker.Check(row, operation.id));
  if (!Checker::Refuses(conflicts, PolicyOf(operation))) {
    for (const ConflictRow& conflict : conflicts) {
      if (conflict.code() == static_cast<int>(ConflictCode::kBusy))
        return operations::Postponed(conflict.message());
    }
    return absl::OkStatus();
  }
  std::vector<std::string> texts;
  for (const ConflictRow& conflict : conflicts) {
    if (conflict.type() == static_cast<int>(ConflictType::kWarn)) continue;
    texts.push_back(absl::StrCat(conflict.code(), ": ", conflict.message()));
  }
  NX_RETURN_IF_ERROR(with_.prearchive
                         .Apply(row.id(), prearchive::Event::kArchiveConflict,
                                [&](SessionRow& changed) {
                                  changed.clear_conflicts();
                                  for (const ConflictRow& conflict : conflicts)
                                    *changed.add_conflicts() = conflict;
                                })
                         .status());
  return FailedPrecondition(
      "ARCHIVE_CONFLICT",
      absl::StrCat("session ", row.id(), " cannot be archived: ", absl::StrJoin(texts, "; ")),
      {{"session", row.id()}});
}

// The database knows the session; at most its journal is left to be removed.
absl::Status Archiver::Tidy(const operations::Operation& operation,
                            const metadata::CommittedSession& committed) {
  const std::string& accession_id = committed.accession_id;
  const auto session = with_.database.session_reader().Get(accession_id, metadata::Visibility::All(true));
  if (absl::IsNotFound(session.status())) return absl::OkStatus();  // purged since
  NX_RETURN_IF_ERROR(session.status());
  archive::SessionWriter::Options options;
  options.archive_root = with_.archive_root;
  options.operation_id = operation.id;
  options.folder = session->folder;
  options.into_existing = committed.merged;
  const auto writer = archive::SessionWriter::Open(options, with_.file_system);
  // Without our journal there is nothing to do: Finish was the last step before the crash.
  if (absl::IsAlreadyExists(writer.status())) return absl::OkStatus();
  NX_RETURN_IF_ERROR(writer.status());
  if ((*writer)->state() == archive::SessionWriter::State::kPublished) return (*writer)->Finish();
  NX_RETURN_IF_ERROR((*writer)->Abandon());
  if (committed.merged) return absl::OkStatus();  // as above
  return DataLoss("ARCHIVED_BYTES_CORRUPT", absl::StrCat("the folder of session ", accession_id, " is gone"),
                  {{"session", accession_id}});
}

absl::Status Archiver::RemoveLeftovers(const std::function<bool(const std::string& operation_id)>& ended) {
  NX_ASSIGN_OR_RETURN(const auto merges,
                      archive::ListUnfinishedMerges(with_.archive_root, with_.file_system));
  for (const archive::UnfinishedMerge& merge : merges) {
    if (ended(merge.operation_id)) NX_RETURN_IF_ERROR(EndMerge(merge));
  }
  NX_ASSIGN_OR_RETURN(const std::vector<std::string> operations,
                      archive::ListUnfinished(with_.archive_root, with_.file_system));
  for (const std::string& operation : operations) {
    if (!ended(operation)) continue;
    NX_RETURN_IF_ERROR(archive::RemoveIncoming(with_.archive_root, operation, with_.file_system));
    Log(LogLevel::kInfo, "leftover of an archive operation removed", {{"operation", operation}});
  }
  NX_ASSIGN_OR_RETURN(const auto holds, with_.database.holds().ListHolds());
  for (const metadata::SessionHold& hold : holds) {
    if (ended(hold.holder)) NX_RETURN_IF_ERROR(with_.database.holds().Release(hold.holder));
  }
  return absl::OkStatus();
}

// A merge whose operation was given up: what the database knows of is completed, anything else taken back.
absl::Status Archiver::EndMerge(const archive::UnfinishedMerge& merge) {
  NX_ASSIGN_OR_RETURN(const auto committed, with_.database.sessions().FindRequest(merge.operation_id));
  archive::SessionWriter::Options options;
  options.archive_root = with_.archive_root;
  options.operation_id = merge.operation_id;
  options.folder = merge.folder;
  options.into_existing = true;
  const auto writer = archive::SessionWriter::Open(options, with_.file_system);
  if (absl::IsNotFound(writer.status())) return absl::OkStatus();  // purged since
  NX_RETURN_IF_ERROR(writer.status());
  return committed ? (*writer)->Finish() : (*writer)->Abandon();
}

absl::Status Archiver::Fail(absl::string_view id, const absl::Status& status) {
  const auto failed = with_.prearchive.Apply(id, prearchive::Event::kArchiveFailed, [&](SessionRow& row) {
    row.set_error(std::string(status.message()));
  });
  if (!failed.ok()) Log(LogLevel::kError, "state not changed", {{"session", id}, {"error", failed.status()}});
  return failed.status();
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

absl::Status Archiver::CheckSpace() const {
  NX_ASSIGN_OR_RETURN(const uint64_t free, with_.file_system.FreeBytes(with_.archive_root));
  const uint64_t min = free_space_min_bytes_;
  if (free >= min) return absl::OkStatus();
  return ResourceExhausted(
      "DISK_FULL",
      absl::StrCat("the archive's disk has ", free, " bytes free, fewer than the watermark of ", min,
                   "; archiving goes on when there is space"),
      {{"free_bytes", absl::StrCat(free)}, {"watermark_bytes", absl::StrCat(min)}});
}

absl::StatusOr<metadata::CommittedSession> Archiver::File(const operations::Operation& operation,
                                                          operations::Progress& progress,
                                                          const SessionRow& row) {
  const auto there = with_.database.session_reader().Get(
      absl::StrCat(row.key().project(), "/", row.key().label()), metadata::Visibility::All());
  if (there.ok() && PolicyOf(operation) == ConflictPolicy::kNone)
    return operations::Postponed("a session of this label came into the archive just now");
  if (there.ok()) return Merge(operation, progress, row, there->accession_id);
  if (!absl::IsNotFound(there.status())) return there.status();
  auto created = Create(operation, progress, row);
  const std::string reason = ErrorReason(created.status());
  // Another operation was faster: the next attempt sees its session, and refuses or merges.
  if (reason == "SESSION_EXISTS" || reason == "FOLDER_TAKEN")
    return operations::Postponed(created.status().message());
  return created;
}

absl::StatusOr<metadata::CommittedSession> Archiver::Create(const operations::Operation& operation,
                                                            operations::Progress& progress,
                                                            const SessionRow& row) {
  Filing filing;
  NX_ASSIGN_OR_RETURN(filing.reservation, with_.database.sessions().Reserve(
                                              row.key().project(), row.key().subject(), operation.id));
  NX_RETURN_IF_ERROR(BuildFiled(filing, row));
  NX_RETURN_IF_ERROR(CheckSpace());
  NX_ASSIGN_OR_RETURN(const auto writer, OpenWriter(row, operation.id, filing));
  NameObjects(filing);
  const absl::Time begin = absl::Now();
  absl::Status written = WriteObjects(filing, *writer, row, progress);
  CrashPoint("archive.files_written");
  if (written.ok()) written = WriteCatalogs(filing, *writer, operation);
  if (written.ok()) written = writer->Publish();
  const absl::Time filed = absl::Now();
  if (!written.ok()) {
    if (ErrorReason(written) != "SHUTTING_DOWN") writer->Abandon().IgnoreError();
    return written;
  }
  CrashPoint("archive.published");
  metadata::Change change;
  change.user = operation.user;
  change.request_id = operation.id;
  change.note = NoteOf(filing, row);
  auto committed = with_.database.sessions().Commit(Describe(filing, row, operation), change);
  if (!committed.ok()) {
    // Unknown or unavailable: the files stay, and the next attempt (or start) goes on from here.
    if (absl::IsUnavailable(committed.status())) return committed.status();
    writer->Abandon().IgnoreError();
    return committed.status();
  }
  CrashPoint("archive.committed");
  Took("files", filed - begin);
  Took("database", absl::Now() - filed);
  NX_RETURN_IF_ERROR(OnlyTidyingLeft(writer->Finish()));
  return committed;
}

// For the session's history: what was left out, and what the script did.
std::string Archiver::NoteOf(const Filing& filing, const SessionRow& row) {
  std::vector<std::string> parts = {LeftOutNote(LeftOutOf(row)), filing.script->Note()};
  parts.insert(parts.end(), filing.exported.remarks.begin(), filing.exported.remarks.end());
  parts.erase(std::remove(parts.begin(), parts.end(), ""), parts.end());
  return absl::StrJoin(parts, "; ");
}

// What scripts exported takes the place of what the headers said.
absl::Status Archiver::TakeExported(Filing& filing, const SessionRow& row) const {
  if (filing.built.exported.empty()) return absl::OkStatus();
  std::vector<FieldDefinition> definitions;
  if (with_.field_definitions) {
    NX_ASSIGN_OR_RETURN(definitions, with_.field_definitions(row.key().project()));
  }
  filing.exported = ExportedFieldsOf(filing.built.exported, definitions);
  archiving::Describe(filing.exported, filing.built.model);
  return absl::OkStatus();
}

// The session is in the archive: what is left to be done is tried until it succeeds.
absl::Status Archiver::OnlyTidyingLeft(const absl::Status& finished) {
  if (finished.ok()) return finished;
  return Error(absl::StatusCode::kUnavailable, "STORAGE_ERROR",
               absl::StrCat("the session is archived; its operation cannot end yet: ", finished.message()));
}

// The session as its project's script leaves it. One in which identifiers were found then goes back, if that
// is set, until somebody has looked at it.
absl::Status Archiver::BuildFiled(Filing& filing, const SessionRow& row) {
  NX_ASSIGN_OR_RETURN(filing.script, ProjectScript::Open(with_.plans, with_.prearchive, with_.types, row));
  NX_ASSIGN_OR_RETURN(filing.built, filing.script->BuildModel(session::BuildOptions()));
  const auto held = filing.script->Held();
  if (!held) return TakeExported(filing, row);
  NX_RETURN_IF_ERROR(with_.prearchive
                         .Apply(row.id(), prearchive::Event::kArchiveConflict,
                                [&](SessionRow& changed) {
                                  changed.clear_conflicts();
                                  *changed.add_conflicts() = *held;
                                  filing.script->Report(changed);
                                })
                         .status());
  return FailedPrecondition("ARCHIVE_CONFLICT",
                            absl::StrCat("session ", row.id(), " cannot be archived: ", held->code(), ": ",
                                         held->message(), "; ", held->remedy()),
                            {{"session", row.id()}});
}

}  // namespace narthex::archiving
