// The upload protocol, spoken by a sender that makes every mistake: the input is a list of messages about a
// few phantom objects. No crash, no hang, and in the end what was acknowledged is there and nothing else.
#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

#include "base/crc32c.h"
#include "base/error.h"
#include "base/limits.h"
#include "imaging/phantom/phantom.h"
#include "tests/fuzz/ingest_environment.h"

namespace {

using narthex::ingest::ObjectStream;

// Two small objects, one of them again with other pixels, one that is too large to be held, and a text.
const std::vector<std::string>& Objects() {
  static const auto* objects = [] {
    narthex::phantom::Options small;
    small.slices = 2;
    small.rows = small.columns = 8;
    narthex::phantom::Options large = small;
    large.rows = large.columns = 1100;
    large.seed = 2;
    auto* made = new std::vector<std::string>;
    made->push_back(narthex::phantom::Study(small).Instance(0, 0));
    made->push_back(narthex::phantom::Study(small).Instance(0, 1));
    made->push_back(made->front());
    made->back().back() = static_cast<char>(made->back().back() ^ 1);
    made->push_back(narthex::phantom::Study(large).Instance(0, 0));
    made->push_back("no image");
    return made;
  }();
  return *objects;
}

// A message is 4 bytes: kind and flags, sequence, object, how much of it.
enum Flag : uint8_t {
  kWhole = 1,      // a whole object; else a chunk
  kLast = 2,       // of a chunk: the last one
  kBadDigest = 4,  // digest, or CRC of a chunk that is not the last, does not match
  kBadOffset = 8,  // of a chunk
  kAbandon = 16,
  kToTheEnd = 32,  // a chunk with all that is left of the object
  kBadSize = 64,
  kNewStream = 128,  // before it, the stream ends and another one resumes the upload
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  narthex::fuzz::IngestEnvironment environment;
  auto stream = environment.NewStream(/*resumed=*/false);
  size_t offset = 0;  // where a well-behaved sender is in its object
  for (; size >= 4; data += 4, size -= 4) {
    const uint8_t flags = data[0];
    const auto sequence = static_cast<int8_t>(data[1]);
    const std::string& object = Objects()[data[2] % Objects().size()];
    if ((flags & kNewStream) != 0) {
      narthex::fuzz::Require(stream->Finish().ok());
      environment.CheckConsistent();
      stream = environment.NewStream(/*resumed=*/true);
      offset = 0;
    }
    std::string digest = narthex::Xxh3(object);
    if ((flags & kBadDigest) != 0) digest[0] = static_cast<char>(digest[0] ^ 1);
    absl::Status sent;
    if ((flags & kWhole) != 0) {
      sent = stream->Whole(sequence, object, digest, "");
    } else {
      if (offset > object.size()) offset = 0;
      ObjectStream::Chunk chunk;
      chunk.sequence = sequence;
      chunk.offset = static_cast<int64_t>(offset) + ((flags & kBadOffset) != 0 ? 1 : 0);
      const size_t length =
          (flags & kToTheEnd) != 0 ? narthex::limits::kChunkMaxBytes : size_t{data[3]} << 13;
      chunk.data = absl::string_view(object).substr(offset, length);
      chunk.crc32c = narthex::Crc32c(chunk.data);
      chunk.last = (flags & kLast) != 0;
      chunk.abandon = (flags & kAbandon) != 0;
      if (!chunk.last && (flags & kBadDigest) != 0) ++chunk.crc32c;
      if (chunk.last) chunk.digest = digest;
      if (chunk.last)
        chunk.size_bytes = static_cast<int64_t>(object.size()) + ((flags & kBadSize) != 0 ? 1 : 0);
      offset = chunk.last || chunk.abandon ? 0 : offset + chunk.data.size();
      sent = stream->Add(chunk);
    }
    if (!sent.ok()) {
      narthex::fuzz::Require(narthex::ErrorReason(sent) == "UPLOAD_PROTOCOL");
      break;
    }
  }
  narthex::fuzz::Require(stream->Finish().ok());
  environment.CheckConsistent();
  return 0;
}
