# f16, TF32 and 8-bit floats of the CUDA backend against the CPU backend, and their speed: ninja bench_precision && bin/bench_precision
set(precision_shared gpu.cpp ../backend_cpu/array.cpp ../backend_cpu/device.cpp ../backend_cpu/fake_host.cpp ../backend_cpu/op_cases.cpp ../backend_cpu/op_cases_more.cpp)
nemo_test(backend_cuda_precision precision_test.cpp ${precision_shared} LINK nemo_sdk ${CMAKE_DL_LIBS})
add_dependencies(test_backend_cuda_precision nemo_backend_cuda nemo_backend_cpu)
add_executable(bench_precision EXCLUDE_FROM_ALL precision_bench.cpp ${precision_shared})
target_include_directories(bench_precision PRIVATE ${PROJECT_SOURCE_DIR})
target_compile_definitions(bench_precision PRIVATE NEMO_BUILD_DIR="${CMAKE_BINARY_DIR}")
target_link_libraries(bench_precision PRIVATE nemo_sdk ${CMAKE_DL_LIBS})
add_dependencies(bench_precision nemo_backend_cuda nemo_backend_cpu)
