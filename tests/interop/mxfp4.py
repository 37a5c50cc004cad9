"""Weights in MXFP4 against transformers' own unpacking: mxfp4.py NEMO_HOST

Makes a small gpt-oss folder as published (random blocks and scales), imports and exports it, and compares every expert tensor of the export,
bit for bit, with what transformers.integrations.mxfp4 makes of the same bytes. Needs the packages of requirements-models.txt.
"""
import json
import pathlib
import subprocess
import sys
import tempfile

import torch
import transformers as tf
from safetensors.torch import load_file, save_file
from transformers.integrations.mxfp4 import convert_moe_packed_tensors

EXPERTS, HIDDEN, FFN = 3, 96, 64


def published(folder, dtype):
    """Writes the folder; returns the expert tensors as transformers unpacks them."""
    torch.manual_seed(11)
    config = tf.GptOssConfig(hidden_size=HIDDEN, intermediate_size=FFN, num_local_experts=EXPERTS, num_experts_per_tok=2, num_hidden_layers=2,
                             num_attention_heads=4, num_key_value_heads=2, head_dim=16, vocab_size=160, max_position_embeddings=128)
    model = tf.GptOssForCausalLM(config).to(dtype)
    model.save_pretrained(folder)
    tensors, wanted = load_file(folder / "model.safetensors"), {}
    for name in [n for n in tensors if n.endswith(("experts.gate_up_proj", "experts.down_proj"))]:
        experts, columns, rows = tensors.pop(name).shape
        blocks = torch.randint(0, 256, (experts, rows, columns // 32, 16), dtype=torch.uint8)
        scales = torch.randint(0, 253, (experts, rows, columns // 32), dtype=torch.uint8)
        tensors[name + "_blocks"], tensors[name + "_scales"] = blocks, scales
        wanted[name] = convert_moe_packed_tensors(blocks, scales, dtype=dtype)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    words = json.loads((folder / "config.json").read_text())
    words["quantization_config"] = {"quant_method": "mxfp4", "modules_to_not_convert": ["model.layers.*.self_attn", "lm_head"]}
    (folder / "config.json").write_text(json.dumps(words))
    return tensors, wanted


def main():
    host = sys.argv[1]
    for dtype in (torch.bfloat16, torch.float32):
        with tempfile.TemporaryDirectory() as work:
            work = pathlib.Path(work)
            stored, wanted = published(work / "model", dtype)
            subprocess.run([host, "import", "--from", work / "model", "--to", work / "checkpoint"], check=True)
            subprocess.run([host, "export", "--from", work / "checkpoint", "--to", work / "out"], check=True)
            ours = load_file(work / "out" / "model.safetensors")
            plain = {n: t for n, t in stored.items() if not n.endswith(("_blocks", "_scales"))}
            if set(ours) != set(wanted) | set(plain):
                raise SystemExit(f"other tensors: {sorted(set(ours) ^ (set(wanted) | set(plain)))}")
            for name, tensor in (wanted | plain).items():
                same = ours[name].dtype == tensor.dtype and torch.equal(ours[name].view(torch.uint8), tensor.contiguous().view(torch.uint8))
                if not same:
                    raise SystemExit(f"{name} differs: {(ours[name] != tensor).sum()} of {tensor.numel()} elements")
            loaded, report = tf.GptOssForCausalLM.from_pretrained(work / "out", output_loading_info=True)
            if report["missing_keys"] or report["unexpected_keys"]:
                raise SystemExit(f"transformers does not take the export: {report}")
            print(f"mxfp4, {dtype}: {len(wanted)} unpacked and {len(plain)} other tensors equal bit for bit")


if __name__ == "__main__":
    main()
