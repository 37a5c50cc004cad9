# Attention of the CUDA backend against the CPU backend, and its speed: ninja bench_attention && bin/bench_attention
nemo_test(backend_cuda_attention attention_test.cpp attention_rig.cpp ../backend_cpu/array.cpp LINK nemo_sdk ${CMAKE_DL_LIBS})
add_dependencies(test_backend_cuda_attention nemo_backend_cpu nemo_backend_cuda)
add_executable(bench_attention EXCLUDE_FROM_ALL attention_bench.cpp attention_rig.cpp ../backend_cpu/array.cpp)
target_include_directories(bench_attention PRIVATE ${PROJECT_SOURCE_DIR})
target_compile_definitions(bench_attention PRIVATE NEMO_BUILD_DIR="${CMAKE_BINARY_DIR}")
target_link_libraries(bench_attention PRIVATE nemo_sdk ${CMAKE_DL_LIBS})
add_dependencies(bench_attention nemo_backend_cuda)
