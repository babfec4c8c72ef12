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

// A data set of two elements and `pixels`, with the length that they are said to have.
std::string SmallObject(const std::string& pixels, uint32_t declared) {
  auto data = DataSet::Empty(Encoding::ExplicitLittle());
  EXPECT_TRUE(data->SetText(tags::kSOPInstanceUID, "1.2.3").ok());
  EXPECT_TRUE(data->SetText(tags::kPatientName, "Doe").ok());
  std::string bytes = data->Write() + std::string("\xe0\x7f\x10\x00OW\0\0", 8);
  for (int i = 0; i < 4; ++i) bytes.push_back(static_cast<char>(declared >> 8 * i));
  return bytes + pixels;
}

// Found by the fuzzer: objects shorter than what the encoding is told from had their pixels taken for header.
TEST(RewriterTest, PassesPixelsOfVerySmallObjects) {
  for (const uint32_t declared : {8u, 4096u}) {
    RenameEditor editor;
    size_t bulk_before = 0, bulk_after = 0;
    const std::string bytes = SmallObject("12345678", declared);
    const auto out = dicom::RewriteObject(bytes, editor);
    ASSERT_TRUE(out.ok()) << out.status();
    ASSERT_TRUE(dicom::ParseObjectHeader(bytes, &bulk_before).ok());
    const auto header = dicom::ParseObjectHeader(*out, &bulk_after);
    ASSERT_TRUE(header.ok()) << header.status();
    EXPECT_EQ(header->data->GetText(tags::kPatientName), "ANONYMOUS");
    EXPECT_FALSE(header->data->Has(tags::kPixelData));
    EXPECT_EQ(out->substr(bulk_after), bytes.substr(bulk_before));
  }
}

// Found by the fuzzer: group 0002 in the data set would become file meta once what stood before it is
// removed.
TEST(RewriterTest, RefusesWhatWouldBeReadOtherwiseAfterwards) {
  class Remover : public HeaderEditor {
   public:
    absl::Status EditHeader(ObjectHeader& header) override {
      header.data->Remove(Tag(0x0001, 0x0010));
      return absl::OkStatus();
    }
  } remover;
  auto data = DataSet::Empty(Encoding::ExplicitLittle());
  data->SetBytes(Tag(0x0001, 0x0010), dicom::Vr::kLO, "X ");
  data->SetBytes(tags::kTransferSyntaxUID, dicom::Vr::kUI, "1.2.840.10008.1.2");
  EXPECT_EQ(ErrorReason(dicom::RewriteObject(data->Write(), remover).status()), "MALFORMED_HEADER");
}

TEST(RewriterTest, InflatesAndDeflatesAnew) {
  NX_NEED_SHARED();
  const std::string bytes =
      ReadFile(SharedFolder() + "/data/dicom-pydicom-testfiles/test_files/image_dfl.dcm");
  ASSERT_FALSE(bytes.empty());
  RenameEditor editor;

  const auto out = dicom::RewriteObject(bytes, editor);
  ASSERT_TRUE(out.ok()) << out.status();
  const auto before = dicom::ParseObjectHeader(bytes), after = dicom::ParseObjectHeader(*out);

  ASSERT_TRUE(before.ok() && after.ok()) << after.status();
  EXPECT_TRUE(after->syntax.deflated);
  EXPECT_EQ(after->data->GetText(tags::kPatientName), "ANONYMOUS");
  EXPECT_EQ(after->meta->GetText(tags::kMediaStorageSOPInstanceUID), "1.2.3.4.5");
  EXPECT_EQ(after->data->GetText(tags::kRows), before->data->GetText(tags::kRows));
}

}  // namespace
}  // namespace narthex::anonymize
