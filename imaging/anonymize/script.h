// Anonymization scripts in the DicomEdit language: versions 6.0 to 6.6, and DicomEdit 4 for scripts without a
// version. docs/dicomedit.md describes the language and where we differ from XNAT.
//
//   Diagnostics problems = Check(text);                       // for people
//   NX_ASSIGN_OR_RETURN(Script script, Script::Compile(text));  // once
//   ApplyContext context;                                       // per session
//   NX_ASSIGN_OR_RETURN(Result result, script.Apply(*header.data, {{"subject", "S1"}}, context));
//
// A Script is immutable and may be shared between threads; an ApplyContext is used by one thread at a time.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

#include "base/limits_scripts.h"
#include "base/phi.h"
#include "imaging/dicom/dataset.h"

namespace narthex::anonymize {

enum class Severity { kWarning, kError };

// Something wrong with a script.
struct Diagnostic {
  Severity severity = Severity::kError;
  int line = 0;      // from 1; 0: the script as a whole
  int column = 0;    // from 1, in bytes
  std::string code;  // stable: "SYNTAX", "UNKNOWN_FUNCTION", "UNSET_VARIABLE", ...
  std::string message;

  // "3:14: error: ...".
  std::string ToString() const;
};
using Diagnostics = std::vector<Diagnostic>;
// Whether one of them is an error.
bool HasErrors(const Diagnostics& diagnostics);

struct CompileOptions {
  // Variables that will be given to Apply; the checker calls others unset. Scripts may set more by
  // themselves.
  std::set<std::string> known_variables = {"project", "subject", "session"};
  // The administrator allows getURL for these hosts, as url_hosts.h has them, such as
  // "pseudonyms.example.org"; empty: getURL is an error.
  std::set<std::string> url_hosts;
  // Unset variables are warnings only: they may still be given to Apply.
  bool lenient_variables = false;
  // Whose script it is: one that we keep is compiled though limits were lowered since.
  Origin origin = Origin::kArriving;
};

// All that is wrong with `text`, errors and warnings, by position.
Diagnostics Check(absl::string_view text, const CompileOptions& options = {});

using Variables = std::map<std::string, std::string>;

// A rectangle of pixels to be blanked (alterPixels); applied by who decodes pixels, not by Apply.
struct PixelEdit {
  int64_t left = 0, top = 0, right = 0, bottom = 0;  // right and bottom excluded
  int64_t fill = 0;                                  // the value of every sample
  int line = 0;                                      // of the script
};

struct Result {
  enum class Outcome { kApplied, kRejected };
  Outcome outcome = Outcome::kApplied;  // kRejected: the script said reject[]; the object must be dropped
  std::string reject_reason;            // for kRejected, such as "reject[] in line 3"
  std::vector<PixelEdit> pixel_edits;   // not empty: the pixels must be decoded and changed as well
  // ExportTargetOf -> value of an exported variable; the last export to a target holds. Values longer than
  // limits::kCustomFieldMaxBytes are cut one byte behind that.
  std::map<std::string, Phi<std::string>> exports;
  std::vector<Phi<std::string>> echoes;  // what echo printed; may hold patient values
  int64_t steps = 0;                     // work done, against ApplyContext::max_steps
};

// "keytype/value" -> result, for lookup[]; see ParseLookupTable.
using LookupTable = std::map<std::string, std::string>;

// What Apply needs beside the object, and what lasts from one object to the next.
struct ApplyContext {
  // Secret of the project: mapUID and newUID results, and so the mapping of a study, depend on it. Empty: a
  // random key is made at the first use, so UIDs map alike only as long as this context lives.
  std::string key;
  std::shared_ptr<const LookupTable> lookup;  // may be null
  // Makes newUID[] give the same UIDs each time the same object is treated: they then follow from `key` and
  // this text. "": random ones.
  std::string seed;
  uint64_t new_uid_count = 0;  // how many newUID[] gave
  // Fetches what getURL asks for; only called for hosts of CompileOptions::url_hosts. Its errors must not
  // tell anything of the URL or the answer: they become part of the script's.
  std::function<absl::StatusOr<std::string>(absl::string_view url)> fetch_url;
  // The same script was applied to the object before, and must not be a second time: only attributes that it
  // sets from variables and constants alone, such as `(0010,0010) := subject`, are set anew. Deletions,
  // other functions and values that come from the object are left out.
  bool repeats = false;
  // Bounds of one Apply. Beyond them: RESOURCE_EXHAUSTED (ANONYMIZATION_FAILED).
  int64_t max_steps = limits::kScriptStepsMax;
  size_t max_output_bytes = limits::kScriptOutputMaxBytes;  // values written
};

// Reads lines "keytype/value = result"; "//" and "#" begin comments. INVALID_ARGUMENT (INVALID_SCRIPT): a
// line that is neither; the message has its number only.
absl::StatusOr<LookupTable> ParseLookupTable(absl::string_view text);

class Script {
 public:
  // INVALID_ARGUMENT (INVALID_SCRIPT): the checker found errors; the message holds the first, with its
  // position.
  static absl::StatusOr<Script> Compile(absl::string_view text, const CompileOptions& options = {});

  Script(const Script&) = default;
  Script& operator=(const Script&) = default;
  ~Script();

  // Changes `data`. INVALID_ARGUMENT (ANONYMIZATION_FAILED): a statement failed on this object; the message
  // has its line and no patient value; `data` is then half changed and the object must be refused.
  absl::StatusOr<Result> Apply(dicom::DataSet& data, const Variables& variables, ApplyContext& context) const;

  // Does the same to elements that stand behind the pixels: deletes and changes what is there, creates
  // nothing; conditions and values see the elements of `header` (as Apply left it) too.
  absl::Status ApplyTrailing(dicom::DataSet& trailing, const dicom::DataSet& header,
                             const Variables& variables, ApplyContext& context) const;

  // SHA-256 of the script's text, lower-case hexadecimal.
  const std::string& digest() const;
  // "6.6", or "4" for a script without version.
  const std::string& version() const;
  // Whether a statement could record pixel edits.
  bool alters_pixels() const;
  // Warnings of the checker.
  const Diagnostics& warnings() const;

 private:
  struct Program;
  explicit Script(std::shared_ptr<const Program> program);
  friend struct ScriptAccess;
  std::shared_ptr<const Program> program_;
};

// XNAT's own default site script (project, patient name and ID from the routing). A fresh Narthex has no
// script set.
absl::string_view DefaultSiteScript();

}  // namespace narthex::anonymize
