include(${CMAKE_CURRENT_LIST_DIR}/NemoSDKTargets.cmake)
include(${CMAKE_CURRENT_LIST_DIR}/NemoPlugin.cmake)
