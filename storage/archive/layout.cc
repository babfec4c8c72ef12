#include "storage/archive/layout.h"

#include <algorithm>
#include <array>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

#include "base/digest.h"
#include "base/limits.h"

namespace narthex::archive {
namespace {

constexpr char kPrimary[] = "DICOM";
constexpr size_t kHashDigits = 8;

bool IsSafe(char c) { return absl::ascii_isalnum(c) || c == '_' || c == '.' || c == '-'; }

// CON, PRN, AUX, NUL, COM1.., LPT1.., also with an extension, are no file names on Windows.
bool IsDeviceName(absl::string_view text) {
  const std::string stem = absl::AsciiStrToLower(text.substr(0, text.find('.')));
  if (stem == "con" || stem == "prn" || stem == "aux" || stem == "nul") return true;
  return stem.size() == 4 && (stem.substr(0, 3) == "com" || stem.substr(0, 3) == "lpt") && stem[3] >= '1' &&
         stem[3] <= '9';
}

std::string ShortHash(absl::string_view text) {
  return absl::BytesToHexString(Sha256(text)).substr(0, kHashDigits);
}

// Keeps the end of `text` (an extension of at most 16) when it has to be cut.
std::string Shorten(const std::string& text, absl::string_view original) {
  if (text.size() <= limits::kFileNameMaxBytes) return text;
  const size_t dot = text.rfind('.');
  const std::string extension = dot != std::string::npos && text.size() - dot <= 16 ? text.substr(dot) : "";
  const size_t keep = limits::kFileNameMaxBytes - extension.size() - kHashDigits - 1;
  return absl::StrCat(text.substr(0, keep), "_", ShortHash(original), extension);
}

// String.hashCode over UTF-16 units. UIDs are ASCII; other bytes count as Latin-1.
uint32_t JavaStringHash(absl::string_view text) {
  uint32_t hash = 0;
  for (const char c : text) hash = hash * 31 + static_cast<unsigned char>(c);
  return hash;
}

}  // namespace

std::string SanitizeComponent(absl::string_view text) {
  std::string out(text);
  std::replace_if(
      out.begin(), out.end(), [](char c) { return !IsSafe(c); }, '_');
  if (out.empty()) return "_";
  if (out.front() == '.') out.front() = '_';
  if (out.back() == '.') out.back() = '_';  // Windows drops a dot at the end
  if (IsDeviceName(out)) out.insert(out.begin(), '_');
  return Shorten(out, text);
}

std::string SessionFolder(absl::string_view project, absl::string_view label) {
  return absl::StrCat(SanitizeComponent(project), "/", kArcFolder, "/", SanitizeComponent(label));
}

std::string ResourceFolder(absl::string_view scan_id, absl::string_view resource_label) {
  if (scan_id.empty()) return absl::StrCat("RESOURCES/", SanitizeComponent(resource_label));
  return absl::StrCat("SCANS/", SanitizeComponent(scan_id), "/", SanitizeComponent(resource_label));
}

std::string CatalogName(absl::string_view scan_id, absl::string_view resource_label) {
  if (!scan_id.empty() && resource_label == kPrimary)
    return SanitizeComponent(absl::StrCat("scan_", scan_id, "_catalog.xml"));
  if (!scan_id.empty() && resource_label == "secondary") {
    return SanitizeComponent(absl::StrCat("scan_", scan_id, "_secondary_catalog.xml"));
  }
  return SanitizeComponent(absl::StrCat(resource_label, "_catalog.xml"));
}

std::string InstanceFileName(const InstanceName& name) {
  const auto value = [](absl::string_view text, absl::string_view keyword) {
    const absl::string_view trimmed = absl::StripAsciiWhitespace(text);
    return trimmed.empty() ? absl::StrCat("no-value-for-", keyword) : std::string(trimmed);
  };
  return SanitizeComponent(absl::StrCat(value(name.study_instance_uid, "StudyInstanceUID"), "-",
                                        value(name.series_number, "SeriesNumber"), "-",
                                        value(name.instance_number, "InstanceNumber"), "-",
                                        InstanceHash(name.sop_class_uid, name.sop_instance_uid), ".dcm"));
}

std::string InstanceHash(absl::string_view sop_class_uid, absl::string_view sop_instance_uid) {
  uint32_t hash = (31 + JavaStringHash(sop_class_uid)) * 31 + JavaStringHash(sop_instance_uid);
  std::string digits;
  do {
    digits.push_back("0123456789abcdefghijklmnopqrstuvwxyz"[hash % 36]);
    hash /= 36;
  } while (hash > 0);
  std::reverse(digits.begin(), digits.end());
  return digits;
}

std::string NameSet::Take(absl::string_view name) {
  std::string candidate(name);
  const size_t dot = name.rfind('.');
  const absl::string_view stem = name.substr(0, dot);
  const absl::string_view extension = dot == absl::string_view::npos ? absl::string_view() : name.substr(dot);
  for (int i = 2; !taken_.insert(absl::AsciiStrToLower(candidate)).second; ++i) {
    candidate = absl::StrCat(stem, "-", i, extension);
  }
  return candidate;
}

}  // namespace narthex::archive
