# Precompiled headers: the standard library with abseil for all, gRPC where it may be included, GoogleTest for tests.
# They only save time: every file must also compile without (-DNARTHEX_PCH=OFF, as clang-tidy does).
# Measured (2 cores, GCC 12, dev preset, no compiler cache): small files 1.3-2.3 s -> 0.5-1.5 s, gRPC files
# 5.1-5.7 s -> 3.6-4.3 s, tests 4.5 s -> 3.2 s; making them takes 4 to 7 s each.

# GCC only: Clang refuses a header that was compiled without the flags of each user (-pthread, sanitizers).
option(NARTHEX_PCH "use precompiled headers" ON)
if(NOT CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  set(NARTHEX_PCH OFF)
endif()
if(NARTHEX_PCH)
  add_compile_options($<$<COMPILE_LANGUAGE:CXX>:-fpch-preprocess>)  # ccache needs it
endif()

set(NARTHEX_PCH_std
  <algorithm> <atomic> <cstdint> <functional> <map> <memory> <optional> <string> <thread> <utility> <variant> <vector>
  <absl/container/flat_hash_map.h> <absl/container/flat_hash_set.h> <absl/status/status.h> <absl/status/statusor.h>
  <absl/strings/str_cat.h> <absl/strings/str_format.h> <absl/strings/str_join.h> <absl/strings/str_split.h>
  <absl/strings/string_view.h> <absl/synchronization/mutex.h> <absl/time/clock.h> <absl/time/time.h> <absl/types/span.h>)
set(NARTHEX_PCH_test ${NARTHEX_PCH_std} <gmock/gmock.h> <gtest/gtest.h>)
set(NARTHEX_PCH_grpc ${NARTHEX_PCH_std} <google/protobuf/message.h> <grpcpp/grpcpp.h>)
set(NARTHEX_PCH_grpc_test ${NARTHEX_PCH_grpc} <gmock/gmock.h> <gtest/gtest.h>)

# narthex_precompile(TARGET [TEST]): chooses by the folder; tools/check/layers.toml says where gRPC may be.
function(narthex_precompile target)
  if(NOT NARTHEX_PCH)
    return()
  endif()
  file(RELATIVE_PATH folder ${CMAKE_SOURCE_DIR} ${CMAKE_CURRENT_SOURCE_DIR})
  set(kind std)
  if(folder MATCHES "^(clients|server/(rpc|app|gateway)|tests)")
    set(kind grpc)
  endif()
  if("TEST" IN_LIST ARGN)
    string(REGEX REPLACE "^std_" "" kind ${kind}_test)
  endif()
  if(NOT TARGET narthex_pch_${kind})
    file(GENERATE OUTPUT ${CMAKE_BINARY_DIR}/pch/${kind}.cc CONTENT "// Carries the precompiled header.\n")
    add_library(narthex_pch_${kind} OBJECT ${CMAKE_BINARY_DIR}/pch/${kind}.cc)
    target_precompile_headers(narthex_pch_${kind} PRIVATE ${NARTHEX_PCH_${kind}})
    # The same macros as at the users, or the compiler does not take it.
    target_compile_definitions(narthex_pch_${kind} PRIVATE _REENTRANT)
    if(kind MATCHES "test")
      target_link_libraries(narthex_pch_${kind} PRIVATE GTest::gtest)
    endif()
  endif()
  target_compile_definitions(${target} PRIVATE _REENTRANT)
  target_precompile_headers(${target} REUSE_FROM narthex_pch_${kind})
endfunction()
