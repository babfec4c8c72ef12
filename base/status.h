// Macros that pass an absl::Status on. Use them wherever a callee's error is also the caller's.
#pragma once

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

// Returns from the enclosing function if `expr`, an absl::Status, is not OK.
#define NX_RETURN_IF_ERROR(expr)             \
  do {                                       \
    ::absl::Status nx_status_ = (expr);      \
    if (!nx_status_.ok()) return nx_status_; \
  } while (false)

#define NX_CONCAT_INNER_(a, b) a##b
#define NX_CONCAT_(a, b) NX_CONCAT_INNER_(a, b)

// NX_ASSIGN_OR_RETURN(auto value, Function()): assigns the value or returns the error.
#define NX_ASSIGN_OR_RETURN(lhs, expr) NX_ASSIGN_OR_RETURN_(NX_CONCAT_(nx_result_, __LINE__), lhs, expr)
#define NX_ASSIGN_OR_RETURN_(result, lhs, expr)        \
  auto result = (expr);                                \
  if (!result.ok()) return std::move(result).status(); \
  lhs = std::move(result).value()
