# SPDX-License-Identifier: LGPL-2.1-or-later
#
# cmake --install: libraries, public headers, pkg-config file, CMake package,
# the command and its man pages.

include(CMakePackageConfigHelpers)

set(tf_package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/twinfold)

install(TARGETS twinfold twinfold-static EXPORT twinfold-targets)
install(TARGETS twinfold-cli)
install(TARGETS twinfold-qemu LIBRARY)
# vmm.h is the interface of the lightweight VMM, which is not installed.
install(DIRECTORY include/twinfold DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
  FILES_MATCHING PATTERN "*.h" PATTERN "vmm.h" EXCLUDE)

install(EXPORT twinfold-targets NAMESPACE twinfold::
  DESTINATION ${tf_package_dir})
configure_package_config_file(cmake/twinfold-config.cmake.in
  twinfold-config.cmake INSTALL_DESTINATION ${tf_package_dir})
write_basic_package_version_file(twinfold-config-version.cmake
  COMPATIBILITY SameMinorVersion)
install(FILES
  ${PROJECT_BINARY_DIR}/twinfold-config.cmake
  ${PROJECT_BINARY_DIR}/twinfold-config-version.cmake
  DESTINATION ${tf_package_dir})

# The prefix is found from the file's own place, so that a staged or moved
# installation works as it is.
cmake_path(SET tf_pc_dir NORMALIZE
  "${CMAKE_INSTALL_PREFIX}/${CMAKE_INSTALL_LIBDIR}/pkgconfig")
cmake_path(RELATIVE_PATH CMAKE_INSTALL_PREFIX BASE_DIRECTORY ${tf_pc_dir}
  OUTPUT_VARIABLE tf_pc_prefix)
configure_file(cmake/twinfold.pc.in twinfold.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/twinfold.pc
  DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

foreach(page IN LISTS tf_man_pages)
  cmake_path(GET page EXTENSION LAST_ONLY section)
  string(SUBSTRING ${section} 1 -1 section)
  install(FILES ${page} DESTINATION ${CMAKE_INSTALL_MANDIR}/man${section})
endforeach()
