#include "imaging/dicom/dataset.h"

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"

#include "base/error.h"

namespace narthex::dicom {
namespace {

// Without the padding at both ends.
absl::string_view Trimmed(absl::string_view text) {
  while (!text.empty() && (text.back() == ' ' || text.back() == '\0')) text.remove_suffix(1);
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  return text;
}

}  // namespace

bool Element::SequenceChanged() const { return sequence_->changed_; }

Item& Sequence::AppendUnmarked() {
  // A constructor that only friends may call is beyond std::make_unique.
  items_.push_back(
      std::unique_ptr<Item>(new Item(container_->root_, this, Encoding{items_explicit_, items_big_})));
  return *items_.back();
}

Item& Sequence::Append() {
  Item& item = AppendUnmarked();
  item.MarkChanged();
  return item;
}

void Sequence::Clear() {
  items_.clear();
  changed_ = true;
  container_->MarkChanged();
}

void Item::MarkChanged() {
  for (Item* item = this; item != nullptr && !item->changed_; item = item->parent()) {
    item->changed_ = true;
    if (item->owner_ != nullptr) item->owner_->changed_ = true;
  }
}

size_t Item::LowerBound(Tag tag) const {
  if (sorted_) {
    const auto at =
        std::lower_bound(elements_.begin(), elements_.end(), tag,
                         [](const Element& element, Tag wanted) { return element.tag_ < wanted; });
    return static_cast<size_t>(at - elements_.begin());
  }
  // Out of order: the element itself, or else where a greater one begins.
  size_t greater = elements_.size();
  for (size_t i = 0; i < elements_.size(); ++i) {
    if (elements_[i].tag_ == tag) return i;
    if (tag < elements_[i].tag_ && greater == elements_.size()) greater = i;
  }
  return greater;
}

Element* Item::Find(Tag tag) {
  const size_t index = LowerBound(tag);
  return index < elements_.size() && elements_[index].tag_ == tag ? &elements_[index] : nullptr;
}

Element& Item::Insert(Tag tag, Vr vr) {
  MarkChanged();
  size_t index = LowerBound(tag);
  if (index < elements_.size() && elements_[index].tag_ == tag) {
    if (!sorted_) {  // duplicates are possible only out of order
      size_t position = 0;
      std::erase_if(elements_,
                    [&](const Element& element) { return position++ != index && element.tag_ == tag; });
    }
  } else {
    Element element;
    element.tag_ = tag;
    elements_.insert(elements_.begin() + static_cast<ptrdiff_t>(index), std::move(element));
  }
  Element& element = elements_[index];
  element.vr_ = vr;
  element.raw_ = {};
  element.value_ = {};
  element.fragments_ = false;
  element.sequence_ = nullptr;
  return element;
}

void Item::SetBytes(Tag tag, Vr vr, absl::string_view bytes) {
  std::string padded(bytes);
  if (padded.size() % 2 != 0) {
    const bool zero = vr == Vr::kUI || vr == Vr::kOB || vr == Vr::kUN || !IsText(vr);
    padded.push_back(zero ? '\0' : ' ');
  }
  const absl::string_view kept = root_->Keep(padded);
  Insert(tag, vr).value_ = kept;
}

void Item::SetEmpty(Element& element) {
  MarkChanged();
  element.raw_ = {};
  element.value_ = {};
  element.fragments_ = false;
  if (element.sequence_ != nullptr) {
    element.sequence_->Clear();
  }
}

Sequence& Item::EnsureSequence(Tag tag) {
  Element* present = Find(tag);
  if (present == nullptr || present->sequence_ == nullptr) {
    present = &Insert(tag, Vr::kSQ);
    present->sequence_ = std::make_unique<Sequence>();
    present->sequence_->container_ = this;
    present->sequence_->items_explicit_ = encoding_.explicit_vr;
    present->sequence_->items_big_ = encoding_.big_endian;
  }
  present->raw_ = {};
  present->sequence_->changed_ = true;
  MarkChanged();
  return *present->sequence_;
}

bool Item::Remove(Tag tag) {
  const size_t index = LowerBound(tag);
  if (index >= elements_.size() || elements_[index].tag_ != tag) return false;
  if (sorted_) {
    elements_.erase(elements_.begin() + static_cast<ptrdiff_t>(index));
  } else {
    std::erase_if(elements_, [&](const Element& element) { return element.tag_ == tag; });
  }
  MarkChanged();
  return true;
}

size_t Item::RemoveIf(absl::FunctionRef<bool(const Element&)> matches) {
  const size_t removed = std::erase_if(elements_, [&](const Element& element) { return matches(element); });
  if (removed > 0) MarkChanged();
  return removed;
}

std::string Item::PrivateCreatorOf(Tag tag) const {
  if (!tag.is_private() || tag.element() < 0x1000) return "";
  const Element* creator = Find(tag.private_creator());
  return creator == nullptr ? "" : std::string(Trimmed(creator->value()));
}

std::optional<Tag> Item::FindPrivateTag(uint16_t group, absl::string_view creator, uint8_t element) const {
  const Tag first(group, 0x0010), last(group, 0x00ff);
  for (size_t i = sorted_ ? LowerBound(first) : 0; i < elements_.size(); ++i) {
    const Element& candidate = elements_[i];
    if (candidate.tag_ < first || last < candidate.tag_) {
      if (sorted_) break;
      continue;
    }
    if (Trimmed(candidate.value()) == Trimmed(creator)) {
      return Tag(group, static_cast<uint16_t>(candidate.tag_.element() << 8 | element));
    }
  }
  return std::nullopt;
}

absl::StatusOr<Tag> Item::ReservePrivateTag(uint16_t group, absl::string_view creator, uint8_t element) {
  if (std::optional<Tag> present = FindPrivateTag(group, creator, element)) return *present;
  for (uint16_t block = 0x10; block <= 0xff; ++block) {
    if (Has(Tag(group, block))) continue;
    SetBytes(Tag(group, block), Vr::kLO, creator);
    return Tag(group, static_cast<uint16_t>(block << 8 | element));
  }
  return ResourceExhausted(
      "ANONYMIZATION_FAILED",
      absl::StrCat("all private blocks of group ", absl::Hex(group, absl::kZeroPad4), " are taken"));
}

std::unique_ptr<DataSet> DataSet::Empty(Encoding encoding) {
  return std::unique_ptr<DataSet>(new DataSet(encoding));
}

absl::string_view DataSet::Keep(absl::string_view bytes) {
  kept_.emplace_back(bytes);
  return kept_.back();
}

std::string PathOf(const Item& item, Tag element_tag) {
  std::string path = element_tag.ToString();
  const Item* inner = &item;
  for (const Item* outer = inner->parent(); outer != nullptr; inner = outer, outer = outer->parent()) {
    for (const Element& element : outer->elements()) {
      if (element.sequence() == nullptr) continue;
      const Sequence& sequence = *element.sequence();
      for (size_t i = 0; i < sequence.size(); ++i) {
        if (&sequence.item(i) == inner) path = absl::StrCat(element.tag().ToString(), "[", i, "]/", path);
      }
    }
  }
  return path;
}

}  // namespace narthex::dicom
