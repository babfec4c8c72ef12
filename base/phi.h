// A patient value that cannot be printed by accident.
#pragma once

#include <utility>

namespace narthex {

// Holds a T that identifies a patient. It has no stream operator, no conversion and no log field: whoever
// needs the value calls Reveal() and can be found by that word. Thread-compatible.
template <typename T>
class Phi {
 public:
  Phi() = default;
  explicit Phi(T value) : value_(std::move(value)) {}

  const T& Reveal() const { return value_; }
  friend bool operator==(const Phi&, const Phi&) = default;

 private:
  T value_{};
};

}  // namespace narthex
