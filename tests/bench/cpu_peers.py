#!/usr/bin/env python3
"""The peers' rows beside tests/bench/cpu_train.cpp: GPT-2 124M, float32, whole training steps on the CPU, in PyTorch (eager and compiled) and in
llm.c's train_gpt2.c. Both are built or installed outside the repository.

usage: cpu_peers.py [--steps N] [--shapes 4x64,1x1024] [--modes eager,compile] [--llmc FOLDER]

PyTorch is that of the Python which runs this program. FOLDER is a checkout of github.com/karpathy/llm.c; train_gpt2.c is compiled in a temporary
folder with its Makefile's flags and OpenMP, and reads random weights and tokens in its own file formats. Each row is the median of N steps after two
(compiled: after the compilation) that are not timed; a step is forward, backward, clipping (PyTorch only: llm.c has none) and AdamW.
"""
import argparse
import os
import re
import statistics
import struct
import subprocess
import sys
import tempfile
import time

LAYERS, HEADS, WIDTH, POSITIONS, VOCAB, PADDED_VOCAB = 12, 12, 768, 1024, 50257, 50304


def torch_model():
    import torch
    from torch import nn
    from torch.nn import functional

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm_1, self.norm_2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
            self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
            self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

        def forward(self, x):
            batch, seq, _ = x.shape
            q, k, v = (t.view(batch, seq, HEADS, -1).transpose(1, 2) for t in self.qkv(self.norm_1(x)).split(WIDTH, dim=-1))
            mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.out(mixed.transpose(1, 2).reshape(batch, seq, WIDTH))
            return x + self.down(functional.gelu(self.up(self.norm_2(x)), approximate="tanh"))

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.tokens, self.positions = nn.Embedding(PADDED_VOCAB, WIDTH), nn.Embedding(POSITIONS, WIDTH)
            self.blocks, self.norm = nn.ModuleList(Block() for _ in range(LAYERS)), nn.LayerNorm(WIDTH)

        def forward(self, ids, targets):
            x = self.tokens(ids) + self.positions.weight[: ids.shape[1]]
            for block in self.blocks:
                x = block(x)
            logits = functional.linear(self.norm(x), self.tokens.weight)
            return functional.cross_entropy(logits.flatten(0, 1), targets.flatten())

    torch.manual_seed(1)
    return Model()


def torch_row(batch, seq, mode, steps):
    import torch

    model = torch_model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    step_model = torch.compile(model) if mode == "compile" else model
    ids = torch.randint(VOCAB, (batch, seq + 1))
    times = []
    for _ in range(steps + 2):
        start = time.perf_counter()
        loss = step_model(ids[:, :-1], ids[:, 1:])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        times.append(time.perf_counter() - start)
    return batch * seq / statistics.median(times[2:])


def llmc_files(folder):
    """A checkpoint (version 3: header of 256 int32, then the float32 parameters in order) and token files of random values."""
    import numpy

    random = numpy.random.default_rng(1)
    shapes = [PADDED_VOCAB * WIDTH, POSITIONS * WIDTH]
    per_layer = [WIDTH, WIDTH, 3 * WIDTH * WIDTH, 3 * WIDTH, WIDTH * WIDTH, WIDTH, WIDTH, WIDTH, 4 * WIDTH * WIDTH, 4 * WIDTH, 4 * WIDTH * WIDTH, WIDTH]
    with open(os.path.join(folder, "gpt2_124M.bin"), "wb") as out:
        header = [20240326, 3, POSITIONS, VOCAB, LAYERS, HEADS, WIDTH, PADDED_VOCAB]
        out.write(struct.pack("<256i", *header, *[0] * (256 - len(header))))
        for size in shapes + [size * LAYERS for size in per_layer] + [WIDTH, WIDTH]:
            out.write((0.02 * random.standard_normal(size)).astype("<f4").tobytes())
    data = os.path.join(folder, "dev/data/tinyshakespeare")
    os.makedirs(data)
    for name in ("train", "val"):
        tokens = random.integers(0, VOCAB, 1 << 17).astype("<u2")
        with open(os.path.join(data, f"tiny_shakespeare_{name}.bin"), "wb") as out:
            out.write(struct.pack("<256i", 20240520, 1, tokens.size, *[0] * 253) + tokens.tobytes())


def llmc_row(source, batch, seq, steps):
    with tempfile.TemporaryDirectory() as folder:
        llmc_files(folder)
        with open(os.path.join(source, "train_gpt2.c")) as file:
            text = file.read()
        text = re.sub(r"int B = 4;", f"int B = {batch};", text)
        text = re.sub(r"int T = 64;", f"int T = {seq};", text)
        text = re.sub(r"int val_num_batches = 5;", "int val_num_batches = 0;", text)
        text = re.sub(r"step <= 40", f"step < {steps + 2}", text)
        text = re.sub(r"step % 20 == 0", "0", text)
        program = os.path.join(folder, "train_gpt2")
        with open(program + ".c", "w") as file:
            file.write(text)
        subprocess.run(["gcc", "-Ofast", "-march=native", "-fopenmp", "-DOMP", "-w", "-I", source, program + ".c", "-o", program, "-lm"], check=True)
        out = subprocess.run([program], cwd=folder, check=True, capture_output=True, text=True).stdout
    times = [float(t) / 1e3 for t in re.findall(r"took ([0-9.]+) ms", out)]
    return batch * seq / statistics.median(times[2:])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--shapes", default="4x64,1x1024")
    parser.add_argument("--modes", default="eager,compile", help="of PyTorch; empty: none")
    parser.add_argument("--llmc", help="a checkout of llm.c; without it that row is left out")
    args = parser.parse_args()
    print("peer                     batch x seq   tokens/s", flush=True)
    for shape in args.shapes.split(","):
        batch, seq = map(int, shape.split("x"))
        for mode in filter(None, args.modes.split(",")):
            import torch

            print(f"PyTorch {torch.__version__:12} {mode:8} {shape:>7} {torch_row(batch, seq, mode, args.steps):10.1f}", flush=True)
        if args.llmc:
            print(f"llm.c train_gpt2.c            {shape:>7} {llmc_row(args.llmc, batch, seq, args.steps):10.1f}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
