// Moves a built prearchive session into the archive: check, files, catalogs, one database transaction, and
// only then the staged bytes go. Every step may be repeated after a crash; docs/durability.md tells what each
// crash leaves. Thread-safe.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

#include "base/clock.h"
#include "imaging/session/document.h"
#include "imaging/session/types.h"
#include "server/archive/checker.h"
#include "server/archive/exported_fields.h"
#include "server/deidentify/plans.h"
#include "server/operations/operations.h"
#include "server/prearchive/build.h"
#include "server/prearchive/prearchive.h"
#include "storage/archive/catalog.h"
#include "storage/archive/session_writer.h"
#include "storage/fs/file_system.h"
#include "storage/metadata/database.h"

namespace narthex::archiving {

// A scan that review left out.
struct LeftOutScan {
  std::string scan;  // its id in the prearchive
  int64_t object_count = 0;
};
std::vector<LeftOutScan> LeftOutOf(const prearchive::SessionRow& row);
// "left out by review: scan 4 (30 objects), scan 7 (1 object)" for a history; "" if none was.
std::string LeftOutNote(const std::vector<LeftOutScan>& left_out);

// What an archive operation did, as the operation keeps it.
struct ArchiveResult {
  std::string accession_id;
  bool merged = false;           // into a session that was there
  metadata::MergeCounts counts;  // of a merge
  // Not known any more if the process died between the session's removal from the prearchive and the end of
  // the operation; the session's history has it.
  std::vector<LeftOutScan> left_out;

  // "X_E00001", of a merge "X_E00001 3 1 2": added, replaced, kept; then " out:ID:COUNT" for each scan left
  // out.
  std::string ToText() const;
  static ArchiveResult FromText(absl::string_view text);
};

class Archiver {
 public:
  struct Dependencies {
    prearchive::Prearchive& prearchive;
    metadata::Database& database;
    const session::TypeRegistry& types;
    fs::FileSystem& file_system;
    const Clock& clock;
    std::string archive_root;
    const Checker& checker;
    const deidentify::PlanSource* plans = nullptr;      // scripts of projects; null: there are none
    FieldDefinitionSource field_definitions = nullptr;  // null: nothing is defined
  };

  explicit Archiver(const Dependencies& dependencies) : with_(dependencies) {}

  // The archive operation on the session `operation.target`, which is ARCHIVING: a new session, or (by
  // policy) a merge into one that is there. Returns ArchiveResult::ToText. Arguments: "policy" (number of
  // ConflictPolicy), "quarantine"
  // ("1"). FAILED_PRECONDITION (ARCHIVE_CONFLICT): the session is then CONFLICT; other errors leave it in
  // ERROR, with nothing visible and its bytes where they were. While the database is away or a disk is full
  // it waits and tries again. Postponed: a session that it wants to change is being worked on.
  absl::StatusOr<std::string> Archive(const operations::Operation& operation, operations::Progress& progress);

  // Below so many free bytes nothing is filed: operations wait until there is space. At first: no limit.
  void SetFreeSpaceMin(uint64_t bytes) { free_space_min_bytes_ = bytes; }

  // Removes the hidden folders that archive operations left which `ended` knows to be over. Others stay:
  // theirs go on, and of an unknown operation they may be the only copy.
  absl::Status RemoveLeftovers(const std::function<bool(const std::string& operation_id)>& ended);

 private:
  struct Filing;

  absl::StatusOr<std::string> TryArchive(const operations::Operation& operation,
                                         operations::Progress& progress);
  // OK, or the error of a session that is CONFLICT now.
  absl::Status CheckConflicts(const operations::Operation& operation, const prearchive::SessionRow& row);
  absl::StatusOr<metadata::CommittedSession> File(const operations::Operation& operation,
                                                  operations::Progress& progress,
                                                  const prearchive::SessionRow& row);
  absl::StatusOr<metadata::CommittedSession> Create(const operations::Operation& operation,
                                                    operations::Progress& progress,
                                                    const prearchive::SessionRow& row);
  absl::Status Tidy(const operations::Operation& operation, const metadata::CommittedSession& committed);
  absl::Status EndMerge(const archive::UnfinishedMerge& merge);
  absl::StatusOr<std::unique_ptr<archive::SessionWriter>> OpenWriter(const prearchive::SessionRow& row,
                                                                     const std::string& operation_id,
                                                                     Filing& filing);
  // The same as an addition to a session that is there; merging.cc.
  absl::StatusOr<metadata::CommittedSession> Merge(const operations::Operation& operation,
                                                   operations::Progress& progress,
                                                   const prearchive::SessionRow& row,
                                                   const std::string& accession_id);
  absl::StatusOr<metadata::CommittedSession> MergeHeld(const operations::Operation& operation,
                                                       operations::Progress& progress,
                                                       const prearchive::SessionRow& row,
                                                       const std::string& accession_id);
  absl::Status WriteMerge(Filing& filing, archive::SessionWriter& writer, const prearchive::SessionRow& row,
                          const operations::Operation& operation, operations::Progress& progress);
  absl::Status NameMerged(Filing& filing, const archive::SessionWriter& writer);
  void CountMerged(Filing& filing);
  absl::Status WriteMergedCatalogs(Filing& filing, archive::SessionWriter& writer,
                                   const operations::Operation& operation);
  absl::StatusOr<archive::Catalog> ReadCatalogOf(const Filing& filing, const metadata::Resource& resource);
  absl::StatusOr<session::SessionDocument> MergeDocument(const Filing& filing,
                                                         const archive::SessionWriter& writer);
  absl::StatusOr<session::SessionModel> ScanAgain(const Filing& filing, const archive::SessionWriter& writer,
                                                  const std::set<std::string>& scans);
  absl::StatusOr<metadata::SessionAddition> DescribeMerge(const Filing& filing,
                                                          const archive::SessionWriter& writer,
                                                          const operations::Operation& operation);

  static std::string NoteOf(const Filing& filing, const prearchive::SessionRow& row);
  static absl::Status OnlyTidyingLeft(const absl::Status& finished);
  static void NameObjects(Filing& filing);
  static std::string NameOf(const session::SessionModel& model, const prearchive::BuiltObject& object);
  absl::Status WriteObjects(Filing& filing, archive::SessionWriter& writer, const prearchive::SessionRow& row,
                            operations::Progress& progress);
  absl::Status WriteCatalogs(Filing& filing, archive::SessionWriter& writer,
                             const operations::Operation& operation);
  metadata::NewSession Describe(const Filing& filing, const prearchive::SessionRow& row,
                                const operations::Operation& operation) const;
  absl::Status CheckSpace() const;
  absl::Status BuildFiled(Filing& filing, const prearchive::SessionRow& row);
  absl::Status TakeExported(Filing& filing, const prearchive::SessionRow& row) const;
  absl::Status Fail(absl::string_view id, const absl::Status& status);

  const Dependencies with_;
  std::atomic<uint64_t> free_space_min_bytes_{0};
};

}  // namespace narthex::archiving
