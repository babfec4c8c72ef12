// A DICOM data set in memory that can be changed and written back: the header of an object, without its bulk
// pixel data. What is not touched is written back byte for byte, damage and oddities included.
//
//   NX_ASSIGN_OR_RETURN(std::unique_ptr<DataSet> data, DataSet::Parse(bytes, Encoding::ExplicitLittle()));
//   data->SetText(tags::kPatientName, "ANON");
//   data->Remove(tags::kPatientID);
//   std::string changed = data->Write();
//
// Input is untrusted: nesting is bounded by limits::kSequenceMaxDepth, the number of elements by
// limits::kHeaderMaxElements, and every length by the bytes that are there. Thread-compatible.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

#include "base/limit.h"
#include "imaging/dicom/dictionary.h"
#include "imaging/dicom/tag.h"
#include "imaging/dicom/transfer_syntax.h"

namespace narthex::dicom {

class DataSet;
class DataSetParser;
class DataSetWriter;
class Item;

// How elements are turned into bytes (PS3.5 section 7.1).
struct Encoding {
  bool explicit_vr = true;
  bool big_endian = false;

  static Encoding Of(const TransferSyntax& syntax) { return {syntax.explicit_vr, syntax.big_endian}; }
  static Encoding ExplicitLittle() { return {true, false}; }
  static Encoding ImplicitLittle() { return {false, false}; }
  friend bool operator==(const Encoding&, const Encoding&) = default;
};

// The encoding of a data set that begins with `bytes`: `declared` if its first elements make sense in that,
// else another in which they do, else `declared`. Looks at no more than kDetectBytes.
Encoding DetectEncoding(absl::string_view bytes, Encoding declared);
inline constexpr size_t kDetectBytes = 512;

// The items of a sequence. Owned by its element.
class Sequence {
 public:
  size_t size() const { return items_.size(); }
  Item& item(size_t index) { return *items_[index]; }
  const Item& item(size_t index) const { return *items_[index]; }
  // Adds an empty item at the end.
  Item& Append();
  // Removes all items.
  void Clear();

 private:
  friend class Item;
  friend class Element;
  friend class DataSetParser;
  friend class DataSetWriter;
  Item& AppendUnmarked();

  std::vector<std::unique_ptr<Item>> items_;
  Item* container_ = nullptr;  // the item or data set that holds the sequence
  bool undefined_length_ = false;
  bool changed_ = false;
  bool in_un_ = false;          // stands in an element of VR UN: its items are implicit VR little endian
  bool items_explicit_ = true;  // the encoding inside
  bool items_big_ = false;
};

class Element {
 public:
  Tag tag() const { return tag_; }
  // As in the stream; from the dictionary where the stream has none (implicit VR). A sequence in VR UN stays
  // kUN.
  Vr vr() const { return vr_; }
  // The value's bytes as they stand in the stream, padding included; "" for a sequence. Valid until the
  // element is changed or the data set dies.
  absl::string_view value() const { return value_; }
  // Null unless the value is (or, for UN, can be read as) a sequence of items.
  Sequence* sequence() { return sequence_.get(); }
  const Sequence* sequence() const { return sequence_.get(); }
  // A value of undefined length that is no sequence (encapsulated pixels of an icon); kept as it is.
  bool is_fragments() const { return fragments_; }
  // Not as it came.
  bool changed() const { return raw_.empty() || (sequence_ != nullptr && SequenceChanged()); }

 private:
  friend class Item;
  friend class DataSetParser;
  friend class DataSetWriter;
  bool SequenceChanged() const;

  Tag tag_;
  Vr vr_ = Vr::kUN;
  bool fragments_ = false;
  absl::string_view value_;
  absl::string_view raw_;  // the whole element as it came; empty: must be encoded
  std::unique_ptr<Sequence> sequence_;
};

// The elements of one item of a sequence, or of the data set itself. They stay in the order in which they
// came.
class Item {
 public:
  Item(const Item&) = delete;
  Item& operator=(const Item&) = delete;

  std::vector<Element>& elements() { return elements_; }
  const std::vector<Element>& elements() const { return elements_; }

  // The first element `tag`; null if there is none. Valid until elements are added or removed.
  Element* Find(Tag tag);
  const Element* Find(Tag tag) const { return const_cast<Item*>(this)->Find(tag); }
  bool Has(Tag tag) const { return Find(tag) != nullptr; }

  // The value as UTF-8 text without padding; values are joined by backslashes, numbers written in decimal.
  // nullopt: absent, a sequence, fragments, or VR OB, OW and the like.
  std::optional<std::string> GetText(Tag tag) const;
  std::optional<std::string> TextOf(const Element& element) const;
  // The text, "" if there is none.
  std::string TextOrEmpty(Tag tag) const { return GetText(tag).value_or(""); }

  // Sets the value, adding the element if it is absent; further elements with the same tag are removed. The
  // VR is the dictionary's for public attributes, the present one for private attributes, UN for new private
  // ones (text is then stored as it is). Text goes into the character set in force if that is ASCII, Latin 1
  // or UTF-8 and can express it; else the whole data set (or item, if it names its own) becomes ISO_IR 192
  // first. INVALID_ARGUMENT (ANONYMIZATION_FAILED): a numeric VR, and the text is no number of its range; a
  // sequence.
  absl::Status SetText(Tag tag, absl::string_view utf8);
  // Sets the bytes of the value, padding them to even length, under `vr`.
  void SetBytes(Tag tag, Vr vr, absl::string_view bytes);
  // Makes the value empty (a sequence: without items) under the VR that it has.
  void SetEmpty(Element& element);
  // The sequence `tag`, added without items if it is absent or was no sequence.
  Sequence& EnsureSequence(Tag tag);

  // Removes all elements `tag`. False: there was none.
  bool Remove(Tag tag);
  // Removes every element for which `matches` is true; the number of them.
  size_t RemoveIf(absl::FunctionRef<bool(const Element&)> matches);

  // Who reserved the block of the private attribute `tag`, without padding; "" if nobody did.
  std::string PrivateCreatorOf(Tag tag) const;
  // The first tag (group,bbxx) whose block belongs to `creator`; nullopt if `creator` has no block in the
  // group.
  std::optional<Tag> FindPrivateTag(uint16_t group, absl::string_view creator, uint8_t element) const;
  // The same; reserves a block if there is none. RESOURCE_EXHAUSTED (ANONYMIZATION_FAILED): all are taken.
  absl::StatusOr<Tag> ReservePrivateTag(uint16_t group, absl::string_view creator, uint8_t element);

  // SpecificCharacterSet in force here: the item's own, or of what contains it. "" for none.
  absl::string_view SpecificCharacterSet() const;

  Item* parent() { return owner_ == nullptr ? nullptr : owner_->container_; }
  const Item* parent() const { return owner_ == nullptr ? nullptr : owner_->container_; }
  bool changed() const { return changed_; }
  Encoding encoding() const { return encoding_; }
  // Must be called by who changes an element by other ways than those above.
  void MarkChanged();

 protected:
  Item(DataSet* root, Sequence* owner, Encoding encoding) : root_(root), owner_(owner), encoding_(encoding) {}

 private:
  friend class Sequence;
  friend class DataSetParser;
  friend class DataSetWriter;
  size_t LowerBound(Tag tag) const;
  Element& Insert(Tag tag, Vr vr);
  Item& CharsetScope();
  std::string EncodeText(absl::string_view utf8);
  void ConvertToUtf8(const std::string& former);

  DataSet* root_;
  Sequence* owner_;  // null: the data set itself
  Encoding encoding_;
  std::vector<Element> elements_;
  absl::string_view raw_;  // the item with its header and delimiter as it came
  bool undefined_length_ = false;
  bool sorted_ = true;
  bool changed_ = false;
};

class DataSet : public Item {
 public:
  // Reads `bytes`, which the data set then owns. Elements of group FFFE at the top level, or lengths beyond
  // the end: INVALID_ARGUMENT (MALFORMED_HEADER).  Too deep, too many elements:
  // RESOURCE_EXHAUSTED (HEADER_TOO_DEEP, HEADER_TOO_LARGE).
  static absl::StatusOr<std::unique_ptr<DataSet>> Parse(std::string bytes, Encoding encoding,
                                                        Origin origin = Origin::kArriving);
  // Without elements.
  static std::unique_ptr<DataSet> Empty(Encoding encoding);
  // An independent copy, as it would be read back. Errors as Parse (only if it grew beyond a limit).
  absl::StatusOr<std::unique_ptr<DataSet>> Clone() const;

  // The bytes in the encoding that it came in. Unchanged parts are copied; group lengths of changed items are
  // dropped (that of group 0002 is corrected); defined lengths of changed sequences and items are computed
  // anew.
  std::string Write() const;
  size_t element_count() const { return element_count_; }

  // A copy of `bytes` that lives as long as the data set.
  absl::string_view Keep(absl::string_view bytes);

 private:
  friend class DataSetParser;
  explicit DataSet(Encoding encoding) : Item(this, nullptr, encoding) {}
  std::string bytes_;
  std::deque<std::string> kept_;
  size_t element_count_ = 0;
  Origin origin_ = Origin::kArriving;
};

// "(0008,1140)[0]/(0008,1155)": where `element_tag` of `item` stands. For messages and reports.
std::string PathOf(const Item& item, Tag element_tag);

}  // namespace narthex::dicom
