// plugins/data/megatron/plugin.cpp - Megatron .bin/.idx datasets with Megatron-Core's index maps and blends.
#include "nemo/cpp/plugin.hpp"
#include "blended_source.hpp"

namespace nemo::megatron {
namespace {

using namespace nemo::sdk;

const Schema& schema() {
  static const Schema instance({
      list("paths", NEMO_FIELD_STRING, "",
           "dataset prefixes (paths without .bin/.idx), or weight and prefix in turn as in [\"0.3\", \"/data/a\", \"0.7\", \"/data/b\"]; "
           "without weights "
           "each dataset counts by its size")
          .required(),
      string("split", "\"900,50,50\"", "shares of train, validation and test; each dataset's documents are divided in this order"),
      integer("seed", "", "seed of the index maps, as numpy's RandomState takes it; unset: the job's seed").min(0).max(4294967295.0),
      boolean("reset_position_ids", "false", "positions start again at 0 after each end-of-document token (field \"positions\")"),
      boolean("reset_attention_mask", "false", "tokens attend within their own document only (field \"segments\")"),
      boolean("eod_mask_loss", "false", "no loss where the input is the end-of-document token"),
      integer("eod_token", "-1", "id of the end-of-document token; -1: the tokenizer's end-of-text token").min(-1).max(2147483647),
      boolean("add_extra_token_to_sequence", "true", "samples take seq_length + 1 tokens, so that the last position has a label too"),
      boolean("drop_last_partial_validation_sequence", "true",
              "leave out the last validation sample if it is shorter; false: it is padded"),
      file("index_mapping_dir", "\"\"",
           "folder in which index maps are kept (made if need be) and found again by later starts and by other processes, in Megatron's "
           "file names and formats; empty: they are built in memory at each start"),
      number("mid_level_dataset_surplus", "0.005", "margin of samples built of each dataset of a weighted blend").min(0).max(1),
  });
  return instance;
}

MaskOptions read_masks(const Config& config, const TokenizerView& tokenizer) {
  MaskOptions masks;
  masks.reset_position_ids = config.boolean("reset_position_ids");
  masks.reset_attention_mask = config.boolean("reset_attention_mask");
  masks.eod_mask_loss = config.boolean("eod_mask_loss");
  masks.eod_token = static_cast<int32_t>(config.integer("eod_token"));
  if (masks.eod_token < 0) masks.eod_token = static_cast<int32_t>(tokenizer.eos());
  const bool needed = masks.reset_position_ids || masks.reset_attention_mask || masks.eod_mask_loss;
  if (needed && masks.eod_token < 0)
    config_fault(
        "eod_token",
        "reset_position_ids, reset_attention_mask and eod_mask_loss need to know the end-of-document token; set eod_token, or use a "
        "tokenizer that has one");
  return masks;
}

uint32_t read_seed(const Config& config, const DataRequest& request) {
  const int64_t seed = config.has("seed") ? config.integer("seed") : request.seed;
  if (seed < 0 || seed > 0xffffffff)
    config_fault("seed", "the seed of the index maps is " + std::to_string(seed) + "; it must be 0 to 4294967295");
  return static_cast<uint32_t>(seed);
}

std::unique_ptr<SampleSource> open(const Config& config, const DataRequest& request) {
  constexpr std::string_view kSplits[] = {"train", "validation", "test"};
  size_t which = 0;
  while (which < 3 && kSplits[which] != request.split) ++which;
  if (which == 3) return nullptr;
  BlendRequest blend;
  blend.split = config.string("split");
  blend.split_name = request.split;
  blend.share = parse_split(blend.split)[which];
  if (!blend.share.present()) return nullptr;
  blend.paths = parse_paths(config.strings("paths"));
  blend.num_samples = request.max_samples;
  blend.index.seq_length = request.seq_length;
  blend.index.seed = read_seed(config, request);
  blend.index.extra_token = config.boolean("add_extra_token_to_sequence") ? 1 : 0;
  const bool keep_last = request.split == "validation" && !config.boolean("drop_last_partial_validation_sequence");
  blend.index.last_sample = keep_last ? LastSample::kKeep : LastSample::kDrop;
  blend.surplus = config.number("mid_level_dataset_surplus");
  blend.masks = read_masks(config, request.tokenizer);
  if (const std::string folder = config.string("index_mapping_dir"); !folder.empty())
    blend.cache = std::make_shared<const IndexCache>(folder, [](const std::string& what) { log(NEMO_LOG_WARNING, "megatron", what); });
  return std::make_unique<BlendedSource>(blend);
}

bool has_field(const Config& config, std::string_view name) {
  return (name == "positions" && config.boolean("reset_position_ids")) || (name == "segments" && config.boolean("reset_attention_mask"));
}

constexpr nemo_data_api kApi = data_api<open, has_field, nullptr>();

}  // namespace
}  // namespace nemo::megatron

NEMO_PLUGIN("data:megatron\0",
            nemo::sdk::component(NEMO_KIND_DATA, "megatron", "1.0.0", "Megatron .bin/.idx indexed datasets, memory-mapped, with blends",
                                 &nemo::megatron::kApi, nemo::megatron::schema().get()))
