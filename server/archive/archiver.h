// Moves a built prearchive session into the archive: check, files, catalogs, one database transaction, and
// only then the staged bytes go. Every step may be repeated after a crash; docs/durability.md tells what each
// crash leaves. Thread-safe.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

#include "base/clock.h"
#include "imaging/session/types.h"
#include "server/archive/checker.h"
#include "server/operations/operations.h"
#include "server/prearchive/build.h"
#include "server/prearchive/prearchive.h"
#include "storage/archive/session_writer.h"
#include "storage/fs/file_system.h"
#include "storage/metadata/database.h"

namespace narthex::archiving {

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
  };

  explicit Archiver(const Dependencies& dependencies) : with_(dependencies) {}

  // The archive operation on the session `operation.target`, which is ARCHIVING. Returns the accession id.
  // Arguments: "policy" (number of ConflictPolicy), "quarantine" ("1"). FAILED_PRECONDITION
  // (ARCHIVE_CONFLICT): the session is then CONFLICT; other errors leave it in ERROR, with nothing visible
  // and its bytes where they were. While the database is away it waits and tries again.
  absl::StatusOr<std::string> Archive(const operations::Operation& operation, operations::Progress& progress);

  // Removes the hidden folders that archive operations left which `ended` knows to be over. Others stay:
  // theirs go on, and of an unknown operation they may be the only copy.
  absl::Status RemoveLeftovers(const std::function<bool(const std::string& operation_id)>& ended);

 private:
  struct Filing;

  absl::StatusOr<std::string> TryArchive(const operations::Operation& operation,
                                         operations::Progress& progress);
  absl::StatusOr<std::string> File(const operations::Operation& operation, operations::Progress& progress,
                                   const prearchive::SessionRow& row);
  absl::StatusOr<std::string> Tidy(const operations::Operation& operation, const std::string& accession_id);
  absl::StatusOr<std::unique_ptr<archive::SessionWriter>> OpenWriter(const prearchive::SessionRow& row,
                                                                     const std::string& operation_id,
                                                                     Filing& filing);
  absl::Status WriteObjects(Filing& filing, archive::SessionWriter& writer, const prearchive::SessionRow& row,
                            operations::Progress& progress);
  absl::Status WriteCatalogs(Filing& filing, archive::SessionWriter& writer,
                             const operations::Operation& operation);
  metadata::NewSession Describe(const Filing& filing, const prearchive::SessionRow& row,
                                const operations::Operation& operation) const;
  void Fail(absl::string_view id, const absl::Status& status);

  const Dependencies with_;
};

}  // namespace narthex::archiving
