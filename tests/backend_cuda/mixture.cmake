# Speed of mixtures of experts and state-space models: ninja bench_mixture && bin/bench_mixture
add_executable(bench_mixture EXCLUDE_FROM_ALL mixture_bench.cpp gpu.cpp ../backend_cpu/array.cpp ../backend_cpu/device.cpp ../backend_cpu/fake_host.cpp)
target_include_directories(bench_mixture PRIVATE ${PROJECT_SOURCE_DIR})
target_compile_definitions(bench_mixture PRIVATE NEMO_BUILD_DIR="${CMAKE_BINARY_DIR}")
target_link_libraries(bench_mixture PRIVATE nemo_sdk ${CMAKE_DL_LIBS})
add_dependencies(bench_mixture nemo_backend_cuda nemo_backend_cpu)
