# Installs the SDK into a fresh folder, builds the project PROJECT against that alone, and lets the host judge the result.
# Wants: SDK_BUILD (build folder of sdk/), PROJECT, WORK (scratch folder), ACCEPT (program), COMPONENTS, GENERATOR, C_COMPILER, CXX_COMPILER
function(run)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE status OUTPUT_VARIABLE output ERROR_VARIABLE output)
  if(NOT status EQUAL 0)
    message(FATAL_ERROR "failed: ${ARGN}\n${output}")
  endif()
  message("${output}")
endfunction()

file(REMOVE_RECURSE ${WORK})
run(${CMAKE_COMMAND} -DCMAKE_INSTALL_PREFIX=${WORK}/prefix -P ${SDK_BUILD}/cmake_install.cmake)
# A copy outside the source tree: what it finds, it finds through the installed package.
file(COPY ${PROJECT}/ DESTINATION ${WORK}/project)
set(strict "-Wall -Wextra -pedantic -Werror")
run(${CMAKE_COMMAND} -S ${WORK}/project -B ${WORK}/build -G ${GENERATOR} -DCMAKE_PREFIX_PATH=${WORK}/prefix -DCMAKE_BUILD_TYPE=Release
    -DCMAKE_C_COMPILER=${C_COMPILER} -DCMAKE_CXX_COMPILER=${CXX_COMPILER} "-DCMAKE_C_FLAGS=${strict}" "-DCMAKE_CXX_FLAGS=${strict}")
run(${CMAKE_COMMAND} --build ${WORK}/build)
run(${ACCEPT} ${WORK}/build ${COMPONENTS})
