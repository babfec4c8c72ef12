#include "imaging/phantom/phantom.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <utility>
#include <vector>

#include "absl/numeric/int128.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

#include "imaging/phantom/element_writer.h"
#include "imaging/phantom/picture.h"

namespace narthex::phantom {
namespace {

constexpr int kSizeMax = 16384;  // fixed: made-up images

// splitmix64 (Steele, Lea, Flood 2014): every input bit reaches every output bit.
uint64_t Mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15;
  x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
  x = (x ^ x >> 27) * 0x94d049bb133111eb;
  return x ^ x >> 31;
}

// "2.25." and a UUID as a decimal number (PS3.5 annex B.2), version 4 in form.
std::string UidOf(uint64_t seed, uint64_t kind, uint64_t a = 0, uint64_t b = 0) {
  const uint64_t base = Mix(Mix(Mix(Mix(seed) ^ kind) ^ a) ^ b);
  const uint64_t high = (Mix(base) & ~uint64_t{0xf000}) | 0x4000;
  const uint64_t low = (Mix(base ^ 1) & ~(uint64_t{3} << 62)) | uint64_t{2} << 62;
  return absl::StrCat("2.25.", absl::StrFormat("%d", absl::MakeUint128(high, low)));
}

}  // namespace

absl::StatusOr<Modality> ParseModality(absl::string_view text) {
  const std::string upper = absl::AsciiStrToUpper(text);
  if (upper == "MR") return Modality::kMr;
  if (upper == "CT") return Modality::kCt;
  if (upper == "PT" || upper == "PET") return Modality::kPt;
  return absl::InvalidArgumentError(
      absl::StrCat("\"", text, "\" is no modality of the phantom; MR, CT and PT are"));
}

absl::string_view ModalityName(Modality modality) {
  switch (modality) {
    case Modality::kCt:
      return "CT";
    case Modality::kPt:
      return "PT";
    default:
      return "MR";
  }
}

// A long strip of noise, made once; every row of every slice begins somewhere else in it.
class Study::Noise {
 public:
  Noise(uint64_t seed, int columns, int amplitude) : values_(kPositions + static_cast<size_t>(columns)) {
    uint64_t state = Mix(seed ^ 0x6e6f697365);
    for (int16_t& value : values_) {
      state = Mix(state);
      // The sum of four uniform numbers is nearly Gaussian.
      const int sum = static_cast<int>((state & 0xff) + (state >> 8 & 0xff) + (state >> 16 & 0xff) +
                                       (state >> 24 & 0xff));
      value = static_cast<int16_t>((sum - 510) * amplitude / 128);
    }
  }

  const int16_t* Row(uint64_t key) const { return values_.data() + Mix(key) % kPositions; }

 private:
  static constexpr size_t kPositions = 1 << 16;
  std::vector<int16_t> values_;
};

Study::Study(Options options) : options_(std::move(options)) {
  options_.series = std::max(1, options_.series);
  options_.slices = std::max(1, options_.slices);
  options_.rows = std::clamp(options_.rows, 1, kSizeMax);
  options_.columns = std::clamp(options_.columns, 1, kSizeMax);
  if (options_.header_bytes <= 0) {
    options_.header_bytes = options_.modality == Modality::kCt   ? 3204
                            : options_.modality == Modality::kMr ? 6002
                                                                 : 4096;
  }
  noise_ = std::make_unique<const Noise>(options_.seed, options_.columns,
                                         options_.modality == Modality::kPt ? 120 : 14);
}

Study::~Study() = default;
Study::Study(Study&&) noexcept = default;
Study& Study::operator=(Study&&) noexcept = default;

std::string Study::Instance(int series, int slice) const {
  std::string out;
  Instance(series, slice, &out);
  return out;
}

void Study::Instance(int series, int slice, std::string* out) const {
  out->clear();
  out->reserve(static_cast<size_t>(options_.rows) * options_.columns * 2 + options_.header_bytes + 256);
  AppendHeader(series, slice, out);
  AppendPixels(series, slice, out);
}

void Study::AppendPixels(int series, int slice, std::string* out) const {
  const size_t rows = options_.rows, columns = options_.columns;
  const auto bytes = static_cast<uint32_t>(rows * columns * 2);
  ElementWriter(out).Long(dicom::tags::kPixelData, "OW", bytes);
  const double depth = options_.slices == 1 ? 0 : 2.0 * slice / (options_.slices - 1) - 1;
  // One picture a thread is kept, so that no memory is asked for at every slice.
  thread_local std::vector<uint16_t> picture;
  picture.resize(rows * columns);
  DrawSlice(options_.modality, depth * 0.95, options_.rows, options_.columns, absl::MakeSpan(picture));
  for (size_t row = 0; row < rows; ++row) {
    uint16_t* line = picture.data() + row * columns;
    const int16_t* noise = noise_->Row(options_.seed ^ uint64_t(series) << 48 ^ uint64_t(slice) << 24 ^ row);
    for (size_t column = 0; column < columns; ++column) {
      line[column] = static_cast<uint16_t>(std::max(0, line[column] + noise[column]));
    }
  }
  out->append(reinterpret_cast<const char*>(picture.data()), bytes);
}

std::string Study::study_instance_uid() const {
  return UidOf(options_.seed, 1, static_cast<uint64_t>(options_.modality));
}
std::string Study::SeriesInstanceUid(int series) const {
  return UidOf(options_.seed, 2, static_cast<uint64_t>(options_.modality), series);
}
std::string Study::SopInstanceUid(int series, int slice) const {
  return UidOf(options_.seed, 3, static_cast<uint64_t>(options_.modality),
               uint64_t(series) << 32 | uint64_t(slice));
}

std::string Study::FileName(int series, int slice) const {
  return absl::StrFormat("%03d/%04d.dcm", series + 1, slice + 1);
}

absl::StatusOr<uint64_t> Study::WriteTo(const std::string& folder) const {
  uint64_t written = 0;
  std::string object;
  for (int series = 0; series < options_.series; ++series) {
    std::error_code error;
    const std::filesystem::path below = std::filesystem::path(folder) / absl::StrFormat("%03d", series + 1);
    std::filesystem::create_directories(below, error);
    if (error)
      return absl::ErrnoToStatus(error.value(), absl::StrCat("cannot make the folder ", below.string()));
    for (int slice = 0; slice < options_.slices; ++slice) {
      Instance(series, slice, &object);
      const std::string path = absl::StrCat(folder, "/", FileName(series, slice));
      std::ofstream file(path, std::ios::binary | std::ios::trunc);
      file.write(object.data(), static_cast<std::streamsize>(object.size()));
      file.close();
      if (!file) return absl::ErrnoToStatus(errno, absl::StrCat("cannot write ", path));
      written += object.size();
    }
  }
  return written;
}

}  // namespace narthex::phantom
