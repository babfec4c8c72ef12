// Which anonymization scripts and profiles are in force, ready to run: the site's, which everything that
// arrives goes through, and each project's, which everything that is archived goes through.
//
//   NX_ASSIGN_OR_RETURN(auto plan, plans.Site());
//   if (plan == nullptr) ...                         // nothing is to be done
//   anonymize::ApplyContext context = plan->NewContext("");
//   anonymize::Anonymizer anonymizer(plan->steps, variables, context);
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"

#include "base/limit.h"
#include "imaging/anonymize/anonymizer.h"
#include "storage/metadata/settings_store.h"

namespace narthex::deidentify {

// What metadata::Script::kind is for scripts of this kind.
inline constexpr absl::string_view kScriptKind = "anonymize";
// The variable `project` of an object that belongs to none, as in XNAT.
inline constexpr absl::string_view kUnassigned = "Unassigned";

// What is done about identifiers of the original that are found in the result.
enum class Leftovers { kOff, kReport, kHold };
// INVALID_ARGUMENT (INVALID_FIELD): neither "off" (or ""), "report" nor "hold".
absl::StatusOr<Leftovers> ParseLeftovers(absl::string_view text);

// What getURL gives. Called for URLs of `hosts` (anonymize/url_hosts.h) only, and must ask no others; its
// errors tell nothing of the URL or the answer. Thread-safe; blocks for a bounded time.
using UrlFetcher =
    std::function<absl::StatusOr<std::string>(absl::string_view url, const std::set<std::string>& hosts)>;

// Immutable, and shared by threads.
struct Plan {
  anonymize::AnonymizationPlan steps;
  std::shared_ptr<const anonymize::LookupTable> lookup;
  Leftovers leftovers = Leftovers::kOff;
  int64_t version = 0;
  UrlFetcher fetch_url;              // may be null
  std::set<std::string> url_hosts;   // that it may ask
  std::vector<std::string> summary;  // "site script 0123456789abcdef version 3", "site profile basic"

  // For one thread, and with a `seed` for one object (see ApplyContext::seed).
  anonymize::ApplyContext NewContext(std::string seed) const;
  // Whether `data` says that all of this was done to it already. Anybody can write that.
  bool IsRecorded(const dicom::DataSet& data) const;
};

// The three variables of every script.
anonymize::Variables VariablesOf(absl::string_view project, absl::string_view subject,
                                 absl::string_view session);

// Thread-safe.
class PlanSource {
 public:
  virtual ~PlanSource() = default;
  // What arriving objects go through; null: nothing. FAILED_PRECONDITION (ANONYMIZATION_FAILED): what is set
  // cannot be run, so nothing may be kept. Does not block.
  virtual absl::StatusOr<std::shared_ptr<const Plan>> Site() const = 0;
  // What objects of a project go through on their way into the archive. Errors as Site, and UNAVAILABLE
  // (DATABASE_UNAVAILABLE). Asks the database the first time.
  virtual absl::StatusOr<std::shared_ptr<const Plan>> Project(absl::string_view project) const = 0;
  // 16 bytes that stand for `uid`, and lead back to it only for those who have the site's secret.
  virtual std::string Fingerprint(absl::string_view uid) const = 0;
  // Whether `user` may say that objects were de-identified by their sender.
  virtual bool IsTrusted(absl::string_view user) const = 0;
};

class Plans : public PlanSource {
 public:
  struct Options {
    UrlFetcher fetch_url;  // may be null: getURL then fails
  };
  // Reads the site's script and secret. UNAVAILABLE. `store` is borrowed.
  static absl::StatusOr<std::unique_ptr<Plans>> Open(metadata::ScriptStore& store, const Options& options);

  absl::StatusOr<std::shared_ptr<const Plan>> Site() const override;
  absl::StatusOr<std::shared_ptr<const Plan>> Project(absl::string_view project) const override;
  std::string Fingerprint(absl::string_view uid) const override;

  // The newest version ("" is the site); all empty and disabled if nothing was ever set.
  absl::StatusOr<metadata::Script> Get(absl::string_view project) const;
  // Adds a version, and puts it in force at once. Durable when it returns. INVALID_ARGUMENT (INVALID_SCRIPT,
  // INVALID_FIELD): it is enabled and has errors, or nothing is to be enabled.
  absl::StatusOr<metadata::Script> Set(metadata::Script script, const metadata::Change& change);

  // All that is wrong with a script's text, by position.
  anonymize::Diagnostics Check(absl::string_view text) const;
  // The plan that `script` would be, whether it is enabled or not, with `secret`. INVALID_ARGUMENT.
  absl::StatusOr<std::shared_ptr<const Plan>> Make(const metadata::Script& script, std::string secret,
                                                   Origin origin) const;
  // The secret of a project ("": of the site).
  absl::StatusOr<std::string> Secret(absl::string_view project) const { return store_.Secret(project); }

  bool IsTrusted(absl::string_view user) const override;
  // Names of users.
  void SetTrustedUploaders(const std::set<std::string>& users);

  // The hosts that getURL may ask. Scripts that ask others stop working, and objects with them.
  absl::Status SetUrlHosts(const std::set<std::string>& hosts);

 private:
  using Entry = absl::StatusOr<std::shared_ptr<const Plan>>;
  Plans(metadata::ScriptStore& store, const Options& options) : store_(store), options_(options) {}
  absl::StatusOr<Entry> Load(absl::string_view project) const;
  std::set<std::string> UrlHosts() const;

  metadata::ScriptStore& store_;
  const Options options_;
  std::string site_secret_;

  mutable absl::Mutex mutex_;
  std::set<std::string, std::less<>> trusted_ ABSL_GUARDED_BY(mutex_);
  std::set<std::string> url_hosts_ ABSL_GUARDED_BY(mutex_);
  // By project; "" is the site, which is always there.
  mutable std::map<std::string, Entry, std::less<>> plans_ ABSL_GUARDED_BY(mutex_);
  // Counts changes, so that what was read before one is not entered after it.
  mutable int64_t generation_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace narthex::deidentify
