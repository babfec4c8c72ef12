#include "imaging/pixels/samples.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"

#include "base/digest.h"
#include "base/error.h"
#include "base/status.h"
#include "imaging/dicom/element_head.h"
#include "imaging/pixels/decoding_plan.h"
#include "imaging/pixels/fragment_filter.h"
#include "imaging/pixels/geometry.h"

namespace narthex::pixels {
namespace {

// Of the element that FragmentFilter puts out.
constexpr size_t kElementHeadBytes = 12;

// Takes pixel data in the layout of a geometry and digests the values of the samples.
class SampleHasher {
 public:
  explicit SampleHasher(PixelGeometry geometry)
      : geometry_(std::move(geometry)),
        bits_(geometry_.bits_allocated),
        unit_(bits_ > 8                 ? static_cast<size_t>(bits_) / 8
              : geometry_.swapped_words ? 2
                                        : 1),
        left_(geometry_.FrameBits() / static_cast<uint64_t>(bits_) * geometry_.frames),
        planes_(geometry_.chroma_pairs ? 1 : geometry_.samples),
        pixels_(uint64_t{geometry_.rows} * geometry_.columns),
        hashers_(planes_),
        values_(planes_) {}

  void Add(absl::string_view bytes) {
    while (!bytes.empty() && left_ > 0) {
      if (carry_.empty() && bytes.size() >= unit_) {
        const size_t whole = bytes.size() - bytes.size() % unit_;
        AddUnits(bytes.substr(0, whole));
        bytes.remove_prefix(whole);
        continue;
      }
      const size_t taken = std::min(unit_ - carry_.size(), bytes.size());
      carry_.append(bytes.data(), taken);
      bytes.remove_prefix(taken);
      if (carry_.size() < unit_) continue;
      AddUnits(carry_);
      carry_.clear();
    }
  }

  absl::StatusOr<std::vector<std::string>> Finish() {
    if (left_ > 0) return NotEditable("there are fewer pixels than the header says");
    std::vector<std::string> digests;
    for (size_t plane = 0; plane < planes_; ++plane) {
      Flush(plane);
      digests.push_back(hashers_[plane].Finish());
    }
    return digests;
  }

 private:
  static constexpr size_t kBatch = 4096;

  void AddUnits(absl::string_view bytes) {
    if (bits_ == 1) return AddBits(bytes);
    const auto* at = reinterpret_cast<const uint8_t*>(bytes.data());
    if (bits_ == 8) {
      const size_t flip = geometry_.swapped_words ? 1 : 0;
      for (size_t i = 0; i < bytes.size(); ++i) AddSample(at[i ^ flip]);
      return;
    }
    for (size_t i = 0; i < bytes.size(); i += unit_) {
      uint64_t raw = 0;
      for (size_t byte = 0; byte < unit_; ++byte) {
        const size_t shift = geometry_.big_endian ? unit_ - 1 - byte : byte;
        raw |= uint64_t{at[i + byte]} << (8 * shift);
      }
      AddSample(raw);
    }
  }

  // The first pixel is the lowest bit of the first byte.
  void AddBits(absl::string_view bytes) {
    const size_t flip = geometry_.swapped_words ? 1 : 0;
    for (size_t i = 0; i < bytes.size(); ++i) {
      const auto byte = static_cast<uint8_t>(bytes[i ^ flip]);
      for (int bit = 0; bit < 8; ++bit) AddSample(static_cast<uint64_t>(byte >> bit & 1));
    }
  }

  void AddSample(uint64_t raw) {
    if (left_ == 0) return;
    --left_;
    std::vector<int64_t>& values = values_[plane_];
    values.push_back(Value(raw));
    if (values.size() == kBatch) Flush(plane_);
    if (planes_ == 1) return;
    if (geometry_.planar && ++in_plane_ < pixels_) return;
    in_plane_ = 0;
    plane_ = plane_ + 1 == planes_ ? 0 : plane_ + 1;
  }

  // Without what is kept beside the stored bits.
  int64_t Value(uint64_t raw) const {
    if (geometry_.is_float || geometry_.chroma_pairs) return static_cast<int64_t>(raw);
    const int stored = geometry_.bits_stored;
    raw >>= geometry_.high_bit + 1 - stored;
    if (stored < 64) raw &= (uint64_t{1} << stored) - 1;
    const bool negative = geometry_.is_signed && (raw >> (stored - 1) & 1) != 0;
    return negative ? static_cast<int64_t>(raw) - (int64_t{1} << stored) : static_cast<int64_t>(raw);
  }

  void Flush(size_t plane) {
    std::vector<int64_t>& values = values_[plane];
    hashers_[plane].Update(
        absl::string_view(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(int64_t)));
    values.clear();
  }

  const PixelGeometry geometry_;
  const int bits_;
  const size_t unit_;  // bytes that are looked at together
  uint64_t left_;      // samples; what comes behind them is padding
  const size_t planes_;
  const uint64_t pixels_;  // of a frame
  std::vector<Xxh3Hasher> hashers_;
  std::vector<std::vector<int64_t>> values_;
  std::string carry_;
  size_t plane_ = 0;
  uint64_t in_plane_ = 0;
};

// Uncompressed pixels.
class NativeReader : public dicom::BulkFilter {
 public:
  NativeReader(PixelGeometry geometry, SampleSummary& summary)
      : hasher_(std::move(geometry)), summary_(summary) {}
  absl::Status Add(absl::string_view bytes, Put) override {
    hasher_.Add(bytes);
    return absl::OkStatus();
  }
  absl::Status Finish(Put) override {
    NX_ASSIGN_OR_RETURN(summary_.digests, hasher_.Finish());
    return absl::OkStatus();
  }

 private:
  SampleHasher hasher_;
  SampleSummary& summary_;
};

// Compressed ones, decoded as if they were to be edited.
class CompressedReader : public dicom::BulkFilter {
 public:
  CompressedReader(const PixelGeometry& geometry, FrameJob job, const DecoderOptions& options,
                   SampleSummary& summary)
      : decoded_(geometry, std::move(job), {}, options), hasher_(geometry), summary_(summary) {}

  absl::Status BeginFragment(uint32_t length, Put) override {
    return decoded_.BeginFragment(length, [this](absl::string_view bytes) { return Take(bytes); });
  }
  absl::Status Add(absl::string_view bytes, Put) override {
    return decoded_.Add(bytes, [this](absl::string_view decoded) { return Take(decoded); });
  }
  absl::Status Finish(Put) override {
    NX_RETURN_IF_ERROR(decoded_.Finish([this](absl::string_view bytes) { return Take(bytes); }));
    NX_ASSIGN_OR_RETURN(summary_.digests, hasher_.Finish());
    return absl::OkStatus();
  }

 private:
  absl::Status Take(absl::string_view bytes) {
    const size_t head = std::min(kElementHeadBytes - head_, bytes.size());
    head_ += head;
    hasher_.Add(bytes.substr(head));
    return absl::OkStatus();
  }

  FragmentFilter decoded_;
  size_t head_ = 0;  // bytes of the element's head that went by
  SampleHasher hasher_;
  SampleSummary& summary_;
};

// Documents, spectra.
class BytesReader : public dicom::BulkFilter {
 public:
  explicit BytesReader(SampleSummary& summary) : summary_(summary) {}
  absl::Status Add(absl::string_view bytes, Put) override {
    hasher_.Update(bytes);
    return absl::OkStatus();
  }
  absl::Status Finish(Put) override {
    summary_.digests.push_back(hasher_.Finish());
    return absl::OkStatus();
  }

 private:
  Xxh3Hasher hasher_;
  SampleSummary& summary_;
};

class Reader : public dicom::HeaderEditor {
 public:
  explicit Reader(const DecoderOptions& options) : options_(options) {}

  absl::Status EditHeader(dicom::ObjectHeader&) override { return absl::OkStatus(); }

  absl::StatusOr<std::unique_ptr<dicom::BulkFilter>> FilterBulk(const dicom::BulkHead& bulk,
                                                                const dicom::ObjectHeader& header) override {
    if (summary_.present) return NotEditable("there are two kinds of bulk data");
    summary_.present = true;
    if (!IsPixels(bulk.tag)) {
      summary_.shape = dicom::TagName(bulk.tag);
      return std::make_unique<BytesReader>(summary_);
    }
    NX_ASSIGN_OR_RETURN(PixelGeometry geometry, ReadGeometry(header, bulk.tag));
    summary_.shape = absl::StrCat(geometry.rows, " x ", geometry.columns, " x ", geometry.samples, ", ",
                                  geometry.frames, " frames", geometry.is_float ? " of numbers" : "");
    const bool encapsulated = bulk.length == dicom::kUndefinedLength;
    if (!encapsulated) {
      NX_RETURN_IF_ERROR(SettleNativeLayout(header, bulk, &geometry));
      SetColours(geometry);
      return std::make_unique<NativeReader>(std::move(geometry), summary_);
    }
    NX_ASSIGN_OR_RETURN(FrameJob job, PlanDecoding(header.syntax, &geometry));
    SetColours(geometry);
    if (geometry.high_bit + 1 != geometry.bits_stored)
      return NotEditable("they are compressed and do not lie in the lowest bits");
    return std::make_unique<CompressedReader>(geometry, std::move(job), options_, summary_);
  }

  SampleSummary& summary() { return summary_; }

 private:
  void SetColours(const PixelGeometry& geometry) {
    if (geometry.samples > 1)
      summary_.colours = absl::StrCat(geometry.photometric, geometry.chroma_pairs ? " of pairs" : "");
  }

  const DecoderOptions options_;
  SampleSummary summary_;
};

}  // namespace

SampleRelation Compare(const SampleSummary& one, const SampleSummary& other) {
  if (one.present != other.present || one.shape != other.shape) return SampleRelation::kDifferent;
  if (one.colours != other.colours) return SampleRelation::kIncomparable;
  return one.digests == other.digests ? SampleRelation::kSame : SampleRelation::kDifferent;
}

absl::StatusOr<SampleSummary> SummarizeSamples(const ObjectSource& source,
                                               const std::string& transfer_syntax_uid,
                                               const DecoderOptions& options) {
  Reader reader(options);
  dicom::RewriteOptions bare;
  bare.origin = Origin::kStored;  // what came was looked at before
  bare.transfer_syntax_uid = transfer_syntax_uid;
  dicom::HeaderRewriter rewriter(
      reader, [](absl::string_view) { return absl::OkStatus(); }, bare);
  NX_RETURN_IF_ERROR(source([&](absl::string_view piece) { return rewriter.Add(piece); }));
  NX_RETURN_IF_ERROR(rewriter.Finish());
  return std::move(reader.summary());
}

}  // namespace narthex::pixels
