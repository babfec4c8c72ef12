// The headers of archived files. Inside server/archive.
#pragma once

#include <string>

#include "absl/status/statusor.h"

#include "imaging/dicom/attribute_set.h"
#include "imaging/dicom/header_facts.h"
#include "storage/fs/file_system.h"

namespace narthex::archiving {

// What the header of the file at `place` says. Errors of the disk and of HeaderScanner.
absl::StatusOr<dicom::HeaderFacts> ReadFacts(fs::FileSystem& files, const std::string& place,
                                             const dicom::AttributeSet& attributes);

}  // namespace narthex::archiving
