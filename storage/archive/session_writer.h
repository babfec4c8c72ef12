// Puts a session's files into the archive so that they appear at once or not at all, also after a crash.
//
//   auto writer = SessionWriter::Open({.archive_root = root, .folder = SessionFolder(project, label),
//                                      .operation_id = id}, fs::Posix());
//   if ((*writer)->state() == SessionWriter::State::kWriting) {
//     (*writer)->WriteFiles(sources);        // digests are computed on the way
//     (*writer)->WriteFile(path, catalog_xml);
//     (*writer)->Publish();                  // one rename; durable
//   }
//   ... commit (*writer)->files() to the database ...
//   (*writer)->Finish();                     // drops the journal
//
// Until Publish the files lie in `<root>/<project>/arc001/.incoming-<operation id>`. Steps that a crash cut
// off are repeated by opening the writer with the same operation id: files that the journal names are not
// written again. docs/formats/archive.md has the table of what each crash leaves and what repeats it.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

#include "storage/archive/in_place.h"
#include "storage/fs/file_system.h"

namespace narthex::archive {

// Takes bytes in order; an error stops the reader.
using ByteSink = std::function<absl::Status(absl::string_view)>;

// A file that is to be written: `read` gives all its bytes to the sink. It is called once, on some thread,
// and again only when the operation is repeated.
struct FileSource {
  std::string path;  // relative to the session's folder, safe components (layout.h)
  std::function<absl::Status(const ByteSink&)> read;
};

struct WrittenFile {
  std::string path;
  uint64_t size_bytes = 0;
  std::string md5;     // raw bytes
  std::string sha256;  // raw bytes
  std::string xxh3;    // raw bytes

  friend bool operator==(const WrittenFile&, const WrittenFile&) = default;
};

// Single-threaded; uses threads of its own inside WriteFiles.
class SessionWriter {
 public:
  struct Options {
    std::string archive_root;
    std::string folder;          // of the session, below the root: layout.h's SessionFolder
    std::string operation_id;    // [A-Za-z0-9_-]{1,64}
    bool into_existing = false;  // merge: `folder` exists already and belongs to a session
    // Merge: the version of the session that the operation was planned on. A run that was planned on another
    // one, or on another folder, is taken back before this one begins. "": whatever it was (to finish it).
    std::string base_version;
    int threads = 3;  // that read, hash and write; they wait for the disk half of the time
  };

  enum class State {
    kWriting,    // files may be written; nothing is visible
    kPublished,  // `folder` holds the files of this operation; files() is complete
  };

  // Creates the incoming folder, or finds out how far an earlier run of this operation came.
  // ALREADY_EXISTS (FOLDER_TAKEN): `folder` is there and not of this operation (unless into_existing).
  // NOT_FOUND (FOLDER_NOT_FOUND): into_existing, and it is not there. INVALID_ARGUMENT
  // (ARCHIVE_PATH_INVALID).
  static absl::StatusOr<std::unique_ptr<SessionWriter>> Open(const Options& options,
                                                             fs::FileSystem& file_system);

  State state() const { return state_; }

  // Writes files, many at once, with MD5, SHA-256 and XXH3 of their bytes, syncs them and notes them in the
  // journal: when it returns OK they are durable. Skips paths that files() has. May be called repeatedly (a
  // large session in portions of some thousand files).
  // ALREADY_EXISTS (FILE_EXISTS): into_existing, and the session has a file of that path. After an error the
  // operation may be repeated or abandoned. FAILED_PRECONDITION (WRITER_PUBLISHED).
  absl::Status WriteFiles(absl::Span<const FileSource> sources);

  // One small file from memory, such as a catalog; as WriteFiles. With into_existing it may replace an
  // existing file: it then gets its place only in Finish, when the database says so too.
  absl::Status WriteFile(absl::string_view path, absl::string_view bytes);

  // Notes files of the session (into_existing) that Finish is to remove, because the database will no longer
  // name them. Durable when it returns; safe to repeat. INVALID_ARGUMENT (ARCHIVE_PATH_INVALID): also for a
  // path that this operation writes. FAILED_PRECONDITION (WRITER_PUBLISHED).
  absl::Status Supersede(absl::Span<const std::string> paths);

  // All files that are written and durable, in the order of their paths; after a repetition also those of
  // before.
  std::vector<WrittenFile> files() const;

  // Where the bytes of files()'s `path` are, until Finish.
  std::string PlaceOf(absl::string_view path) const;

  // Moves everything to its place: one rename of the folder, or (into_existing) one per new scan folder or
  // file. Durable when it returns. Safe to repeat.
  absl::Status Publish();

  // After the database knows the session: puts replaced files in their place, removes superseded ones, the
  // journal and the incoming folder. Safe to repeat, also by a writer that is opened for it.
  absl::Status Finish();

  // Gives the operation up: removes the incoming folder, and what Publish put into place. Only if the
  // database does not know it. Safe to repeat.
  absl::Status Abandon();

 private:
  // How a file gets to its place: with Publish, or (a replacement) with Finish. Or it goes with Finish.
  enum class Kind : char { kFile = 'F', kReplacement = 'R', kSuperseded = 'D' };

  SessionWriter(Options options, fs::FileSystem& file_system);
  absl::Status Recover();
  absl::StatusOr<bool> LoadJournal(const std::string& folder);
  absl::Status ReadJournalLine(absl::string_view line);
  absl::Status StartWriting();
  absl::Status Write(absl::Span<const FileSource> sources, Kind kind);
  absl::Status AppendJournal(const std::string& lines);
  absl::Status PublishFolder();
  absl::Status PublishIntoExisting();
  absl::StatusOr<bool> SameFile(const std::string& a, const std::string& b);
  absl::Status Replace(const std::string& from, const std::string& to);
  absl::Status RemoveLinks(const std::string& folder);
  absl::Status SyncFolders(const std::string& top, absl::Span<const std::string> paths);
  std::string InIncoming(absl::string_view path, Kind kind) const;

  const Options options_;
  fs::FileSystem& fs_;
  const std::string target_;    // the session's folder
  const std::string incoming_;  // beside it
  State state_ = State::kWriting;
  std::map<std::string, std::pair<Kind, WrittenFile>> files_;  // by path
  std::string merge_folder_, merge_version_;                   // as the journal has them
  uint64_t journal_size_ = 0;
  std::unique_ptr<InPlaceChange> in_place_;  // into_existing: from Publish to Finish or Abandon
};

// A merge that was neither finished nor abandoned, as its journal tells it.
struct UnfinishedMerge {
  std::string operation_id;
  std::string folder;              // of the session, below the root
  std::vector<std::string> paths;  // below `folder`: what it adds, replaces or removes
};
absl::StatusOr<std::vector<UnfinishedMerge>> ListUnfinishedMerges(absl::string_view archive_root,
                                                                  fs::FileSystem& file_system);

// Operation ids of incoming folders below `archive_root` (those that were neither finished nor abandoned).
absl::StatusOr<std::vector<std::string>> ListUnfinished(absl::string_view archive_root,
                                                        fs::FileSystem& file_system);

// Removes the incoming folder of an operation that will never be repeated. OK if there is none.
absl::Status RemoveIncoming(absl::string_view archive_root, absl::string_view operation_id,
                            fs::FileSystem& file_system);

}  // namespace narthex::archive
