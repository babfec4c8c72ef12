// What was captured of one object's header when it arrived, so that nothing has to read the object again for
// routing, filtering, session documents or duplicate decisions. Patient values are among it: never log them.
//
// A HeaderFacts is one buffer, the encoded form itself: Encode() costs nothing, and making one costs an
// append per attribute. docs/formats/header_facts.md draws the bytes:
//
//   0  'N' 'H'   2  u8 version = 1   3  u8 encoding   4  u32 flags   8  u64 header bytes   16  u32 bulk tag
//   20 u32 element count   24 records: u32 value length, u8 depth, u8 flags, u16 VR, depth * u32 tag, value
//
// All little endian. Thread-compatible.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

#include "imaging/dicom/dictionary.h"
#include "imaging/dicom/tag.h"

namespace narthex::dicom {

// How the elements of the data set are really encoded; the transfer syntax may claim otherwise.
enum class DataSetEncoding : uint8_t { kExplicitLittle, kImplicitLittle, kExplicitBig, kImplicitBig };

class HeaderFacts {
 public:
  // No attributes.
  HeaderFacts();

  // The value at the first (outermost) place of `path`, as kept: without padding; numbers of binary VRs as
  // decimals, several ones separated by backslashes; text in its own character set. "" if absent or empty.
  // The view lives as long as this object, unchanged.
  absl::string_view Get(const TagPath& path) const;
  // Whether the object has it, if only empty.
  bool Has(const TagPath& path) const;
  // The value as UTF-8, by the SpecificCharacterSet in force at its place.
  std::string Text(const TagPath& path) const;

  // For enhanced multi-frame objects: `path` at the top level, else below the shared functional groups, else
  // below the functional groups of the first frame. Example: FunctionalGroup({tags::kRepetitionTime},
  // {tags::kMRTimingAndRelatedParametersSequence, tags::kRepetitionTime}). "" if at none of these.
  absl::string_view GetFunctional(const TagPath& plain, const TagPath& in_functional_group) const;

  // Calls `visit` for each captured value in the order of the data set.
  using Visitor = std::function<void(const TagPath& path, Vr vr, absl::string_view value)>;
  void ForEach(const Visitor& visit) const;

  // "" where absent. These four hold nothing but letters, digits, ".", "_" and "-", 64 at most.
  absl::string_view sop_class_uid() const { return View(kSopClass); }
  absl::string_view sop_instance_uid() const { return View(kSopInstance); }
  absl::string_view study_instance_uid() const { return View(kStudy); }
  absl::string_view series_instance_uid() const { return View(kSeries); }
  // As the caller or the meta group gave it; for bare data sets, the native one that fits what was found.
  absl::string_view transfer_syntax_uid() const { return View(kTransferSyntax); }
  absl::string_view specific_character_set() const { return View(kCharset); }

  DataSetEncoding encoding() const;
  bool has_preamble() const { return Flag(kHasPreamble); }  // 128 bytes and "DICM"
  bool has_meta_group() const { return Flag(kHasMeta); }    // group 0002
  bool has_part10_header() const { return has_preamble() && has_meta_group(); }
  bool is_deflated() const { return Flag(kDeflated); }
  bool has_private() const { return Flag(kPrivate); }  // an odd group anywhere that was walked
  // The object ended, or became unreadable, after all UIDs but before its bulk data; what was found stands.
  bool is_truncated() const { return Flag(kTruncated); }
  // A wanted value exceeded limits::kValueMaxBytes and was left out.
  bool has_oversized_value() const { return Flag(kOversized); }

  // Where in the object the bulk data begin: the offset of the element bulk_tag(), or the end of the object
  // if there are none. If is_deflated(), where the deflated stream begins (all of it counts as bulk then).
  uint64_t header_bytes() const;
  // The tag at header_bytes(); (0000,0000) if there are no bulk data. Unless its group is 7FE0 or higher,
  // more elements may follow its value.
  Tag bulk_tag() const;
  // NumberOfFrames, 1 if absent or senseless.
  int64_t number_of_frames() const;
  // Elements that were walked, over all levels.
  uint32_t element_count() const;

  // The stable encoded form: kept in the index and in segment records.
  const std::string& Encode() const { return buffer_; }
  // DATA_LOSS (BAD_HEADER_FACTS): not something that Encode() made, or of a newer version.
  static absl::StatusOr<HeaderFacts> Decode(absl::string_view encoded);

  friend bool operator==(const HeaderFacts& a, const HeaderFacts& b) { return a.buffer_ == b.buffer_; }

 private:
  friend class HeaderFactsBuilder;
  enum Slot { kTransferSyntax, kCharset, kSopClass, kSopInstance, kStudy, kSeries, kSlotCount };
  enum FlagBit : uint32_t {
    kHasPreamble = 1,
    kHasMeta = 2,
    kDeflated = 4,
    kPrivate = 8,
    kTruncated = 16,
    kOversized = 32,
  };
  struct Slice {
    uint32_t offset = 0;
    uint32_t length = 0;
  };
  struct Record;

  bool Flag(FlagBit bit) const;
  absl::string_view View(Slot slot) const {
    return absl::string_view(buffer_).substr(slots_[slot].offset, slots_[slot].length);
  }
  static int SlotOf(Tag tag);
  bool Next(size_t* offset, Record* record) const;
  bool Find(const TagPath& path, Record* record) const;

  std::string buffer_;
  Slice slots_[kSlotCount];
};

// Makes a HeaderFacts attribute by attribute: for the scanner, for facts after anonymization, for tests.
class HeaderFactsBuilder {
 public:
  HeaderFactsBuilder();

  // Appends one value as Get() is to return it. If a path is added twice, Get() finds the first.
  // `utf8`: Text() returns it as it is.
  HeaderFactsBuilder& Add(const TagPath& path, absl::string_view value, Vr vr, bool utf8 = false);
  // The same for the top level, quicker.
  void AddTop(Tag tag, absl::string_view value, Vr vr);
  // The VR as the dictionary has it.
  HeaderFactsBuilder& Add(const TagPath& path, absl::string_view value);

  HeaderFactsBuilder& set_encoding(DataSetEncoding encoding);
  HeaderFactsBuilder& set_has_preamble(bool on) { return Set(HeaderFacts::kHasPreamble, on); }
  HeaderFactsBuilder& set_has_meta_group(bool on) { return Set(HeaderFacts::kHasMeta, on); }
  HeaderFactsBuilder& set_is_deflated(bool on) { return Set(HeaderFacts::kDeflated, on); }
  HeaderFactsBuilder& set_has_private(bool on) { return Set(HeaderFacts::kPrivate, on); }
  HeaderFactsBuilder& set_is_truncated(bool on) { return Set(HeaderFacts::kTruncated, on); }
  HeaderFactsBuilder& set_has_oversized_value(bool on) { return Set(HeaderFacts::kOversized, on); }
  HeaderFactsBuilder& set_header_bytes(uint64_t bytes);
  HeaderFactsBuilder& set_bulk_tag(Tag tag);
  HeaderFactsBuilder& set_element_count(uint32_t count);

  // What was added so far.
  const HeaderFacts& facts() const { return facts_; }
  // The facts; the builder starts anew.
  HeaderFacts Build();
  // Starts anew.
  void Clear();

 private:
  HeaderFactsBuilder& Set(HeaderFacts::FlagBit bit, bool on);

  HeaderFacts facts_;
};

}  // namespace narthex::dicom
