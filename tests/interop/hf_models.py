"""Models of transformers against nemo-host, both ways: hf_models.py NEMO_HOST [FAMILY ...]

For each family a few tiny models with random weights (hf_families.py) are made with transformers, saved, and checked by `nemo-host parity`
against outputs that transformers computes here: logits, loss, gradients, greedy tokens; export compared byte by byte. Then `nemo-host import`
and `export` make another folder, which transformers loads and computes the same logits from. A case that fails, by whatever error, is a row of
the table like any other; details follow below it. Exit status 1 where a case misses anything.
"""
import json
import os
import subprocess
import sys
import tempfile
import time
import traceback

import torch
import transformers as tf
from safetensors.torch import save_file

from hf_families import CASES, model_class, what_differs
from hf_outputs import batches_of, write_golden
from hf_renamed import RENAMED, like_baichuan

torch.set_num_threads(1)
# Columns and the checks of `nemo-host parity` that they sum up.
PARITY = {"logits": ("logits", "logits, padded"), "loss": ("loss", "loss, padded"), "gradients": ("gradients", "gradient norms", "global gradient norm"),
          "greedy": ("greedy tokens", "greedy, cached"), "tensors": ("export, tensors",), "config": ("export, config.json",)}
COLUMNS = ("import", *PARITY, "loads", "again")
LEGEND = """import, logits, loss, gradients, greedy: ours of the imported folder against transformers; tensors, config: the exported folder against the
imported one; loads, again: transformers loads the exported folder, and computes the same logits. -: the family has no such thing."""


def random_model(family, config, seed):
    torch.manual_seed(seed)
    from_config = getattr(model_class(family), "from_config", None) or model_class(family)._from_config
    model = from_config(config, attn_implementation="eager").float().eval()
    model.set_experts_implementation("eager")
    if family == "t5 1.1":  # transformers makes them tied, but reads and writes an output layer of its own
        model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().clone())
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.copy_(torch.randn_like(p) * (0.3 if p.dim() == 1 else 0.12) + (1.0 if p.dim() == 1 and p.mean() == 1 else 0.0))
        for name, b in model.named_buffers():
            if name.endswith("e_score_correction_bias"):  # of routers
                b.copy_(torch.randn_like(b) * 0.3)
    return model


def save(family, model, folder):
    if family not in RENAMED:
        return model.save_pretrained(folder)
    tensors, config = RENAMED[family](model.config, model.state_dict())
    save_file({n: t.contiguous() for n, t in tensors.items()}, f"{folder}/model.safetensors", metadata={"format": "pt"})
    with open(f"{folder}/config.json", "w") as f:
        json.dump(config, f)


def run(*command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120)
    return done.returncode, done.stdout


class Case:
    """One model's way through all checks; `cells` says ok, MISSED or - for each column, `details` why."""

    def __init__(self, host, family, config, work):
        self.host, self.family, self.config, self.work = host, family, config, work
        self.cells, self.details = {}, []

    def run(self):
        try:
            self.model = random_model(self.family, self.config[0](**self.config[1]), 17)
            self.folder = f"{self.work}/model"
            os.makedirs(self.folder)
            save(self.family, self.model, self.folder)
            if self.family.startswith("baichuan2"):
                like_baichuan(self.family, self.model)
            self.batches = batches_of(self.family, self.model, 23)
            self.expected = write_golden(self.model, self.family, self.batches, self.folder)
        except Exception:
            return self.details.append("transformers could not make the model:\n" + traceback.format_exc(limit=-4))
        for part in (self.parity, self.back):
            try:
                part()
            except Exception:
                self.details.append(traceback.format_exc(limit=-4))

    def parity(self):
        code, text = run(self.host, "parity", self.folder, "--work", self.work)
        rows = {line[2:28].strip(): line[28:38].strip() == "ok" for line in text.splitlines()[1:] if line.startswith("  ") and line[28:38].strip() in ("ok", "MISSED")}
        self.cells["import"] = rows.get("import", False)
        for column, checks in PARITY.items():
            known = [rows[c] for c in checks if c in rows]
            if known:
                self.cells[column] = all(known)
            elif column == "greedy" and not hasattr(self.batches, "continued"):
                self.cells[column] = None
        if code != 0 or not all(rows.values()):
            self.details.append(text)

    def back(self):
        if self.family in RENAMED:
            self.cells.update(loads=None, again=None)
        for command in (("import", "--from", self.folder, "--to", f"{self.work}/checkpoint"),
                        ("export", "--from", f"{self.work}/checkpoint", "--to", f"{self.work}/exported")):
            code, text = run(self.host, *command)
            if code != 0:
                return self.details.append(text)
        if self.family in RENAMED:
            return
        again = model_class(self.family).from_pretrained(f"{self.work}/exported", attn_implementation="eager", dtype=torch.float32).eval()
        again.set_experts_implementation("eager")
        self.cells["loads"] = True
        with torch.no_grad():
            self.cells["again"] = torch.equal(self.batches.logits(again), self.expected)

    def good(self):
        return all(self.cells.get(c, False) in (True, None) for c in COLUMNS) and not self.details

    def row(self):
        words = {True: "ok", False: "MISSED", None: "-"}
        return "".join(f"{words[self.cells.get(c, False)]:11}" for c in COLUMNS)


def main():
    host, families = sys.argv[1], sys.argv[2:] or list(CASES)
    tf.logging.set_verbosity_error()
    tf.logging.disable_progress_bar()
    start, missed, count = time.monotonic(), [], 0
    print(f"transformers {tf.__version__}, torch {torch.__version__}\n{LEGEND}\n{'':14}" + "".join(f"{c:11}" for c in COLUMNS))
    for family in families:
        for config in CASES[family]:
            with tempfile.TemporaryDirectory() as work:
                case = Case(host, family, config, work)
                case.run()
            print(f"{family:14}{case.row()}{what_differs(config[1]) or ''}", flush=True)
            count += 1
            if not case.good():
                missed.append(case)
    for case in missed:
        print(f"\n{case.family} {what_differs(case.config[1])}\n    " + "\n".join(case.details).replace("\n", "\n    "))
    print(f"{count - len(missed)} of {count} models agree, {time.monotonic() - start:.0f} s")
    return len(missed) != 0


if __name__ == "__main__":
    sys.exit(main())
