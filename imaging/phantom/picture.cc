#include "imaging/phantom/picture.h"

#include <algorithm>
#include <cmath>

namespace narthex::phantom {
namespace {

// In units of half the picture: x to the right, y downwards, z along the slices. Later ones cover earlier
// ones.
struct Ellipsoid {
  double x, y, z;
  double radius_x, radius_y, radius_z;
  uint16_t value;
};

// A chest in Hounsfield units + 1024: skin and fat, muscle, lungs, heart, vertebra, aorta, a nodule, the
// table.
constexpr Ellipsoid kChest[] = {
    {0, 0, 0, 0.92, 0.68, 3.0, 924},
    {0, 0, 0, 0.86, 0.62, 3.0, 1074},
    {-0.42, -0.05, 0, 0.32, 0.45, 0.95, 174},
    {0.42, -0.05, 0, 0.32, 0.45, 0.95, 174},
    {0.12, -0.1, 0.1, 0.24, 0.22, 0.5, 1064},
    {0, 0.42, 0, 0.12, 0.12, 3.0, 1624},
    {0, 0.46, 0, 0.05, 0.05, 3.0, 1054},
    {0.1, 0.28, 0, 0.06, 0.06, 3.0, 1174},
    {-0.45, 0.1, -0.3, 0.06, 0.06, 0.12, 1094},
    {0, 0.86, 0, 0.85, 0.05, 3.0, 824},
};

// A head, T1-like: scalp, skull, brain, white matter, ventricles, a lesion, eyes.
constexpr Ellipsoid kHead[] = {
    {0, 0, 0, 0.76, 0.92, 1.05, 900},
    {0, 0, 0, 0.7, 0.86, 1.0, 80},
    {0, 0, 0, 0.66, 0.82, 0.95, 520},
    {0, 0, 0, 0.52, 0.66, 0.8, 760},
    {-0.14, 0.02, 0.1, 0.08, 0.3, 0.35, 130},
    {0.14, 0.02, 0.1, 0.08, 0.3, 0.35, 130},
    {0.3, 0.25, 0.25, 0.09, 0.09, 0.12, 1100},
    {-0.28, -0.74, -0.45, 0.13, 0.13, 0.15, 300},
    {0.28, -0.74, -0.45, 0.13, 0.13, 0.15, 300},
};

// Tracer uptake of a body: background, brain, heart, kidneys, a hot lesion.
constexpr Ellipsoid kUptake[] = {
    {0, 0, 0, 0.7, 0.5, 3.0, 600},
    {0, 0, 0.9, 0.4, 0.42, 0.25, 9000},
    {0.15, -0.1, 0.2, 0.2, 0.18, 0.15, 5200},
    {-0.3, 0.15, -0.3, 0.1, 0.12, 0.15, 4100},
    {0.3, 0.15, -0.3, 0.1, 0.12, 0.15, 4100},
    {-0.35, -0.1, 0.35, 0.06, 0.06, 0.08, 14000},
};

absl::Span<const Ellipsoid> BodyOf(Modality modality) {
  switch (modality) {
    case Modality::kCt:
      return kChest;
    case Modality::kPt:
      return kUptake;
    default:
      return kHead;
  }
}

void DrawEllipse(const Ellipsoid& body, double scale, int rows, int columns, absl::Span<uint16_t> pixels) {
  const double center_row = (body.y + 1) * rows / 2, center_column = (body.x + 1) * columns / 2;
  const double half_height = body.radius_y * scale * rows / 2,
               half_width = body.radius_x * scale * columns / 2;
  const int first = std::max(0, static_cast<int>(std::ceil(center_row - half_height)));
  const int last = std::min(rows - 1, static_cast<int>(std::floor(center_row + half_height)));
  for (int row = first; row <= last; ++row) {
    const double offset = (row - center_row) / half_height;
    const double half = half_width * std::sqrt(std::max(0.0, 1 - offset * offset));
    const int begin = std::clamp(static_cast<int>(std::ceil(center_column - half)), 0, columns);
    const int end = std::clamp(static_cast<int>(std::floor(center_column + half)) + 1, begin, columns);
    uint16_t* line = pixels.data() + static_cast<size_t>(row) * columns;
    std::fill(line + begin, line + end, body.value);
  }
}

}  // namespace

void DrawSlice(Modality modality, double depth, int rows, int columns, absl::Span<uint16_t> pixels) {
  std::fill(pixels.begin(), pixels.end(), modality == Modality::kCt ? 24 : 8);
  for (const Ellipsoid& body : BodyOf(modality)) {
    const double distance = (depth - body.z) / body.radius_z;
    if (distance * distance < 1) DrawEllipse(body, std::sqrt(1 - distance * distance), rows, columns, pixels);
  }
}

}  // namespace narthex::phantom
