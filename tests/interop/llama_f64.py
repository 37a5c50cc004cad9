"""Llama's forward pass in float64 throughout, from its definition (Touvron et al. 2023): what float32 implementations are measured against."""
import torch


def rotated(x, cos, sin):
    half = x.shape[-1] // 2
    a, b = x[..., :half], x[..., half:]
    return torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1)


def normed(x, weight, eps):
    return x / torch.sqrt((x * x).mean(-1, keepdim=True) + eps) * weight


def attended(q, k, v):
    """[batch, heads, seq, head], causal."""
    scores = q @ k.transpose(-1, -2) / q.shape[-1]**0.5
    seq = scores.shape[-1]
    return torch.softmax(scores.masked_fill(torch.ones(seq, seq).triu(1).bool(), -torch.inf), dim=-1) @ v


def logits(config, weights, ids):
    """`config`: transformers' LlamaConfig without rope scaling; `weights`: its state_dict; `ids` [batch, seq]."""
    def w(name):
        return weights[name].double()
    heads, kv, size = config.num_attention_heads, config.num_key_value_heads, config.head_dim
    batch, seq = ids.shape
    frequency = config.rope_parameters["rope_theta"]**(-torch.arange(0, size, 2, dtype=torch.float64) / size)
    angle = torch.arange(seq, dtype=torch.float64)[:, None] * frequency
    cos, sin = angle.cos(), angle.sin()
    x = w("model.embed_tokens.weight")[ids]
    for i in range(config.num_hidden_layers):
        at = f"model.layers.{i}."
        h = normed(x, w(at + "input_layernorm.weight"), config.rms_norm_eps)
        q, k, v = (torch.nn.functional.linear(h, w(f"{at}self_attn.{p}_proj.weight")).view(batch, seq, n, size).transpose(1, 2)
                   for p, n in (("q", heads), ("k", kv), ("v", kv)))
        q, k = rotated(q, cos, sin), rotated(k, cos, sin)
        k, v = (t.repeat_interleave(heads // kv, dim=1) for t in (k, v))
        x = x + torch.nn.functional.linear(attended(q, k, v).transpose(1, 2).reshape(batch, seq, -1), w(at + "self_attn.o_proj.weight"))
        h = normed(x, w(at + "post_attention_layernorm.weight"), config.rms_norm_eps)
        gate, up = (torch.nn.functional.linear(h, w(f"{at}mlp.{p}_proj.weight")) for p in ("gate", "up"))
        x = x + torch.nn.functional.linear(torch.nn.functional.silu(gate) * up, w(at + "mlp.down_proj.weight"))
    x = normed(x, w("model.norm.weight"), config.rms_norm_eps)
    return torch.nn.functional.linear(x, w("model.embed_tokens.weight" if config.tie_word_embeddings else "lm_head.weight"))
