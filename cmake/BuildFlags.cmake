# SPDX-License-Identifier: LGPL-2.1-or-later
#
# tf-flags: the compile and link flags of every program that runs on the host.
# Flags are on this target, not in CMAKE_C_FLAGS: a guest payload must not be
# instrumented.

option(TF_WERROR "Warnings are errors" ON)
option(TF_COVERAGE "Count executed lines (gcc)" OFF)
option(TF_FUZZ "Build the fuzz programs (clang)" OFF)
set(TF_SANITIZE "" CACHE STRING "Sanitizer: empty, address or thread")
set_property(CACHE TF_SANITIZE PROPERTY STRINGS "" address thread)

set(TF_WARNINGS -Wall -Wextra -Wshadow -Wmissing-prototypes)
if(TF_WERROR)
  list(APPEND TF_WARNINGS -Werror)
endif()

add_library(tf-flags INTERFACE)
target_compile_definitions(tf-flags INTERFACE _GNU_SOURCE)
target_compile_options(tf-flags INTERFACE
  $<$<COMPILE_LANGUAGE:C>:${TF_WARNINGS}>)
target_include_directories(tf-flags INTERFACE
  ${PROJECT_SOURCE_DIR}/include ${PROJECT_SOURCE_DIR})
target_link_libraries(tf-flags INTERFACE Threads::Threads)

function(tf_instrument)
  target_compile_options(tf-flags INTERFACE ${ARGN})
  target_link_options(tf-flags INTERFACE ${ARGN})
endfunction()

if(TF_SANITIZE STREQUAL "address")
  tf_instrument(-fsanitize=address,undefined -fno-sanitize-recover=undefined
    -fno-omit-frame-pointer)
elseif(TF_SANITIZE STREQUAL "thread")
  tf_instrument(-fsanitize=thread -fno-omit-frame-pointer)
elseif(TF_SANITIZE)
  message(FATAL_ERROR
    "TF_SANITIZE is '${TF_SANITIZE}'; it must be empty, address or thread.")
endif()

if(TF_COVERAGE)
  if(NOT CMAKE_C_COMPILER_ID STREQUAL "GNU")
    message(FATAL_ERROR "TF_COVERAGE needs gcc; use the preset 'cov'.")
  endif()
  tf_instrument(--coverage)
  target_compile_options(tf-flags INTERFACE -fprofile-update=atomic)
endif()

if(TF_FUZZ)
  if(NOT CMAKE_C_COMPILER_ID STREQUAL "Clang")
    message(FATAL_ERROR "TF_FUZZ needs clang; use the preset 'fuzz'.")
  endif()
  tf_instrument(-fsanitize=fuzzer-no-link,address,undefined
    -fno-sanitize-recover=undefined)
endif()
