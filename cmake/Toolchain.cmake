# Language level, build types, sanitizers, compiler cache and linker: what holds for every target.

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
add_compile_options(-fPIC)  # for programs too (not -fPIE), so that they share the libraries' precompiled headers
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)

# Dev: optimised a little and with asserts, because the tests move gigabytes.
set(CMAKE_CXX_FLAGS_DEV "-O1 -g1" CACHE STRING "" FORCE)
set(CMAKE_C_FLAGS_DEV "-O1 -g1" CACHE STRING "" FORCE)
set(CMAKE_CXX_FLAGS_RELEASE "-O2 -g1 -DNDEBUG" CACHE STRING "" FORCE)

add_compile_options(-Wall -Wextra -Wno-unused-parameter -Wno-missing-field-initializers)
if(CMAKE_CXX_COMPILER_ID MATCHES "Clang")
  add_compile_options(-Wthread-safety)
endif()

set(NARTHEX_SANITIZE "" CACHE STRING "sanitizers, as -fsanitize takes them")
if(NARTHEX_SANITIZE)
  add_compile_options(-fsanitize=${NARTHEX_SANITIZE} -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${NARTHEX_SANITIZE})
endif()
if(NARTHEX_SANITIZE MATCHES "thread")
  set(wrapper ${CMAKE_SOURCE_DIR}/cmake/tsan/absl_mutex.cc)
  add_library(narthex_tsan OBJECT ${wrapper})
  file(STRINGS ${wrapper} lines REGEX "^WRAPPED")
  foreach(line ${lines})
    string(REGEX REPLACE "^WRAPPED.[a-z]+, ([A-Za-z0-9_]+).*" "\\1" symbol ${line})
    target_link_options(narthex_tsan INTERFACE -Wl,--wrap=${symbol})
  endforeach()
endif()
option(NARTHEX_FUZZ "build the libFuzzer targets" OFF)
if(NARTHEX_FUZZ)
  # Without it the fuzzers see no coverage of the libraries and are nearly blind.
  add_compile_options(-fsanitize=fuzzer-no-link)
endif()

# The compiler cache works across checkouts and build folders (paths relative to the source root, also in debug
# information) and with precompiled headers (the sloppiness that ccache's manual asks for).
add_compile_options(-ffile-prefix-map=${CMAKE_SOURCE_DIR}=. -ffile-prefix-map=${CMAKE_BINARY_DIR}=./build)
find_program(CCACHE ccache)
if(CCACHE)
  set(launcher env CCACHE_BASEDIR=${CMAKE_SOURCE_DIR} CCACHE_SLOPPINESS=pch_defines,time_macros ${CCACHE})
  set(CMAKE_C_COMPILER_LAUNCHER ${launcher})
  set(CMAKE_CXX_COMPILER_LAUNCHER ${launcher})
endif()
find_program(MOLD mold)
if(MOLD)
  if(CMAKE_CXX_COMPILER_ID MATCHES "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 12.1)
  else()
    add_link_options(-fuse-ld=mold)
  endif()
endif()
