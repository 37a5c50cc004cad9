// Published sizes of Llama, CodeLlama, Mistral and Llama-Nemotron models.
#pragma once

#include "nemo/cpp/hf.hpp"

namespace {

#define LLAMA(layers, hidden, ffn, heads, groups)                                                                  \
  "num_layers = " #layers "\nhidden_size = " #hidden "\nffn_hidden_size = " #ffn "\nnum_attention_heads = " #heads \
  "\n"                                                                                                             \
  "num_query_groups = " #groups "\n"
#define LLAMA2 "vocab_size = 32000\nmax_position_embeddings = 4096\n"
#define CODELLAMA "vocab_size = 32016\nmax_position_embeddings = 16384\nrotary_base = 1e6\n"
#define LLAMA3 "vocab_size = 128256\nmax_position_embeddings = 8192\nrotary_base = 5e5\n"
#define LLAMA31(factor)                                                                                                            \
  "vocab_size = 128256\nmax_position_embeddings = 131072\nrotary_base = 5e5\nrope_scaling.type = \"llama3\"\nrope_scaling.factor " \
  "= " factor                                                                                                                      \
  "\nrope_scaling.low_freq_factor = 1\nrope_scaling.high_freq_factor = 4\nrope_scaling.original_max_position_embeddings = 8192\n"

constexpr nemo_variant llama_variants[] = {
    nemo::sdk::variant("llama2_7b", "Llama 2 7B", LLAMA(32, 4096, 11008, 32, 32) LLAMA2),
    nemo::sdk::variant("llama2_13b", "Llama 2 13B", LLAMA(40, 5120, 13824, 40, 40) LLAMA2),
    nemo::sdk::variant("llama2_70b", "Llama 2 70B", LLAMA(80, 8192, 28672, 64, 8) LLAMA2),
    nemo::sdk::variant("codellama_7b", "CodeLlama 7B", LLAMA(32, 4096, 11008, 32, 32) CODELLAMA),
    nemo::sdk::variant("codellama_13b", "CodeLlama 13B", LLAMA(40, 5120, 13824, 40, 40) CODELLAMA),
    nemo::sdk::variant("codellama_34b", "CodeLlama 34B",
                       LLAMA(48, 8192, 22016, 64, 8) "vocab_size = 32000\nmax_position_embeddings = 16384\nrotary_base = 1e6\n"),
    nemo::sdk::variant("codellama_70b", "CodeLlama 70B", LLAMA(80, 8192, 28672, 64, 8) LLAMA2),
    nemo::sdk::variant("llama3_8b", "Llama 3 8B", LLAMA(32, 4096, 14336, 32, 8) LLAMA3 "init_method_std = 0.01\n"),
    nemo::sdk::variant("llama3_70b", "Llama 3 70B", LLAMA(80, 8192, 28672, 64, 8) LLAMA3 "init_method_std = 0.008944\n"),
    nemo::sdk::variant("llama31_8b", "Llama 3.1 8B", LLAMA(32, 4096, 14336, 32, 8) LLAMA31("8")),
    nemo::sdk::variant("llama31_70b", "Llama 3.1 70B", LLAMA(80, 8192, 28672, 64, 8) LLAMA31("8")),
    nemo::sdk::variant("llama31_405b", "Llama 3.1 405B", LLAMA(126, 16384, 53248, 128, 8) LLAMA31("8")),
    nemo::sdk::variant("llama32_1b", "Llama 3.2 1B",
                       LLAMA(16, 2048, 8192, 32, 8) LLAMA31("32") "share_embeddings_and_output_weights = true\n"),
    nemo::sdk::variant("llama32_3b", "Llama 3.2 3B",
                       LLAMA(28, 3072, 8192, 24, 8) LLAMA31("32") "share_embeddings_and_output_weights = true\n"),
    nemo::sdk::variant("llama31_nemotron_nano_8b", "Llama 3.1 Nemotron Nano 8B",
                       LLAMA(32, 4096, 14336, 32, 8) LLAMA31("8") "kv_channels = 128\n"),
    nemo::sdk::variant("llama31_nemotron_70b", "Llama 3.1 Nemotron 70B", LLAMA(80, 8192, 28672, 64, 8) LLAMA31("8") "kv_channels = 128\n"),
    nemo::sdk::variant("mistral_7b", "Mistral 7B v0.1, window of 4096",
                       LLAMA(32, 4096, 14336, 32, 8) "vocab_size = 32000\nmax_position_embeddings = 32768\nwindow_size = 4096\n"),
    nemo::sdk::variant(
        "mistral_nemo_12b", "Mistral NeMo 12B",
        LLAMA(40, 5120, 14336, 32, 8) "kv_channels = 128\nvocab_size = 131072\nmax_position_embeddings = 131072\nrotary_base = 1e6\n"),
    nemo::sdk::variant(
        "mistral_large_123b", "Mistral Large 123B",
        LLAMA(88, 12288, 28672, 96, 8) "kv_channels = 128\nvocab_size = 32768\nmax_position_embeddings = 131072\nrotary_base = 1e6\n"),
};

#undef LLAMA
#undef LLAMA2
#undef CODELLAMA
#undef LLAMA3
#undef LLAMA31

}  // namespace
