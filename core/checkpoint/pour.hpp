// core/checkpoint/pour.hpp - moves the bytes of one tensor from where they come from to where they go, in blocks, while the next ones are
// made.
#pragma once

#include <cstdint>
#include <functional>
#include <span>

namespace nemo::checkpoint {

// Makes the bytes [at, at + out.size()) of a tensor. Called for all blocks in order, on one thread that need not be the caller's.
using Produce = std::function<void(uint64_t at, std::span<std::byte> out)>;
using Consume = std::function<void(uint64_t at, std::span<const std::byte> block)>;

// Blocks of 256 KiB, few enough that they stay in the cache; large tensors have a thread that produces while the caller consumes.
// `place` is where in its file the first byte goes: blocks lie in memory as they lie in the file's pages, without which the kernel copies
// them at half the speed or less. What either function throws ends the pouring and is thrown here.
void pour(uint64_t bytes, uint64_t place, const Produce& produce, const Consume& consume);

}  // namespace nemo::checkpoint
