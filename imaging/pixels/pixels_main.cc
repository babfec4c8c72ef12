// narthex-pixels: decodes compressed frames for narthexd and narthex, which start it with a socket as its
// input and output, and their limits as its arguments (decoder_process.h, protocol.h). Of no use by
// hand.
#include <unistd.h>

#include <cerrno>
#include <iterator>
#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/string_view.h"
#include <sys/socket.h>

#include "base/limits_pixels.h"
#include "imaging/pixels/frame_decoder.h"
#include "imaging/pixels/protocol.h"
#include "imaging/pixels/sandbox.h"

namespace narthex::pixels {
namespace {

// False: the other side has closed, or an error.
bool ReadAll(char* bytes, size_t size) {
  while (size > 0) {
    const ssize_t got = read(0, bytes, size);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    bytes += got;
    size -= static_cast<size_t>(got);
  }
  return true;
}

bool WriteAll(absl::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = send(1, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent <= 0) return false;
    bytes.remove_prefix(static_cast<size_t>(sent));
  }
  return true;
}

// The limits that its parent has, in this order (DecoderProcess::Start).
bool SetLimits(int count, char** arguments) {
  AnyLimit* const all[] = {&limits::kFrameMaxBytes, &limits::kPixelDecoderMemoryBytes,
                           &limits::kPixelDecoderCpuSeconds};
  if (count != static_cast<int>(std::size(all))) return false;
  for (AnyLimit* limit : all) {
    int64_t number = 0;
    if (!absl::SimpleAtoi(*arguments++, &number) || number < limit->least_number() ||
        number > limit->most_number()) {
      return false;
    }
    limit->Set(number);
  }
  return true;
}

// Serves one request. False: there will be no more.
bool Serve() {
  std::string head(kRequestHeadBytes, '\0');
  if (!ReadAll(head.data(), head.size())) return false;
  FrameJob job;
  size_t uid_bytes = 0;
  uint64_t compressed_bytes = 0;
  if (!DecodeRequestHead(head, &job, &uid_bytes, &compressed_bytes)) {
    WriteAll(EncodeReplyHead(DecodeResult::kBadRequest, 0));
    return false;
  }
  job.transfer_syntax_uid.resize(uid_bytes);
  std::string compressed(static_cast<size_t>(compressed_bytes), '\0');
  if (!ReadAll(job.transfer_syntax_uid.data(), uid_bytes)) return false;
  if (!ReadAll(compressed.data(), compressed.size())) return false;
  std::string frame;
  const DecodeResult result = DecodeFrame(job, compressed, &frame);
  if (result != DecodeResult::kOk) frame.clear();
  return WriteAll(EncodeReplyHead(result, frame.size())) && WriteAll(frame);
}

}  // namespace
}  // namespace narthex::pixels

int main(int argc, char** argv) {
  sockaddr_storage unused{};
  socklen_t size = sizeof unused;
  if (getsockname(0, reinterpret_cast<sockaddr*>(&unused), &size) != 0) {
    constexpr absl::string_view kHint =
        "narthex-pixels is started by narthexd and narthex to decode pixels\n";
    [[maybe_unused]] const ssize_t written = write(2, kHint.data(), kHint.size());
    return 64;
  }
  if (!narthex::pixels::SetLimits(argc - 1, argv + 1)) return 64;
  narthex::pixels::RegisterCodecs();
  if (!narthex::pixels::EnterSandbox()) return 71;
  while (narthex::pixels::Serve()) {
  }
  _exit(0);  // nothing to tidy up, and the sandbox forbids some of it
}
