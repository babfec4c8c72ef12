// What a script or profile changed, attribute by attribute: for previews before anything is stored.
// Thread-safe.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"

#include "imaging/dicom/dataset.h"

namespace narthex::anonymize {

struct AttributeChange {
  enum class Action { kRemoved, kAdded, kChanged };
  std::string path;     // "(0008,1140)[0]/(0008,1155)"
  std::string keyword;  // "ReferencedSOPInstanceUID", or "" for private attributes
  std::string creator;  // of a private attribute
  std::string vr;       // "UI"; of the new value where there is one
  Action action = Action::kChanged;
  std::string
      before;  // text for people (patient values!), cut at limits::kDiffValueMaxBytes; binary: "<123 bytes>"
  std::string after;

  friend bool operator==(const AttributeChange&, const AttributeChange&) = default;
};

// In the order of the attributes. At most limits::kDiffMaxChanges; `truncated`, if given, tells whether there
// were more.
std::vector<AttributeChange> DiffDataSets(const dicom::DataSet& before, const dicom::DataSet& after,
                                          bool* truncated = nullptr);

// Changes of many objects, grouped: equal ones once, with the number of objects they occur in; where only the
// values differ, one entry with the first values and `varying`.
struct GroupedChange {
  AttributeChange change;
  int64_t object_count = 0;
  bool varying = false;
};
class DiffGroups {
 public:
  void Add(const std::vector<AttributeChange>& changes);
  // By path.
  std::vector<GroupedChange> Groups() const;
  int64_t object_count() const { return objects_; }

 private:
  int64_t objects_ = 0;
  std::vector<GroupedChange> groups_;
  std::map<std::pair<std::string, int>, size_t> index_;  // path and action -> group
};

}  // namespace narthex::anonymize
