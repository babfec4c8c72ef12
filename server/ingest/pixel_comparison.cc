#include "server/ingest/pixel_comparison.h"

#include <utility>

#include "absl/strings/str_cat.h"

#include "base/digest.h"
#include "base/error.h"
#include "base/status.h"
#include "imaging/dicom/header_facts.h"
#include "imaging/pixels/samples.h"

namespace narthex::ingest {
namespace {

using prearchive::ObjectRow;
using Kind = PixelVerdict::Kind;

std::string WhyOf(const absl::Status& status) {
  const ErrorMetadata metadata = ErrorMetadataOf(status);
  const auto why = metadata.find("why");
  return why == metadata.end() ? std::string(status.message()) : why->second;
}

// Errors that are about the server or the caller and not about the object.
bool IsOurs(const absl::Status& status) {
  return absl::IsCancelled(status) || absl::IsDataLoss(status) || absl::IsNotFound(status) ||
         absl::IsInternal(status);
}

absl::StatusOr<pixels::SampleSummary> Summarize(staging::SessionLog& log, const ObjectRow& object,
                                                const dicom::HeaderFacts& facts,
                                                const std::function<bool()>& stopping,
                                                const pixels::DecoderOptions& options) {
  const auto source = [&](const std::function<absl::Status(absl::string_view)>& sink) {
    return log.Read(prearchive::Prearchive::StoredObjectOf(object), [&](absl::string_view piece) {
      if (stopping && stopping())
        return Error(absl::StatusCode::kCancelled, "OPERATION_CANCELLED", "the client went away");
      return sink(piece);
    });
  };
  return pixels::SummarizeSamples(source, std::string(facts.transfer_syntax_uid()), options);
}

}  // namespace

absl::StatusOr<PixelVerdict> ComparePixels(prearchive::Prearchive& prearchive, const std::string& session,
                                           const ObjectRow& before, const ObjectRow& after,
                                           const std::function<bool()>& stopping,
                                           const pixels::DecoderOptions& options) {
  NX_ASSIGN_OR_RETURN(const dicom::HeaderFacts old_facts, dicom::HeaderFacts::Decode(before.facts()));
  NX_ASSIGN_OR_RETURN(const dicom::HeaderFacts new_facts, dicom::HeaderFacts::Decode(after.facts()));
  const bool same_syntax = old_facts.transfer_syntax_uid() == new_facts.transfer_syntax_uid();
  // The digests are of what was received; a script may have changed what is stored of one.
  if (same_syntax && !before.bulk_xxh3().empty() && before.bulk_xxh3() == after.bulk_xxh3() &&
      before.anonymized() == after.anonymized()) {
    return PixelVerdict{before.bulk_xxh3() == Xxh3("") ? Kind::kNone : Kind::kSame, ""};
  }
  NX_ASSIGN_OR_RETURN(const auto log, prearchive.OpenLog(session));
  const auto one = Summarize(*log, before, old_facts, stopping, options);
  const auto other = one.ok() ? Summarize(*log, after, new_facts, stopping, options) : one;
  for (const auto* summary : {&one, &other}) {
    if (summary->ok()) continue;
    if (IsOurs(summary->status())) return summary->status();
    return PixelVerdict{Kind::kUnknown, absl::StrCat("of the ", one.ok() ? "newer" : "older", " one, ",
                                                     WhyOf(summary->status()))};
  }
  if (!one->present && !other->present) return PixelVerdict{Kind::kNone, ""};
  switch (pixels::Compare(*one, *other)) {
    case pixels::SampleRelation::kSame:
      return PixelVerdict{Kind::kSame, ""};
    case pixels::SampleRelation::kDifferent:
      return PixelVerdict{Kind::kDifferent, ""};
    case pixels::SampleRelation::kIncomparable:
      break;
  }
  return PixelVerdict{Kind::kUnknown, absl::StrCat("their colours are kept in different ways: ", one->colours,
                                                   " and ", other->colours)};
}

}  // namespace narthex::ingest
