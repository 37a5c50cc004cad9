"""What a checkpoint written beside the training costs it: steps with a save in flight against steps without, as a table.

    python3 tests/bench/save_stall.py build/bin/nemo-host [--recipe quickstart] [--every 6] [section.key=value ...]

One run of 2 x every - 1 steps with a save behind step `every`, once with checkpoint.async and once without. "before": median of the steps in front of
the save; "copy": the step behind it, beside which the state is copied, with the time that the loop stood still for the save; "write": median of the
later ones, beside which it is written.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("host")
    parser.add_argument("--recipe", default="quickstart")
    parser.add_argument("--every", type=int, default=6)
    parser.add_argument("overrides", nargs="*")
    options = parser.parse_intermixed_args()
    steps = 2 * options.every - 1
    print(f"{'async':8}{'before':>10}{'copy':>10}{'of before':>10}{'write':>10}{'of before':>10}   ms a step")
    for beside in ("true", "false"):
        with tempfile.TemporaryDirectory() as folder:
            command = [options.host, "pretrain", "--recipe", options.recipe, "job.name=run", f"log.dir={folder}", f"trainer.max_steps={steps}",
                       "trainer.val_check_interval=0", 'log.loggers=["jsonl"]', "trainer.log_every_n_steps=1", "checkpoint.monitor=loss",
                       "checkpoint.keep_top_k=1", f"checkpoint.every_n_steps={options.every}", f"checkpoint.async={beside}", *options.overrides]
            result = subprocess.run(command, capture_output=True, text=True)
            if result.returncode != 0:
                print(f"exit code {result.returncode}: {result.stderr[-600:]}")
                return 1
            rows = [json.loads(line) for line in (pathlib.Path(folder) / "run" / "metrics.jsonl").read_text().splitlines()]
        ms = [row["step_ms"] for row in rows]
        before = statistics.median(ms[2 : options.every])
        copy, write = ms[options.every] + rows[options.every]["save_ms"], statistics.median(ms[options.every + 1 :])
        print(f"{beside:8}{before:10.1f}{copy:10.1f}{copy / before:10.3f}{write:10.1f}{write / before:10.3f}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
