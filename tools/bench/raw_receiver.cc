// narthex-bench-receiver: the least that a durable C-STORE receiver can do, as the yardstick. Each
// association appends its objects to a file of its own by direct I/O and syncs it before every answer. It
// parses nothing, checks nothing and remembers nothing.
#include <fcntl.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <iostream>
#include <memory>
#include <string>
#include <thread>

#include "absl/strings/str_cat.h"
#include <arpa/inet.h>
#include <sys/socket.h>

#include "CLI/CLI.hpp"
#include "base/status.h"
#include "tools/bench/upper_layer.h"

namespace narthex::bench {
namespace {

constexpr size_t kBlockBytes = 4096;
constexpr off_t kPreallocatedBytes = 256 << 20;
constexpr uint32_t kPduBytes = 256 << 10;

struct Flags {
  std::string folder;
  uint16_t port = 0;
  bool sync = true;
};

// Memory that grows, aligned as direct I/O wants it.
class AlignedBuffer {
 public:
  char* Room(size_t bytes) {
    if (size_ + bytes + kBlockBytes > capacity_) Grow(size_ + bytes + kBlockBytes);
    return memory_.get() + size_;
  }
  void Added(size_t bytes) { size_ += bytes; }
  // The content with zeros up to the next block.
  absl::string_view Padded() {
    const size_t padded = (size_ + kBlockBytes - 1) / kBlockBytes * kBlockBytes;
    std::memset(memory_.get() + size_, 0, padded - size_);
    return absl::string_view(memory_.get(), padded);
  }
  void Clear() { size_ = 0; }

 private:
  struct Free {
    void operator()(char* memory) const { std::free(memory); }
  };
  void Grow(size_t bytes) {
    capacity_ = (bytes * 2 + kBlockBytes - 1) / kBlockBytes * kBlockBytes;
    std::unique_ptr<char, Free> larger(static_cast<char*>(std::aligned_alloc(kBlockBytes, capacity_)));
    if (size_ > 0) std::memcpy(larger.get(), memory_.get(), size_);
    memory_ = std::move(larger);
  }

  std::unique_ptr<char, Free> memory_;
  size_t capacity_ = 0;
  size_t size_ = 0;
};

class Segment {
 public:
  explicit Segment(const std::string& path)
      : fd_(::open(path.c_str(), O_CREAT | O_WRONLY | O_DIRECT | O_CLOEXEC, 0600)) {}
  ~Segment() {
    if (fd_ >= 0) ::close(fd_);
  }

  absl::Status Append(absl::string_view blocks, bool sync) {
    if (at_ + static_cast<off_t>(blocks.size()) > allocated_) {
      // Else every sync also writes the file's new size.
      allocated_ = at_ + static_cast<off_t>(blocks.size()) + kPreallocatedBytes;
      if (::fallocate(fd_, 0, 0, allocated_) != 0) return absl::UnavailableError("fallocate");
    }
    while (!blocks.empty()) {
      const ssize_t written = ::pwrite(fd_, blocks.data(), blocks.size(), at_);
      if (written <= 0) return absl::UnavailableError("pwrite");
      at_ += written;
      blocks.remove_prefix(static_cast<size_t>(written));
    }
    if (sync && ::fdatasync(fd_) != 0) return absl::UnavailableError("fdatasync");
    return absl::OkStatus();
  }

 private:
  const int fd_;
  off_t at_ = 0;
  off_t allocated_ = 0;
};

class Association {
 public:
  Association(int fd, Segment& segment, bool sync) : connection_(fd), segment_(segment), sync_(sync) {}

  absl::Status Serve() {
    NX_ASSIGN_OR_RETURN(const auto request, connection_.ReceivePdu());
    if (request.first.type != kAssociateRq) return absl::InvalidArgumentError("no association request");
    NX_ASSIGN_OR_RETURN(const Associated associated, ParseAssociate(request.second));
    NX_RETURN_IF_ERROR(
        connection_.Send(EncodeAssociate(kAssociateAc, "BENCH", "BENCH", associated.contexts, kPduBytes)));
    while (true) {
      NX_ASSIGN_OR_RETURN(const Connection::Pdu pdu, connection_.ReceiveHead());
      if (pdu.type == kReleaseRq) return Release(pdu.length);
      if (pdu.type != kPData) return absl::AbortedError("the peer aborted");
      NX_RETURN_IF_ERROR(ReceiveData(pdu.length));
    }
  }

 private:
  absl::Status Release(uint32_t length) {
    std::string body(length, '\0');
    NX_RETURN_IF_ERROR(connection_.Receive(body.data(), body.size()));
    return connection_.Send(EncodeRelease(kReleaseRp));
  }

  absl::Status ReceiveData(uint32_t left) {
    while (left >= 6) {
      char head[6];
      NX_RETURN_IF_ERROR(connection_.Receive(head, sizeof(head)));
      uint32_t size = 0;
      for (int i = 0; i < 4; ++i) size = size << 8 | static_cast<uint8_t>(head[i]);
      if (size < 2 || size + 4 > left) return absl::InvalidArgumentError("a data value beyond its PDU");
      left -= size + 4;
      size -= 2;
      if ((head[5] & 1) != 0) {
        const size_t had = command_.size();
        command_.resize(had + size);
        NX_RETURN_IF_ERROR(connection_.Receive(command_.data() + had, size));
        continue;
      }
      NX_RETURN_IF_ERROR(connection_.Receive(data_set_.Room(size), size));
      data_set_.Added(size);
      if ((head[5] & 2) != 0) NX_RETURN_IF_ERROR(Store(static_cast<uint8_t>(head[4])));
    }
    return absl::OkStatus();
  }

  absl::Status Store(uint8_t context_id) {
    NX_RETURN_IF_ERROR(segment_.Append(data_set_.Padded(), sync_));
    data_set_.Clear();
    absl::Status answered = connection_.Send(EncodeStoreResponse(command_, context_id));
    command_.clear();
    return answered;
  }

  Connection connection_;
  Segment& segment_;
  const bool sync_;
  std::string command_;
  AlignedBuffer data_set_;
};

absl::Status Listen(const Flags& flags) {
  const int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(flags.port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  if (::bind(listener, reinterpret_cast<sockaddr*>(&address), size) != 0 || ::listen(listener, 256) != 0 ||
      ::getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    return absl::UnavailableError(absl::StrCat("cannot listen on port ", flags.port));
  }
  std::cout << "{\"port\": " << ntohs(address.sin_port) << "}" << std::endl;
  for (int number = 0;; ++number) {
    const int fd = ::accept(listener, nullptr, nullptr);
    if (fd < 0) return absl::UnavailableError("accept");
    std::thread([fd, number, &flags] {
      Segment segment(absl::StrCat(flags.folder, "/", number, ".seg"));
      const absl::Status served = Association(fd, segment, flags.sync).Serve();
      if (!served.ok()) std::cerr << "narthex-bench-receiver: " << served.ToString() << std::endl;
    }).detach();
  }
}

}  // namespace
}  // namespace narthex::bench

int main(int argc, char** argv) {
  narthex::bench::Flags flags;
  CLI::App app("Receives by C-STORE into flat files, synced before each answer.", "narthex-bench-receiver");
  app.add_option("FOLDER", flags.folder, "where the files go")->required()->check(CLI::ExistingDirectory);
  app.add_option("--port", flags.port, "0: a free one, which is printed");
  app.add_flag("!--no-sync", flags.sync, "answer without syncing");
  CLI11_PARSE(app, argc, argv);
  const absl::Status status = narthex::bench::Listen(flags);
  std::cerr << "narthex-bench-receiver: " << status.ToString() << "\n";
  return 1;
}
