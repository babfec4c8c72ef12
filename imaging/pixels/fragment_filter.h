// The filter for compressed PixelData: puts fragments together into frames, has each decoded and blanked, and
// puts out uncompressed PixelData. Holds one compressed frame and one fragment. Single-threaded.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "imaging/anonymize/script.h"
#include "imaging/dicom/rewriter.h"
#include "imaging/pixels/decoder_process.h"
#include "imaging/pixels/geometry.h"
#include "imaging/pixels/rectangle_filler.h"

namespace narthex::pixels {

// Which frame a fragment belongs to: by the basic offset table if there is one, else by what a frame begins
// with (PS3.5 annex A.4). Thread-compatible.
class FrameDivider {
 public:
  FrameDivider(uint64_t frames, std::string transfer_syntax_uid)
      : frames_(frames), uid_(std::move(transfer_syntax_uid)) {}

  // `table` is the value of the first fragment; one that does not have an entry a frame is left out of
  // account.
  void SetOffsetTable(absl::string_view table);
  // Whether the next fragment begins a frame.
  bool BeginsFrame(absl::string_view fragment);

 private:
  const uint64_t frames_;
  const std::string uid_;
  std::vector<uint32_t> offsets_;
  size_t next_ = 0;      // entry of offsets_
  uint64_t offset_ = 0;  // of the next fragment's item
  bool first_ = true;
};

class FragmentFilter : public dicom::BulkFilter {
 public:
  // `geometry` is that of the decoded pixels.
  FragmentFilter(PixelGeometry geometry, FrameJob job, const std::vector<anonymize::PixelEdit>& edits,
                 DecoderOptions options)
      : geometry_(std::move(geometry)),
        job_(std::move(job)),
        filler_(geometry_, edits),
        options_(std::move(options)),
        divider_(geometry_.frames, job_.transfer_syntax_uid) {}

  absl::Status BeginFragment(uint32_t length, Put put) override;
  absl::Status Add(absl::string_view bytes, Put put) override;
  absl::Status Finish(Put put) override;

 private:
  absl::Status FragmentDone(Put put);
  absl::Status FrameDone(Put put);
  absl::Status PutHead(Put put);

  const PixelGeometry geometry_;
  const FrameJob job_;
  const RectangleFiller filler_;
  const DecoderOptions options_;
  FrameDivider divider_;
  std::unique_ptr<DecoderProcess> decoder_;  // started for the first frame
  bool table_done_ = false;                  // the first fragment was the offset table
  bool in_fragment_ = false;
  std::string fragment_;
  std::string frame_;
  bool has_frame_ = false;
  uint64_t frames_done_ = 0;
  uint64_t offset_ = 0;  // in the decoded value
};

}  // namespace narthex::pixels
