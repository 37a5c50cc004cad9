"""Two devices against one: loss and speed of one recipe under several layouts, as a table.

    python3 tests/bench/two_devices.py build/bin/nemo-host [--devices 2] [--layouts ddp,fsdp] [section.key=value ...]

A layout may have settings of its own: --layouts 'fsdp,fsdp:backend.collective_sms=16;strategy.prefetch=2'.

Every layout computes the same global batch. "loss" is the largest relative difference of any step's loss from one device's; "per device" is the median
over the last steps. "planned" and "off" are what `nemo-host plan` says of tokens/s per device and by how much it is wrong. "GiB planned" and "GiB
measured" are each rank's memory by that plan and as nvidia-smi counts it at its peak, over what was in use before; "off" the worst rank's.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import threading

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


class Watch:
    """The most memory that each device had in use, in GiB, over what it had at the start. Without nvidia-smi: nothing."""

    def __init__(self) -> None:
        self.before = self.used()
        self.most = list(self.before)
        self.done = threading.Event()
        self.thread = threading.Thread(target=self.look)

    @staticmethod
    def used() -> list[float]:
        try:
            out = subprocess.run(["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"], capture_output=True, text=True, check=True)
            return [float(line) / 1024 for line in out.stdout.split()]
        except (OSError, subprocess.CalledProcessError):
            return []

    def look(self) -> None:
        while not self.done.wait(0.3):
            self.most = [max(pair) for pair in zip(self.most, self.used())]

    def __enter__(self) -> "Watch":
        self.thread.start()
        return self

    def __exit__(self, *_) -> None:
        self.done.set()
        self.thread.join()

    def gib(self) -> list[float]:
        return [most - before for most, before in zip(self.most, self.before)]


def plan(host: str, hardware: str, devices: int, overrides: list[str]) -> tuple[float, list[float]]:
    """Tokens/s per device, and GiB of each rank."""
    command = [host, "plan", "--recipe", "llama32_1b", "--hardware", hardware, "--json", *overrides, f"trainer.devices={devices}"]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode != 0:
        raise RuntimeError(result.stderr[-300:])
    said = json.loads(result.stdout)
    per_stage = devices // said["pipeline_ranks"]
    memory = [0.0] * devices
    for role in said["roles"]:
        for stage in range(role["first_rank"], role["last_rank"] + 1):
            for rank in range(stage * per_stage, (stage + 1) * per_stage):
                memory[rank] = role["total"] / 2**30
    return said["tokens_per_second_per_device"], memory


def beside_plan(host: str, hardware: str, devices: int, overrides: list[str], rate: float, measured: list[float]) -> str:
    try:
        planned, memory = plan(host, hardware, devices, overrides)
    except (RuntimeError, OSError, ValueError) as error:
        return f"  no plan: {error}"
    join = lambda numbers: "/".join(f"{n:.2f}" for n in numbers)
    text = f"{planned:12.0f}{100 * (planned / rate - 1):8.1f}%{join(memory):>16}"
    if measured[:devices] and min(measured[:devices]) > 0:
        text += f"{join(measured[:devices]):>16}{max((100 * (p / m - 1) for p, m in zip(memory, measured)), key=abs):8.1f}%"
    return text


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("host")
    parser.add_argument("--devices", type=int, default=2)
    parser.add_argument("--hardware", default="h100")
    parser.add_argument("--layouts", default=",".join(LAYOUTS))
    parser.add_argument("overrides", nargs="*")
    options = parser.parse_intermixed_args()
    common = ["trainer.max_steps=8", "data.seq_length=4096", "data.micro_batch_size=1", "data.global_batch_size=16", "optim.schedule.warmup_steps=1",
              *options.overrides]
    speed = lambda steps, ranks: statistics.median(s["tokens_per_s"] for s in steps[-4:]) / ranks
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        with Watch() as watch:
            one = train(options.host, folder, "one", common)
        base = speed(one, 1)
        said = lambda devices, overrides, rate: beside_plan(options.host, options.hardware, devices, overrides, rate, watch.gib())
        print(f"{'layout':12}{'loss':>12}{'tokens/s':>12}{'per device':>12}{'of one':>8}{'planned':>12}{'off':>9}{'GiB planned':>16}{'GiB measured':>16}{'off':>9}", flush=True)
        print(f"{'one device':12}{'':>12}{base:12.0f}{base:12.0f}{1:8.3f}{said(1, [*common, 'strategy.plugin=single'], base)}", flush=True)
        for number, name in enumerate(options.layouts.split(",")):
            kind, _, own = name.partition(":")
            layout = [setting.format(n=options.devices) for setting in LAYOUTS[kind]] + [setting for setting in own.split(";") if setting]
            try:
                with Watch() as watch:
                    steps = train(options.host, folder, f"{kind}{number}", [*common, *layout, f"trainer.devices={options.devices}"])
            except RuntimeError as error:
                failed += 1
                print(f"{name:12}{error}", flush=True)
                continue
            apart = max(abs(a["loss"] - b["loss"]) / abs(a["loss"]) for a, b in zip(one, steps))
            rate = speed(steps, options.devices)
            print(f"{name:12}{apart:12.2e}{rate * options.devices:12.0f}{rate:12.0f}{rate / base:8.3f}{said(options.devices, [*common, *layout], rate)}", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())
