// Walks the elements of a data set as its bytes arrive and captures what is wanted. Keeps an explicit stack
// of the sequences and items it is in; never recurses. The engine of HeaderScanner, whose header states the
// rules. Internal.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

#include "base/limit.h"
#include "imaging/dicom/attribute_set.h"
#include "imaging/dicom/element.h"
#include "imaging/dicom/header_facts.h"

namespace narthex::dicom {

// Single-threaded.
class DataSetWalker {
 public:
  // `attributes` is borrowed.
  DataSetWalker(const AttributeSet& attributes, bool walk_all_sequences, Origin origin);

  // Back to offset 0 of another object.
  void Reset();

  // The offset of the next byte in the stream that is walked.
  uint64_t offset() const { return offset_; }
  void MoveTo(uint64_t offset) { offset_ = offset; }

  // The data set begins at offset(). `object_size`: where the stream ends; 0 if that is not known.
  void Begin(DataSetEncoding encoding, uint64_t object_size);

  // How many of the next `available` bytes belong to a value that nobody wants; they count as walked.
  size_t TakeSkipped(size_t available) {
    const auto count = static_cast<size_t>(std::min<uint64_t>(skip_bytes_, available));
    skip_bytes_ -= count;
    offset_ += count;
    return count;
  }

  // Walks as far as `*bytes` reach and takes from them what it is done with. `*done`: the bulk data begin at
  // header_bytes(), or nothing beyond that can be read.
  absl::Status Walk(absl::string_view* bytes, HeaderFactsBuilder* facts, bool* done);

  // The object is over; `left_over` bytes were not taken by Walk.
  absl::Status End(size_t left_over, HeaderFactsBuilder* facts);

  uint64_t header_bytes() const { return offset_; }
  Tag bulk_tag() const { return bulk_tag_; }
  uint32_t element_count() const { return element_count_; }
  // (0004,1220) was seen: a media directory.
  bool saw_directory_records() const { return saw_directory_records_; }

 private:
  using Node = AttributeSet::Node;
  enum class Kind : uint8_t { kItem, kSequence, kFragments };
  enum class Step { kGoOn, kNeedMore, kDone };

  struct Frame {
    Kind kind = Kind::kItem;
    DataSetEncoding encoding = DataSetEncoding::kExplicitLittle;  // of what it contains
    bool undefined_length = false;
    bool first_item_seen = false;                         // kSequence
    Tag tag;                                              // kSequence: its own
    uint64_t end = std::numeric_limits<uint64_t>::max();  // offset at which it must end
    const Node* nodes = nullptr;                          // what is wanted in it; null: nothing
    const Node* cursor = nullptr;                         // kItem: the first node not below the last tag
    Tag last_tag;                                         // kItem
    std::string charset;                                  // kItem: its own SpecificCharacterSet
  };

  // Takes plain elements of an explicit little endian data set's top level, as long as nothing is special.
  void WalkPlain(absl::string_view* bytes);
  Step OnElement(const ScanHead& head, absl::string_view* bytes);
  Step OnDelimiterInItem(const ScanHead& head, absl::string_view* bytes);
  Step OnItem(const ScanHead& head, absl::string_view* bytes);
  Step OnFragment(const ScanHead& head, absl::string_view* bytes);
  Step OnUndefinedLength(const ScanHead& head, Vr vr, const Node* node, absl::string_view* bytes);
  Step OnValue(const ScanHead& head, Vr vr, const Node* node, absl::string_view* bytes);
  Step PushSequence(const ScanHead& head, Vr vr, const Node* node, uint64_t end, absl::string_view* bytes);
  Step Skip(uint64_t count, absl::string_view* bytes);
  // Ends the walk: leniently if all UIDs are known, else with an error.
  Step Stop(absl::string_view reason, absl::string_view what, Tag tag);
  Step Fail(absl::string_view reason, absl::string_view message);

  const Node* FindNode(Frame* frame, Tag tag);
  const Node* ChildrenOf(const Node* node) const;
  void CaptureTop(Tag tag, Vr vr, absl::string_view raw);
  void Capture(Tag tag, Vr vr, absl::string_view raw, bool big);
  bool AllUidsSeen() const;
  void Pop() { frames_.pop_back(); }
  size_t sequence_depth() const { return frames_.size() / 2; }

  const AttributeSet& attributes_;
  const bool walk_all_sequences_;
  const uint64_t header_max_bytes_;
  const uint32_t elements_max_;
  const uint32_t value_max_bytes_;
  const size_t depth_max_;
  uint64_t offset_ = 0;
  uint64_t skip_bytes_ = 0;
  uint32_t element_count_ = 0;
  bool has_private_ = false;
  bool saw_directory_records_ = false;
  Tag bulk_tag_;
  std::vector<Frame> frames_;            // item, sequence, item, sequence, ...; the first is the data set
  HeaderFactsBuilder* facts_ = nullptr;  // during Walk and End
  absl::Status error_;
};

}  // namespace narthex::dicom
