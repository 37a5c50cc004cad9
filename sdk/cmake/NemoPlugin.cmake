# nemo_add_plugin(NAME SOURCES...): a shared library `NAME.so` that the host accepts: hidden visibility, only nemo_plugin_entry_v* exported,
# nothing undefined, bound at load. The host checks these properties when it opens the library.
set(NEMO_PLUGIN_VERSION_SCRIPT ${CMAKE_CURRENT_LIST_DIR}/nemo_plugin.version CACHE INTERNAL "")

function(nemo_add_plugin name)
  add_library(${name} MODULE ${ARGN})
  target_link_libraries(${name} PRIVATE Nemo::sdk)
  set_target_properties(${name} PROPERTIES
    PREFIX "" CXX_VISIBILITY_PRESET hidden C_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON
    LINK_DEPENDS ${NEMO_PLUGIN_VERSION_SCRIPT})
  target_link_options(${name} PRIVATE -Wl,--version-script=${NEMO_PLUGIN_VERSION_SCRIPT} -Wl,--exclude-libs,ALL -Wl,-z,now)
  if(NOT NEMO_SANITIZE) # the sanitizers' run-time library is found in the host
    target_link_options(${name} PRIVATE -Wl,-z,defs)
  endif()
endfunction()
