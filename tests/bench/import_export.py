"""Import and export against cp of the bytes that they write: import_export.py NEMO_HOST FOLDER [GIB] [CASE ...]

Makes in FOLDER (an empty one, on the disk to be measured) a Hugging Face folder with random weights in shards of 512 MB, 2 GiB of it unless
GIB says otherwise, imports and exports it, and copies with `cp -r` what each of them wrote. Cases: `same` (Llama's shapes, bf16: tensors go
as they are), `cast` (the same in f32, exported as bf16: twice as much is read as cp reads), `turned` (GPT-2's shapes, bf16: matrices are
transposed and q, k, v are cut out of one).
Wall time is to the end of `sync`, as what is written must reach the disk, for cp too. Warm: what is read lies in the page cache; cold: it was
dropped from there by posix_fadvise. Each is done ROUNDS times, in turn, and the fastest counts. Peak memory is the process's own maximum
resident set, which includes the pages of files that it maps. Needs Python alone.
"""
import json
import os
import shutil
import struct
import subprocess
import sys
import time

HIDDEN, FFN, HEADS, KV_HEADS, VOCAB, POSITIONS, SHARD, ROUNDS = 2048, 8192, 32, 8, 64000, 4096, 512 << 20, 4
KV = HIDDEN // HEADS * KV_HEADS


def llama_shapes(layers):
    yield "model.embed_tokens.weight", (VOCAB, HIDDEN)
    for i in range(layers):
        for name, shape in (("input_layernorm", (HIDDEN,)), ("self_attn.q_proj", (HIDDEN, HIDDEN)), ("self_attn.k_proj", (KV, HIDDEN)),
                            ("self_attn.v_proj", (KV, HIDDEN)), ("self_attn.o_proj", (HIDDEN, HIDDEN)), ("post_attention_layernorm", (HIDDEN,)),
                            ("mlp.gate_proj", (FFN, HIDDEN)), ("mlp.up_proj", (FFN, HIDDEN)), ("mlp.down_proj", (HIDDEN, FFN))):
            yield f"model.layers.{i}.{name}.weight", shape
    yield "model.norm.weight", (HIDDEN,)
    yield "lm_head.weight", (VOCAB, HIDDEN)


def gpt2_shapes(layers):
    yield "transformer.wte.weight", (VOCAB, HIDDEN)
    yield "transformer.wpe.weight", (POSITIONS, HIDDEN)
    for i in range(layers):
        for name, rows, columns in (("attn.c_attn", HIDDEN, 3 * HIDDEN), ("attn.c_proj", HIDDEN, HIDDEN), ("mlp.c_fc", HIDDEN, FFN),
                                    ("mlp.c_proj", FFN, HIDDEN)):
            yield f"transformer.h.{i}.{name}.weight", (rows, columns)
            yield f"transformer.h.{i}.{name}.bias", (columns,)
        for name in ("ln_1", "ln_2"):
            yield f"transformer.h.{i}.{name}.weight", (HIDDEN,)
            yield f"transformer.h.{i}.{name}.bias", (HIDDEN,)
    yield "transformer.ln_f.weight", (HIDDEN,)
    yield "transformer.ln_f.bias", (HIDDEN,)


def llama_config(layers):
    return dict(architectures=["LlamaForCausalLM"], model_type="llama", hidden_size=HIDDEN, intermediate_size=FFN, num_hidden_layers=layers,
                num_attention_heads=HEADS, num_key_value_heads=KV_HEADS, vocab_size=VOCAB, max_position_embeddings=POSITIONS,
                rms_norm_eps=1e-5, rope_theta=10000.0, hidden_act="silu", tie_word_embeddings=False)


def gpt2_config(layers):
    return dict(architectures=["GPT2LMHeadModel"], model_type="gpt2", n_embd=HIDDEN, n_inner=FFN, n_layer=layers, n_head=HEADS,
                n_positions=POSITIONS, vocab_size=VOCAB, activation_function="gelu_new", layer_norm_epsilon=1e-5)


# Shapes, config.json, dtype in the file, its bytes, further words of export.
CASES = {"same": (llama_shapes, llama_config, "BF16", 2, []),
         "cast": (llama_shapes, llama_config, "F32", 4, ["--dtype", "bf16"]),
         "turned": (gpt2_shapes, gpt2_config, "BF16", 2, [])}


def size(shape, element):
    return element * shape[0] * (shape[1] if len(shape) == 2 else 1)


def write_shard(path, tensors, dtype, element):
    header, at = {}, 0
    for name, shape in tensors:
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [at, at + size(shape, element)]}
        at += size(shape, element)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    block = bytearray(os.urandom(8 << 20))
    block[element - 1::element] = bytes(b & 0xBF | 0x20 for b in block[element - 1::element])  # no infinities, no NaNs
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        while at > 0:
            f.write(memoryview(block)[:min(at, len(block))])
            at -= len(block)


def make_model(folder, gib, case):
    shapes, config, dtype, element, _ = CASES[case]
    total = lambda layers: sum(size(s, element) for _, s in shapes(layers))
    layers = max(1, round((gib * (1 << 30) - total(0)) / (total(1) - total(0))))
    os.makedirs(folder)
    shards = [[]]
    for name, shape in shapes(layers):
        if shards[-1] and sum(size(s, element) for _, s in shards[-1]) + size(shape, element) > SHARD:
            shards.append([])
        shards[-1].append((name, shape))
    index = {"metadata": {"total_size": total(layers)}, "weight_map": {}}
    for k, tensors in enumerate(shards):
        file = f"model-{k + 1:05}-of-{len(shards):05}.safetensors"
        write_shard(f"{folder}/{file}", tensors, dtype, element)
        index["weight_map"].update({name: file for name, _ in tensors})
    words = dict(config(layers), torch_dtype={"BF16": "bfloat16", "F32": "float32"}[dtype])
    for name, value in (("config.json", words), ("model.safetensors.index.json", index)):
        with open(f"{folder}/{name}", "w") as f:
            json.dump(value, f)
    return max(size(s, element) for _, s in shapes(layers))


def files(folder):
    return [os.path.join(at, name) for at, _, names in os.walk(folder) for name in names]


def bytes_of(folder):
    return sum(os.path.getsize(f) for f in files(folder))


def set_cache(folder, warm):
    for path in files(folder):
        with open(path, "rb", buffering=0) as f:
            if not warm:
                os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            while warm and f.read(8 << 20):
                pass


def timed(source, target, command, warm):
    """Seconds until all is on the disk, CPU seconds and peak MiB of one command; it writes `target` anew."""
    shutil.rmtree(target, ignore_errors=True)
    os.sync()
    set_cache(source, warm)
    start = time.monotonic()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    os.sync()
    if status != 0:
        raise SystemExit(f"failed: {' '.join(command)}")
    return time.monotonic() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def measure(host, work, gib, case):
    largest = make_model(f"{work}/model", gib, case)
    model, checkpoint, exported, copy = (f"{work}/{n}" for n in ("model", "checkpoint", "exported", "copy"))
    rows = {"import": (model, checkpoint, [host, "import", "--from", model, "--to", checkpoint]),
            "cp of checkpoint": (checkpoint, copy, ["cp", "-r", checkpoint, copy]),
            "export": (checkpoint, exported, [host, "export", "--from", checkpoint, "--to", exported] + CASES[case][4]),
            "cp of exported": (exported, copy, ["cp", "-r", exported, copy])}
    print(f"{case}: model {bytes_of(model) / 1e9:.2f} GB, largest tensor {largest >> 20} MiB, load average {os.getloadavg()[0]:.2f}")
    print(f"{'':6}{'':17}{'s':>8}{'MB/s':>8}{'of cp':>8}{'CPU s':>8}{'peak MiB':>10}", flush=True)
    for warm in (True, False):
        best, wrote = {}, {}
        for _ in range(ROUNDS):
            for name, (source, target, command) in rows.items():
                result = timed(source, target, command, warm)
                best[name] = min(best.get(name, result), result)
                wrote[name] = bytes_of(target)
        for name, (seconds, cpu, peak) in best.items():
            peer = best["cp of checkpoint" if name in ("import", "cp of checkpoint") else "cp of exported"][0]
            print(f"{'warm' if warm else 'cold':6}{name:17}{seconds:8.2f}{wrote[name] / seconds / 1e6:8.0f}{peer / seconds:8.2f}{cpu:8.2f}{peak:10.0f}",
                  flush=True)
    for folder in (model, checkpoint, exported, copy):
        shutil.rmtree(folder)


def main():
    host, work, gib = sys.argv[1], sys.argv[2], float(sys.argv[3]) if len(sys.argv) > 3 else 2.0
    if os.path.exists(work) and os.listdir(work):
        raise SystemExit(f"{work} is not empty; name another folder")
    for case in sys.argv[4:] or CASES:
        measure(host, work, gib, case)


if __name__ == "__main__":
    main()
