#include "core/config/sections.hpp"

#include <array>

#include "nemo/cpp/config.hpp"

namespace nemo::config {
namespace {

using namespace nemo::sdk;

const nemo_schema* job() {
  static const Schema schema{{
      choice("task", "\"pretrain\"",
             {{"pretrain", "train from random or given weights"},
              {"finetune", "train on from a checkpoint"},
              {"validate", "measure the loss only"},
              {"generate", "continue a prompt"}},
             "what the run does"),
      string("name", "", "name of the run's folder under log.dir; unset: the recipe file's name"),
      integer("seed", "1234", "seeds weights, dropout and data order").min(0),
  }};
  return schema.get();
}

const nemo_schema* model() {
  static const Schema schema{{
      string("plugin", "", "the model plugin's id").required().changes_checkpoint(),
      string("variant", "\"\"", "published hyperparameters of the plugin, by name; settings of the recipe win over them"),
  }};
  return schema.get();
}

const nemo_schema* data() {
  static const Schema schema{{
      string("plugin", "", "the data plugin's id").required(),
      integer("seq_length", "2048", "tokens of one sequence").min(1).unit("tokens"),
      integer("micro_batch_size", "1", "sequences that one device computes at a time; 0: its whole share of the global batch")
          .min(0)
          .unit("sequences"),
      integer("global_batch_size", "8", "sequences of one optimizer step, over all devices").min(1).unit("sequences"),
  }};
  return schema.get();
}

const nemo_schema* tokenizer() {
  static const Schema schema{{
      choice("type", "\"none\"",
             {{"none", "the data are token ids already"},
              {"byte", "one token per byte"},
              {"char", "one token per character of the training text"},
              {"gpt2", "GPT-2 byte-pair encoding"},
              {"huggingface", "a tokenizer.json of Hugging Face"},
              {"sentencepiece", "a SentencePiece .model"},
              {"tiktoken", "a vocabulary in tiktoken's format"}},
             "how text becomes tokens"),
      file("vocab_file", "", "vocabulary, for type gpt2 (vocab.json)"),
      file("merges_file", "", "merge rules, for type gpt2 (merges.txt)"),
      file("path", "", "the tokenizer, for types huggingface, sentencepiece, tiktoken: a file or the folder that it is in"),
  }};
  return schema.get();
}

const nemo_schema* strategy() {
  static const Schema schema{{string("plugin", "\"single\"", "the strategy plugin's id")}};
  return schema.get();
}

const nemo_schema* precision() {
  static const Schema schema{{string("plugin", "\"fp32\"", "the precision plugin's id")}};
  return schema.get();
}

const nemo_schema* optim() {
  static const Schema schema{{
      choice("optimizer", "\"adamw\"",
             {{"adamw", "Adam with decoupled weight decay"}, {"sgd", "stochastic gradient descent with momentum"}}, "the update rule")
          .changes_checkpoint(),
      number("lr", "3e-4", "peak learning rate").min(0),
      list("betas", NEMO_FIELD_FLOAT, "[0.9, 0.95]", "adamw: decay rates of the first and second moment").min(0).max(1),
      number("eps", "1e-8", "adamw: added to the root of the second moment").min(0),
      number("weight_decay", "0.1", "decoupled weight decay").min(0),
      choice("decay", "\"matrices\"", {{"matrices", "not norms and biases"}, {"all", "every parameter"}}, "the parameters that decay"),
      number("momentum", "0.0", "sgd: momentum").min(0).max(1),
      boolean("nesterov", "false", "sgd: Nesterov's momentum"),
      number("clip_grad_norm", "1.0", "largest global gradient norm; 0: no clipping").min(0),
      choice("schedule.type", "\"constant\"",
             {{"constant", "lr after the warmup"},
              {"linear", "a line down to min_lr"},
              {"cosine", "half a cosine down to min_lr"},
              {"wsd", "warmup, stable, decay: lr, then down to min_lr in the last decay_steps"}},
             "the learning rate over the steps"),
      integer("schedule.warmup_steps", "0", "steps of linear warmup from 0").min(0).unit("steps"),
      integer("schedule.decay_steps", "0", "steps of the decay; 0: until trainer.max_steps").min(0).unit("steps"),
      integer("schedule.constant_steps", "0", "steps at min_lr at the end").min(0).unit("steps"),
      number("schedule.min_lr", "0.0", "the learning rate at the end of the decay").min(0),
  }};
  return schema.get();
}

const nemo_schema* trainer() {
  static const Schema schema{{
      choice("accelerator", "\"auto\"", {{"auto", "a GPU if there is one"}, {"cpu", "the CPU"}, {"gpu", "a GPU, or an error"}},
             "where to compute"),
      string("backend", "\"\"", "the backend plugin's id; empty: by accelerator"),
      integer("devices", "1", "devices of one node, one process each").min(1),
      integer("num_nodes", "1", "nodes").min(1),
      integer("max_steps", "1000", "optimizer steps of the whole run; 0: the initial weights are saved").min(0).unit("steps"),
      integer("val_check_interval", "0", "steps between validations; 0: never").min(0).unit("steps"),
      integer("limit_val_batches", "32", "batches of one validation, at most").min(1).unit("global batches"),
      integer("log_every_n_steps", "1", "steps between two metrics").min(1).unit("steps"),
      boolean("deterministic", "true", "same recipe, same bits; the CPU backend always is"),
      choice("recompute", "\"none\"",
             {{"none", "keep all activations"}, {"selective", "recompute what is cheap for its size"}, {"full", "keep only block inputs"}},
             "activations to compute again in the backward pass"),
      boolean("regather", "true",
              "activations gathered from other ranks are gathered again in the backward pass; false: kept, for less communication and more "
              "memory (under recompute = \"full\" they are gathered again anyhow)"),
      integer("max_restarts", "0", "several devices: how often the launcher starts a failed run again from its newest checkpoint").min(0),
      integer("watchdog_timeout", "600", "several devices: a run without any progress for so long fails and names the rank; 0: never")
          .min(0)
          .unit("seconds"),
  }};
  return schema.get();
}

const nemo_schema* peft() {
  static const Schema schema{{string("plugin", "\"none\"", "the PEFT plugin's id; none: train all parameters").changes_checkpoint()}};
  return schema.get();
}

const nemo_schema* log() {
  static const Schema schema{{
      string("dir", "\"runs\"", "the folder of all runs, relative to the current folder"),
      list("loggers", NEMO_FIELD_STRING, "[\"console\", \"jsonl\"]", "ids of logger plugins; [log.ID] has the settings of each"),
  }};
  return schema.get();
}

const nemo_schema* checkpoint() {
  static const Schema schema{{
      integer("every_n_steps", "0", "steps between checkpoints; 0: only at the end").min(0).unit("steps"),
      integer("keep_top_k", "3", "how many of the best to keep, by monitor; 0 and save_last = false: no checkpoints at all").min(0),
      string("monitor", "\"val_loss\"", "the metric that says which is best"),
      choice("mode", "\"min\"", {{"min", "smaller is better"}, {"max", "larger is better"}}, "what is best"),
      boolean("save_last", "true", "keep the newest as well"),
      boolean("async", "false", "write beside the training: it stops for the copy to host memory only, which must be large enough"),
      choice("resume", "\"if-exists\"",
             {{"if-exists", "from the run's newest checkpoint, else start"},
              {"never", "start anew"},
              {"must", "from a checkpoint, or an error"}},
             "whether to go on from a checkpoint"),
  }};
  return schema.get();
}

const nemo_schema* plugins() {
  static const Schema schema{{list("paths", NEMO_FIELD_PATH, "[]", "folders searched for plugins first")}};
  return schema.get();
}

struct Entry {
  std::string_view name;
  const nemo_schema* (*schema)();
};
constexpr std::array kSections{
    Entry{"job", job},
    Entry{"model", model},
    Entry{"data", data},
    Entry{"tokenizer", tokenizer},
    Entry{"strategy", strategy},
    Entry{"precision", precision},
    Entry{"optim", optim},
    Entry{"trainer", trainer},
    Entry{"peft", peft},
    Entry{"log", log},
    Entry{"checkpoint", checkpoint},
    Entry{"plugins", plugins},
};

constexpr auto kNames = [] {
  std::array<std::string_view, kSections.size() + 1> names{};
  for (size_t i = 0; i < kSections.size(); ++i) names[i] = kSections[i].name;
  names.back() = "backend";
  return names;
}();

}  // namespace

const nemo_schema* core_schema(std::string_view section) {
  for (const Entry& entry : kSections)
    if (entry.name == section) return entry.schema();
  return nullptr;
}

std::span<const std::string_view> section_names() { return kNames; }

}  // namespace nemo::config
