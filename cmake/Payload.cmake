# SPDX-License-Identifier: LGPL-2.1-or-later
#
# tf_add_payload(<target> NAME <name> SCRIPT <linker script> SOURCES <files>):
# build freestanding guest code into a flat binary and put it into <target>
# between the symbols <name>_start and <name>_end. For 32-bit code add -m32 to
# the compile options of tf-payload-<name>.

function(tf_add_payload target)
  cmake_parse_arguments(arg "" "NAME;SCRIPT" "SOURCES" ${ARGN})
  set(dir ${PROJECT_BINARY_DIR}/payload)
  set(elf ${dir}/${arg_NAME}.elf)
  set(bin ${dir}/${arg_NAME}.bin)
  set(embed ${dir}/${arg_NAME}_embed.S)
  set(objects tf-payload-${arg_NAME})
  file(MAKE_DIRECTORY ${dir})

  add_library(${objects} OBJECT ${arg_SOURCES})
  # No COMPILE_LANGUAGE here: the link command reads this property.
  target_compile_options(${objects} PRIVATE
    -O2 -ffreestanding -fno-pic -fno-stack-protector -mno-red-zone
    -mgeneral-regs-only -fno-asynchronous-unwind-tables
    -fcf-protection=none ${TF_WARNINGS})
  if(CMAKE_C_COMPILER_ID STREQUAL "Clang")
    target_compile_options(${objects} PRIVATE
      -Wno-unused-command-line-argument)
  endif()
  target_include_directories(${objects} PRIVATE
    ${PROJECT_SOURCE_DIR}/include ${PROJECT_SOURCE_DIR})

  add_custom_command(OUTPUT ${bin}
    COMMAND ${CMAKE_C_COMPILER}
      $<FILTER:$<TARGET_PROPERTY:${objects},COMPILE_OPTIONS>,INCLUDE,^-m[0-9]+$>
      -nostdlib -static
      -Wl,--build-id=none -Wl,-z,noexecstack -Wl,-T,${arg_SCRIPT}
      $<TARGET_OBJECTS:${objects}> -o ${elf}
    COMMAND ${CMAKE_OBJCOPY} -O binary ${elf} ${bin}
    DEPENDS ${objects} $<TARGET_OBJECTS:${objects}> ${arg_SCRIPT}
    COMMAND_EXPAND_LISTS VERBATIM
    COMMENT "Building guest payload ${arg_NAME}.bin")

  file(CONFIGURE OUTPUT ${embed} CONTENT [[
/* SPDX-License-Identifier: LGPL-2.1-or-later */
	.section .rodata
	.balign 4096
	.globl @arg_NAME@_start, @arg_NAME@_end
@arg_NAME@_start:
	.incbin "@bin@"
@arg_NAME@_end:
	.section .note.GNU-stack, "", @progbits
]] @ONLY)
  set_source_files_properties(${embed} PROPERTIES OBJECT_DEPENDS ${bin})
  target_sources(${target} PRIVATE ${embed} ${bin})
endfunction()
