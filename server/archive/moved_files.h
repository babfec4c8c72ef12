// The files of an archived session on their way through the script of the project where it is to be. New
// files are written beside the old ones, which stay until the transaction. Inside server/archive;
// single-threaded.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"

#include "imaging/dicom/attribute_set.h"
#include "imaging/session/builder.h"
#include "imaging/session/types.h"
#include "server/archive/exported_fields.h"
#include "server/archive/file_work.h"
#include "server/archive/found_leftovers.h"
#include "server/deidentify/plan_editor.h"
#include "server/deidentify/plans.h"
#include "storage/archive/layout.h"

namespace narthex::archiving {

class MovedFiles {
 public:
  struct Dependencies {
    FileWork& work;  // that holds the session
    fs::FileSystem& files;
    const session::TypeRegistry& types;
    const deidentify::PlanSource& plans;
    std::vector<FieldDefinition> definitions;  // of the project where it is to be
    bool accept_leftovers = false;             // somebody looked
  };
  MovedFiles(const Dependencies& with, std::shared_ptr<const deidentify::Plan> plan,
             anonymize::Variables variables);

  // Runs the script over every header. FAILED_PRECONDITION (REJECTED_BY_SCRIPT), INVALID_ARGUMENT
  // (ANONYMIZATION_FAILED): on one it failed; the message names the file. DATA_LOSS (ARCHIVED_BYTES_CORRUPT).
  absl::Status Look();
  // Whether the script leaves all files as they are.
  bool nothing_changes() const { return changed_.empty(); }
  // Writes the changed files and the catalogs that name them. FAILED_PRECONDITION (LEFTOVERS_FOUND): in them
  // identifiers of the original are left, and the plan (or the site's) says that somebody must look first.
  absl::Status Write(const metadata::Change& change);
  // Says in `update` what goes with that, for a session that is as `now`.
  absl::Status Describe(const SessionContents& now, metadata::SessionUpdate& update) const;
  // For the history: the script with its digest, and to how many files it was applied.
  std::string Note() const;

 private:
  struct Changed {
    metadata::File file;  // as it will be
    std::string old_path;
    std::string transfer_syntax_uid;  // that the file does not tell
  };
  struct Header;

  deidentify::PlanEditor::Options OptionsOf(const std::string& path) const;
  absl::Status LookAt(const metadata::File& file);
  absl::StatusOr<Header> Run(const metadata::File& file);
  absl::Status AddFacts(const metadata::File& file, const Header& header);
  absl::StatusOr<std::string> NameOf(const metadata::File& file, const dicom::HeaderFacts& facts);
  absl::Status WriteOne(const Changed& changed, const archive::ByteSink& sink);
  absl::Status CheckLeftovers() const;
  absl::Status WriteCatalogs(const metadata::Change& change);
  std::vector<metadata::Scan> Scans(const std::vector<metadata::Scan>& now) const;
  std::vector<std::pair<std::string session::SessionModel::*, const std::string*>> GivenTexts() const;
  absl::StatusOr<Phi<std::string>> Document(const SessionContents& now) const;

  const Dependencies with_;
  const std::shared_ptr<const deidentify::Plan> plan_;
  const anonymize::Variables variables_;
  const dicom::AttributeSet attributes_;
  std::map<metadata::ResourceKey, std::vector<metadata::File>> files_;  // as they are
  std::vector<Changed> changed_;
  int64_t repeated_ = 0;  // files that the script was applied to before
  std::map<metadata::ResourceKey, metadata::Resource> resources_;  // whose files change
  std::map<std::string, archive::NameSet> names_;                  // by folder
  session::SessionBuilder before_, after_;
  std::map<std::string, std::unique_ptr<session::SessionBuilder>> scan_builders_;
  session::SessionModel model_before_, model_;
  std::map<std::string, session::ScanModel> scans_;  // by id, of those whose files change
  std::set<std::string> changed_scans_;
  prearchive::ExportedValues exports_;
  ExportedFields exported_;

  mutable absl::Mutex mutex_;  // files are written by several threads
  FoundLeftovers leftovers_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace narthex::archiving
