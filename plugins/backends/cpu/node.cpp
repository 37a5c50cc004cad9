#include "nemo/cpp/node_impl.hpp"
