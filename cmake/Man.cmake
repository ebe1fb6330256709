# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Man pages from docs/man/<name>.<section>.scd, when scdoc is there.

find_program(SCDOC scdoc)
file(GLOB tf_man_sources CONFIGURE_DEPENDS
  ${PROJECT_SOURCE_DIR}/docs/man/*.scd)

set(tf_man_pages "")
if(SCDOC)
  file(MAKE_DIRECTORY ${PROJECT_BINARY_DIR}/man)
  foreach(source IN LISTS tf_man_sources)
    cmake_path(GET source STEM LAST_ONLY name)
    set(page ${PROJECT_BINARY_DIR}/man/${name})
    add_custom_command(OUTPUT ${page}
      COMMAND ${SCDOC} < ${source} > ${page}
      DEPENDS ${source}
      COMMENT "Building man page ${name}")
    list(APPEND tf_man_pages ${page})
  endforeach()
  add_custom_target(man ALL DEPENDS ${tf_man_pages})
else()
  message(STATUS "scdoc is not installed: no man pages")
endif()
