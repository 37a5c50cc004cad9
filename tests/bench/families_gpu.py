"""The same training run of small models of many families on two accelerators, as a table: losses must agree at every step.

    python3 tests/bench/families_gpu.py build/bin/nemo-host [--accelerators cpu,gpu] [--families mixtral,mamba] [--steps 10] [section.key=value ...]
        [--second section.key=value]

Overrides hold for both runs, those of --second for the second alone: "--accelerators gpu,gpu --second trainer.devices=2 --second strategy.plugin=ddp"
compares two devices with one. Everything in f32 from the same seed. "apart" is the largest relative difference of any step's loss; above the bound, or where a run fails, the row says
so and the exit code is 1. Routers choose: where two experts are nearly equal, the last bits decide, and a loss may move by up to the bound at once.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

BOUND = 1e-4
DECODER = "num_layers = 2\nhidden_size = 128\nffn_hidden_size = 256\nnum_attention_heads = 4\n"
EXPERTS = "num_query_groups = 2\nnum_moe_experts = 8\nmoe_router_topk = 2\nmoe_aux_loss_coeff = 0.01\n"
VOCABULARY = "vocab_size = 512\n"
MOCK = 'plugin = "mock"\nvocab_size = 512\npattern = "arithmetic"\n'

# name: (model, data); what a family's kernels are: mixture; scan of Mamba-2; sinks and windows; both scans; latent attention; biases by distance.
FAMILIES = {
    "llama": ('plugin = "llama"\n' + DECODER + VOCABULARY, MOCK),
    "mixtral": ('plugin = "mixtral"\n' + DECODER + VOCABULARY + EXPERTS, MOCK),
    "gpt_oss": ('plugin = "gpt_oss"\n' + DECODER + VOCABULARY + EXPERTS, MOCK),
    "mamba": ('plugin = "mamba"\nnum_layers = 2\nhidden_size = 128\nmamba_head_dim = 32\nmamba_state_dim = 64\n' + VOCABULARY, MOCK),
    "nemotron_h": ('plugin = "nemotron_h"\n' + DECODER.replace("= 2\n", "= 4\n", 1) + VOCABULARY
                   + 'hybrid_override_pattern = "M*-M"\nmamba_head_dim = 32\nmamba_num_groups = 2\nmamba_state_dim = 64\n', MOCK),
    "t5": ('plugin = "t5"\n' + DECODER + "vocab_size = 512\n",
           'plugin = "span_corruption"\nfiles = ["{data}/tinyshakespeare.txt"]\nspecial_tokens = "added"\nencoder_seq_length = 128\n'),
}

RECIPE = """
[job]
task = "pretrain"
name = "{name}"
seed = 1234
[model]
{model}
{tokenizer}
[data]
{data}
seq_length = 128
micro_batch_size = 0
global_batch_size = 4
[strategy]
plugin = "single"
[precision]
plugin = "fp32"
[optim]
optimizer = "adamw"
lr = 1e-3
clip_grad_norm = 1.0
[optim.schedule]
type = "constant"
warmup_steps = 2
[trainer]
accelerator = "{accelerator}"
max_steps = {steps}
val_check_interval = 0
log_every_n_steps = 1
[log]
dir = "{folder}"
loggers = ["jsonl"]
[checkpoint]
keep_top_k = 0
save_last = false
"""


def losses(host: str, folder: str, family: str, accelerator: str, steps: int, overrides: list[str]) -> list[float]:
    name = f"{family}_{accelerator}"
    root = pathlib.Path(host).resolve().parent.parent
    data = next((d for d in (root / "share/nemo/data", pathlib.Path("host/data").resolve()) if d.exists()), root)
    model, source = FAMILIES[family]
    tokenizer = '[tokenizer]\ntype = "char"\n' if "files" in source else ""
    pathlib.Path(folder).mkdir(exist_ok=True)
    recipe = pathlib.Path(folder) / f"{name}.toml"
    recipe.write_text(RECIPE.format(name=name, model=model, tokenizer=tokenizer, data=source.replace("{data}", str(data)), accelerator=accelerator,
                                    steps=steps, folder=folder))
    result = subprocess.run([host, "pretrain", "--recipe", str(recipe), *overrides], capture_output=True, text=True)
    if result.returncode != 0:
        told = "; ".join(line for line in result.stderr.splitlines() if line.startswith("error"))
        raise RuntimeError(told[:400] or f"exit code {result.returncode}: {result.stderr[-300:]}")
    return [json.loads(line)["loss"] for line in (pathlib.Path(folder) / name / "metrics.jsonl").read_text().splitlines()]


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("host")
    parser.add_argument("--accelerators", default="cpu,gpu")
    parser.add_argument("--families", default=",".join(FAMILIES))
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--second", action="append", default=[])
    parser.add_argument("overrides", nargs="*")
    options = parser.parse_intermixed_args()
    first, second = options.accelerators.split(",")
    runs = [("1", first, options.overrides), ("2", second, [*options.overrides, *options.second])]
    print(f"{'family':14}{'steps':>6}{'first ' + first:>14}{'last ' + first:>14}{'last ' + second:>14}{'apart':>12}", flush=True)
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        for family in options.families.split(","):
            try:
                a, b = (losses(options.host, f"{folder}/{run}", family, accelerator, options.steps, overrides) for run, accelerator, overrides in runs)
            except RuntimeError as error:
                failed += 1
                print(f"{family:14}FAILED {error}", flush=True)
                continue
            apart = max(abs(x - y) / abs(x) for x, y in zip(a, b))
            missed = not apart <= BOUND or len(a) != len(b) or len(a) != options.steps
            failed += missed
            print(f"{family:14}{len(b):6}{a[0]:14.6f}{a[-1]:14.6f}{b[-1]:14.6f}{apart:12.2e}{'  MISSED' if missed else ''}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
