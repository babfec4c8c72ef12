// Reading and rewriting headers, over all real images.
#include "imaging/dicom/rewriter.h"

#include <algorithm>
#include <map>
#include <string>

#include "absl/strings/match.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "base/digest.h"
#include "base/error.h"
#include "base/status.h"
#include "imaging/anonymize/testing.h"

namespace narthex::anonymize {
namespace {

using dicom::DataSet;
using dicom::Encoding;
using dicom::HeaderEditor;
using dicom::ObjectHeader;
using dicom::Tag;
namespace tags = dicom::tags;

class KeepEditor : public HeaderEditor {
 public:
  absl::Status EditHeader(ObjectHeader&) override { return absl::OkStatus(); }
};

class RenameEditor : public HeaderEditor {
 public:
  absl::Status EditHeader(ObjectHeader& header) override {
    NX_RETURN_IF_ERROR(header.data->SetText(tags::kPatientName, "ANONYMOUS"));
    return header.data->SetText(tags::kSOPInstanceUID, "1.2.3.4.5");
  }
};

TEST(RewriterTest, GivesBackEveryRealObjectByteForByte) {
  NX_NEED_SHARED();
  int same = 0, refused = 0, deflated = 0;
  std::map<std::string, int> reasons;

  for (const auto& path : SharedFiles()) {
    const std::string bytes = ReadFile(path);
    KeepEditor editor;
    const auto out = dicom::RewriteObject(bytes, editor);
    if (!out.ok()) {
      ++refused;
      ++reasons[ErrorReason(out.status())];
      if (ErrorReason(out.status()) != "NOT_DICOM")
        std::cout << path << ": " << out.status().message() << "\n";
      continue;
    }
    const auto header = dicom::ParseObjectHeader(bytes);
    ASSERT_TRUE(header.ok()) << path;
    if (header->syntax.deflated) {
      ++deflated;
      continue;
    }
    EXPECT_TRUE(*out == bytes) << path;
    ++same;
  }

  for (const auto& [reason, count] : reasons) std::cout << reason << ": " << count << "\n";
  std::cout << same << " same, " << refused << " refused, " << deflated << " deflated\n";
  EXPECT_GT(same, 500);
}

}  // namespace
}  // namespace narthex::anonymize
