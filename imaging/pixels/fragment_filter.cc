#include "imaging/pixels/fragment_filter.h"

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

#include "base/error.h"
#include "base/limits_pixels.h"
#include "base/status.h"
#include "imaging/dicom/element_head.h"

namespace narthex::pixels {
namespace {

constexpr absl::string_view kRleLossless = "1.2.840.10008.1.2.5";
constexpr absl::string_view kUncompressed = "1.2.840.10008.1.2.1.98";

bool HoldsWholeFrames(absl::string_view uid) { return uid == kRleLossless || uid == kUncompressed; }

// The first bytes of a JPEG, JPEG-LS or JPEG 2000 stream. They cannot stand at the beginning of a later
// fragment of the same stream: in compressed data no FF is followed by such a byte.
bool BeginsStream(absl::string_view bytes) {
  return absl::StartsWith(bytes, "\xff\xd8\xff") || absl::StartsWith(bytes, "\xff\x4f\xff\x51") ||
         absl::StartsWith(bytes, absl::string_view("\0\0\0\x0cjP  ", 8));
}

}  // namespace

void FrameDivider::SetOffsetTable(absl::string_view table) {
  if (table.size() / 4 != frames_ || table.size() % 4 != 0) return;
  uint32_t last = 0;
  for (size_t at = 0; at < table.size(); at += 4) {
    const uint32_t offset = dicom::ReadUint32(table.data() + at, false);
    if (at == 0 ? offset != 0 : offset <= last) {  // no table that could be followed
      offsets_.clear();
      return;
    }
    offsets_.push_back(last = offset);
  }
}

bool FrameDivider::BeginsFrame(absl::string_view fragment) {
  const uint64_t offset = offset_;
  offset_ += 8 + fragment.size();
  if (std::exchange(first_, false)) {
    next_ = 1;
    return true;
  }
  if (!offsets_.empty()) {
    if (next_ >= offsets_.size() || offset != offsets_[next_]) return false;
    ++next_;
    return true;
  }
  return HoldsWholeFrames(uid_) || BeginsStream(fragment);
}

absl::Status FragmentFilter::BeginFragment(uint32_t length, Put put) {
  NX_RETURN_IF_ERROR(FragmentDone(put));
  if (length > limits::kFrameMaxBytes) {
    return NotEditable(
        absl::StrCat("a compressed frame has more than ", limits::kFrameMaxBytes.get(), " bytes"));
  }
  in_fragment_ = true;
  return absl::OkStatus();
}

absl::Status FragmentFilter::Add(absl::string_view bytes, Put put) {
  fragment_.append(bytes.data(), bytes.size());  // at most what BeginFragment announced
  return absl::OkStatus();
}

absl::Status FragmentFilter::FragmentDone(Put put) {
  if (!std::exchange(in_fragment_, false)) return absl::OkStatus();
  if (!std::exchange(table_done_, true)) {
    divider_.SetOffsetTable(fragment_);
    fragment_.clear();
    return absl::OkStatus();
  }
  if (divider_.BeginsFrame(fragment_)) {
    NX_RETURN_IF_ERROR(FrameDone(put));
    frame_ = std::exchange(fragment_, std::string());
    has_frame_ = true;
    return absl::OkStatus();
  }
  if (frame_.size() + fragment_.size() > limits::kFrameMaxBytes) {
    return NotEditable(
        absl::StrCat("a compressed frame has more than ", limits::kFrameMaxBytes.get(), " bytes"));
  }
  frame_ += fragment_;
  fragment_.clear();
  return absl::OkStatus();
}

// The element's head in explicit VR little endian.
absl::Status FragmentFilter::PutHead(Put put) {
  const bool bytes = geometry_.bits_allocated <= 8;
  const uint64_t length = geometry_.TotalBytes() + (geometry_.TotalBytes() & 1);
  std::string head("\xe0\x7f\x10\x00", 4);
  head += bytes ? "OB" : "OW";
  head.append(2, '\0');
  for (int i = 0; i < 4; ++i) head.push_back(static_cast<char>(length >> (8 * i) & 0xff));
  return put(head);
}

absl::Status FragmentFilter::FrameDone(Put put) {
  if (!std::exchange(has_frame_, false)) return absl::OkStatus();
  if (frames_done_ == geometry_.frames)
    return NotEditable(absl::StrCat("there are more than the ", geometry_.frames, " frames of the header"));
  if (decoder_ == nullptr) {
    NX_ASSIGN_OR_RETURN(decoder_, DecoderProcess::Start(options_));
    NX_RETURN_IF_ERROR(PutHead(put));
  }
  std::string piece;
  const auto blank = [&](absl::string_view bytes) {
    piece.assign(bytes.data(), bytes.size());
    filler_.Fill(offset_, piece.data(), piece.size());
    offset_ += piece.size();
    return put(piece);
  };
  const absl::Status decoded = decoder_->Decode(job_, frame_, blank);
  if (!decoded.ok()) return Annotate(decoded, absl::StrCat("frame ", frames_done_ + 1));
  ++frames_done_;
  return absl::OkStatus();
}

absl::Status FragmentFilter::Finish(Put put) {
  NX_RETURN_IF_ERROR(FragmentDone(put));
  NX_RETURN_IF_ERROR(FrameDone(put));
  if (frames_done_ != geometry_.frames) {
    return NotEditable(
        absl::StrCat("there are ", frames_done_, " frames where the header says ", geometry_.frames));
  }
  decoder_.reset();
  return geometry_.TotalBytes() % 2 == 0 ? absl::OkStatus() : put(absl::string_view("\0", 1));
}

}  // namespace narthex::pixels
