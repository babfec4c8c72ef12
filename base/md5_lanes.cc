#include "base/md5_lanes.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>

#include "base/digest.h"
#include "base/md5_kernel.h"

namespace narthex {
namespace {

constexpr size_t kBlock = 64;
constexpr size_t kMaxLanes = 16;  // fixed: as wide as vectors are
// With fewer messages the vectors gain nothing.
constexpr size_t kWorthwhile = 3;

struct Choice {
  size_t lanes;
  md5::Kernel kernel;
};

Choice Choose(size_t lanes_max) {
#if defined(__x86_64__)
  if (lanes_max >= 16 && __builtin_cpu_supports("avx512f")) return {16, md5::Blocks16};
  if (lanes_max >= 8 && __builtin_cpu_supports("avx2")) return {8, md5::Blocks8};
#endif
  return {1, nullptr};
}

// One message on its way through a lane: first its whole blocks, then one or two that hold its end, the bit
// and the length.
struct Lane {
  size_t message = SIZE_MAX;  // SIZE_MAX: idle
  const unsigned char* next = nullptr;
  size_t blocks = 0;
  size_t tail_blocks = 0;
  std::array<unsigned char, 2 * kBlock> tail{};

  void Take(size_t index, absl::string_view text) {
    message = index;
    next = reinterpret_cast<const unsigned char*>(text.data());
    blocks = text.size() / kBlock;
    const size_t rest = text.size() % kBlock;
    tail.fill(0);
    if (rest > 0) std::memcpy(tail.data(), next + blocks * kBlock, rest);
    tail[rest] = 0x80;
    tail_blocks = rest + 9 > kBlock ? 2 : 1;
    const uint64_t bits = uint64_t{text.size()} * 8;
    for (size_t i = 0; i < 8; ++i) {
      tail[tail_blocks * kBlock - 8 + i] = static_cast<unsigned char>(bits >> (8 * i));
    }
    EnterTail();
  }

  // True when all is done.
  bool Advance(size_t count) {
    next += count * kBlock;
    blocks -= count;
    EnterTail();
    return blocks == 0;
  }

 private:
  void EnterTail() {
    if (blocks > 0 || tail_blocks == 0) return;
    next = tail.data();
    blocks = tail_blocks;
    tail_blocks = 0;
  }
};

class Lanes {
 public:
  Lanes(const Choice& choice, absl::Span<const absl::string_view> messages)
      : choice_(choice), messages_(messages) {}

  std::vector<std::string> Run() {
    std::vector<std::string> digests(messages_.size());
    for (size_t lane = 0; lane < choice_.lanes; ++lane) Refill(lane);
    while (const size_t count = SharedBlocks()) {
      std::array<const unsigned char*, kMaxLanes> data;
      const unsigned char* some = nullptr;
      for (size_t lane = 0; lane < choice_.lanes; ++lane) {
        if (lanes_[lane].message != SIZE_MAX) some = lanes_[lane].next;
      }
      // Idle lanes compute somebody's bytes for nobody.
      for (size_t lane = 0; lane < choice_.lanes; ++lane) {
        data[lane] = lanes_[lane].message != SIZE_MAX ? lanes_[lane].next : some;
      }
      choice_.kernel(state_.data(), data.data(), count);
      for (size_t lane = 0; lane < choice_.lanes; ++lane) {
        if (lanes_[lane].message == SIZE_MAX || !lanes_[lane].Advance(count)) continue;
        digests[lanes_[lane].message] = Digest(lane);
        Refill(lane);
      }
    }
    return digests;
  }

 private:
  // How far all busy lanes can go together; 0: none is busy.
  size_t SharedBlocks() const {
    size_t count = 0;
    for (size_t lane = 0; lane < choice_.lanes; ++lane) {
      if (lanes_[lane].message == SIZE_MAX) continue;
      count = count == 0 ? lanes_[lane].blocks : std::min(count, lanes_[lane].blocks);
    }
    return count;
  }

  void Refill(size_t lane) {
    lanes_[lane].message = SIZE_MAX;
    if (taken_ == messages_.size()) return;
    lanes_[lane].Take(taken_, messages_[taken_]);
    ++taken_;
    constexpr std::array<uint32_t, 4> kStart = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476};
    for (size_t word = 0; word < 4; ++word) state_[word * choice_.lanes + lane] = kStart[word];
  }

  std::string Digest(size_t lane) const {
    std::string digest;
    for (size_t word = 0; word < 4; ++word) {
      const uint32_t value = state_[word * choice_.lanes + lane];
      for (int shift = 0; shift < 32; shift += 8) digest.push_back(static_cast<char>(value >> shift));
    }
    return digest;
  }

  const Choice choice_;
  const absl::Span<const absl::string_view> messages_;
  size_t taken_ = 0;
  std::array<Lane, kMaxLanes> lanes_;
  std::array<uint32_t, 4 * kMaxLanes> state_{};
};

}  // namespace

size_t Md5LaneCount() { return Choose(kMaxLanes).lanes; }

std::vector<std::string> Md5Each(absl::Span<const absl::string_view> messages, size_t lanes_max) {
  const Choice choice = Choose(lanes_max);
  if (choice.kernel != nullptr && messages.size() >= kWorthwhile) return Lanes(choice, messages).Run();
  std::vector<std::string> digests;
  digests.reserve(messages.size());
  for (const absl::string_view message : messages) digests.push_back(Md5(message));
  return digests;
}

}  // namespace narthex
