# SPDX-License-Identifier: LGPL-2.1-or-later
#
# libtwinfold: one set of objects, a shared library that exports what the
# symbol map names, and a static library.

file(GLOB tf_engine_sources CONFIGURE_DEPENDS
  ${PROJECT_SOURCE_DIR}/engine/*.c
  ${PROJECT_SOURCE_DIR}/engine/base/*.c
  ${PROJECT_SOURCE_DIR}/ras/*.c)
set(tf_symbol_map ${PROJECT_SOURCE_DIR}/engine/libtwinfold.map)

add_library(twinfold-objects OBJECT ${tf_engine_sources})
set_target_properties(twinfold-objects PROPERTIES
  POSITION_INDEPENDENT_CODE ON)
target_include_directories(twinfold-objects PRIVATE
  ${TF_ENGINE_DEPS_INCLUDE_DIRS})
target_link_libraries(twinfold-objects PRIVATE tf-flags)

add_library(twinfold SHARED $<TARGET_OBJECTS:twinfold-objects>)
set_target_properties(twinfold PROPERTIES
  VERSION ${PROJECT_VERSION}
  SOVERSION ${PROJECT_VERSION_MAJOR}
  LINKER_LANGUAGE C
  LINK_DEPENDS ${tf_symbol_map})
target_link_options(twinfold PRIVATE
  -Wl,--version-script=${tf_symbol_map})

add_library(twinfold-static STATIC $<TARGET_OBJECTS:twinfold-objects>)
set_target_properties(twinfold-static PROPERTIES
  OUTPUT_NAME twinfold
  LINKER_LANGUAGE C)

foreach(lib IN ITEMS twinfold twinfold-static)
  target_include_directories(${lib} INTERFACE
    $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>
    $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
  target_link_directories(${lib} PRIVATE ${TF_ENGINE_DEPS_LIBRARY_DIRS})
  target_link_libraries(${lib}
    PRIVATE $<BUILD_INTERFACE:tf-flags> ${TF_ENGINE_DEPS_LIBRARIES}
    Threads::Threads)
endforeach()
