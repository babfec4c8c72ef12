// One limit of the product: a number between two bounds, which may be set while the program starts.
//
//   inline constinit Limit<int> kSequenceMaxDepth{64, 1, 256};  // in base/limits.h
//   if (depth > limits::kSequenceMaxDepth) ...
//
// Reading one is reading a variable. limit_table.h sets them by name.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <limits>

namespace narthex {

// Whose bytes a limit is held against.
enum class Origin {
  kArriving,  // what strangers send: the limit as it is set
  kStored,    // what we took and keep: the highest value that may be set, so that no setting makes it
              // unreadable
};

// What limits of all types have in common.
class AnyLimit {
 public:
  AnyLimit(const AnyLimit&) = delete;
  AnyLimit& operator=(const AnyLimit&) = delete;

  int64_t number() const { return number_; }
  // The bounds, both allowed.
  int64_t least_number() const { return least_; }
  int64_t most_number() const { return most_; }
  // `number` must be within the bounds. Only before the program has threads.
  void Set(int64_t number) {
    if (number < least_ || number > most_) std::abort();
    number_ = number;
  }

 protected:
  constexpr AnyLimit(int64_t number, int64_t least, int64_t most)
      : number_(number), least_(least), most_(most) {
    if (least > number || number > most) std::abort();  // does not compile in a constinit variable
  }
  ~AnyLimit() = default;

 private:
  int64_t number_;
  const int64_t least_;
  const int64_t most_;
};

// T: an integral type that holds all values from the least to the most. Thread-compatible.
template <typename T>
class Limit : public AnyLimit {
 public:
  constexpr Limit(int64_t number, int64_t least, int64_t most) : AnyLimit(number, least, most) {
    using Range = std::numeric_limits<T>;
    if (least < 0 || static_cast<uint64_t>(most) > static_cast<uint64_t>(Range::max())) std::abort();
  }

  T get() const { return static_cast<T>(number()); }
  // NOLINTNEXTLINE(google-explicit-constructor): it stands where the constant stood.
  operator T() const { return get(); }
  T most() const { return static_cast<T>(most_number()); }
  T For(Origin origin) const { return origin == Origin::kStored ? most() : get(); }
};

}  // namespace narthex
