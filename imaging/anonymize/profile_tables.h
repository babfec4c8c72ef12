// What a profile with its options does to each attribute. Used within this folder only; immutable.
#pragma once

#include <cstdint>
#include <vector>

#include "imaging/anonymize/profile.h"
#include "imaging/dicom/tag.h"

namespace narthex::anonymize {

enum class ProfileAction : uint8_t {
  kRemove,
  kEmpty,
  kDummy,
  kMapUid,
  kKeep,
  kShiftDate,
  kCleanText,
  kCleanSequence
};

struct Profile::Tables {
  struct Row {
    dicom::Tag tag;
    ProfileAction action;
  };
  std::vector<Row> rows;  // by tag
};

}  // namespace narthex::anonymize
