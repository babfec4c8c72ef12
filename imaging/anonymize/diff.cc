#include "imaging/anonymize/diff.h"

#include <algorithm>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"

#include "base/limits_scripts.h"
#include "imaging/dicom/dictionary.h"

namespace narthex::anonymize {
namespace {

using dicom::Element;
using dicom::Item;
using Action = AttributeChange::Action;

std::string Shown(const Item& item, const Element& element) {
  if (element.sequence() != nullptr) {
    const size_t items = element.sequence()->size();
    return absl::StrCat("<", items, items == 1 ? " item>" : " items>");
  }
  std::optional<std::string> text = item.TextOf(element);
  if (!text.has_value()) return absl::StrCat("<", element.value().size(), " bytes>");
  if (text->size() > limits::kDiffValueMaxBytes) {
    // Not in the middle of a UTF-8 sequence.
    size_t end = limits::kDiffValueMaxBytes;
    while (end > 0 && (static_cast<unsigned char>((*text)[end]) & 0xc0) == 0x80) --end;
    text->resize(end);
    *text += "...";
  }
  return *text;
}

class Differ {
 public:
  explicit Differ(std::vector<AttributeChange>* changes) : changes_(changes) {}
  bool truncated() const { return truncated_; }

  // Recursion is bounded by the nesting of the data sets.
  void Compare(const Item& before, const Item& after, const std::string& path) {
    const std::vector<const Element*> old_ones = Sorted(before), new_ones = Sorted(after);
    size_t i = 0, j = 0;
    while (i < old_ones.size() || j < new_ones.size()) {
      const bool only_old =
          j == new_ones.size() || (i < old_ones.size() && old_ones[i]->tag() < new_ones[j]->tag());
      const bool only_new =
          i == old_ones.size() || (j < new_ones.size() && new_ones[j]->tag() < old_ones[i]->tag());
      if (only_old) {
        One(before, *old_ones[i++], Action::kRemoved, path);
      } else if (only_new) {
        One(after, *new_ones[j++], Action::kAdded, path);
      } else {
        Both(before, *old_ones[i++], after, *new_ones[j++], path);
      }
    }
  }

 private:
  static std::vector<const Element*> Sorted(const Item& item) {
    std::vector<const Element*> elements;
    for (const Element& element : item.elements()) {
      if (!element.tag().is_group_length()) elements.push_back(&element);  // dropped when anything changes
    }
    std::stable_sort(elements.begin(), elements.end(),
                     [](const Element* a, const Element* b) { return a->tag() < b->tag(); });
    return elements;
  }

  static std::string ItemPath(const std::string& path, const Element& element, size_t index) {
    return absl::StrCat(path, element.tag().ToString(), "[", index, "]/");
  }

  void One(const Item& item, const Element& element, Action action, const std::string& path) {
    Add(item, element, action, path, action == Action::kRemoved ? Shown(item, element) : "",
        action == Action::kAdded ? Shown(item, element) : "");
    if (element.sequence() == nullptr) return;
    for (size_t i = 0; i < element.sequence()->size() && !truncated_; ++i) {
      const Item& inner = element.sequence()->item(i);
      for (const Element* one : Sorted(inner)) One(inner, *one, action, ItemPath(path, element, i));
    }
  }

  void Both(const Item& before, const Element& a, const Item& after, const Element& b,
            const std::string& path) {
    const dicom::Sequence* old_items = a.sequence();
    const dicom::Sequence* new_items = b.sequence();
    if (old_items == nullptr || new_items == nullptr) {
      const bool same =
          old_items == nullptr && new_items == nullptr && a.value() == b.value() && a.vr() == b.vr();
      if (!same) Add(after, b, Action::kChanged, path, Shown(before, a), Shown(after, b));
      return;
    }
    if (old_items->size() != new_items->size())
      Add(after, b, Action::kChanged, path, Shown(before, a), Shown(after, b));
    for (size_t i = 0; i < std::max(old_items->size(), new_items->size()) && !truncated_; ++i) {
      const std::string inside = ItemPath(path, a, i);
      if (i >= new_items->size()) {
        for (const Element* one : Sorted(old_items->item(i)))
          One(old_items->item(i), *one, Action::kRemoved, inside);
      } else if (i >= old_items->size()) {
        for (const Element* one : Sorted(new_items->item(i)))
          One(new_items->item(i), *one, Action::kAdded, inside);
      } else {
        Compare(old_items->item(i), new_items->item(i), inside);
      }
    }
  }

  void Add(const Item& item, const Element& element, Action action, const std::string& path,
           std::string before, std::string after) {
    if (changes_->size() >= limits::kDiffMaxChanges) {
      truncated_ = true;
      return;
    }
    AttributeChange change;
    change.path = absl::StrCat(path, element.tag().ToString());
    if (const dicom::DictionaryEntry* entry = dicom::FindEntry(element.tag()))
      change.keyword = std::string(entry->keyword);
    change.creator = item.PrivateCreatorOf(element.tag());
    change.vr = dicom::VrName(element.vr());
    change.action = action;
    change.before = std::move(before);
    change.after = std::move(after);
    changes_->push_back(std::move(change));
  }

  std::vector<AttributeChange>* changes_;
  bool truncated_ = false;
};

}  // namespace

std::vector<AttributeChange> DiffDataSets(const dicom::DataSet& before, const dicom::DataSet& after,
                                          bool* truncated) {
  std::vector<AttributeChange> changes;
  Differ differ(&changes);
  differ.Compare(before, after, "");
  if (truncated != nullptr) *truncated = differ.truncated();
  return changes;
}

void DiffGroups::Add(const std::vector<AttributeChange>& changes) {
  ++objects_;
  for (const AttributeChange& change : changes) {
    const auto [at, added] =
        index_.emplace(std::pair(change.path, static_cast<int>(change.action)), groups_.size());
    if (added) {
      if (groups_.size() >= limits::kDiffMaxChanges) {
        index_.erase(at);
        continue;
      }
      groups_.push_back({change, 1, false});
      continue;
    }
    GroupedChange& group = groups_[at->second];
    ++group.object_count;
    group.varying = group.varying || !(group.change == change);
  }
}

std::vector<GroupedChange> DiffGroups::Groups() const {
  std::vector<GroupedChange> groups = groups_;
  std::stable_sort(groups.begin(), groups.end(), [](const GroupedChange& a, const GroupedChange& b) {
    return a.change.path < b.change.path;
  });
  return groups;
}

}  // namespace narthex::anonymize
