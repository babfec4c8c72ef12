#include "server/deidentify/plans.h"

#include <algorithm>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"

#include "base/error.h"
#include "base/limits_url.h"
#include "base/log.h"
#include "base/status.h"
#include "imaging/anonymize/record.h"
#include "imaging/anonymize/uids.h"
#include "storage/metadata/access.h"

namespace narthex::deidentify {
namespace {

constexpr size_t kFingerprintBytes = 16;

absl::Status CannotRun(absl::string_view project, const absl::Status& why) {
  return FailedPrecondition("ANONYMIZATION_FAILED",
                            absl::StrCat("the anonymization that is set for ",
                                         project.empty() ? "the site" : absl::StrCat("project ", project),
                                         " cannot be run, so nothing is kept: ", why.message()));
}

bool HoldsCode(const dicom::DataSet& data, const anonymize::MethodCode& code) {
  const dicom::Element* element = data.Find(dicom::tags::kDeidentificationMethodCodeSequence);
  if (element == nullptr || element->sequence() == nullptr) return false;
  const dicom::Sequence& sequence = *element->sequence();
  for (size_t i = 0; i < sequence.size(); ++i) {
    const dicom::Item& item = sequence.item(i);
    if (item.TextOrEmpty(dicom::tags::kCodeValue) == code.value &&
        item.TextOrEmpty(dicom::tags::kCodingSchemeDesignator) == code.scheme_designator) {
      return true;
    }
  }
  return false;
}

}  // namespace

absl::StatusOr<Leftovers> ParseLeftovers(absl::string_view text) {
  if (text.empty() || text == "off") return Leftovers::kOff;
  if (text == "report") return Leftovers::kReport;
  if (text == "hold") return Leftovers::kHold;
  return InvalidArgument("INVALID_FIELD", "leftovers: expected off, report or hold",
                         {{"field", "leftovers"}});
}

anonymize::ApplyContext Plan::NewContext(std::string seed) const {
  anonymize::ApplyContext context;
  context.key = steps.secret;
  context.lookup = lookup;
  context.seed = std::move(seed);
  if (fetch_url != nullptr) {
    context.fetch_url = [fetch = fetch_url, hosts = url_hosts,
                         asked = 0](absl::string_view url) mutable -> absl::StatusOr<std::string> {
      if (++asked > limits::kUrlFetchesPerObjectMax) {
        return ResourceExhausted("ANONYMIZATION_FAILED", absl::StrCat("the script asks more than ",
                                                                      limits::kUrlFetchesPerObjectMax.get(),
                                                                      " times for one object"));
      }
      return fetch(url, hosts);
    };
  }
  return context;
}

bool Plan::IsRecorded(const dicom::DataSet& data) const {
  if (data.TextOrEmpty(dicom::tags::kPatientIdentityRemoved) != "YES") return false;
  if (steps.script != nullptr && !anonymize::AlreadyApplied(data, *steps.script)) return false;
  if (steps.profile == nullptr) return true;
  const std::vector<anonymize::MethodCode> codes = steps.profile->Codes();
  return std::all_of(codes.begin(), codes.end(),
                     [&](const anonymize::MethodCode& code) { return HoldsCode(data, code); });
}

anonymize::Variables VariablesOf(absl::string_view project, absl::string_view subject,
                                 absl::string_view session) {
  return {{"project", std::string(project.empty() ? kUnassigned : project)},
          {"subject", std::string(subject)},
          {"session", std::string(session)}};
}

absl::StatusOr<std::unique_ptr<Plans>> Plans::Open(metadata::ScriptStore& store, const Options& options) {
  auto plans = absl::WrapUnique(new Plans(store, options));
  NX_ASSIGN_OR_RETURN(plans->site_secret_, store.Secret(""));
  NX_ASSIGN_OR_RETURN(Entry site, plans->Load(""));
  if (!site.ok()) Log(LogLevel::kError, "the site's anonymization cannot be run", {{"error", site.status()}});
  absl::MutexLock lock(&plans->mutex_);
  plans->plans_.emplace("", std::move(site));
  return plans;
}

absl::StatusOr<std::shared_ptr<const Plan>> Plans::Site() const {
  absl::MutexLock lock(&mutex_);
  return plans_.find("")->second;
}

absl::StatusOr<std::shared_ptr<const Plan>> Plans::Project(absl::string_view project) const {
  int64_t generation = 0;
  {
    absl::MutexLock lock(&mutex_);
    if (const auto known = plans_.find(project); known != plans_.end()) return known->second;
    generation = generation_;
  }
  NX_ASSIGN_OR_RETURN(Entry loaded, Load(project));
  absl::MutexLock lock(&mutex_);
  if (generation == generation_) plans_.emplace(project, loaded);
  return loaded;
}

std::string Plans::Fingerprint(absl::string_view uid) const {
  return anonymize::Hmac(site_secret_, absl::StrCat("identity:", uid)).substr(0, kFingerprintBytes);
}

// Outer error: the database; inner one: the script.
absl::StatusOr<Plans::Entry> Plans::Load(absl::string_view project) const {
  const metadata::SystemScope scope;  // it holds whoever sends, on whatever thread
  NX_ASSIGN_OR_RETURN(const auto script, store_.Get(kScriptKind, project));
  if (!script || !script->enabled) return Entry(nullptr);
  NX_ASSIGN_OR_RETURN(std::string secret, store_.Secret(project));
  Entry made = Make(*script, std::move(secret), Origin::kStored);
  if (!made.ok()) return Entry(CannotRun(project, made.status()));
  return made;
}

absl::StatusOr<metadata::Script> Plans::Get(absl::string_view project) const {
  NX_ASSIGN_OR_RETURN(auto script, store_.Get(kScriptKind, project));
  if (script) return *std::move(script);
  metadata::Script empty;
  empty.kind = std::string(kScriptKind);
  empty.project = std::string(project);
  return empty;
}

absl::StatusOr<metadata::Script> Plans::Set(metadata::Script script, const metadata::Change& change) {
  script.kind = std::string(kScriptKind);
  Entry entry(nullptr);
  if (script.enabled) {
    NX_ASSIGN_OR_RETURN(std::string secret, store_.Secret(script.project));
    entry = Make(script, std::move(secret), Origin::kArriving);
    if (!entry.ok()) return entry.status();
  } else if (!script.profile.empty()) {
    NX_RETURN_IF_ERROR(anonymize::ProfileOptions::Parse(script.profile).status());
  }
  NX_RETURN_IF_ERROR(ParseLeftovers(script.leftovers).status());
  // Whether the database took it is not known after an error, so what is in force is read anew then. Until it
  // is, a stricter one of the two would be wrong as well: objects of the old one go on as before.
  auto stored = store_.Set(script, change);
  if (!stored.ok()) {
    const auto loaded = Load(script.project);
    absl::MutexLock lock(&mutex_);
    ++generation_;
    if (loaded.ok()) {
      plans_.insert_or_assign(script.project, *loaded);
    } else if (!script.project.empty()) {
      plans_.erase(script.project);
    }
    return stored.status();
  }
  NX_ASSIGN_OR_RETURN(Entry loaded, Load(script.project));
  absl::MutexLock lock(&mutex_);
  ++generation_;
  plans_.insert_or_assign(script.project, std::move(loaded));
  return stored;
}

std::set<std::string> Plans::UrlHosts() const {
  absl::MutexLock lock(&mutex_);
  return url_hosts_;
}

anonymize::Diagnostics Plans::Check(absl::string_view text) const {
  anonymize::CompileOptions options;
  options.url_hosts = UrlHosts();
  return anonymize::Check(text, options);
}

absl::StatusOr<std::shared_ptr<const Plan>> Plans::Make(const metadata::Script& script, std::string secret,
                                                        Origin origin) const {
  const char* whose = script.project.empty() ? "site" : "project";
  auto plan = std::make_shared<Plan>();
  plan->version = script.version;
  plan->fetch_url = options_.fetch_url;
  plan->url_hosts = UrlHosts();
  plan->steps.secret = std::move(secret);
  plan->steps.dates_by_subject = !script.project.empty();
  NX_ASSIGN_OR_RETURN(plan->leftovers, ParseLeftovers(script.leftovers));
  plan->steps.check_leftovers = plan->leftovers != Leftovers::kOff;
  if (!script.profile.empty()) {
    NX_ASSIGN_OR_RETURN(const auto options, anonymize::ProfileOptions::Parse(script.profile));
    plan->steps.profile = std::make_shared<anonymize::Profile>(options);
    plan->summary.push_back(absl::StrCat(whose, " profile ", options.ToString()));
  }
  if (!script.text.empty()) {
    anonymize::CompileOptions options;
    options.url_hosts = UrlHosts();
    options.origin = origin;
    NX_ASSIGN_OR_RETURN(auto compiled, anonymize::Script::Compile(script.text, options));
    plan->summary.push_back(
        absl::StrCat(whose, " script ", anonymize::CodeOf(compiled).value, " version ", script.version));
    plan->steps.script = std::make_shared<anonymize::Script>(std::move(compiled));
  }
  if (plan->steps.script == nullptr && plan->steps.profile == nullptr) {
    return InvalidArgument("INVALID_FIELD",
                           "there is neither a script nor a profile to be enabled; set one first",
                           {{"field", "enabled"}});
  }
  if (!script.lookup_table.Reveal().empty()) {
    NX_ASSIGN_OR_RETURN(auto table, anonymize::ParseLookupTable(script.lookup_table.Reveal()));
    plan->lookup = std::make_shared<const anonymize::LookupTable>(std::move(table));
  }
  return plan;
}

void Plans::SetTrustedUploaders(const std::set<std::string>& users) {
  absl::MutexLock lock(&mutex_);
  trusted_ = {users.begin(), users.end()};
}

bool Plans::IsTrusted(absl::string_view user) const {
  absl::MutexLock lock(&mutex_);
  return trusted_.find(user) != trusted_.end();
}

absl::Status Plans::SetUrlHosts(const std::set<std::string>& hosts) {
  {
    absl::MutexLock lock(&mutex_);
    url_hosts_ = hosts;
  }
  NX_ASSIGN_OR_RETURN(Entry site, Load(""));
  absl::MutexLock lock(&mutex_);
  ++generation_;
  plans_.clear();
  plans_.emplace("", std::move(site));
  return absl::OkStatus();
}

}  // namespace narthex::deidentify
