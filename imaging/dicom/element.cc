#include "imaging/dicom/element.h"

#include <charconv>

#include "absl/strings/str_cat.h"

namespace narthex::dicom {
namespace {

constexpr int kElementsToCheck = 4;
constexpr uint32_t kPlausibleLengthMax = 64 << 20;  // fixed: a guess at the encoding

bool IsUpper(char c) { return c >= 'A' && c <= 'Z'; }
bool IsPrintable(char c) { return c >= 0x20 && c < 0x7f; }

size_t WidthOf(Vr vr) {
  switch (vr) {
    case Vr::kUS:
    case Vr::kSS:
      return 2;
    case Vr::kUL:
    case Vr::kSL:
    case Vr::kFL:
    case Vr::kAT:
      return 4;
    case Vr::kFD:
    case Vr::kUV:
    case Vr::kSV:
      return 8;
    default:
      return 0;
  }
}

template <typename Float>
void AppendFloat(Float number, std::string* out) {
  char text[32];
  const auto end = std::to_chars(text, text + sizeof text, number);
  out->append(text, static_cast<size_t>(end.ptr - text));
}

void AppendNumber(const char* p, Vr vr, bool big, std::string* out) {
  switch (vr) {
    case Vr::kUS:
      absl::StrAppend(out, LoadEither<uint16_t>(p, big));
      break;
    case Vr::kSS:
      absl::StrAppend(out, static_cast<int16_t>(LoadEither<uint16_t>(p, big)));
      break;
    case Vr::kUL:
      absl::StrAppend(out, LoadEither<uint32_t>(p, big));
      break;
    case Vr::kSL:
      absl::StrAppend(out, static_cast<int32_t>(LoadEither<uint32_t>(p, big)));
      break;
    case Vr::kUV:
      absl::StrAppend(out, LoadEither<uint64_t>(p, big));
      break;
    case Vr::kSV:
      absl::StrAppend(out, static_cast<int64_t>(LoadEither<uint64_t>(p, big)));
      break;
    case Vr::kFL:
      AppendFloat(std::bit_cast<float>(LoadEither<uint32_t>(p, big)), out);
      break;
    case Vr::kFD:
      AppendFloat(std::bit_cast<double>(LoadEither<uint64_t>(p, big)), out);
      break;
    case Vr::kAT:
      out->append(Tag(LoadEither<uint16_t>(p, big), LoadEither<uint16_t>(p + 2, big)).ToString());
      break;
    default:
      break;
  }
}

}  // namespace

// Two capitals are a VR of a newer edition: those have long lengths (PS3.5 section 6.2.2, note). Two other
// printable characters, such as "??", come from senders that did not know the VR and wrote a short length.
// Anything else is the length of an implicit element that strayed into an explicit data set.
ScanHead ReadOddHead(const char* p, Tag tag, bool big) {
  ScanHead head;
  head.tag = tag;
  if (IsUpper(p[4]) && IsUpper(p[5])) {
    head.vr = static_cast<Vr>(LoadLittle<uint16_t>(p + 4));
    head.length = LoadEither<uint32_t>(p + 8, big);
    head.size = 12;
  } else if (IsPrintable(p[4]) && IsPrintable(p[5])) {
    head.length = LoadEither<uint16_t>(p + 6, big);
    head.size = 8;
  } else {
    head.length = LoadEither<uint32_t>(p + 4, big);
    head.size = 8;
  }
  return head;
}

bool LooksLikeDataSet(absl::string_view bytes, DataSetEncoding encoding, uint64_t object_size) {
  Tag last;
  uint64_t at = 0;
  for (int i = 0; i < kElementsToCheck && at < bytes.size(); ++i) {
    ScanHead head;
    if (!ReadHead(bytes.data() + at, bytes.size() - at, encoding, &head)) return i > 0;
    if (i > 0 && head.tag <= last) return false;
    if (head.tag.group() == 0xfffe || head.tag.group() == 0x0000 || head.tag.group() == 0x0002) return false;
    if (IsExplicit(encoding) && !head.vr_known) return false;
    at += head.size;
    if (head.length == kUndefinedLength) {
      // Nothing but an item or the end can follow. That is enough to believe.
      const bool may_lack_length = !IsExplicit(encoding) || HasLongLength(head.vr);
      ScanHead next;
      if (!may_lack_length || at > bytes.size()) return may_lack_length;
      return !ReadHead(bytes.data() + at, bytes.size() - at, encoding, &next) || next.tag.group() == 0xfffe;
    }
    if (head.length > kPlausibleLengthMax || (object_size > 0 && head.length > object_size)) return i > 0;
    at += head.length;
    last = head.tag;
  }
  return !bytes.empty();
}

std::string RenderNumbers(absl::string_view value, Vr vr, bool big) {
  const size_t width = WidthOf(vr);
  std::string out;
  for (size_t at = 0; width != 0 && at + width <= value.size(); at += width) {
    if (at > 0) out.push_back('\\');
    AppendNumber(value.data() + at, vr, big, &out);
  }
  return out;
}

}  // namespace narthex::dicom
