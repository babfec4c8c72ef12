// Includes DCMTK as an independent reader of what the phantom writes.
#include "imaging/phantom/phantom.h"

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <map>
#include <set>
#include <string>

#include "absl/strings/str_cat.h"
#include "dcmtk/config/osconfig.h"  // DCMTK demands to be first
#include "dcmtk/dcmdata/dcistrmb.h"
#include "dcmtk/dcmdata/dctk.h"
#include "gtest/gtest.h"

#include "imaging/dicom/header_scanner.h"

namespace narthex::phantom {
namespace {

namespace tags = dicom::tags;

constexpr Modality kAll[] = {Modality::kMr, Modality::kCt, Modality::kPt};

TEST(PhantomTest, HasTheSizesThatWereMeasuredOnRealSenders) {
  Options ct;
  ct.modality = Modality::kCt;
  ct.rows = ct.columns = 512;
  EXPECT_EQ(Study(ct).Instance(0, 0).size(), 527492u);
  EXPECT_EQ(Study(Options()).Instance(0, 0).size(), 38770u);
}

TEST(PhantomTest, TheScannerReadsIt) {
  for (Modality modality : kAll) {
    Options options;
    options.modality = modality;
    options.series = 2;
    options.slices = 3;
    options.project = "P";
    options.subject = "S";
    options.session = "L";
    const Study study(options);

    const auto facts = dicom::ScanWhole(study.Instance(1, 2));

    ASSERT_TRUE(facts.ok()) << facts.status();
    EXPECT_EQ(facts->sop_class_uid(), study.sop_class_uid());
    EXPECT_EQ(facts->sop_instance_uid(), study.SopInstanceUid(1, 2));
    EXPECT_EQ(facts->series_instance_uid(), study.SeriesInstanceUid(1));
    EXPECT_EQ(facts->study_instance_uid(), study.study_instance_uid());
    EXPECT_EQ(facts->Get(tags::kModality), ModalityName(modality));
    EXPECT_EQ(facts->Get(tags::kPatientComments), "Project:P Subject:S Session:L");
    EXPECT_EQ(facts->Get(tags::kPatientName), "S");
    EXPECT_EQ(facts->Get(tags::kPatientID), "L");
    EXPECT_EQ(facts->Get(tags::kSeriesNumber), "2");
    EXPECT_EQ(facts->Get(tags::kInstanceNumber), "3");
    EXPECT_EQ(facts->bulk_tag(), tags::kPixelData);
    EXPECT_TRUE(facts->has_private());
    EXPECT_FALSE(facts->is_truncated());
  }
}

TEST(PhantomTest, DcmtkReadsItAndFindsEveryElementInOrder) {
  for (Modality modality : kAll) {
    Options options;
    options.modality = modality;
    const std::string object = Study(options).Instance(0, 5);
    DcmInputBufferStream stream;
    stream.setBuffer(object.data(), object.size());
    stream.setEos();
    DcmFileFormat file;
    file.transferInit();
    const OFCondition read = file.read(stream);
    file.transferEnd();
    ASSERT_TRUE(read.good()) << read.text();
    DcmDataset* data = file.getDataset();
    const Uint16* pixels = nullptr;
    unsigned long count = 0;
    ASSERT_TRUE(data->findAndGetUint16Array(DCM_PixelData, pixels, &count).good());
    EXPECT_EQ(count, 128u * 128u);
    DcmTagKey last(0, 0);
    for (unsigned long i = 0; i < data->card(); ++i) {
      const DcmTagKey tag = data->getElement(i)->getTag();
      EXPECT_TRUE(last < tag) << tag.toString();
      last = tag;
    }
    OFString uid;
    data->findAndGetOFString(DCM_SOPInstanceUID, uid);
    EXPECT_LE(uid.size(), 64u);
    EXPECT_TRUE(dcmIsaStorageSOPClassUID(std::string(Study(options).sop_class_uid()).c_str()));
  }
}

TEST(PhantomTest, IsDeterministicAndSeedsDiffer) {
  Options options;
  options.series = options.slices = 3;
  const Study study(options), same(options);
  options.seed = 2;
  const Study other(options);
  std::set<std::string> uids, objects;
  for (int series = 0; series < 3; ++series) {
    for (int slice = 0; slice < 3; ++slice) {
      EXPECT_EQ(study.Instance(series, slice), same.Instance(series, slice));
      uids.insert(study.SopInstanceUid(series, slice));
      uids.insert(other.SopInstanceUid(series, slice));
      objects.insert(study.Instance(series, slice));
    }
  }
  EXPECT_EQ(uids.size(), 18u);
  EXPECT_EQ(objects.size(), 9u);
  EXPECT_NE(study.study_instance_uid(), other.study_instance_uid());
}

TEST(PhantomTest, ThePictureChangesFromSliceToSlice) {
  Options options;
  options.slices = 9;
  const Study study(options);
  const auto brightness = [&](int slice) {
    const std::string object = study.Instance(0, slice);
    uint64_t sum = 0;
    for (size_t at = object.size() - 128 * 128 * 2; at < object.size(); at += 2) {
      sum += static_cast<uint8_t>(object[at]) + 256u * static_cast<uint8_t>(object[at + 1]);
    }
    return sum / (128 * 128);
  };
  EXPECT_GT(brightness(4), brightness(0) * 2) << "the middle of a head is larger than its top";
  EXPECT_LT(brightness(4), 4096u);
}

TEST(PhantomTest, WritesFiles) {
  Options options;
  options.series = options.slices = 2;
  options.rows = options.columns = 16;
  const Study study(options);
  const std::string folder = absl::StrCat(testing::TempDir(), "/narthex_phantom_", getpid());

  const auto written = study.WriteTo(folder);

  ASSERT_TRUE(written.ok()) << written.status();
  uint64_t found = 0;
  int files = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    if (!entry.is_regular_file()) continue;
    found += entry.file_size();
    ++files;
  }
  EXPECT_EQ(files, 4);
  EXPECT_EQ(found, *written);
  EXPECT_TRUE(dicom::ScanFile(folder + "/" + study.FileName(1, 1)).ok());
  std::filesystem::remove_all(folder);
  EXPECT_FALSE(study.WriteTo("/proc/nowhere").ok());
}

TEST(PhantomTest, ParsesModalities) {
  EXPECT_EQ(*ParseModality("ct"), Modality::kCt);
  EXPECT_EQ(*ParseModality("PET"), Modality::kPt);
  EXPECT_TRUE(absl::IsInvalidArgument(ParseModality("XX").status()));
}

}  // namespace
}  // namespace narthex::phantom
