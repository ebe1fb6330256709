# SPDX-License-Identifier: LGPL-2.1-or-later
#
# twinfold, the command: one file per verb, linked statically.

file(GLOB tf_agent_sources CONFIGURE_DEPENDS
  ${PROJECT_SOURCE_DIR}/agent/*.c
  ${PROJECT_SOURCE_DIR}/agent/drillhost/*.c
  ${PROJECT_SOURCE_DIR}/agent/drillhost/cases/*.c)

add_executable(twinfold-cli ${tf_agent_sources})
set_target_properties(twinfold-cli PROPERTIES OUTPUT_NAME twinfold)
target_include_directories(twinfold-cli PRIVATE ${TF_CLI_DEPS_INCLUDE_DIRS})
target_link_directories(twinfold-cli PRIVATE ${TF_CLI_DEPS_LIBRARY_DIRS})
target_link_libraries(twinfold-cli PRIVATE
  tf-flags twinfold-vmm twinfold-static ${TF_CLI_DEPS_LIBRARIES})
