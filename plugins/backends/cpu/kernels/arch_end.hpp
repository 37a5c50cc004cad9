#pragma GCC pop_options
