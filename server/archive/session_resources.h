// Resources of archived sessions: any files, added and taken out all or nothing, with digests, catalog,
// history and document. Thread-safe.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "server/archive/file_work.h"
#include "server/archive/session_changes.h"

namespace narthex::archiving {

// A file that somebody sends.
struct IncomingFile {
  std::string path;  // in the resource
  int64_t size_bytes = 0;
  std::string sha256_hex;  // "" if the sender does not say
  std::string format;
};

// Files, one after the other. Read is called on another thread than Next, never at the same time.
class FileStream {
 public:
  virtual ~FileStream() = default;
  // False: everything has come. An error: it was broken off.
  virtual absl::StatusOr<bool> Next(IncomingFile* file) = 0;
  // All bytes of the file. INVALID_ARGUMENT: more or less than its size.
  virtual absl::Status Read(const archive::ByteSink& sink) = 0;
};

class SessionResources {
 public:
  SessionResources(FileWork::Dependencies dependencies, SessionChanges& changes)
      : with_(std::move(dependencies)), changes_(changes) {}

  struct Target {
    std::string accession_id;
    metadata::ResourceKey key;
    std::string format, content;  // of a new resource
  };
  struct Added {
    metadata::Resource resource;
    std::vector<metadata::File> files;
  };
  // All files of the stream, or none. Errors: those of the stream, of FileWork and of SessionStore::Update;
  // SCAN_NOT_FOUND, RESOURCE_PROTECTED, RESOURCE_FILE_EXISTS, DIGEST_MISMATCH, INVALID_FIELD.
  absl::StatusOr<Added> Add(const Target& target, FileStream& stream, const metadata::Change& change);

  // Takes these files (names in the resource), or all, out; returns how many. A repeated change.request_id
  // returns the first answer. RESOURCE_NOT_FOUND, RESOURCE_PROTECTED; those of FileWork.
  absl::StatusOr<int64_t> Remove(const std::string& accession_id, const metadata::ResourceKey& key,
                                 const std::vector<std::string>& names, const metadata::Change& change);

 private:
  const FileWork::Dependencies with_;
  SessionChanges& changes_;
};

// The resource's row, or a new one.
metadata::Resource ResourceOf(const SessionContents& contents, const SessionResources::Target& target);

// "2 files, 20 bytes", and the name of a resource in the history: "resources.4/NOTES".
std::string CountText(int64_t files, int64_t bytes);
std::string ResourceField(const metadata::ResourceKey& key);

}  // namespace narthex::archiving
