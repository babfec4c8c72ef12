// Blanks rectangles in uncompressed pixels that pass in pieces. Immutable; thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "imaging/anonymize/script.h"
#include "imaging/pixels/geometry.h"

namespace narthex::pixels {

// The fill value of an edit goes into every sample, cut to the range that the stored bits have; in YBR images
// into the luminance, with the colour set to grey. The whole cell is written, overlay bits above the stored
// ones too. Rectangles are cut to the image, hold for every frame, and later ones lie over earlier ones;
// where two pixels share a colour (4:2:2), they are widened to pairs.
class RectangleFiller {
 public:
  // `geometry` is settled (SettleNativeLayout) or of decoded pixels.
  RectangleFiller(const PixelGeometry& geometry, const std::vector<anonymize::PixelEdit>& edits);

  // Blanks what of the rectangles lies in `size` bytes that begin `offset` bytes into the value. What is
  // beyond the last frame and its padding becomes zeros: nobody shows it, and it may be another picture.
  void Fill(uint64_t offset, char* bytes, size_t size) const;

  // No rectangle touches the image.
  bool empty() const { return boxes_.empty(); }

 private:
  struct Box {
    uint32_t left, top, right, bottom;  // right and bottom excluded
    std::vector<std::string> lines;     // a whole line of the fill value for each plane
    bool bit = false;                   // the value, if there is one bit a pixel
  };
  void FillLines(uint64_t offset, char* bytes, size_t size) const;
  void FillSingly(uint64_t offset, char* bytes, size_t size) const;
  std::string Line(int64_t fill, uint32_t plane) const;
  std::string Sample(int64_t fill, uint32_t sample) const;

  const PixelGeometry geometry_;
  const uint64_t total_bytes_;
  uint64_t pixel_bytes_ = 0;  // of a pixel in a line
  uint64_t line_bytes_ = 0;
  uint64_t lines_per_frame_ = 0;
  std::vector<Box> boxes_;
};

}  // namespace narthex::pixels
