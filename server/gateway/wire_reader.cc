#include "server/gateway/wire_reader.h"

#include <algorithm>
#include <cstring>

#include "absl/time/clock.h"

#include "base/status.h"

namespace narthex::gateway {

// The buffer is left as it is: the pages that no sender needs are never touched.
WireReader::WireReader(Socket& socket, const StopSignal& stop)
    : socket_(socket), stop_(stop), buffer_(new char[kBufferBytes]) {}

void WireReader::ExpectWithin(absl::Duration timeout) {
  deadline_ = absl::Now() + timeout;
  stoppable_ = true;
  period_ = absl::ZeroDuration();
}

void WireReader::ExpectProgress(absl::Duration period) {
  deadline_ = absl::Now() + period;
  stoppable_ = false;
  period_ = period;
  period_start_ = received_;
}

absl::Status WireReader::Fill() {
  if (begin_ == end_) begin_ = end_ = 0;
  NX_ASSIGN_OR_RETURN(size_t count, socket_.Receive(buffer_.get() + end_, kBufferBytes - end_, deadline_,
                                                    stoppable_ ? &stop_ : nullptr));
  if (count == 0) return absl::OutOfRangeError("the peer closed the connection");
  end_ += count;
  received_ += count;
  if (period_ != absl::ZeroDuration() && received_ - period_start_ >= kProgressBytes) {
    deadline_ = absl::Now() + period_;
    period_start_ = received_;
  }
  return absl::OkStatus();
}

absl::StatusOr<absl::string_view> WireReader::Peek(size_t count) {
  while (end_ - begin_ < count) {
    if (kBufferBytes - begin_ < count) {
      std::memmove(buffer_.get(), buffer_.get() + begin_, end_ - begin_);
      end_ -= begin_;
      begin_ = 0;
    }
    NX_RETURN_IF_ERROR(Fill());
  }
  return absl::string_view(buffer_.get() + begin_, count);
}

absl::StatusOr<absl::string_view> WireReader::Read(uint64_t max) {
  if (begin_ == end_) NX_RETURN_IF_ERROR(Fill());
  const absl::string_view taken(buffer_.get() + begin_,
                                static_cast<size_t>(std::min<uint64_t>(max, end_ - begin_)));
  begin_ += taken.size();
  return taken;
}

absl::Status WireReader::Skip(uint64_t count) {
  while (count > 0) {
    NX_ASSIGN_OR_RETURN(absl::string_view dropped, Read(count));
    count -= dropped.size();
  }
  return absl::OkStatus();
}

}  // namespace narthex::gateway
