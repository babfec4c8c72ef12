#include "server/ingest/difference.h"

#include <algorithm>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

#include "base/limits.h"
#include "base/status.h"
#include "imaging/anonymize/diff.h"
#include "imaging/dicom/rewriter.h"
#include "imaging/dicom/transfer_syntax.h"

namespace narthex::ingest {
namespace {

using dicom::HeaderFacts;
using prearchive::ObjectRow;

// An outcome names so many attributes at most.
constexpr size_t kNamesMax = 20;  // fixed: what one outcome tells

// The attributes of the data sets that differ, by keyword or path; UNIMPLEMENTED where they are not compared.
absl::StatusOr<std::vector<std::string>> DifferingNames(const prearchive::Reception& reception,
                                                        const HeaderFacts& other, const HeaderFacts& newcomer,
                                                        bool anonymized, absl::string_view head) {
  if (other.is_deflated() || newcomer.is_deflated()) return absl::UnimplementedError("deflated");
  // What was changed on its way in differs for that alone from what was not.
  if (head.empty() || reception.other()->anonymized() != anonymized)
    return absl::UnimplementedError("not comparable");
  NX_ASSIGN_OR_RETURN(const std::string bytes,
                      reception.ReadOther(std::min<uint64_t>(other.header_bytes() + kBulkHeadBytes,
                                                             limits::kHeaderMaxBytes.most())));
  dicom::RewriteOptions bare;
  bare.origin = Origin::kStored;  // what came was looked at before
  bare.transfer_syntax_uid = std::string(other.transfer_syntax_uid());
  NX_ASSIGN_OR_RETURN(const dicom::ObjectHeader before, dicom::ParseObjectHeader(bytes, nullptr, bare));
  bare.transfer_syntax_uid = std::string(newcomer.transfer_syntax_uid());
  NX_ASSIGN_OR_RETURN(const dicom::ObjectHeader after, dicom::ParseObjectHeader(head, nullptr, bare));
  std::vector<std::string> names;
  for (const anonymize::AttributeChange& change : anonymize::DiffDataSets(*before.data, *after.data)) {
    // Of what lies in a sequence the sequence's path tells more than the name of an inner attribute.
    const bool nested = absl::StrContains(change.path, '[');
    std::string name = change.keyword.empty() || nested ? change.path : change.keyword;
    if (change.keyword != "PixelData") names.push_back(std::move(name));
  }
  return names;
}

}  // namespace

std::string DescribeDifference(const prearchive::Reception& reception, const ObjectRow& newcomer,
                               absl::string_view head) {
  const auto before = HeaderFacts::Decode(reception.other()->facts());
  const auto after = HeaderFacts::Decode(newcomer.facts());
  if (!before.ok() || !after.ok()) return "";
  const bool syntax = before->transfer_syntax_uid() != after->transfer_syntax_uid();
  const bool bulk_known = !reception.other()->bulk_xxh3().empty() && !newcomer.bulk_xxh3().empty();
  const bool bulk = reception.other()->bulk_xxh3() != newcomer.bulk_xxh3();
  auto names = DifferingNames(reception, *before, *after, newcomer.anonymized(), head);
  std::string list;
  if (names.ok() && !names->empty()) {
    const size_t more = names->size() > kNamesMax ? names->size() - kNamesMax : 0;
    names->resize(names->size() - more);
    list =
        absl::StrCat(": ", absl::StrJoin(*names, ", "), more > 0 ? absl::StrCat(" and ", more, " more") : "");
  }
  const bool same_header = names.ok() && names->empty();
  // Pixels in another encoding have other bytes; only decoding would tell whether they differ.
  if (syntax) {
    const bool lossy = dicom::FindTransferSyntax(before->transfer_syntax_uid()).lossy ||
                       dicom::FindTransferSyntax(after->transfer_syntax_uid()).lossy;
    return same_header ? absl::StrCat("only the transfer syntax differs",
                                      lossy ? ", one of which loses detail, so the pixels may differ" : "")
                       : absl::StrCat("the transfer syntax and the header differ", list);
  }
  if (!bulk_known) return list.empty() ? "" : absl::StrCat("the header differs", list);
  if (!bulk) return absl::StrCat("only the header differs", list);
  if (same_header) return "only the pixels differ";
  return absl::StrCat("the pixels and the header differ", list);
}

}  // namespace narthex::ingest
