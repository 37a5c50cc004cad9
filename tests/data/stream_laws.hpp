// tests/data/stream_laws.hpp - what holds for the stream of every datamodule (nemo/data.h).
#pragma once

#include "tests/data/plugin_host.hpp"

namespace nemo::testing {

// The stream does not depend on shards or micro-batches, seeking equals replaying, and opening again gives the same stream.
inline void expect_stream_laws(DataPlugin& plugin, Open open, const std::vector<std::string>& fields = {"tokens", "labels"}) {
  constexpr int64_t kBatches = 7;
  open.global = 8;
  for (const std::string& field : fields) {
    open.n_shards = 1;
    open.micro = 1;
    const std::vector<int32_t> whole = read_stream(plugin, open, kBatches, field);
    EXPECT_EQ(read_stream(plugin, open, kBatches, field), whole) << "opened again";
    for (const int64_t shards : {1, 2, 4})
      for (const int64_t micro : {1, 2}) {
        open.n_shards = shards;
        open.micro = micro;
        EXPECT_EQ(read_stream(plugin, open, kBatches, field), whole) << shards << " shards, micro-batch " << micro;
      }
  }
  open.n_shards = 2;
  open.micro = 2;
  for (open.shard = 0; open.shard < 2; ++open.shard) {
    Source replayed = plugin.open(open);
    for (int64_t consumed = 0; consumed < kBatches * open.global; consumed += open.global) {
      Source sought = plugin.open(open);
      sought.next();
      sought.seek(consumed);
      EXPECT_EQ(replayed.next(), sought.next());
      EXPECT_EQ(replayed.next(), sought.next());
    }
  }
}

}  // namespace nemo::testing
