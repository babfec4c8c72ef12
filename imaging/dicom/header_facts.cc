#include "imaging/dicom/header_facts.h"

#include <limits>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

#include "base/error.h"
#include "imaging/dicom/bytes.h"
#include "imaging/dicom/charset.h"

namespace narthex::dicom {
namespace {

constexpr size_t kHeadBytes = 24;
constexpr size_t kRecordHeadBytes = 8;
constexpr char kVersion = 1;
constexpr uint8_t kUtf8Value = 1;
// Room for a typical header's facts, so that the buffer grows once at most.
constexpr size_t kReserveBytes = 3072;

constexpr size_t kEncodingAt = 3;
constexpr size_t kFlagsAt = 4;
constexpr size_t kHeaderBytesAt = 8;
constexpr size_t kBulkTagAt = 16;
constexpr size_t kElementCountAt = 20;

uint32_t Load32(const std::string& buffer, size_t at) { return LoadLittle<uint32_t>(buffer.data() + at); }

}  // namespace

struct HeaderFacts::Record {
  size_t tags_at = 0;
  size_t value_at = 0;
  uint32_t value_bytes = 0;
  uint8_t depth = 0;
  uint8_t flags = 0;
  Vr vr = Vr::kUN;
};

HeaderFacts::HeaderFacts() : buffer_(kHeadBytes, '\0') {
  buffer_[0] = 'N';
  buffer_[1] = 'H';
  buffer_[2] = kVersion;
}

// Reads the record at `*offset` and moves it to the next. False at the end, or if the rest is no record.
bool HeaderFacts::Next(size_t* offset, Record* record) const {
  if (buffer_.size() < *offset + kRecordHeadBytes) return false;
  const char* head = buffer_.data() + *offset;
  record->value_bytes = LoadLittle<uint32_t>(head);
  record->depth = static_cast<uint8_t>(head[4]);
  record->flags = static_cast<uint8_t>(head[5]);
  record->vr = static_cast<Vr>(LoadLittle<uint16_t>(head + 6));
  record->tags_at = *offset + kRecordHeadBytes;
  record->value_at = record->tags_at + size_t{4} * record->depth;
  if (record->depth == 0 || record->depth > TagPath::kMaxDepth) return false;
  if (record->value_at > buffer_.size() || record->value_bytes > buffer_.size() - record->value_at)
    return false;
  *offset = record->value_at + record->value_bytes;
  return true;
}

bool HeaderFacts::Find(const TagPath& path, Record* record) const {
  // Most records are passed over by their first word and first tag alone.
  const char* const begin = buffer_.data();
  const size_t size = buffer_.size();
  const uint32_t first = path.front().value();
  size_t offset = kHeadBytes;
  while (offset + kRecordHeadBytes + 4 <= size) {
    const char* head = begin + offset;
    const auto depth = static_cast<uint8_t>(head[4]);
    if (depth == path.depth() && LoadLittle<uint32_t>(head + kRecordHeadBytes) == first) {
      size_t at = offset;
      if (!Next(&at, record)) return false;
      bool same = true;
      for (size_t i = 1; i < path.depth(); ++i) {
        same = same && Load32(buffer_, record->tags_at + 4 * i) == path.tags()[i].value();
      }
      if (same) return true;
    }
    offset += kRecordHeadBytes + size_t{4} * depth + LoadLittle<uint32_t>(head);
  }
  return false;
}

absl::string_view HeaderFacts::Get(const TagPath& path) const {
  Record record;
  if (!Find(path, &record)) return {};
  return absl::string_view(buffer_).substr(record.value_at, record.value_bytes);
}

bool HeaderFacts::Has(const TagPath& path) const {
  Record record;
  return Find(path, &record);
}

std::string HeaderFacts::Text(const TagPath& path) const {
  Record record;
  if (!Find(path, &record)) return {};
  const absl::string_view value = absl::string_view(buffer_).substr(record.value_at, record.value_bytes);
  // Bytes that were marked as UTF-8 are checked all the same.
  return ToUtf8(value, (record.flags & kUtf8Value) != 0 ? "ISO_IR 192" : specific_character_set(),
                KindOfText(record.vr));
}

absl::string_view HeaderFacts::GetFunctional(const TagPath& plain, const TagPath& in_functional_group) const {
  for (const TagPath& path : {plain, in_functional_group.Within(tags::kSharedFunctionalGroupsSequence),
                              in_functional_group.Within(tags::kPerFrameFunctionalGroupsSequence)}) {
    const absl::string_view value = Get(path);
    if (!value.empty()) return value;
  }
  return {};
}

void HeaderFacts::ForEach(const Visitor& visit) const {
  size_t offset = kHeadBytes;
  Record record;
  while (Next(&offset, &record)) {
    Tag path[TagPath::kMaxDepth];
    for (size_t i = 0; i < record.depth; ++i) path[i] = Tag(Load32(buffer_, record.tags_at + 4 * i));
    visit(TagPath::Of(absl::MakeConstSpan(path, record.depth)), record.vr,
          absl::string_view(buffer_).substr(record.value_at, record.value_bytes));
  }
}

DataSetEncoding HeaderFacts::encoding() const { return static_cast<DataSetEncoding>(buffer_[kEncodingAt]); }
bool HeaderFacts::Flag(FlagBit bit) const { return (Load32(buffer_, kFlagsAt) & bit) != 0; }
uint64_t HeaderFacts::header_bytes() const { return LoadLittle<uint64_t>(buffer_.data() + kHeaderBytesAt); }
Tag HeaderFacts::bulk_tag() const { return Tag(Load32(buffer_, kBulkTagAt)); }
uint32_t HeaderFacts::element_count() const { return Load32(buffer_, kElementCountAt); }

int64_t HeaderFacts::number_of_frames() const {
  int64_t frames = 0;
  return absl::SimpleAtoi(Get(tags::kNumberOfFrames), &frames) && frames > 0 ? frames : 1;
}

int HeaderFacts::SlotOf(Tag tag) {
  switch (tag.value()) {
    case tags::kTransferSyntaxUID.value():
      return kTransferSyntax;
    case tags::kSpecificCharacterSet.value():
      return kCharset;
    case tags::kSOPClassUID.value():
      return kSopClass;
    case tags::kSOPInstanceUID.value():
      return kSopInstance;
    case tags::kStudyInstanceUID.value():
      return kStudy;
    case tags::kSeriesInstanceUID.value():
      return kSeries;
    default:
      return -1;
  }
}

absl::StatusOr<HeaderFacts> HeaderFacts::Decode(absl::string_view encoded) {
  const auto damaged = [](absl::string_view what) {
    return DataLoss("BAD_HEADER_FACTS", absl::StrCat("stored header facts are damaged: ", what));
  };
  if (encoded.size() < kHeadBytes || encoded.substr(0, 2) != "NH") return damaged("no magic number");
  if (encoded[2] != kVersion) return damaged("of a version that this program does not know");
  if (static_cast<uint8_t>(encoded[kEncodingAt]) > static_cast<uint8_t>(DataSetEncoding::kImplicitBig)) {
    return damaged("unknown encoding");
  }
  if (encoded.size() > std::numeric_limits<uint32_t>::max()) return damaged("too long");
  HeaderFacts facts;
  facts.buffer_ = std::string(encoded);
  size_t offset = kHeadBytes;
  Record record;
  while (facts.Next(&offset, &record)) {
    const int slot = record.depth == 1 ? SlotOf(Tag(Load32(facts.buffer_, record.tags_at))) : -1;
    if (slot < 0 || facts.slots_[slot].offset != 0) continue;
    facts.slots_[slot] = {static_cast<uint32_t>(record.value_at), record.value_bytes};
  }
  if (offset != facts.buffer_.size()) return damaged("a record does not end where it should");
  return facts;
}

HeaderFactsBuilder::HeaderFactsBuilder() { facts_.buffer_.reserve(kReserveBytes); }

void HeaderFactsBuilder::Clear() {
  std::string& buffer = facts_.buffer_;
  if (buffer.capacity() < kReserveBytes) buffer.reserve(kReserveBytes);
  buffer.assign(kHeadBytes, '\0');
  buffer[0] = 'N';
  buffer[1] = 'H';
  buffer[2] = kVersion;
  for (HeaderFacts::Slice& slot : facts_.slots_) slot = {};
}

void HeaderFactsBuilder::AddTop(Tag tag, absl::string_view value, Vr vr) {
  // Two appends, the first of constant size: a buffer put together first is slower, as GCC 12 copies it with
  // "rep movsq" (50 ns a value).
  constexpr size_t kHead = kRecordHeadBytes + 4;
  std::string& buffer = facts_.buffer_;
  char head[kHead];
  StoreLittle<uint64_t>(head, value.size() | uint64_t{1} << 32 | uint64_t{static_cast<uint16_t>(vr)} << 48);
  StoreLittle<uint32_t>(head + kRecordHeadBytes, tag.value());
  buffer.append(head, kHead);
  const int slot = HeaderFacts::SlotOf(tag);
  if (slot >= 0 && facts_.slots_[slot].offset == 0) {
    facts_.slots_[slot] = {static_cast<uint32_t>(buffer.size()), static_cast<uint32_t>(value.size())};
  }
  buffer.append(value.data(), value.size());
}

HeaderFactsBuilder& HeaderFactsBuilder::Add(const TagPath& path, absl::string_view value, Vr vr, bool utf8) {
  std::string& buffer = facts_.buffer_;
  char head[kRecordHeadBytes + 4 * TagPath::kMaxDepth];
  StoreLittle<uint32_t>(head, static_cast<uint32_t>(value.size()));
  head[4] = static_cast<char>(path.depth());
  head[5] = utf8 ? kUtf8Value : 0;
  StoreLittle<uint16_t>(head + 6, static_cast<uint16_t>(vr));
  for (size_t i = 0; i < path.depth(); ++i) {
    StoreLittle<uint32_t>(head + kRecordHeadBytes + 4 * i, path.tags()[i].value());
  }
  buffer.append(head, kRecordHeadBytes + 4 * path.depth());
  const int slot = path.depth() == 1 ? HeaderFacts::SlotOf(path.front()) : -1;
  if (slot >= 0 && facts_.slots_[slot].offset == 0) {
    facts_.slots_[slot] = {static_cast<uint32_t>(buffer.size()), static_cast<uint32_t>(value.size())};
  }
  buffer.append(value.data(), value.size());
  return *this;
}

HeaderFactsBuilder& HeaderFactsBuilder::Add(const TagPath& path, absl::string_view value) {
  return Add(path, value, DictionaryVr(path.back()));
}

HeaderFactsBuilder& HeaderFactsBuilder::set_encoding(DataSetEncoding encoding) {
  facts_.buffer_[kEncodingAt] = static_cast<char>(encoding);
  return *this;
}
HeaderFactsBuilder& HeaderFactsBuilder::set_header_bytes(uint64_t bytes) {
  StoreLittle<uint64_t>(facts_.buffer_.data() + kHeaderBytesAt, bytes);
  return *this;
}
HeaderFactsBuilder& HeaderFactsBuilder::set_bulk_tag(Tag tag) {
  StoreLittle<uint32_t>(facts_.buffer_.data() + kBulkTagAt, tag.value());
  return *this;
}
HeaderFactsBuilder& HeaderFactsBuilder::set_element_count(uint32_t count) {
  StoreLittle<uint32_t>(facts_.buffer_.data() + kElementCountAt, count);
  return *this;
}
HeaderFactsBuilder& HeaderFactsBuilder::Set(HeaderFacts::FlagBit bit, bool on) {
  const uint32_t flags = Load32(facts_.buffer_, kFlagsAt);
  StoreLittle<uint32_t>(facts_.buffer_.data() + kFlagsAt, on ? flags | bit : flags & ~uint32_t{bit});
  return *this;
}

HeaderFacts HeaderFactsBuilder::Build() {
  HeaderFacts facts = std::move(facts_);
  Clear();
  return facts;
}

}  // namespace narthex::dicom
