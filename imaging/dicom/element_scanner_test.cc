#include "imaging/dicom/element_scanner.h"

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "gtest/gtest.h"

#include "imaging/dicom/tag.h"

namespace narthex::dicom {
namespace {

using std::string_literals::operator""s;

const std::string kItem = "\xfe\xff\x00\xe0"s;
const std::string kItemEnd = "\xfe\xff\x0d\xe0\0\0\0\0"s;
const std::string kSequenceEnd = "\xfe\xff\xdd\xe0\0\0\0\0"s;
const std::string kNoLength = "\xff\xff\xff\xff"s;
const std::string kPixels = "\xe0\x7f\x10\x00OW\0\0\x02\0\0\0"s;

// Where the scanner says that the pixels begin, if it gets `step` bytes more each time; -1: nowhere.
int64_t PixelsAt(const std::string& bytes, size_t step) {
  ElementScanner scanner(Encoding::ExplicitLittle(), Origin::kArriving);
  for (size_t size = std::min(step, bytes.size());; size = std::min(size + step, bytes.size())) {
    const auto state = scanner.Scan(absl::string_view(bytes).substr(0, size));
    EXPECT_TRUE(state.ok()) << state.status();
    if (state.ok() && *state == ElementScanner::State::kBulk) return static_cast<int64_t>(scanner.position());
    if (!state.ok() || size == bytes.size()) return -1;
  }
}

// An element without length in which items in explicit VR stand; their private value is "OW", two bytes that
// make another length in implicit VR.
std::string ExplicitItems(const std::string& head) {
  return head + kNoLength + kItem + kNoLength + "\x09\x00\x10\x10LO\x02\x00OW"s + kItemEnd + kSequenceEnd;
}

TEST(ElementScannerTest, WaitsUntilItSeesHowUnknownItemsAreWritten) {
  const std::string bytes = ExplicitItems("\x09\x00\x11\x10UN\0\0"s) + kPixels;
  for (size_t step = 1; step <= bytes.size(); ++step)
    EXPECT_EQ(PixelsAt(bytes, step), static_cast<int64_t>(bytes.size() - kPixels.size())) << step;
}

// Found by mutations of real objects: a damaged VR makes it an element whose VR is unknown, too. In pieces
// the scanner did not wait there, read the items in implicit VR and went over the head of the pixel data.
TEST(ElementScannerTest, WaitsAlsoWhereTheVrIsDamaged) {
  const std::string bytes = ExplicitItems("\x09\x00\x11\x10"s) + kPixels;
  for (size_t step = 1; step <= bytes.size(); ++step)
    EXPECT_EQ(PixelsAt(bytes, step), static_cast<int64_t>(bytes.size() - kPixels.size())) << step;
}

TEST(ElementScannerTest, WhatStandsBehindAnEmptySequenceSaysNothingAboutIt) {
  const std::string bytes = "\x09\x00\x11\x10UN\0\0"s + kNoLength + kSequenceEnd + kPixels;
  for (size_t step = 1; step <= bytes.size(); ++step)
    EXPECT_EQ(PixelsAt(bytes, step), static_cast<int64_t>(bytes.size() - kPixels.size())) << step;
}

}  // namespace
}  // namespace narthex::dicom
