// De-identifies files on the user's machine as the server would, before anything is sent. Single-threaded.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "clients/cli/program.h"
#include "clients/cpp/connection.h"
#include "clients/cpp/file_set.h"
#include "imaging/anonymize/anonymizer.h"

namespace narthex::cli {

// The scripts and profiles of the site and a project, and copies of files that went through them. The copies
// lie in a folder of their own, which only the user can read, and go with this object.
class LocalAnonymizer {
 public:
  struct Destination {
    std::string project, subject, session;  // the variables of the scripts
  };
  // Fetches what is set. FAILED_PRECONDITION (INVALID_SCRIPT): a script in force cannot be run here.
  static absl::StatusOr<std::unique_ptr<LocalAnonymizer>> Open(client::Connection& connection,
                                                               const Destination& destination);
  ~LocalAnonymizer();

  // Makes a copy of `file`. Errors of the scripts and of what the file holds: nothing of it must be sent.
  absl::StatusOr<client::LocalFile> Copy(const client::LocalFile& file);

  // Whether the server takes the user's word, having looked whether the scripts are recorded.
  bool trusted() const { return trusted_; }
  // "site script 0123456789abcdef", "project profile basic": what is applied.
  const std::vector<std::string>& steps() const { return steps_; }
  // Attributes that were changed, by keyword, with the number of files.
  const std::map<std::string, int64_t>& changed() const { return changed_; }

 private:
  LocalAnonymizer(std::string folder, anonymize::Variables variables)
      : folder_(std::move(folder)), variables_(std::move(variables)) {}
  absl::Status Fetch(client::Connection& connection, const std::string& project);

  struct Step {
    anonymize::AnonymizationPlan plan;
    std::shared_ptr<const anonymize::LookupTable> lookup;
  };

  const std::string folder_;
  const anonymize::Variables variables_;
  std::vector<Step> plans_;
  std::vector<std::string> steps_;
  bool trusted_ = true;
  std::map<std::string, int64_t> changed_;
  int64_t files_ = 0;
};

}  // namespace narthex::cli
