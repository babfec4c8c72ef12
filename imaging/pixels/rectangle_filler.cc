#include "imaging/pixels/rectangle_filler.h"

#include <algorithm>
#include <cstring>

namespace narthex::pixels {
namespace {

// `value` in the bits of a cell of `geometry`.
uint64_t Cell(const PixelGeometry& geometry, int64_t value) {
  const int stored = geometry.bits_stored;
  const int64_t high = geometry.is_signed ? (int64_t{1} << (stored - 1)) - 1
                                          : static_cast<int64_t>((uint64_t{1} << stored) - 1);
  const int64_t low = geometry.is_signed ? -high - 1 : 0;
  // Negative values keep their sign in the bits above the stored ones, as writers do.
  const auto bits = static_cast<uint64_t>(std::clamp(value, low, high));
  return bits << (geometry.high_bit + 1 - stored);
}

std::string Bytes(uint64_t cell, int count, bool big_endian) {
  std::string bytes;
  for (int i = 0; i < count; ++i) bytes += static_cast<char>(cell >> (8 * i) & 0xff);
  if (!big_endian) return bytes;
  // Cells of 32 bits and more are words of 16 bits (VR OW), the lowest first.
  for (int i = 0; i + 1 < count; i += 2)
    std::swap(bytes[static_cast<size_t>(i)], bytes[static_cast<size_t>(i) + 1]);
  return bytes;
}

template <typename Float>
std::string FloatBytes(int64_t value, bool big_endian) {
  const auto number = static_cast<Float>(value);
  std::string bytes(sizeof number, '\0');
  std::memcpy(bytes.data(), &number, sizeof number);
  if (big_endian) std::reverse(bytes.begin(), bytes.end());
  return bytes;
}

}  // namespace

RectangleFiller::RectangleFiller(const PixelGeometry& geometry,
                                 const std::vector<anonymize::PixelEdit>& edits)
    : geometry_(geometry), total_bytes_(geometry.TotalBytes()) {
  const uint64_t sample_bytes = static_cast<uint64_t>(geometry.bits_allocated) / 8;
  const bool pairs = geometry.chroma_pairs;
  pixel_bytes_ = pairs ? 2 * sample_bytes : geometry.planar ? sample_bytes : sample_bytes * geometry.samples;
  line_bytes_ = pixel_bytes_ * geometry.columns;
  const uint32_t planes = geometry.planar ? geometry.samples : 1;
  lines_per_frame_ = uint64_t{geometry.rows} * planes;
  for (const anonymize::PixelEdit& edit : edits) {
    const auto cut = [](int64_t at, uint32_t end) {
      return static_cast<uint32_t>(std::clamp<int64_t>(at, 0, end));
    };
    Box box{cut(edit.left, geometry.columns), cut(edit.top, geometry.rows), cut(edit.right, geometry.columns),
            cut(edit.bottom, geometry.rows)};
    if (box.left >= box.right || box.top >= box.bottom) continue;
    if (pairs) {
      box.left &= ~1u;
      box.right += box.right & 1u;
    }
    box.bit = edit.fill != 0;
    for (uint32_t plane = 0; plane < planes && sample_bytes > 0; ++plane)
      box.lines.push_back(Line(edit.fill, plane));
    boxes_.push_back(std::move(box));
  }
}

std::string RectangleFiller::Sample(int64_t fill, uint32_t sample) const {
  if (geometry_.is_float) {
    return geometry_.bits_allocated == 32 ? FloatBytes<float>(fill, geometry_.big_endian)
                                          : FloatBytes<double>(fill, geometry_.big_endian);
  }
  const bool colour = geometry_.is_ybr() && sample > 0;
  const int64_t value = colour ? int64_t{1} << (geometry_.bits_stored - 1) : fill;
  return Bytes(Cell(geometry_, value), geometry_.bits_allocated / 8, geometry_.big_endian);
}

std::string RectangleFiller::Line(int64_t fill, uint32_t plane) const {
  std::string unit;
  if (geometry_.chroma_pairs) {
    unit = Sample(fill, 0) + Sample(fill, 0) + Sample(fill, 1) + Sample(fill, 2);
  } else if (geometry_.planar) {
    unit = Sample(fill, plane);
  } else {
    for (uint32_t sample = 0; sample < geometry_.samples; ++sample) unit += Sample(fill, sample);
  }
  std::string line;
  line.reserve(line_bytes_);
  while (line.size() < line_bytes_) line += unit;
  return line;
}

void RectangleFiller::Fill(uint64_t offset, char* bytes, size_t size) const {
  // Swapped words can reach into the padding.
  const uint64_t end = geometry_.swapped_words ? total_bytes_ + (total_bytes_ & 1) : total_bytes_;
  if (boxes_.empty()) return;
  const uint64_t padded = total_bytes_ + (total_bytes_ & 1);
  if (offset + size > padded) {
    const uint64_t from = std::max(offset, padded) - offset;
    std::memset(bytes + from, 0, size - static_cast<size_t>(from));
  }
  if (offset >= end) return;
  size = static_cast<size_t>(std::min<uint64_t>(size, end - offset));
  if (geometry_.bits_allocated == 1 || geometry_.swapped_words) {
    FillSingly(offset, bytes, size);
  } else {
    FillLines(offset, bytes, size);
  }
}

void RectangleFiller::FillLines(uint64_t offset, char* bytes, size_t size) const {
  const uint64_t end = offset + size;
  uint64_t line = offset / line_bytes_;
  for (uint64_t begin = line * line_bytes_; begin < end; ++line, begin += line_bytes_) {
    const uint64_t in_frame = line % lines_per_frame_;
    const uint64_t row = in_frame % geometry_.rows;
    for (const Box& box : boxes_) {
      if (row < box.top || row >= box.bottom) continue;
      const uint64_t from = std::max(begin + box.left * pixel_bytes_, offset);
      const uint64_t to = std::min(begin + box.right * pixel_bytes_, end);
      if (from >= to) continue;
      const std::string& filled = box.lines[static_cast<size_t>(in_frame / geometry_.rows)];
      std::memcpy(bytes + (from - offset), filled.data() + (from - begin), static_cast<size_t>(to - from));
    }
  }
}

// For one bit a pixel, packed from the lowest bit without gaps between lines and frames (PS3.5
// section 8.1.1), and for bytes that change places with their neighbour.
void RectangleFiller::FillSingly(uint64_t offset, char* bytes, size_t size) const {
  const bool bits = geometry_.bits_allocated == 1;
  const uint64_t cells_per_byte = bits ? 8 : 1;
  const uint64_t cells_per_line = bits ? geometry_.columns : line_bytes_;
  const uint64_t cells_per_pixel = bits ? 1 : pixel_bytes_;
  const uint64_t cells = cells_per_line * lines_per_frame_ * geometry_.frames;
  for (size_t i = 0; i < size; ++i) {
    const uint64_t at = (offset + i) ^ (geometry_.swapped_words ? 1 : 0);
    for (uint64_t k = 0; k < cells_per_byte; ++k) {
      const uint64_t cell = at * cells_per_byte + k;
      if (cell >= cells) break;
      const uint64_t in_line = cell % cells_per_line;
      const uint64_t in_frame = cell / cells_per_line % lines_per_frame_;
      const uint64_t row = in_frame % geometry_.rows, column = in_line / cells_per_pixel;
      for (const Box& box : boxes_) {
        if (row < box.top || row >= box.bottom || column < box.left || column >= box.right) continue;
        if (!bits) {
          bytes[i] = box.lines[static_cast<size_t>(in_frame / geometry_.rows)][static_cast<size_t>(in_line)];
        } else {
          const auto mask = static_cast<uint8_t>(1u << k);
          const auto now = static_cast<uint8_t>(bytes[i]);
          bytes[i] = static_cast<char>(box.bit ? now | mask : now & ~mask);
        }
      }
    }
  }
}

}  // namespace narthex::pixels
