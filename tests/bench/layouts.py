"""Many devices against few: loss and speed of one recipe under several layouts, as a table.

    python3 tests/bench/layouts.py build/bin/nemo-host [--recipe llama32_1b] [--devices 2] [--layouts ddp,fsdp] [section.key=value ...]
    python3 tests/bench/layouts.py build/bin/nemo-host --recipe llama3_8b --devices 8 --few 2 --few-layout fsdp --layouts zero1,fsdp,cp2,tp2+sp

A layout is a strategy, or axes of megatron with their sizes joined by "x" (tp2+spxpp2; without a size: all devices), data parallel over the rest. It
may have settings of its own: --layouts 'fsdp,fsdp:backend.collective_sms=16;strategy.prefetch=2'. --accelerator cpu runs on ranks of the CPU.

Every layout computes the same global batch. "loss" is the largest relative difference of any step's loss from the first row's, which runs on --few
devices; "per device" is the median over the last steps, "of few" its ratio to the first row's. "planned" and "off" are what `nemo-host plan` says of tokens/s per device and by how much it is wrong. "GiB planned" and "GiB
measured" are each rank's memory by that plan and as nvidia-smi counts it at its peak, over what was in use before; "off" the worst rank's.
"""

import argparse
import json
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import threading

AXES = {"tp": "tensor_model", "pp": "pipeline_model", "cp": "context", "ep": "expert_model"}
SHORT = ["trainer.val_check_interval=0", "checkpoint.keep_top_k=0", "checkpoint.save_last=false", 'log.loggers=["jsonl"]', "trainer.log_every_n_steps=1"]


def split(layouts: str) -> list[str]:
    """At commas outside of brackets."""
    return re.findall(r"(?:\[[^\]]*\]|[^,\[])+", layouts)


def settings_of(layout: str, devices: int) -> list[str]:
    """The recipe's settings for "zero1", "cp2", "tp2+spxpp2", "fsdp:section.key=value;..." on so many devices."""
    kind, _, own = layout.partition(":")
    settings = [setting for setting in own.split(";") if setting]
    if not re.fullmatch(r"((tp|pp|cp|ep)\d*(\+sp)?x?)+", kind):
        return [f"strategy.plugin={kind}", *settings]
    axes = ["strategy.plugin=megatron", f"strategy.sequence_parallel={str('+sp' in kind).lower()}"]
    for axis, size in re.findall(r"(tp|pp|cp|ep)(\d*)", kind):
        axes.append(f"strategy.{AXES[axis]}_parallel_size={size or devices}")
    return [*axes, *settings]


def train(host: str, recipe: str, folder: str, name: str, overrides: list[str]) -> list[dict]:
    command = [host, "pretrain", "--recipe", recipe, f"job.name={name}", f"log.dir={folder}", *SHORT, *overrides]
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


def plan(host: str, recipe: str, hardware: str, devices: int, overrides: list[str]) -> tuple[float, list[float]]:
    """Tokens/s per device, and GiB of each rank."""
    command = [host, "plan", "--recipe", recipe, "--hardware", hardware, "--json", *overrides, f"trainer.devices={devices}"]
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


def beside_plan(host: str, recipe: str, hardware: str, devices: int, overrides: list[str], rate: float, measured: list[float]) -> str:
    try:
        planned, memory = plan(host, recipe, hardware, devices, overrides)
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
    parser.add_argument("--recipe", default="llama32_1b")
    parser.add_argument("--devices", type=int, default=2)
    parser.add_argument("--few", type=int, default=1, help="devices of the first row")
    parser.add_argument("--few-layout", default="single")
    parser.add_argument("--accelerator", default="gpu")
    parser.add_argument("--hardware", default="h100")
    parser.add_argument("--layouts", default="ddp,zero1,fsdp,tp+sp,cp,pp")
    parser.add_argument("overrides", nargs="*")
    options = parser.parse_intermixed_args()
    common = ["trainer.max_steps=8", "data.seq_length=4096", "data.micro_batch_size=1", "data.global_batch_size=16", "optim.schedule.warmup_steps=1",
              f"trainer.accelerator={options.accelerator}", *options.overrides]
    failed, first, base = 0, None, 0.0
    print(f"{'layout':12}{'loss':>12}{'tokens/s':>12}{'per device':>12}{'of few':>8}{'planned':>12}{'off':>9}{'GiB planned':>16}{'GiB measured':>16}{'off':>9}", flush=True)
    rows = [(options.few, options.few_layout)] + [(options.devices, layout) for layout in split(options.layouts)]
    with tempfile.TemporaryDirectory() as folder:
        for number, (devices, layout) in enumerate(rows):
            settings = [*common, *settings_of(layout, devices), f"trainer.devices={devices}"]
            try:
                with Watch() as watch:
                    steps = train(options.host, options.recipe, folder, f"row{number}", settings)
            except RuntimeError as error:
                failed += 1
                print(f"{layout:12}{error}", flush=True)
                if first is None:
                    break
                continue
            rate = statistics.median(s["tokens_per_s"] for s in steps[-4:]) / devices
            first, base = first or steps, base or rate
            apart = max(abs(a["loss"] - b["loss"]) / abs(a["loss"]) for a, b in zip(first, steps))
            beside = "" if options.accelerator == "cpu" else beside_plan(options.host, options.recipe, options.hardware, devices, settings, rate, watch.gib())
            name = f"{layout} on {devices}" if number == 0 else layout
            print(f"{name:12}{apart:12.2e}{rate * devices:12.0f}{rate:12.0f}{rate / base:8.3f}{beside}", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())
