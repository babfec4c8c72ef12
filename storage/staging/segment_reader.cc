#include "storage/staging/segment_reader.h"

#include <algorithm>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"

#include "base/crc32c.h"
#include "base/error.h"
#include "base/limits_storage.h"
#include "base/status.h"

namespace narthex::staging {
namespace {

constexpr size_t kSearchBytes = 1 << 20;

}  // namespace

absl::StatusOr<std::vector<uint32_t>> ListSegments(fs::FileSystem& files, const std::string& session_path) {
  NX_ASSIGN_OR_RETURN(const std::vector<fs::DirectoryEntry> entries, files.List(session_path));
  std::vector<uint32_t> numbers;
  for (const fs::DirectoryEntry& entry : entries) {
    if (const std::optional<uint32_t> number = SegmentNumber(entry.name)) numbers.push_back(*number);
  }
  std::sort(numbers.begin(), numbers.end());
  return numbers;
}

absl::StatusOr<Position> SegmentReader::CutTail(uint32_t segment) {
  NX_RETURN_IF_ERROR(Chart({segment}, {segment, 0}));
  NX_ASSIGN_OR_RETURN(const std::unique_ptr<fs::File> file,
                      files_.Open(SegmentPath(path_, segment), {.mode = fs::OpenMode::kReadWrite}));
  NX_RETURN_IF_ERROR(file->Truncate(segments_[0].end));  // also gives preallocated space back
  NX_RETURN_IF_ERROR(file->Sync());
  NX_RETURN_IF_ERROR(files_.SyncDirectory(path_));
  NX_RETURN_IF_ERROR(files_.SyncDirectory(fs::ParentPath(path_)));
  return Position{segment, segments_[0].end};
}

absl::Status SegmentReader::Scan(Position after, const std::function<absl::Status(FoundObject)>& found) {
  NX_ASSIGN_OR_RETURN(const std::vector<uint32_t> numbers, ListSegments(files_, path_));
  NX_RETURN_IF_ERROR(Chart(numbers, after));
  NX_RETURN_IF_ERROR(MakeDurable());
  bool damaged = false;
  for (const Segment& segment : segments_) {
    damaged = damaged || !segment.gaps.empty();
    for (const Record& record : segment.records) {
      if (!record.completes || Position{segment.number, record.offset + record.bytes} <= after) continue;
      NX_ASSIGN_OR_RETURN(const std::optional<RecordHead> head, ReadHead(segment, record.offset));
      if (!head.has_value()) continue;
      NX_ASSIGN_OR_RETURN(std::optional<std::string> meta, ReadMeta(segment, *head));
      NX_ASSIGN_OR_RETURN(std::optional<StoredObject> object, Assemble(*head));
      if (!meta.has_value() || !object.has_value()) {
        damaged = true;
        continue;
      }
      NX_RETURN_IF_ERROR(found({session_id_, *std::move(object), *std::move(meta)}));
    }
  }
  if (!damaged) return absl::OkStatus();
  return DataLoss("STAGED_BYTES_CORRUPT",
                  absl::StrCat("session ", session_id_,
                               " has damaged records in its staging segments; run the "
                               "verifier to see which"),
                  {{"session", session_id_}});
}

absl::Status SegmentReader::Verify(SessionReport& report) {
  NX_ASSIGN_OR_RETURN(const std::vector<uint32_t> numbers, ListSegments(files_, path_));
  NX_RETURN_IF_ERROR(Chart(numbers, {}));
  report = SessionReport();
  report.segment_count = segments_.size();
  const auto damage = [&report](uint32_t segment, uint64_t offset, std::string what) {
    ++report.damage_count;
    if (report.damages.size() < limits::kDamagesListedMax)
      report.damages.push_back({segment, offset, std::move(what)});
  };
  struct Unfinished {
    uint32_t records = 0;
    uint64_t bytes = 0;
  };
  std::map<std::pair<uint64_t, uint64_t>, Unfinished> unfinished;  // by epoch and object
  for (const Segment& segment : segments_) {
    report.torn_bytes += segment.size - std::min(segment.end, segment.size);
    for (const Gap& gap : segment.gaps) damage(segment.number, gap.begin, "record head");
    for (const Record& record : segment.records) {
      NX_ASSIGN_OR_RETURN(const std::optional<RecordHead> head, ReadHead(segment, record.offset));
      if (!head.has_value()) continue;
      NX_ASSIGN_OR_RETURN(const std::string wrong, CheckBody(segment, *head));
      if (!wrong.empty()) {
        damage(segment.number, record.offset, wrong);
        continue;
      }
      ++report.record_count;
      Unfinished& object = unfinished[{head->epoch, head->object}];
      const bool follows = object.records == head->extent_index && object.bytes == head->object_offset;
      object.records = follows ? object.records + 1 : UINT32_MAX;  // never to match again
      object.bytes += head->payload_length;
      if (!head->completes) continue;
      if (follows) {
        ++report.object_count;
        report.object_bytes += object.bytes;
      } else {
        damage(segment.number, record.offset, "object lacks a record");
      }
      unfinished.erase({head->epoch, head->object});
    }
  }
  for (const auto& [id, object] : unfinished) {
    if (object.records != UINT32_MAX) report.unfinished_record_count += object.records;
  }
  return absl::OkStatus();
}

// --- What counts ------------------------------------------------------------------------------------------

absl::Status SegmentReader::Chart(const std::vector<uint32_t>& numbers, Position from) {
  segments_.clear();
  others_.clear();
  durable_ = Position();
  has_tail_ = false;
  for (const uint32_t number : numbers) {
    if (number < from.segment) continue;
    NX_ASSIGN_OR_RETURN(Segment segment, ChartSegment(number, number == from.segment ? from.offset : 0));
    durable_ = std::max(durable_, segment.durable);
    segments_.push_back(std::move(segment));
  }
  DropVoid();
  return DropTorn();
}

absl::StatusOr<SegmentReader::Segment> SegmentReader::ChartSegment(uint32_t number, uint64_t from) {
  Segment segment;
  segment.number = number;
  NX_ASSIGN_OR_RETURN(segment.file, files_.Open(SegmentPath(path_, number), {}));
  NX_ASSIGN_OR_RETURN(segment.size, segment.file->SizeBytes());
  uint64_t offset = from;
  if (from > 0 && from < segment.size) {
    // A position that a stale index row names may lie anywhere; then the records are found from the
    // beginning.
    NX_ASSIGN_OR_RETURN(const std::optional<RecordHead> head, ReadHead(segment, from));
    if (!head.has_value()) offset = 0;
  }
  while (offset < segment.size) {
    NX_ASSIGN_OR_RETURN(std::optional<RecordHead> head, ReadHead(segment, offset));
    if (!head.has_value()) {
      NX_ASSIGN_OR_RETURN(head, FindHead(segment, offset + limits::kSegmentBlockBytes));
      // A later head that was made when this place was durable already: damage, not a torn end.
      if (!head.has_value() || head->durable <= Position{number, offset}) break;
      segment.gaps.push_back({offset, head->at.offset});
      offset = head->at.offset;
    }
    if (offset == 0) segment.first_durable = head->durable;
    segment.durable = std::max(segment.durable, head->durable);
    const uint64_t bytes = head->RecordBytes();
    segment.records.push_back({offset, static_cast<uint32_t>(bytes), head->completes});
    offset += bytes;
  }
  segment.end = std::min(offset, segment.size);
  return segment;
}

// Nothing if the block holds none, or one of another place, or one whose record the file ends in.
absl::StatusOr<std::optional<RecordHead>> SegmentReader::ReadHead(const Segment& segment, uint64_t offset) {
  char bytes[kHeadBytes];
  NX_ASSIGN_OR_RETURN(const size_t got, segment.file->ReadAt(offset, bytes, sizeof(bytes)));
  std::optional<RecordHead> head = DecodeHead(absl::string_view(bytes, got));
  if (!head.has_value() || head->session_id != session_id_ || head->at != Position{segment.number, offset} ||
      offset + head->RecordBytes() > segment.size) {
    return std::nullopt;
  }
  return head;
}

absl::StatusOr<std::optional<RecordHead>> SegmentReader::FindHead(const Segment& segment, uint64_t offset) {
  std::string bytes(kSearchBytes, '\0');
  for (; offset < segment.size; offset += kSearchBytes) {
    NX_ASSIGN_OR_RETURN(const size_t got, segment.file->ReadAt(offset, bytes.data(), bytes.size()));
    for (size_t at = 0; at < got; at += limits::kSegmentBlockBytes) {
      if (!DecodeHead(absl::string_view(bytes.data() + at, got - at)).has_value()) continue;
      NX_ASSIGN_OR_RETURN(std::optional<RecordHead> head, ReadHead(segment, offset + at));
      if (head.has_value()) return head;
    }
  }
  return std::nullopt;
}

// Cuts segments that were given up after a failure: their successor's first head tells where.
void SegmentReader::DropVoid() {
  for (size_t i = 0; i + 1 < segments_.size(); ++i) {
    const std::optional<Position>& next = segments_[i + 1].first_durable;
    if (!next.has_value() || next->segment > segments_[i].number) continue;
    CutAt(segments_[i], next->segment == segments_[i].number ? next->offset : 0);
  }
}

void SegmentReader::CutAt(Segment& segment, uint64_t offset) {
  if (segment.end <= offset) return;
  segment.end = offset;
  while (!segment.records.empty() && segment.records.back().offset >= offset) segment.records.pop_back();
  while (!segment.gaps.empty() && segment.gaps.back().begin >= offset) segment.gaps.pop_back();
}

// Behind D the log counts up to the first record that is not whole.
absl::Status SegmentReader::DropTorn() {
  bool torn = false;
  for (Segment& segment : segments_) {
    if (torn) {
      CutAt(segment, 0);
      continue;
    }
    for (const Record& record : segment.records) {
      if (Position{segment.number, record.offset + record.bytes} <= durable_) continue;
      NX_ASSIGN_OR_RETURN(const std::optional<RecordHead> head, ReadHead(segment, record.offset));
      std::string wrong = "record head";
      if (head.has_value()) {
        NX_ASSIGN_OR_RETURN(wrong, CheckBody(segment, *head));
      }
      if (!wrong.empty()) {
        torn = true;
        CutAt(segment, record.offset);
        break;
      }
      has_tail_ = true;
    }
  }
  return absl::OkStatus();
}

// What is reported is taken as durable, but the process that wrote the records behind D may have died before
// its sync.
absl::Status SegmentReader::MakeDurable() {
  if (!has_tail_) return absl::OkStatus();
  for (const Segment& segment : segments_) {
    if (segment.records.empty() || Position{segment.number, segment.end} <= durable_) continue;
    NX_RETURN_IF_ERROR(segment.file->Sync());
  }
  NX_RETURN_IF_ERROR(files_.SyncDirectory(path_));
  return files_.SyncDirectory(fs::ParentPath(path_));
}

// --- Records and objects ----------------------------------------------------------------------------------

absl::StatusOr<std::string> SegmentReader::CheckBody(const Segment& segment, const RecordHead& head) {
  std::string body(size_t{head.payload_length} + head.meta_length, '\0');
  NX_ASSIGN_OR_RETURN(const size_t got,
                      segment.file->ReadAt(head.at.offset + kHeadBytes, body.data(), body.size()));
  if (got < body.size()) return "record is cut short";
  const absl::string_view bytes(body);
  if (Crc32c(bytes.substr(0, head.payload_length)) != head.payload_crc32c) return "payload checksum";
  if (Crc32c(bytes.substr(head.payload_length)) != head.meta_crc32c) return "meta checksum";
  return "";
}

absl::StatusOr<std::optional<std::string>> SegmentReader::ReadMeta(const Segment& segment,
                                                                   const RecordHead& head) {
  std::string meta(head.meta_length, '\0');
  NX_ASSIGN_OR_RETURN(
      const size_t got,
      segment.file->ReadAt(head.at.offset + kHeadBytes + head.payload_length, meta.data(), meta.size()));
  if (got < meta.size() || Crc32c(meta) != head.meta_crc32c) return std::nullopt;
  return std::optional<std::string>(std::move(meta));
}

absl::StatusOr<std::optional<StoredObject>> SegmentReader::Assemble(const RecordHead& last) {
  StoredObject object;
  object.position = last.End();
  object.size_bytes = last.object_offset + last.payload_length;
  RecordHead head = last;
  while (true) {
    if (head.payload_length > 0) object.extents.push_back(head.PayloadExtent());
    if (head.extent_index == 0) break;
    if (head.previous >= head.at) return std::nullopt;  // so that a forged chain ends
    const absl::StatusOr<const Segment*> segment = SegmentOf(head.previous.segment);
    if (absl::IsNotFound(segment.status())) return std::nullopt;
    NX_RETURN_IF_ERROR(segment.status());
    NX_ASSIGN_OR_RETURN(const std::optional<RecordHead> previous, ReadHead(**segment, head.previous.offset));
    if (!previous.has_value() || previous->epoch != head.epoch || previous->object != head.object ||
        previous->extent_index + 1 != head.extent_index || previous->completes ||
        previous->object_offset + previous->payload_length != head.object_offset) {
      return std::nullopt;
    }
    head = *previous;
  }
  if (head.object_offset != 0) return std::nullopt;
  std::reverse(object.extents.begin(), object.extents.end());
  return object;
}

absl::StatusOr<const SegmentReader::Segment*> SegmentReader::SegmentOf(uint32_t number) {
  for (const std::vector<Segment>* list : {&segments_, &others_}) {
    for (const Segment& segment : *list) {
      if (segment.number == number) return &segment;
    }
  }
  Segment segment;
  segment.number = number;
  NX_ASSIGN_OR_RETURN(segment.file, files_.Open(SegmentPath(path_, number), {}));
  NX_ASSIGN_OR_RETURN(segment.size, segment.file->SizeBytes());
  others_.push_back(std::move(segment));
  return &others_.back();
}

}  // namespace narthex::staging
