"""Import and export against cp of the same bytes: import_export.py NEMO_HOST FOLDER [GIB]

Makes in FOLDER (an empty one, on the disk to be measured) a Hugging Face folder of a Llama-shaped model with random bf16 weights in shards of
512 MB, 2 GiB of it unless GIB says otherwise, and times `cp -r`, `import` and `export` of it. Wall time is to the end of `sync`, as what is
written must reach the disk; the page cache is warm (the folder was just written). Each is done twice, in turn, and the faster one counts.
Peak memory is the process's own maximum resident set, which includes the pages of files that it maps. Needs Python alone.
"""
import json
import os
import shutil
import struct
import subprocess
import sys
import time

HIDDEN, FFN, HEADS, KV_HEADS, VOCAB, SHARD = 2048, 8192, 32, 8, 64000, 512 << 20
KV = HIDDEN // HEADS * KV_HEADS


def shapes(layers):
    yield "model.embed_tokens.weight", (VOCAB, HIDDEN)
    for i in range(layers):
        for name, shape in (("input_layernorm", (HIDDEN,)), ("self_attn.q_proj", (HIDDEN, HIDDEN)), ("self_attn.k_proj", (KV, HIDDEN)),
                            ("self_attn.v_proj", (KV, HIDDEN)), ("self_attn.o_proj", (HIDDEN, HIDDEN)), ("post_attention_layernorm", (HIDDEN,)),
                            ("mlp.gate_proj", (FFN, HIDDEN)), ("mlp.up_proj", (FFN, HIDDEN)), ("mlp.down_proj", (HIDDEN, FFN))):
            yield f"model.layers.{i}.{name}.weight", shape
    yield "model.norm.weight", (HIDDEN,)
    yield "lm_head.weight", (VOCAB, HIDDEN)


def size(shape):
    return 2 * shape[0] * (shape[1] if len(shape) == 2 else 1)


def write_shard(path, tensors):
    header, at = {}, 0
    for name, shape in tensors:
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [at, at + size(shape)]}
        at += size(shape)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    block = bytearray(os.urandom(8 << 20))
    block[1::2] = bytes(b & 0xBF | 0x20 for b in block[1::2])  # no infinities, no NaNs
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        while at > 0:
            f.write(memoryview(block)[:min(at, len(block))])
            at -= len(block)


def make_model(folder, gib):
    os.makedirs(folder)
    per_layer = sum(size(s) for n, s in shapes(1)) - 2 * size((VOCAB, HIDDEN))
    layers = max(1, int((gib * (1 << 30) - 2 * size((VOCAB, HIDDEN))) / per_layer))
    shards = [[]]
    for name, shape in shapes(layers):
        if shards[-1] and sum(size(s) for _, s in shards[-1]) + size(shape) > SHARD:
            shards.append([])
        shards[-1].append((name, shape))
    index = {"metadata": {"total_size": sum(size(s) for _, s in shapes(layers))}, "weight_map": {}}
    for k, tensors in enumerate(shards):
        file = f"model-{k + 1:05}-of-{len(shards):05}.safetensors"
        write_shard(f"{folder}/{file}", tensors)
        index["weight_map"].update({name: file for name, _ in tensors})
    config = dict(architectures=["LlamaForCausalLM"], model_type="llama", hidden_size=HIDDEN, intermediate_size=FFN, num_hidden_layers=layers,
                  num_attention_heads=HEADS, num_key_value_heads=KV_HEADS, vocab_size=VOCAB, max_position_embeddings=4096, rms_norm_eps=1e-5,
                  rope_theta=10000.0, hidden_act="silu", tie_word_embeddings=False, torch_dtype="bfloat16")
    for name, value in (("config.json", config), ("model.safetensors.index.json", index)):
        with open(f"{folder}/{name}", "w") as f:
            json.dump(value, f)
    return index["metadata"]["total_size"]


def timed(target, command):
    """Seconds until all is on the disk, CPU seconds and peak MiB of one command; it writes `target`, which must not exist."""
    shutil.rmtree(target, ignore_errors=True)
    os.sync()
    start = time.monotonic()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    os.sync()
    if status != 0:
        raise SystemExit(f"failed: {' '.join(command)}")
    return time.monotonic() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main():
    host, work, gib = sys.argv[1], sys.argv[2], float(sys.argv[3]) if len(sys.argv) > 3 else 2.0
    if os.path.exists(f"{work}/model"):
        raise SystemExit(f"{work}/model exists; name an empty folder")
    total = make_model(f"{work}/model", gib)
    print(f"{total / 1e9:.2f} GB, largest tensor {size((VOCAB, HIDDEN)) >> 20} MiB, load average {os.getloadavg()[0]:.2f}, warm page cache")
    rows = {"cp": (f"{work}/copy", ["cp", "-r", f"{work}/model", f"{work}/copy"]),
            "import": (f"{work}/checkpoint", [host, "import", "--from", f"{work}/model", "--to", f"{work}/checkpoint"]),
            "export": (f"{work}/exported", [host, "export", "--from", f"{work}/checkpoint", "--to", f"{work}/exported"])}
    best = {}
    for _ in range(2):
        for name, (target, command) in rows.items():
            result = timed(target, command)
            best[name] = min(best.get(name, result), result)
            if name != "import":
                shutil.rmtree(target)
    print(f"{'':8}{'s':>8}{'MB/s':>8}{'of cp':>8}{'CPU s':>8}{'peak MiB':>10}")
    for name, (seconds, cpu, peak) in best.items():
        print(f"{name:8}{seconds:8.2f}{total / seconds / 1e6:8.0f}{best['cp'][0] / seconds:8.2f}{cpu:8.2f}{peak:10.0f}")


if __name__ == "__main__":
    main()
