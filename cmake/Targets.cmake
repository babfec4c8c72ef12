# narthex_library(NAME SRCS ... DEPS ...)       a static library narthex_NAME
# narthex_test(NAME SRCS ... DEPS ... [SLOW])   one test binary a module, run by ctest as NAME
# narthex_benchmark(NAME SRCS ... DEPS ...)     a Google Benchmark binary, not run by ctest
# narthex_fuzzer(NAME SRCS ... DEPS ...)        a libFuzzer binary (preset fuzz), else nothing
# narthex_program(NAME SRCS ... DEPS ...)       an executable in bin/

function(narthex_library name)
  cmake_parse_arguments(ARG "" "" "SRCS;DEPS" ${ARGN})
  if(ARG_SRCS)
    add_library(narthex_${name} STATIC ${ARG_SRCS})
    target_include_directories(narthex_${name} PUBLIC ${CMAKE_SOURCE_DIR})
    target_link_libraries(narthex_${name} PUBLIC ${ARG_DEPS})
    narthex_precompile(narthex_${name})
  else()
    add_library(narthex_${name} INTERFACE)
    target_include_directories(narthex_${name} INTERFACE ${CMAKE_SOURCE_DIR})
    target_link_libraries(narthex_${name} INTERFACE ${ARG_DEPS})
  endif()
endfunction()

function(narthex_program name)
  cmake_parse_arguments(ARG "TEST" "" "SRCS;DEPS" ${ARGN})
  add_executable(${name} ${ARG_SRCS})
  target_include_directories(${name} PRIVATE ${CMAKE_SOURCE_DIR})
  target_link_libraries(${name} PRIVATE ${ARG_DEPS})
  if(NARTHEX_SANITIZE MATCHES "thread")
    target_link_libraries(${name} PRIVATE narthex_tsan)
  endif()
  if(ARG_TEST)
    narthex_precompile(${name} TEST)
  else()
    narthex_precompile(${name})
  endif()
endfunction()

function(narthex_test name)
  cmake_parse_arguments(ARG "SLOW" "" "SRCS;DEPS" ${ARGN})
  narthex_program(${name}_test TEST SRCS ${ARG_SRCS} DEPS ${ARG_DEPS} GTest::gmock GTest::gtest GTest::gtest_main)
  add_test(NAME ${name} COMMAND ${CMAKE_SOURCE_DIR}/tools/check/run_test.sh $<TARGET_FILE:${name}_test> --gtest_brief=1
           WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
  set_tests_properties(${name} PROPERTIES TIMEOUT 120 LABELS unit)
  if(ARG_SLOW)
    set_tests_properties(${name} PROPERTIES TIMEOUT 1200 LABELS slow)
  endif()
endfunction()

function(narthex_benchmark name)
  narthex_program(${name}_benchmark ${ARGN})
  target_link_libraries(${name}_benchmark PRIVATE benchmark::benchmark benchmark::benchmark_main)
endfunction()

function(narthex_fuzzer name)
  if(NARTHEX_FUZZ)
    narthex_program(${name}_fuzzer ${ARGN})
    target_compile_options(${name}_fuzzer PRIVATE -fsanitize=fuzzer)
    target_link_options(${name}_fuzzer PRIVATE -fsanitize=fuzzer)
  endif()
endfunction()
