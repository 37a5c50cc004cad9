// How the backend's collectives reach the other ranks: one Communicator per group, made by a library of its own (gloo.cpp), which is opened
// when the first group is joined. The backend thus loads on machines without Gloo.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "nemo/backend.h"

namespace nemo::cpu {

enum class Reduction { sum, max };

// Every call blocks until this rank's part is done. NULL, or why it failed: text that lives until the next call.
class Communicator {
 public:
  virtual ~Communicator() = default;
  virtual const char* all_reduce(void* data, int64_t n, nemo_dtype dtype, Reduction op) = 0;             // in place
  virtual const char* all_gather(const void* mine, void* all, uint64_t bytes) = 0;                       // bytes of one rank
  virtual const char* all_to_all(const void* from, void* to, uint64_t bytes) = 0;                        // bytes per peer
  // With two peers at once; where there are 0 bytes, nothing is sent or awaited.
  virtual const char* exchange(int to, const void* sent, uint64_t sent_bytes, int from, void* received, uint64_t received_bytes) = 0;
  virtual const char* send(int to, const void* data, uint64_t bytes) = 0;
  virtual const char* receive(int from, void* data, uint64_t bytes) = 0;
};

// The store over which members exchange addresses. May throw std::exception.
struct Rendezvous {
  std::function<void(const std::string& key, const std::vector<char>& value)> set;
  std::function<std::vector<char>(const std::string& key)> get;  // waits
};

// The one function of the library. NULL with *fault set where the members cannot be connected.
using Connect = Communicator* (*)(const Rendezvous* rendezvous, int rank, int size, int64_t timeout_ms, std::string* fault);
inline constexpr const char* kConnectFunction = "nemo_gloo_connect";

}  // namespace nemo::cpu
