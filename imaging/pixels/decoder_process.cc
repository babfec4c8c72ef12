#include "imaging/pixels/decoder_process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <system_error>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include <sys/socket.h>
#include <sys/wait.h>

#include "base/error.h"
#include "base/limits_pixels.h"
#include "base/status.h"

namespace narthex::pixels {
namespace {

absl::Status Unavailable(absl::string_view why) {
  return Error(absl::StatusCode::kUnavailable, "PIXEL_DECODER_UNAVAILABLE",
               absl::StrCat("the program that decodes compressed pixels cannot be used: ", why,
                            "; send the object again"),
               {{"why", std::string(why)}});
}

absl::Status Failed(absl::string_view why) {
  return FailedPrecondition("PIXEL_DECODING_FAILED", absl::StrCat(why, "; the object is refused"),
                            {{"why", std::string(why)}});
}

// Places for decoder processes. They are counted for the whole program, because what they use up is the
// machine's memory.
class Places {
 public:
  bool Take(absl::Duration wait) {
    absl::MutexLock lock(&mutex_);
    const auto free = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
      return taken_ < limits::kPixelDecodersMax;
    };
    if (!mutex_.AwaitWithTimeout(absl::Condition(&free), wait)) return false;
    ++taken_;
    return true;
  }
  void Return() {
    absl::MutexLock lock(&mutex_);
    --taken_;
  }

 private:
  absl::Mutex mutex_;
  int taken_ ABSL_GUARDED_BY(mutex_) = 0;
};

Places& AllPlaces() {
  static Places& places = *new Places();
  return places;
}

// Starts `program` with `socket` as its input and output; 0 or an error number.
int Spawn(const std::string& program, int socket, pid_t* pid) {
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  posix_spawn_file_actions_init(&actions);
  posix_spawnattr_init(&attributes);
  posix_spawn_file_actions_adddup2(&actions, socket, 0);
  posix_spawn_file_actions_adddup2(&actions, socket, 1);
  posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
  posix_spawn_file_actions_addclosefrom_np(&actions, 3);
  sigset_t none;
  sigemptyset(&none);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
  // Nothing of ours is inherited. DCMTK needs no dictionary, and must not look for one.
  std::string name = "narthex-pixels", dictionary = "DCMDICTPATH=/dev/null", locale = "LC_ALL=C";
  // In the order of pixels_main.cc.
  std::string frame = absl::StrCat(limits::kFrameMaxBytes.get());
  std::string memory = absl::StrCat(limits::kPixelDecoderMemoryBytes.get());
  std::string cpu = absl::StrCat(limits::kPixelDecoderCpuSeconds.get());
  char* arguments[] = {name.data(), frame.data(), memory.data(), cpu.data(), nullptr};
  char* environment[] = {dictionary.data(), locale.data(), nullptr};
  const int error = posix_spawn(pid, program.c_str(), &actions, &attributes, arguments, environment);
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  return error;
}

// Waits until `socket` is ready for `events`.
absl::Status Await(int socket, short events, absl::Time deadline) {
  for (;;) {
    pollfd entry{socket, events, 0};
    const int64_t left = absl::ToInt64Milliseconds(deadline - absl::Now());
    if (left <= 0) return Failed("decoding the pixels took too long");
    const int ready = poll(&entry, 1, static_cast<int>(std::min<int64_t>(left, 60'000)));
    if (ready > 0) return absl::OkStatus();
    if (ready < 0 && errno != EINTR) return Unavailable(std::generic_category().message(errno));
  }
}

absl::Status Send(int socket, absl::string_view bytes, absl::Time deadline) {
  while (!bytes.empty()) {
    const ssize_t sent = send(socket, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent > 0) {
      bytes.remove_prefix(static_cast<size_t>(sent));
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      NX_RETURN_IF_ERROR(Await(socket, POLLOUT, deadline));
    } else if (errno != EINTR) {
      return Failed("the decoder crashed on earlier pixels or could not start");
    }
  }
  return absl::OkStatus();
}

// Receives up to `size` bytes, at least one.
absl::StatusOr<size_t> Receive(int socket, char* bytes, size_t size, absl::Time deadline) {
  for (;;) {
    const ssize_t got = recv(socket, bytes, size, MSG_DONTWAIT);
    if (got > 0) return static_cast<size_t>(got);
    if (got == 0 || errno == ECONNRESET) return Failed("the decoder crashed on the pixels");
    if (errno == EAGAIN || errno == EWOULDBLOCK) {
      NX_RETURN_IF_ERROR(Await(socket, POLLIN, deadline));
    } else if (errno != EINTR) {
      return Unavailable(std::generic_category().message(errno));
    }
  }
}

absl::string_view Explain(DecodeResult result) {
  switch (result) {
    case DecodeResult::kUnreadable:
      return "the compressed pixels are damaged";
    case DecodeResult::kWrongForm:
      return "the compressed pixels are not of the size or depth that the header says";
    case DecodeResult::kUnsupported:
      return "this variant of compression is not supported";
    case DecodeResult::kNoMemory:
      return "decoding the pixels needs too much memory";
    default:
      return "the decoder gave no sensible answer";
  }
}

}  // namespace

std::string DefaultDecoderProgram() {
  std::error_code error;
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", error);
  return (self.parent_path() / "narthex-pixels").string();
}

absl::StatusOr<std::unique_ptr<DecoderProcess>> DecoderProcess::Start(const DecoderOptions& options) {
  if (!AllPlaces().Take(options.frame_timeout)) return Unavailable("too many are being decoded");
  const std::string program = options.program.empty() ? DefaultDecoderProgram() : options.program;
  int sockets[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) != 0) {
    AllPlaces().Return();
    return Unavailable(std::generic_category().message(errno));
  }
  pid_t pid = 0;
  const int error = Spawn(program, sockets[1], &pid);
  close(sockets[1]);
  if (error != 0) {
    close(sockets[0]);
    AllPlaces().Return();
    return Unavailable(absl::StrCat(program, ": ", std::generic_category().message(error)));
  }
  return std::unique_ptr<DecoderProcess>(new DecoderProcess(sockets[0], pid, options.frame_timeout));
}

DecoderProcess::~DecoderProcess() {
  close(socket_);
  kill(pid_, SIGKILL);  // it holds nothing that would have to be finished
  while (waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
  AllPlaces().Return();
}

absl::Status DecoderProcess::Decode(const FrameJob& job, absl::string_view compressed,
                                    absl::FunctionRef<absl::Status(absl::string_view)> put) {
  const absl::Time deadline = absl::Now() + timeout_;
  NX_RETURN_IF_ERROR(Send(socket_, EncodeRequest(job, compressed.size()), deadline));
  NX_RETURN_IF_ERROR(Send(socket_, compressed, deadline));

  std::string head(kReplyHeadBytes, '\0');
  for (size_t at = 0; at < head.size();) {
    NX_ASSIGN_OR_RETURN(const size_t got, Receive(socket_, head.data() + at, head.size() - at, deadline));
    at += got;
  }
  DecodeResult result;
  uint64_t left = 0;
  if (!DecodeReplyHead(head, &result, &left)) return Failed(Explain(DecodeResult::kBadRequest));
  if (result != DecodeResult::kOk) return Failed(Explain(result));
  if (left != job.FrameBytes()) return Failed(Explain(DecodeResult::kWrongForm));

  std::string piece(static_cast<size_t>(std::min<uint64_t>(left, 64 << 10)), '\0');
  while (left > 0) {
    const size_t wanted = static_cast<size_t>(std::min<uint64_t>(left, piece.size()));
    NX_ASSIGN_OR_RETURN(const size_t got, Receive(socket_, piece.data(), wanted, deadline));
    NX_RETURN_IF_ERROR(put(absl::string_view(piece.data(), got)));
    left -= got;
  }
  return absl::OkStatus();
}

}  // namespace narthex::pixels
