#include "imaging/anonymize/leftover.h"

#include <algorithm>
#include <cstring>
#include <set>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

#include "base/limits_scripts.h"
#include "imaging/anonymize/text_fold.h"
#include "imaging/dicom/dictionary.h"
#include "re2/re2.h"

namespace narthex::anonymize {
namespace {

using dicom::Element;
using dicom::Item;
using dicom::Tag;
using dicom::Vr;

constexpr size_t kTermMinBytes = 3;
constexpr size_t kWindowBytes = 256 << 10;  // of a value that is searched while it passes
// From here on a term also counts in the middle of a word.
constexpr size_t kSubstringMinBytes = 6;

// Attributes, other than those of VR PN, whose values point to a person or a place.
constexpr Tag kIdentifying[] = {
    Tag(0x0008, 0x0050),  // AccessionNumber
    Tag(0x0008, 0x0080),  // InstitutionName
    Tag(0x0008, 0x0081),  // InstitutionAddress
    Tag(0x0008, 0x0092),  // ReferringPhysicianAddress
    Tag(0x0008, 0x0094),  // ReferringPhysicianTelephoneNumbers
    Tag(0x0010, 0x0020),  // PatientID
    Tag(0x0010, 0x0030),  // PatientBirthDate
    Tag(0x0010, 0x1000),  // OtherPatientIDs
    Tag(0x0010, 0x1040),  // PatientAddress
    Tag(0x0010, 0x1050),  // InsurancePlanIdentification
    Tag(0x0010, 0x1090),  // MedicalRecordLocator
    Tag(0x0010, 0x2154),  // PatientTelephoneNumbers
    Tag(0x0010, 0x2155),  // PatientTelecomInformation
    Tag(0x0032, 0x1066),  // ReasonForVisit
    Tag(0x0038, 0x0010),  // AdmissionID
    Tag(0x0040, 0x1103),  // PersonTelephoneNumbers
    Tag(0x0040, 0x1102),  // PersonAddress
};

bool IsIdentifying(Tag tag) {
  return std::binary_search(std::begin(kIdentifying), std::end(kIdentifying), tag);
}

// Words that stand where names are expected and say nothing.
bool IsCommon(absl::string_view folded) {
  static const auto& words = *new std::set<absl::string_view>{
      "anonymized", "anonymous", "anonymised",     "anon",         "patient",       "unknown",
      "none",       "null",      "test",           "name",         "not",           "the",
      "and",        "med",       "prof",           "mrs",          "hospital",      "university",
      "center",     "centre",    "clinic",         "department",   "von",           "van",
      "der",        "den",       "radiology",      "medical",      "removed",       "modified",
      "unmodified", "19000101",  "19000101000000", "deidentified", "de-identified", "general",
      "siemens",    "philips",   "toshiba",        "xxx",          "xxxx",          "yes"};
  if (words.count(folded) != 0) return true;
  // "000000", "----": one letter over and over.
  return folded.find_first_not_of(folded[0]) == absl::string_view::npos;
}

std::string Latin1Of(absl::string_view utf8) {
  std::string out;
  bool differs = false;
  while (!utf8.empty()) {
    const uint32_t c = TakeCodePoint(&utf8);
    if (c > 0xff) return "";
    differs = differs || c >= 0x80;
    out.push_back(static_cast<char>(c));
  }
  return differs ? out : "";
}

bool IsWordByte(char c) {
  return absl::ascii_isalnum(static_cast<unsigned char>(c)) || static_cast<unsigned char>(c) >= 0x80;
}

// Where `term` first is in `text` from `from` on, as a word if it is short; npos: nowhere.
size_t FindTerm(absl::string_view text, absl::string_view term, size_t from, bool always_word) {
  while (from + term.size() <= text.size()) {
    const void* hit = memmem(text.data() + from, text.size() - from, term.data(), term.size());
    if (hit == nullptr) return absl::string_view::npos;
    const auto at = static_cast<size_t>(static_cast<const char*>(hit) - text.data());
    const bool begins = at == 0 || !IsWordByte(text[at - 1]) || !IsWordByte(term.front());
    const size_t end = at + term.size();
    const bool ends = end == text.size() || !IsWordByte(text[end]) || !IsWordByte(term.back());
    if ((begins && ends) || (!always_word && term.size() >= kSubstringMinBytes)) return at;
    from = at + 1;
  }
  return absl::string_view::npos;
}

// Lower case of Latin 1, of what is lower case as far as it is ASCII.
std::string LowerLatin1(std::string text) {
  for (char& c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0xc0 && byte <= 0xde && byte != 0xd7) c = static_cast<char>(byte + 0x20);
  }
  return text;
}

void Enter(LeftoverReport* report, const std::string& path, const std::string& name,
           const std::string& source, int64_t count) {
  for (Leftover& found : report->found) {
    if (found.path == path && found.source == source) {
      found.count += count;
      return;
    }
  }
  if (report->found.size() < limits::kLeftoversMax) report->found.push_back({path, name, source, count});
}

int64_t CountTerm(absl::string_view text, absl::string_view term) {
  int64_t count = 0;
  for (size_t at = FindTerm(text, term, 0, false); at != absl::string_view::npos;
       at = FindTerm(text, term, at + term.size(), false))
    ++count;
  return count;
}

// Recursion is bounded by the nesting of the data set.
void CollectFrom(const Item& item, Identifiers* identifiers) {
  for (const Element& element : item.elements()) {
    if (element.sequence() != nullptr) {
      for (size_t i = 0; i < element.sequence()->size(); ++i)
        CollectFrom(element.sequence()->item(i), identifiers);
      continue;
    }
    const Tag tag = element.tag();
    const Vr vr = element.vr() == Vr::kUN ? dicom::DictionaryVr(tag) : element.vr();
    if (vr != Vr::kPN && !IsIdentifying(tag)) continue;
    const std::optional<std::string> text = item.TextOf(element);
    if (!text.has_value()) continue;
    const std::string source = dicom::TagName(tag);
    for (absl::string_view value : absl::StrSplit(*text, '\\')) {
      identifiers->Add(source, value);
      if (vr != Vr::kPN) continue;
      // A report may write "John Doe" for Doe^John, so the parts count too.
      for (absl::string_view part : absl::StrSplit(value, absl::ByAnyChar("^=, ")))
        identifiers->Add(source, part);
    }
  }
}

std::string NameOf(const Item& item, Tag tag) {
  if (!tag.is_private()) return dicom::TagName(tag);
  return absl::StrCat(item.PrivateCreatorOf(tag), " ", absl::Hex(tag.element() & 0xff, absl::kZeroPad2));
}

class Searcher {
 public:
  Searcher(const Identifiers& identifiers, LeftoverReport* report)
      : terms_(identifiers.terms()), report_(report) {
    for (const Identifiers::Term& term : terms_) any_latin1_ = any_latin1_ || !term.latin1.Reveal().empty();
  }

  void Search(const Item& item, const std::string& path) {
    for (const Element& element : item.elements()) {
      const std::string here = absl::StrCat(path, path.empty() ? "" : "/", element.tag().ToString());
      if (element.sequence() != nullptr) {
        for (size_t i = 0; i < element.sequence()->size(); ++i) Search(element.sequence()->item(i), here);
      } else {
        SearchValue(item, element, here);
      }
    }
  }

 private:
  void SearchValue(const Item& item, const Element& element, const std::string& path) {
    const absl::string_view value = element.value();
    // ValueType holds TEXT, DATE, ...: words that a name may be, too.
    constexpr Tag kValueType(0x0040, 0xa040);
    if (value.size() < kTermMinBytes || element.tag() == kValueType) return;
    report_->searched_bytes += static_cast<int64_t>(value.size());
    // As the character set says; and raw, which also finds text in the wrong one and in binary values.
    const std::optional<std::string> text = dicom::IsText(element.vr()) ? item.TextOf(element) : std::nullopt;
    const std::string decoded = text.has_value() ? LowerUtf8(*text) : "";
    const std::string raw = absl::AsciiStrToLower(value);
    const std::string latin1 = any_latin1_ ? LowerLatin1(raw) : "";
    for (const Identifiers::Term& term : terms_) {
      int64_t count =
          std::max(CountTerm(decoded, term.folded.Reveal()), CountTerm(raw, term.folded.Reveal()));
      if (!term.latin1.Reveal().empty()) count = std::max(count, CountTerm(latin1, term.latin1.Reveal()));
      if (count > 0) Enter(report_, path, NameOf(item, element.tag()), term.source, count);
    }
  }

  const std::vector<Identifiers::Term>& terms_;
  LeftoverReport* report_;
  bool any_latin1_ = false;
};

}  // namespace

Identifiers Identifiers::Collect(const dicom::DataSet& original) {
  Identifiers identifiers;
  identifiers.CollectMore(original);
  return identifiers;
}

void Identifiers::CollectMore(const dicom::DataSet& more) { CollectFrom(more, this); }

void Identifiers::Add(absl::string_view source, absl::string_view value) {
  value = absl::StripAsciiWhitespace(value);
  while (!value.empty() && (value.back() == '^' || value.back() == '.')) value.remove_suffix(1);
  if (value.size() < kTermMinBytes || value.size() > limits::kLeftoverTermMaxBytes ||
      terms_.size() >= limits::kLeftoverTermsMax)
    return;
  // Short numbers are everywhere.
  const bool digits = value.find_first_not_of("0123456789") == absl::string_view::npos;
  constexpr size_t kDigitsMin = 5;
  if (digits && value.size() < kDigitsMin) return;
  std::string folded = LowerUtf8(value);
  if (IsCommon(folded)) return;
  for (const Term& term : terms_) {
    if (term.folded.Reveal() == folded) return;
  }
  std::string latin1 = Latin1Of(folded);
  terms_.push_back(
      {Phi<std::string>(std::move(folded)), Phi<std::string>(std::move(latin1)), std::string(source)});
}

void Identifiers::Allow(absl::string_view value) {
  const std::string folded = LowerUtf8(absl::StripAsciiWhitespace(value));
  std::erase_if(terms_, [&](const Term& term) { return term.folded.Reveal() == folded; });
}

std::string Identifiers::Scrub(absl::string_view text) const {
  const std::string folded = LowerUtf8(text);  // has the same length, letter by letter
  std::vector<bool> hidden(folded.size(), false);
  for (const Term& term : terms_) {
    const std::string& wanted = term.folded.Reveal();
    for (size_t at = FindTerm(folded, wanted, 0, false); at != absl::string_view::npos;
         at = FindTerm(folded, wanted, at + 1, false)) {
      std::fill_n(hidden.begin() + static_cast<ptrdiff_t>(at), wanted.size(), true);
    }
  }
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (i >= hidden.size() || !hidden[i]) {
      out.push_back(text[i]);
    } else if (i == 0 || !hidden[i - 1]) {
      out += "***";
    }
  }
  return out;
}

std::string CleanText(absl::string_view text, const Identifiers& identifiers) {
  static const auto& patterns = *new std::vector<std::unique_ptr<const RE2>>([] {
    std::vector<std::unique_ptr<const RE2>> made;
    for (
        const char* pattern : {
            R"([\w.+-]+@[\w-]+\.[\w.-]+)",                    // e-mail
            R"(\b(?:19|20)\d\d[-./]?[01]\d[-./]?[0-3]\d\b)",  // 2020-01-15
            R"(\b\d{1,2}[-./]\d{1,2}[-./](?:19|20)?\d\d\b)",  // 15.1.20
            R"((?i)\b\d{1,2}[. -]*(?:jan|feb|mar|apr|may|mai|jun|jul|aug|sep|oct|okt|nov|dec|dez)[a-z]*[. -]*\d{2,4}\b)",
            R"((?i)\b(?:dr|mr|mrs|ms|prof|herr|frau|mme)\b\.?\s+[\p{L}'-]+(?:\s+\p{Lu}[\p{L}'-]+)?)",
            R"(\+?\d[\d ()/-]{6,}\d)",  // telephone
            R"(\d{5,})",                // record numbers
        }) {
      made.push_back(std::make_unique<const RE2>(pattern));
    }
    return made;
  }());
  std::string cleaned = identifiers.Scrub(text);
  for (const auto& pattern : patterns) RE2::GlobalReplace(&cleaned, *pattern, "***");
  return cleaned;
}

StreamSearch::StreamSearch(const Identifiers& identifiers)
    : terms_(identifiers.terms()), raw_(terms_.size()), latin1_(terms_.size()) {
  for (const Identifiers::Term& term : terms_)
    longest_ = std::max({longest_, term.folded.Reveal().size(), term.latin1.Reveal().size()});
}

void StreamSearch::Add(absl::string_view piece) {
  searched_bytes_ += static_cast<int64_t>(piece.size());
  while (!piece.empty() && !terms_.empty()) {
    const size_t take = std::min(piece.size(), kWindowBytes);
    window_.append(piece.data(), take);
    piece.remove_prefix(take);
    if (window_.size() >= kWindowBytes + longest_) Search(false);
  }
}

// Counts what begins in the window, and keeps what may go on behind it.
void StreamSearch::Search(bool last) {
  const std::string raw = absl::AsciiStrToLower(window_);
  const std::string latin1 = LowerLatin1(raw);
  // A term that begins before this ends in the window, with a byte behind it that tells whether the word
  // does.
  const size_t end = last ? window_.size() : window_.size() - longest_;
  const auto count = [&](const std::string& text, const std::string& term) {
    int64_t found = 0;
    for (size_t at = term.empty() ? text.size() : FindTerm(text, term, begun_ ? 1 : 0, false); at < end;
         at = FindTerm(text, term, at + term.size(), false))
      ++found;
    return found;
  };
  for (size_t i = 0; i < terms_.size(); ++i) {
    raw_[i] += count(raw, terms_[i].folded.Reveal());
    latin1_[i] += count(latin1, terms_[i].latin1.Reveal());
  }
  if (!last) window_.erase(0, end - 1);
  begun_ = true;
}

void StreamSearch::Finish(const std::string& path, const std::string& name, LeftoverReport* report) {
  if (!terms_.empty()) Search(true);
  report->searched_bytes += searched_bytes_;
  for (size_t i = 0; i < terms_.size(); ++i) {
    if (const int64_t count = std::max(raw_[i], latin1_[i]); count > 0)
      Enter(report, path, name, terms_[i].source, count);
  }
}

std::vector<std::string> IdentifiersIn(absl::string_view text, const Identifiers& identifiers) {
  const std::string folded = LowerUtf8(text);
  std::vector<std::string> sources;
  for (const Identifiers::Term& term : identifiers.terms()) {
    if (FindTerm(folded, term.folded.Reveal(), 0, false) == absl::string_view::npos) continue;
    if (std::find(sources.begin(), sources.end(), term.source) == sources.end())
      sources.push_back(term.source);
  }
  return sources;
}

LeftoverReport FindLeftovers(const dicom::DataSet& result, const Identifiers& identifiers) {
  LeftoverReport report;
  if (identifiers.size() > 0) Searcher(identifiers, &report).Search(result, "");
  return report;
}

}  // namespace narthex::anonymize
