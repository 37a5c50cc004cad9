"""Two devices against one: loss and speed of one recipe under several layouts, as a table.

    python3 tests/bench/two_devices.py build/bin/nemo-host [--devices 2] [--layouts ddp,fsdp] [section.key=value ...]

A layout may have settings of its own: --layouts 'fsdp,fsdp:backend.collective_sms=16;strategy.prefetch=2'.

Every layout computes the same global batch. "loss" is the largest relative difference of any step's loss from one device's; "per device" is the median
over the last steps.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile

MEGATRON = "strategy.plugin=megatron"
LAYOUTS = {
    "ddp": ["strategy.plugin=ddp"],
    "zero1": ["strategy.plugin=zero1"],
    "fsdp": ["strategy.plugin=fsdp"],
    "tp+sp": [MEGATRON, "strategy.tensor_model_parallel_size={n}"],
    "cp": [MEGATRON, "strategy.context_parallel_size={n}"],
    "pp": [MEGATRON, "strategy.pipeline_model_parallel_size={n}"],
}
SHORT = ["trainer.val_check_interval=0", "checkpoint.keep_top_k=0", "checkpoint.save_last=false", 'log.loggers=["jsonl"]', "trainer.log_every_n_steps=1"]


def train(host: str, folder: str, name: str, overrides: list[str]) -> list[dict]:
    command = [host, "pretrain", "--recipe", "llama32_1b", f"job.name={name}", f"log.dir={folder}", *SHORT, *overrides]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode != 0:
        raise RuntimeError("; ".join(line for line in result.stderr.splitlines() if line.startswith("error"))[:600] or f"exit code {result.returncode}: {result.stderr[-300:]}")
    return [json.loads(line) for line in (pathlib.Path(folder) / name / "metrics.jsonl").read_text().splitlines()]


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("host")
    parser.add_argument("--devices", type=int, default=2)
    parser.add_argument("--layouts", default=",".join(LAYOUTS))
    parser.add_argument("overrides", nargs="*")
    options = parser.parse_intermixed_args()
    common = ["trainer.max_steps=8", "data.seq_length=4096", "data.micro_batch_size=1", "data.global_batch_size=16", "optim.schedule.warmup_steps=1",
              *options.overrides]
    speed = lambda steps, ranks: statistics.median(s["tokens_per_s"] for s in steps[-4:]) / ranks
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        one = train(options.host, folder, "one", common)
        base = speed(one, 1)
        print(f"{'layout':12}{'loss':>12}{'tokens/s':>12}{'per device':>12}{'of one':>8}", flush=True)
        print(f"{'one device':12}{'':>12}{base:12.0f}{base:12.0f}{1:8.3f}", flush=True)
        for number, name in enumerate(options.layouts.split(",")):
            kind, _, own = name.partition(":")
            layout = [setting.format(n=options.devices) for setting in LAYOUTS[kind]] + [setting for setting in own.split(";") if setting]
            try:
                steps = train(options.host, folder, f"{kind}{number}", [*common, *layout, f"trainer.devices={options.devices}"])
            except RuntimeError as error:
                failed += 1
                print(f"{name:12}{error}", flush=True)
                continue
            apart = max(abs(a["loss"] - b["loss"]) / abs(a["loss"]) for a, b in zip(one, steps))
            rate = speed(steps, options.devices)
            print(f"{name:12}{apart:12.2e}{rate * options.devices:12.0f}{rate:12.0f}{rate / base:8.3f}", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())
