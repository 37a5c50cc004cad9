"""What the other ranks of a run do when one is killed (kill -9): how long they go on, what they say, whether anything stays behind.

    python3 tests/bench/kill_rank.py build/bin/nemo-host [--recipe llama32_1b] [--devices 2] [--layouts fsdp,tp2+sp] [--ranks 1,0] [section.key=value ...]

Layouts are those of layouts.py. Each run trains until it has logged --after steps. Exit code: how many runs took longer than --limit seconds to
end, ended well, did not name the rank, or left processes.
"""

import argparse
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from layouts import SHORT, settings_of, split


def descendants(pid: int) -> list[int]:
    try:
        children = [int(child) for child in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
    return [each for child in children for each in [child, *descendants(child)]]


def rank_of(pid: int) -> str:
    try:
        words = pathlib.Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return ""
    return next((word[5:].decode() for word in words if word.startswith(b"RANK=")), "")


def steps_of(folder: str) -> int:
    try:
        return len((pathlib.Path(folder) / "killed" / "metrics.jsonl").read_text().splitlines())
    except OSError:
        return 0


def run(command: list[str], folder: str, rank: str, after: int, limit: float) -> bool:
    with open(f"{folder}/words", "w+") as words, subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=words) as process:
        started = time.monotonic()
        while steps_of(folder) < after and process.poll() is None and time.monotonic() - started < 120:
            time.sleep(0.05)
        ranks = {rank_of(pid): pid for pid in descendants(process.pid)}
        steps = steps_of(folder)
        if process.poll() is not None or steps < after or rank not in ranks:
            print(f"  no run to kill: {steps} steps, ranks {sorted(ranks)}, exit code {process.poll()}", flush=True)
            process.terminate()
            process.wait()
            print("  " + pathlib.Path(words.name).read_text()[-1500:].replace("\n", "\n  "), flush=True)
            return False
        os.kill(ranks[rank], signal.SIGKILL)
        killed = time.monotonic()
        try:
            code = process.wait(timeout=limit + 20)
        except subprocess.TimeoutExpired:
            code = None
        took = time.monotonic() - killed
        left = [r for r, pid in ranks.items() if r and rank_of(pid) == r]
        for r in left:
            os.kill(ranks[r], signal.SIGKILL)
        process.kill()
    errors = [line for line in pathlib.Path(f"{folder}/words").read_text().splitlines() if line.startswith("error")]
    good = code not in (None, 0) and took <= limit and not left and bool(errors) and f"rank {rank}" in errors[0]
    print(f"  {'as it must be' if good else 'MISSED'}: killed after {steps} steps, all ended {took:.1f} s later, exit code {code}, left over: {left or 'none'}", flush=True)
    for line in errors:
        print(f"    {line}", flush=True)
    return good


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("host")
    parser.add_argument("--recipe", default="llama32_1b")
    parser.add_argument("--devices", type=int, default=2)
    parser.add_argument("--accelerator", default="gpu")
    parser.add_argument("--layouts", default="fsdp,tp2+sp")
    parser.add_argument("--ranks", default="1,0")
    parser.add_argument("--after", type=int, default=5)
    parser.add_argument("--limit", type=float, default=10)
    parser.add_argument("overrides", nargs="*")
    options = parser.parse_intermixed_args()
    missed = 0
    for layout in split(options.layouts):
        for rank in options.ranks.split(","):
            print(f"{layout}, rank {rank} is killed:", flush=True)
            with tempfile.TemporaryDirectory() as folder:
                command = [options.host, "pretrain", "--recipe", options.recipe, "job.name=killed", f"log.dir={folder}", *SHORT, "trainer.max_steps=100000",
                           f"trainer.accelerator={options.accelerator}", f"trainer.devices={options.devices}", *options.overrides, *settings_of(layout, options.devices)]
                missed += not run(command, folder, rank, options.after, options.limit)
    return missed


if __name__ == "__main__":
    sys.exit(main())
