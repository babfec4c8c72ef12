// Which attributes the header scanner captures. Immutable once made; thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/types/span.h"

#include "imaging/dicom/dictionary.h"
#include "imaging/dicom/tag.h"

namespace narthex::dicom {

class AttributeSet {
 public:
  // `paths` in any order; repeated ones count once.
  explicit AttributeSet(absl::Span<const TagPath> paths);

  // Everything that routing, session documents, scan types, duplicate decisions and displays need:
  // reference XNAT's session, MR, CT and PET attributes, functional groups of enhanced objects included.
  static const AttributeSet& Default();

  // This set and `more`, for example the attributes that routing rules and series filters name.
  AttributeSet With(absl::Span<const TagPath> more) const;

  bool Contains(const TagPath& path) const;
  const std::vector<TagPath>& paths() const { return paths_; }

  // The trie that the scanner walks. Nodes of one level lie together, ascending by tag, followed by a node
  // whose tag is larger than any.
  struct Node {
    Tag tag;
    Vr vr = Vr::kUN;              // as the dictionary has it, for implicit VR
    bool wanted = false;          // capture this value
    uint32_t children_begin = 0;  // index into nodes(); 0 if it has none
    uint32_t children_end = 0;
  };
  // [0, top_level_count()) is the top level.
  const std::vector<Node>& nodes() const { return nodes_; }
  size_t top_level_count() const { return top_level_count_; }

 private:
  std::vector<TagPath> paths_;
  std::vector<Node> nodes_;
  size_t top_level_count_ = 0;
};

}  // namespace narthex::dicom
