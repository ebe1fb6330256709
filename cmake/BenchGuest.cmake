# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The program of the guests of `twinfold bench qemu`, put into the command
# between the symbols bench_guest_start and bench_guest_end. It is an ordinary
# static program: no sanitizer, no coverage, none of the build's flags.

set(tf_guest_source ${PROJECT_SOURCE_DIR}/agent/guest/init.c)
set(tf_guest_program ${PROJECT_BINARY_DIR}/payload/bench-guest)
set(tf_guest_embed ${PROJECT_BINARY_DIR}/payload/bench_guest_embed.S)
file(MAKE_DIRECTORY ${PROJECT_BINARY_DIR}/payload)

add_custom_command(OUTPUT ${tf_guest_program}
  COMMAND ${CMAKE_C_COMPILER} -std=gnu17 -O2 -static -s -Wall -Wextra -Werror
    ${tf_guest_source} -o ${tf_guest_program}
  DEPENDS ${tf_guest_source}
  VERBATIM
  COMMENT "Building the guest of twinfold bench qemu")

file(CONFIGURE OUTPUT ${tf_guest_embed} CONTENT [[
/* SPDX-License-Identifier: LGPL-2.1-or-later */
	.section .rodata
	.globl bench_guest_start, bench_guest_end
bench_guest_start:
	.incbin "@tf_guest_program@"
bench_guest_end:
	.section .note.GNU-stack, "", @progbits
]] @ONLY)
set_source_files_properties(${tf_guest_embed} PROPERTIES
  OBJECT_DEPENDS ${tf_guest_program})
target_sources(twinfold-cli PRIVATE ${tf_guest_embed})
