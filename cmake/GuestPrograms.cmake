# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Files that are put into the command between the symbols <name>_start and
# <name>_end; above all the first programs of Linux guests that it boots. They
# are ordinary static programs: no sanitizer, no coverage, none of the build's
# flags.

function(tf_embed name file)
  set(embed ${PROJECT_BINARY_DIR}/payload/${name}_embed.S)
  file(CONFIGURE OUTPUT ${embed} CONTENT [[
/* SPDX-License-Identifier: LGPL-2.1-or-later */
	.section .rodata
	.globl @name@_start, @name@_end
@name@_start:
	.incbin "@file@"
@name@_end:
	.section .note.GNU-stack, "", @progbits
]] @ONLY)
  set_source_files_properties(${embed} PROPERTIES OBJECT_DEPENDS ${file})
  target_sources(twinfold-cli PRIVATE ${embed})
endfunction()

function(tf_add_guest_program name source)
  set(program ${PROJECT_BINARY_DIR}/payload/${name})
  file(MAKE_DIRECTORY ${PROJECT_BINARY_DIR}/payload)

  add_custom_command(OUTPUT ${program}
    COMMAND ${CMAKE_C_COMPILER} -std=gnu17 -D_GNU_SOURCE -O2 -static -s
      -Wall -Wextra -Werror ${source} -o ${program}
    DEPENDS ${source}
    VERBATIM
    COMMENT "Building the guest program ${name}")
  tf_embed(${name} ${program})
endfunction()

tf_add_guest_program(bench_guest ${PROJECT_SOURCE_DIR}/agent/guest/init.c)
tf_add_guest_program(drill_init
  ${PROJECT_SOURCE_DIR}/agent/guest/drill_init.c)
tf_add_guest_program(linux_work
  ${PROJECT_SOURCE_DIR}/agent/guest/linux_work.c)
tf_embed(apparmor_lines ${PROJECT_SOURCE_DIR}/configs/apparmor/libvirt-qemu)
