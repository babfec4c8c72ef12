// De-identifies files on the user's machine as the server would, before anything is sent. Single-threaded.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "clients/cli/local_copies.h"
#include "clients/cli/program.h"
#include "clients/cpp/connection.h"
#include "clients/cpp/file_set.h"
#include "clients/cpp/local_archive.h"
#include "imaging/anonymize/anonymizer.h"
#include "imaging/dicom/attribute_set.h"
#include "imaging/identify/router.h"

namespace narthex::cli {

// What was done, for people.
struct LocalSummary {
  std::vector<std::string> steps;          // "site script 0123456789abcdef", "project profile basic"
  int64_t files = 0;                       // that went through them
  int64_t reused = 0;                      // of these, in a former run
  int64_t refused = 0;                     // that are not sent
  std::map<std::string, int64_t> changed;  // keyword -> files
  bool trusted = false;  // the server takes the user's word, having looked whether the scripts are recorded
};

// The script and profile of the site, and those of a project if one is given, and copies of files that went
// through them.
class LocalAnonymizer {
 public:
  struct Options {
    // The variables of the scripts. Where subject and session are "", each file's own are taken: those that
    // routing would take from it (comments, PatientName, PatientID); with the site's profile, which removes
    // these, pseudonyms.
    std::string project, subject, session;
    std::string keep_folder;  // as LocalCopies::Open
  };
  // Fetches what is set. FAILED_PRECONDITION (INVALID_SCRIPT): a script in force cannot be run here.
  static absl::StatusOr<std::unique_ptr<LocalAnonymizer>> Open(client::Connection& connection,
                                                               const Options& options);

  struct Source {
    std::string name;  // of the file, or of the archive and its entry
    int64_t size_bytes = 0;
    int64_t modified_ns = 0;
    ByteSource bytes;
  };
  // Makes a copy of the object that `source` gives, or finds the one that a former run made. Errors of the
  // scripts and of what it holds: nothing of it must be sent.
  absl::StatusOr<client::LocalFile> Copy(const Source& source);
  absl::StatusOr<client::LocalFile> Copy(const client::LocalFile& file);

  // The copies were made with other scripts in a former run: what it sent is of no use.
  bool restarted() const { return copies_->restarted(); }
  const LocalSummary& summary() const { return summary_; }
  // All was sent.
  void Remove() { copies_->Remove(); }

 private:
  struct Step {
    anonymize::AnonymizationPlan plan;
    std::shared_ptr<const anonymize::LookupTable> lookup;
  };
  class Chain;

  LocalAnonymizer(Options options, identify::Router router);
  absl::Status Fetch(client::Connection& connection, const std::string& project);
  absl::StatusOr<anonymize::Variables> VariablesOf(absl::string_view head, bool complete) const;

  const Options options_;
  const identify::Router router_;
  const dicom::AttributeSet attributes_;
  std::unique_ptr<LocalCopies> copies_;
  std::vector<Step> plans_;
  std::string made_with_;  // all that the copies depend on
  std::string site_secret_;
  bool profiles_ = false;  // a profile is in force
  LocalSummary summary_;
};

}  // namespace narthex::cli
