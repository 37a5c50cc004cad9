// Published sizes of Gemma models.
#pragma once

#include "nemo/cpp/hf.hpp"

namespace {

#define GEMMA(layers, hidden, ffn, heads, groups, head)                                                            \
  "num_layers = " #layers "\nhidden_size = " #hidden "\nffn_hidden_size = " #ffn "\nnum_attention_heads = " #heads \
  "\n"                                                                                                             \
  "num_query_groups = " #groups "\nkv_channels = " #head "\n"
#define GEMMA1 "vocab_size = 256000\nmax_position_embeddings = 8192\n"
#define GEMMA2(scalar)                                                                                      \
  "vocab_size = 256000\nmax_position_embeddings = 8192\noutput_norms = true\nattn_logit_softcapping = 50\n" \
  "final_logit_softcapping = 30\nwindow_size = 4096\nfull_attention_every = 2\nquery_pre_attn_scalar = " #scalar "\n"
#define GEMMA3(window, scalar)                                                                                         \
  "output_norms = true\nqk_layernorm = true\nfull_attention_every = 6\nrotary_base = 1e6\nrotary_base_local = 10000\n" \
  "window_size = " #window "\nquery_pre_attn_scalar = " #scalar "\n"
#define GEMMA3_LARGE "vocab_size = 262208\nmax_position_embeddings = 131072\nrope_scaling.type = \"linear\"\nrope_scaling.factor = 8\n"

constexpr nemo_variant gemma_variants[] = {
    nemo::sdk::variant("gemma_2b", "Gemma 2B", GEMMA(18, 2048, 16384, 8, 1, 256) GEMMA1),
    nemo::sdk::variant("gemma_7b", "Gemma 7B", GEMMA(28, 3072, 24576, 16, 16, 256) GEMMA1),
    nemo::sdk::variant("gemma2_2b", "Gemma 2 2B", GEMMA(26, 2304, 9216, 8, 4, 256) GEMMA2(256)),
    nemo::sdk::variant("gemma2_9b", "Gemma 2 9B", GEMMA(42, 3584, 14336, 16, 8, 256) GEMMA2(256)),
    nemo::sdk::variant("gemma2_27b", "Gemma 2 27B", GEMMA(46, 4608, 36864, 32, 16, 128) GEMMA2(144)),
    nemo::sdk::variant("gemma3_1b", "Gemma 3 1B",
                       GEMMA(26, 1152, 6912, 4, 1, 256) GEMMA3(512, 256) "vocab_size = 262144\nmax_position_embeddings = 32768\n"),
    nemo::sdk::variant("gemma3_4b", "Gemma 3 4B, text", GEMMA(34, 2560, 10240, 8, 4, 256) GEMMA3(1024, 256) GEMMA3_LARGE),
    nemo::sdk::variant("gemma3_12b", "Gemma 3 12B, text", GEMMA(48, 3840, 15360, 16, 8, 256) GEMMA3(1024, 256) GEMMA3_LARGE),
    nemo::sdk::variant("gemma3_27b", "Gemma 3 27B, text", GEMMA(62, 5376, 21504, 32, 16, 128) GEMMA3(1024, 168) GEMMA3_LARGE),
};

#undef GEMMA
#undef GEMMA1
#undef GEMMA2
#undef GEMMA3
#undef GEMMA3_LARGE

}  // namespace
