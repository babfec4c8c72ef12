// The pixels of all real images: what is not blanked stays, and compressed ones are decoded to what another
// codec (GDCM, whose digests stand in the folder's manifest) makes of them.
#include <iostream>
#include <map>
#include <set>
#include <string>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "base/digest.h"
#include "base/error.h"
#include "imaging/anonymize/testing.h"
#include "imaging/pixels/testing.h"
#include "re2/re2.h"

namespace narthex::pixels {
namespace {

using anonymize::PixelEdit;
using anonymize::ReadFile;
using anonymize::SharedFiles;
using anonymize::SharedFolder;
namespace tags = dicom::tags;

// path -> digest of the pixels as GDCM decodes them; "" if it cannot.
std::map<std::string, std::string> GdcmDigests() {
  std::map<std::string, std::string> digests;
  const std::string manifest = ReadFile(SharedFolder() + "/data/MANIFEST.jsonl");
  for (const absl::string_view line : absl::StrSplit(manifest, '\n')) {
    std::string path, digest;
    const std::string row(line);
    if (!RE2::PartialMatch(row, R"re("path": "([^"]+)")re", &path)) continue;
    RE2::PartialMatch(row, R"re("gdcm_decoded_md5": "([0-9a-f]+)")re", &digest);
    digests[path] = digest;
  }
  return digests;
}

struct Object {
  std::string name;  // below data/
  std::string bytes;
  dicom::ObjectHeader header;
  size_t bulk_offset = 0;
  PixelGeometry geometry;
};

// Real objects with pixels that can be edited; the others are counted by their reason.
template <typename Visit>
std::map<std::string, int> ForEachImage(Visit visit) {
  std::map<std::string, int> refused;
  for (const auto& path : SharedFiles()) {
    Object object;
    object.bytes = ReadFile(path);
    object.name = path.string().substr(SharedFolder().size() + 6);
    auto header = dicom::ParseObjectHeader(object.bytes, &object.bulk_offset);
    if (!header.ok() || object.bulk_offset >= object.bytes.size() || header->syntax.deflated) continue;
    if (!header->data->Has(tags::kRows)) continue;  // spectroscopy, documents
    object.header = std::move(*header);
    const auto geometry = ReadGeometry(object.header, tags::kPixelData);
    if (!geometry.ok()) {
      std::cout << object.name << ": " << geometry.status().message() << "\n";
      ++refused[ErrorReason(geometry.status())];
      continue;
    }
    object.geometry = *geometry;
    visit(object, refused);
  }
  return refused;
}

std::string PixelsOf(const std::string& object) {
  size_t offset = 0;
  EXPECT_TRUE(dicom::ParseObjectHeader(object, &offset).ok());
  return object.substr(offset + 12);
}

TEST(PixelsRealTest, LeavesUncompressedPixelsOutsideTheRectangle) {
  NX_NEED_SHARED();
  int edited = 0;

  const auto refused = ForEachImage([&](const Object& object, std::map<std::string, int>& reasons) {
    if (object.header.syntax.encapsulated) return;
    const PixelGeometry& g = object.geometry;
    PixelOutcome outcome;
    const auto out = Edited(object.bytes, {{0, 0, 1, 1, 1, 1}}, 50'000, &outcome);
    if (!out.ok()) {
      std::cout << object.name << ": " << out.status().message() << "\n";
      ++reasons[ErrorReason(out.status())];
      return;
    }
    size_t offset = 0;
    ASSERT_TRUE(dicom::ParseObjectHeader(*out, &offset).ok()) << object.name;
    const absl::string_view before = absl::string_view(object.bytes).substr(object.bulk_offset);
    const absl::string_view after = absl::string_view(*out).substr(offset);
    ASSERT_EQ(before.size(), after.size()) << object.name;
    if (!object.header.data->Has(dicom::Tag(0x00880200))) {
      EXPECT_EQ(out->substr(0, offset), object.bytes.substr(0, offset)) << object.name;
    }
    uint64_t changed = 0;
    for (size_t i = 0; i < before.size(); ++i) changed += before[i] != after[i] ? 1 : 0;
    EXPECT_LE(changed, g.frames * g.samples * (static_cast<uint64_t>(g.bits_allocated) + 7) / 8)
        << object.name;
    EXPECT_TRUE(outcome.edited) << object.name;
    ++edited;
  });

  for (const auto& [reason, count] : refused) std::cout << reason << ": " << count << "\n";
  std::cout << edited << " edited\n";
  EXPECT_GT(edited, 300);
}

TEST(PixelsRealTest, DecodesWhatAnotherCodecDecodes) {
  NX_NEED_SHARED();
  const std::map<std::string, std::string> digests = GdcmDigests();
  int same = 0, colours = 0, decoded = 0;
  std::set<std::string> different;

  const auto refused = ForEachImage([&](const Object& object, std::map<std::string, int>& reasons) {
    if (!object.header.syntax.encapsulated) return;
    // Two corners, one after the other, so that each pixel is whole in one of the results.
    const int64_t right = object.geometry.columns, bottom = object.geometry.rows;
    PixelOutcome outcome;
    const auto first = Edited(object.bytes, {{0, 0, 1, 1, 0, 1}}, 50'000, &outcome);
    const auto last = Edited(object.bytes, {{right - 1, bottom - 1, right, bottom, 0, 1}});
    if (!first.ok() || !last.ok()) {
      std::cout << object.name << ": " << first.status().message() << "\n";
      ++reasons[ErrorReason(first.status())];
      return;
    }
    EXPECT_TRUE(outcome.decoded && outcome.edited);
    const auto header = dicom::ParseObjectHeader(*first);
    ASSERT_TRUE(header.ok()) << object.name;
    EXPECT_EQ(header->syntax.uid, dicom::kExplicitVrLittleEndian);
    const auto geometry = ReadGeometry(*header, tags::kPixelData);
    ASSERT_TRUE(geometry.ok()) << object.name;
    std::string pixels = PixelsOf(*first);
    const std::string whole_begin = PixelsOf(*last);
    ASSERT_GE(pixels.size(), geometry->TotalBytes()) << object.name;
    const uint64_t frame = geometry->FrameBits() / 8;
    for (uint64_t at = 0; at < geometry->TotalBytes(); at += frame)
      pixels.replace(at, frame / 2, whole_begin, at, frame / 2);
    pixels.resize(geometry->TotalBytes());
    ++decoded;
    const auto expected = digests.find(object.name);
    if (expected != digests.end() && expected->second == absl::BytesToHexString(Md5(pixels))) {
      ++same;
    } else if (absl::StartsWith(object.geometry.photometric, "YBR_FULL")) {
      // GDCM leaves the colours as they are stored.
      EXPECT_EQ(header->data->TextOrEmpty(tags::kPhotometricInterpretation), "RGB");
      ++colours;
    } else {
      different.insert(object.name);
    }
  });

  for (const auto& [reason, count] : refused) std::cout << reason << ": " << count << "\n";
  EXPECT_EQ(decoded, same + colours + static_cast<int>(different.size()));
  EXPECT_GT(same, 100);
  EXPECT_GT(colours, 8);
  const std::string folder = "dicom-pydicom-testfiles/test_files/";
  EXPECT_THAT(different, testing::UnorderedElementsAre(
                             // GDCM cannot read them.
                             "dicom-nema-wg04/JLSL/MR1_JLSL", folder + "SC_rgb_rle_16bit_2frame.dcm",
                             folder + "SC_rgb_rle_32bit.dcm", folder + "SC_rgb_rle_32bit_2frame.dcm",
                             // GDCM mixes up the bytes; decoded by hand it is as we have it.
                             folder + "SC_rgb_rle_16bit.dcm",
                             // Its stream has no sign and its header has; we extend the sign, GDCM does not.
                             folder + "J2K_pixelrep_mismatch.dcm"));
}

// The same picture, compressed in many ways: red, green and blue come out as they went in.
TEST(PixelsRealTest, ConvertsColoursOfJpeg) {
  NX_NEED_SHARED();
  const std::string folder = SharedFolder() + "/data/dicom-pydicom-testfiles/test_files/";
  const std::vector<PixelEdit> last = {{99, 99, 100, 100, 0, 1}};
  const auto pixels = [&](const std::string& name) {
    const auto out = Edited(ReadFile(folder + name), last);
    EXPECT_TRUE(out.ok()) << name << out.status();
    return out.ok() ? PixelsOf(*out).substr(0, 30'000) : std::string();
  };
  const std::string lossless = pixels("SC_rgb_rle.dcm");

  for (const char* name :
       {"SC_rgb_dcmtk_+eb+cy+n1.dcm", "SC_rgb_dcmtk_+eb+cy+n2.dcm", "SC_rgb_dcmtk_+eb+cy+np.dcm",
        "SC_rgb_dcmtk_+eb+cy+s2.dcm", "SC_rgb_dcmtk_+eb+cy+s4.dcm", "SC_rgb_jpeg_dcmtk.dcm",
        "SC_rgb_jpeg_lossy_gdcm.dcm", "SC_rgb_dcmtk_+eb+cr.dcm", "SC_rgb_jpeg_gdcm.dcm",
        "SC_rgb_gdcm_KY.dcm"}) {
    const std::string decoded = pixels(name);
    ASSERT_EQ(decoded.size(), lossless.size()) << name;
    // The middle lines of the bars; colours bleed at their edges.
    int64_t distance = 0;
    for (size_t row = 5; row < 100; row += 10) {
      for (size_t i = row * 300; i < row * 300 + 300; ++i) {
        distance += std::abs(static_cast<uint8_t>(decoded[i]) - static_cast<uint8_t>(lossless[i]));
      }
    }
    EXPECT_LT(distance, 10 * 300 * 6) << name;
  }
}

// Several fragments a frame, and no table that says which.
TEST(PixelsRealTest, DecodesSeveralFragmentsAFrame) {
  NX_NEED_SHARED();
  const std::string file =
      ReadFile(SharedFolder() + "/data/dicom-pydicom-testfiles/test_files/MR_small_jpeg_ls_lossless.dcm");
  const std::string stream =
      file.substr(file.find("\xff\xd8\xff"), file.rfind("\xff\xd9") + 2 - file.find("\xff\xd8\xff"));
  Picture picture;
  picture.syntax = "1.2.840.10008.1.2.4.80";
  picture.rows = picture.columns = 64;
  picture.allocated = picture.stored = 16;
  picture.is_signed = true;
  picture.frames = 3;
  const size_t half = stream.size() / 4 * 2;
  std::string rest = stream.substr(half);
  rest.resize(rest.size() + rest.size() % 2, '\0');
  std::vector<std::string> fragments;
  for (int i = 0; i < 3; ++i) {
    fragments.push_back(stream.substr(0, half));
    fragments.push_back(rest);
  }

  const auto one = Edited(file, {{0, 0, 1, 1, 0, 1}});
  const auto three = Edited(EncapsulatedObject(picture, fragments), {{0, 0, 1, 1, 0, 1}}, 100);

  ASSERT_TRUE(one.ok() && three.ok()) << one.status() << three.status();
  const std::string frame = PixelsOf(*one).substr(0, 8192);
  EXPECT_EQ(PixelsOf(*three), frame + frame + frame);
}

}  // namespace
}  // namespace narthex::pixels
