// One change of the files of an archived session, all or nothing: files are written beside the session, put
// into place, named by one transaction, and only then anything goes. Inside server/archive. Single-threaded.
//
//   FileWork work(dependencies, "res-...");
//   NX_RETURN_IF_ERROR(work.Open(accession_id));
//   ... work.writer().WriteFiles(...) ...
//   NX_RETURN_IF_ERROR(work.Hold());                    // nobody else touches the session's files from here
//   on
//   ... work.contents() ... work.WriteCatalog(...) ...
//   auto session = work.Commit(changes, change, edit);
//
// A destroyed one that was not committed takes everything back. After a crash Resume does what is left.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "server/archive/session_changes.h"
#include "storage/archive/session_writer.h"
#include "storage/fs/file_system.h"
#include "storage/metadata/database.h"

namespace narthex::archiving {

// Of operation ids: what Resume looks for.
inline constexpr char kFileWorkPrefix[] = "res-";
// Below a session's folder: files that were taken out, by operation.
inline constexpr char kRemovedFolder[] = ".removed";

class FileWork {
 public:
  struct Dependencies {
    metadata::Database& database;
    fs::FileSystem& file_system;
    std::string archive_root;
  };

  FileWork(Dependencies dependencies, std::string operation_id)
      : with_(std::move(dependencies)), id_(std::move(operation_id)) {}
  ~FileWork();

  // Errors: SESSION_NOT_FOUND; SESSION_NOT_ACTIVE, SESSION_PURGED (FAILED_PRECONDITION); those of the disk.
  absl::Status Open(const std::string& accession_id);

  archive::SessionWriter& writer() { return *writer_; }
  const std::string& id() const { return id_; }

  // ABORTED (SESSION_BUSY): somebody else works on the files and does not come to an end.
  absl::Status Hold();

  // As of Hold.
  const SessionContents& contents() const { return contents_; }
  std::string Place(const std::string& path) const;

  // All files of a resource, as the database has them.
  absl::StatusOr<std::vector<metadata::File>> FilesOf(const metadata::ResourceKey& key) const;

  // What catalogs that are written from now on say of a scan.
  void Describe(const metadata::Scan& scan);

  // Writes the catalog of `resource` with these files.
  absl::Status WriteCatalog(const metadata::Resource& resource, const std::vector<metadata::File>& files,
                            const metadata::Change& change);

  // Keeps a second name of a file, in .removed, and lets Commit remove the first. A file that is not there is
  // let go.
  absl::StatusOr<metadata::RemovedFile> TakeOut(const std::string& path);

  // Puts files into place, runs the transaction, and removes what is superseded.
  absl::StatusOr<metadata::Session> Commit(SessionChanges& changes, const metadata::Change& change,
                                           const SessionChanges::Edit& edit);

  // At the start: finishes or takes back what a crash left of any such work.
  static absl::Status Resume(const Dependencies& dependencies);

 private:
  void Abandon();

  const Dependencies with_;
  const std::string id_;
  std::string accession_id_;
  SessionContents contents_;
  std::unique_ptr<archive::SessionWriter> writer_;
  bool held_ = false;
  bool keep_ = false;  // committed, or nobody knows: Resume finds out
};

}  // namespace narthex::archiving
