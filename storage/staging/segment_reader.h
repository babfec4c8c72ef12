// Finds out what the segment files of one session hold: recovery, scanning, verification. Internal to
// storage/staging. Single-threaded.
//
// What counts. Records follow each other without a gap. Every head says up to where the log was durable when
// it was made; the largest such position is D. Records before D were acknowledged or could have been: one
// that fails a check there is damage. Records behind D may be torn: they count up to the first whose payload
// or meta fails. The first head of a segment also says where the one before ended when it was given up; what
// lies behind is void.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "storage/fs/file_system.h"
#include "storage/staging/segment_format.h"

namespace narthex::staging {

// The numbers of the segment files in `session_path`, ascending. NOT_FOUND: no such folder.
absl::StatusOr<std::vector<uint32_t>> ListSegments(fs::FileSystem& files, const std::string& session_path);

class SegmentReader {
 public:
  SegmentReader(fs::FileSystem& files, std::string session_path, std::string session_id)
      : files_(files), path_(std::move(session_path)), session_id_(std::move(session_id)) {}

  // Removes what does not count from the end of the session's last segment and makes the rest durable.
  // Returns the segment's end.
  absl::StatusOr<Position> CutTail(uint32_t segment);

  // See StagingStore::Scan. DATA_LOSS (STAGED_BYTES_CORRUPT), after everything good was reported: there is
  // damage.
  absl::Status Scan(Position after, const std::function<absl::Status(FoundObject)>& found);

  // See StagingStore::VerifySession.
  absl::Status Verify(SessionReport& report);

 private:
  struct Record {
    uint64_t offset = 0;
    uint32_t bytes = 0;
    bool completes = false;
  };
  struct Gap {
    uint64_t begin = 0;
    uint64_t end = 0;
  };
  struct Segment {
    uint32_t number = 0;
    std::shared_ptr<fs::File> file;
    uint64_t size = 0;
    uint64_t end = 0;  // of what counts
    std::vector<Record> records;
    std::vector<Gap> gaps;                  // unreadable places between good records
    std::optional<Position> first_durable;  // from its first head, if that lies at 0
    Position durable;                       // the largest of its heads
  };

  // Lists the records that count from `from` on. `from` need not be the beginning of a record.
  absl::Status Chart(const std::vector<uint32_t>& numbers, Position from);
  absl::StatusOr<Segment> ChartSegment(uint32_t number, uint64_t from);
  // The first valid head in the segment at or behind `offset`.
  absl::StatusOr<std::optional<RecordHead>> FindHead(const Segment& segment, uint64_t offset);
  absl::StatusOr<std::optional<RecordHead>> ReadHead(const Segment& segment, uint64_t offset);
  void DropVoid();
  absl::Status DropTorn();
  static void CutAt(Segment& segment, uint64_t offset);
  absl::Status MakeDurable();

  // Whether payload and meta pass their checks; the reason if not.
  absl::StatusOr<std::string> CheckBody(const Segment& segment, const RecordHead& head);
  // The meta, if it passes its check.
  absl::StatusOr<std::optional<std::string>> ReadMeta(const Segment& segment, const RecordHead& head);
  // The object that ends with `last`, found by going back from record to record; nothing if one is damaged.
  absl::StatusOr<std::optional<StoredObject>> Assemble(const RecordHead& last);
  absl::StatusOr<const Segment*> SegmentOf(uint32_t number);

  fs::FileSystem& files_;
  const std::string path_;
  const std::string session_id_;
  std::vector<Segment> segments_;  // charted
  std::vector<Segment> others_;    // opened to follow an object back
  Position durable_;               // D
  bool has_tail_ = false;          // records behind D count
};

}  // namespace narthex::staging
