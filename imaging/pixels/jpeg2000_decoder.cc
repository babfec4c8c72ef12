#include <openjpeg.h>

#include <algorithm>
#include <cstring>
#include <memory>

#include "absl/strings/match.h"

#include "imaging/pixels/frame_decoder.h"

namespace narthex::pixels {
namespace {

struct Source {
  absl::string_view bytes;
  size_t at = 0;
};

OPJ_SIZE_T ReadSource(void* buffer, OPJ_SIZE_T size, void* user) {
  auto* source = static_cast<Source*>(user);
  const size_t left = source->bytes.size() - source->at;
  if (left == 0) return static_cast<OPJ_SIZE_T>(-1);
  const size_t taken = std::min<size_t>(left, size);
  std::memcpy(buffer, source->bytes.data() + source->at, taken);
  source->at += taken;
  return taken;
}

OPJ_OFF_T SkipSource(OPJ_OFF_T count, void* user) {
  auto* source = static_cast<Source*>(user);
  if (count < 0) return -1;
  const size_t left = source->bytes.size() - source->at;
  const auto skipped = std::min<uint64_t>(left, static_cast<uint64_t>(count));
  source->at += static_cast<size_t>(skipped);
  return static_cast<OPJ_OFF_T>(skipped);
}

OPJ_BOOL SeekSource(OPJ_OFF_T position, void* user) {
  auto* source = static_cast<Source*>(user);
  if (position < 0 || static_cast<uint64_t>(position) > source->bytes.size()) return OPJ_FALSE;
  source->at = static_cast<size_t>(position);
  return OPJ_TRUE;
}

struct Free {
  void operator()(opj_codec_t* codec) const { opj_destroy_codec(codec); }
  void operator()(opj_image_t* image) const { opj_image_destroy(image); }
};
struct FreeStream {
  void operator()(opj_stream_t* stream) const { opj_stream_destroy(stream); }
};

void Silent(const char*, void*) {}

// Whether the header of the stream promises what the job wants; asked before memory is taken.
bool Fits(const FrameJob& job, const opj_image_t& image) {
  if (job.bits_allocated > 16) return false;
  const uint64_t width = uint64_t{image.x1} - image.x0, height = uint64_t{image.y1} - image.y0;
  if (image.x1 <= image.x0 || image.y1 <= image.y0 || width != job.columns || height != job.rows)
    return false;
  if (image.numcomps < job.samples || image.numcomps > 4 || (job.samples == 1 && image.numcomps != 1))
    return false;
  for (uint32_t i = 0; i < job.samples; ++i) {
    const opj_image_comp_t& component = image.comps[i];
    if (component.prec == 0 || component.prec > job.bits_allocated || component.dx == 0 ||
        component.dy == 0 || component.dx > 2 || component.dy > 2) {
      return false;
    }
  }
  return true;
}

// Writes the samples of `component` into every job.samples-th cell of `out`.
bool Spread(const FrameJob& job, const opj_image_comp_t& component, uint32_t sample, std::string* out) {
  if (component.data == nullptr) return false;
  const uint64_t needed_width = (job.columns + component.dx - 1) / component.dx;
  const uint64_t needed_height = (job.rows + component.dy - 1) / component.dy;
  if (component.w < needed_width || component.h < needed_height) return false;
  const size_t cell = job.bits_allocated / 8u;
  const uint32_t mask = (uint32_t{1} << component.prec) - 1;
  const uint32_t sign = uint32_t{1} << (component.prec - 1);
  char* at = out->data() + sample * cell;
  for (uint32_t y = 0; y < job.rows; ++y) {
    const OPJ_INT32* line = component.data + uint64_t{y / component.dy} * component.w;
    for (uint32_t x = 0; x < job.columns; ++x, at += cell * job.samples) {
      uint32_t value = static_cast<uint32_t>(line[x / component.dx]) & mask;
      if (job.is_signed && (value & sign) != 0) value |= ~mask;
      at[0] = static_cast<char>(value & 0xff);
      if (cell == 2) at[1] = static_cast<char>(value >> 8 & 0xff);
    }
  }
  return true;
}

}  // namespace

DecodeResult DecodeJpeg2000(const FrameJob& job, absl::string_view compressed, std::string* frame) {
  const bool boxed = absl::StartsWith(compressed, absl::string_view("\0\0\0\x0cjP  ", 8));
  const std::unique_ptr<opj_codec_t, Free> codec(
      opj_create_decompress(boxed ? OPJ_CODEC_JP2 : OPJ_CODEC_J2K));
  Source source{compressed};
  const std::unique_ptr<opj_stream_t, FreeStream> stream(opj_stream_create(1 << 20, OPJ_TRUE));
  if (codec == nullptr || stream == nullptr) return DecodeResult::kNoMemory;
  opj_set_info_handler(codec.get(), Silent, nullptr);
  opj_set_warning_handler(codec.get(), Silent, nullptr);
  opj_set_error_handler(codec.get(), Silent, nullptr);
  opj_stream_set_user_data(stream.get(), &source, nullptr);
  opj_stream_set_user_data_length(stream.get(), compressed.size());
  opj_stream_set_read_function(stream.get(), ReadSource);
  opj_stream_set_skip_function(stream.get(), SkipSource);
  opj_stream_set_seek_function(stream.get(), SeekSource);
  opj_dparameters_t parameters;
  opj_set_default_decoder_parameters(&parameters);
  if (!opj_setup_decoder(codec.get(), &parameters)) return DecodeResult::kUnsupported;
  // A stream that ends early would give grey where the picture should be.
  opj_decoder_set_strict_mode(codec.get(), OPJ_TRUE);

  opj_image_t* read = nullptr;
  const bool has_header = opj_read_header(stream.get(), codec.get(), &read) != OPJ_FALSE;
  const std::unique_ptr<opj_image_t, Free> image(read);
  if (!has_header || image == nullptr) return DecodeResult::kUnreadable;
  if (!Fits(job, *image)) return DecodeResult::kWrongForm;
  if (!opj_decode(codec.get(), stream.get(), image.get())) return DecodeResult::kUnreadable;
  opj_end_decompress(codec.get(), stream.get());  // what follows the picture does not matter
  if (!Fits(job, *image)) return DecodeResult::kWrongForm;
  frame->assign(static_cast<size_t>(job.FrameBytes()), '\0');
  for (uint32_t i = 0; i < job.samples; ++i) {
    if (!Spread(job, image->comps[i], i, frame)) return DecodeResult::kWrongForm;
  }
  return DecodeResult::kOk;
}

}  // namespace narthex::pixels
