// Feeds objects to the header rewriter: without a change they come out byte for byte, and what the profile or
// a script made of them can be read again and compared.
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>

#include "absl/strings/string_view.h"

#include "imaging/anonymize/anonymizer.h"
#include "imaging/anonymize/diff.h"

namespace {

using narthex::anonymize::AnonymizationPlan;
using narthex::anonymize::Anonymizer;
using narthex::anonymize::ApplyContext;
using narthex::anonymize::Profile;
using narthex::anonymize::ProfileOptions;
using narthex::anonymize::Script;

AnonymizationPlan Plan(bool with_profile) {
  AnonymizationPlan plan;
  plan.secret = "0123456789abcdef";
  plan.check_leftovers = true;
  if (with_profile) {
    const auto options = ProfileOptions::Parse(
        "basic,clean-descriptors,clean-structured-content,clean-graphics,retain-modified-dates,retain-safe-"
        "private");
    plan.profile = std::make_shared<Profile>(*options);
  } else {
    plan.script = std::make_shared<Script>(
        *Script::Compile("version \"6.6\"\n(0010,0010) := \"S\\\\u00e9\"\n*/(0010,0010) ?= "
                         "\"A\"\n-+/(0008,1155)\nremoveAllPrivateTags\n"));
  }
  return plan;
}

void Try(absl::string_view bytes, const AnonymizationPlan& plan) {
  ApplyContext context;
  context.max_steps = 200'000;
  Anonymizer anonymizer(plan, {}, context);
  const auto out = narthex::dicom::RewriteObject(bytes, anonymizer);
  if (!out.ok()) return;
  const auto before = narthex::dicom::ParseObjectHeader(bytes);
  const auto after = narthex::dicom::ParseObjectHeader(*out);
  if (!before.ok() || !after.ok()) std::abort();
  narthex::anonymize::DiffDataSets(*before->data, *after->data);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view bytes(reinterpret_cast<const char*>(data), size);
  static const AnonymizationPlan& nothing = *new AnonymizationPlan();
  static const AnonymizationPlan& profile = *new AnonymizationPlan(Plan(true));
  static const AnonymizationPlan& script = *new AnonymizationPlan(Plan(false));
  ApplyContext context;
  Anonymizer keep(nothing, {}, context);
  const auto same = narthex::dicom::RewriteObject(bytes, keep);
  if (same.ok()) {
    const auto header = narthex::dicom::ParseObjectHeader(bytes);
    if (!header.ok() || (!header->syntax.deflated && *same != bytes)) std::abort();
  }
  Try(bytes, profile);
  Try(bytes, script);
  return 0;
}
