"""Families whose code transformers does not have: the same models under other names. Each function takes a config and tensors (weights or
gradients) of a class that transformers has, and returns the tensors as the family's files name them, and its config.json."""
import math

import torch


def chatglm(c, tensors):
    """Glm under ChatGLM's names."""
    out = {}
    for name, t in tensors.items():
        for ours, theirs in (("model.embed_tokens", "embedding.word_embeddings"), ("model.norm", "encoder.final_layernorm"), ("lm_head", "output_layer"),
                             ("model.layers.", "encoder.layers."), ("self_attn.o_proj", "self_attention.dense"), ("mlp.gate_up_proj", "mlp.dense_h_to_4h"),
                             ("mlp.down_proj", "mlp.dense_4h_to_h")):
            name = name.replace(ours, theirs)
        out["transformer." + name] = t.clone()
    for i in range(c.num_hidden_layers):
        at = f"transformer.encoder.layers.{i}."
        for part in ("weight", "bias"):
            out[f"{at}self_attention.query_key_value.{part}"] = torch.cat([out.pop(f"{at}self_attn.{p}_proj.{part}") for p in "qkv"])
    config = dict(architectures=["ChatGLMModel"], model_type="chatglm", num_layers=c.num_hidden_layers, hidden_size=c.hidden_size,
                  ffn_hidden_size=c.intermediate_size, num_attention_heads=c.num_attention_heads, kv_channels=c.head_dim, multi_query_attention=True,
                  multi_query_group_num=c.num_key_value_heads, padded_vocab_size=c.vocab_size, seq_length=c.max_position_embeddings,
                  layernorm_epsilon=c.rms_norm_eps, add_qkv_bias=True, add_bias_linear=False, rmsnorm=True, post_layer_norm=True, original_rope=True,
                  apply_residual_connection_post_layernorm=False, tie_word_embeddings=False, torch_dtype="float32")
    return out, config


def baichuan2(c, tensors):
    """Llama with one tensor for q, k and v, and with an output layer of normalized rows (see Normalized below)."""
    out = {name: t.clone() for name, t in tensors.items()}
    for i in range(c.num_hidden_layers):
        at = f"model.layers.{i}.self_attn."
        out[at + "W_pack.weight"] = torch.cat([out.pop(f"{at}{p}_proj.weight") for p in "qkv"])
    config = dict(architectures=["BaichuanForCausalLM"], model_type="baichuan", hidden_act="silu", hidden_size=c.hidden_size,
                  intermediate_size=c.intermediate_size, num_hidden_layers=c.num_hidden_layers, num_attention_heads=c.num_attention_heads,
                  vocab_size=c.vocab_size, max_position_embeddings=c.max_position_embeddings, model_max_length=c.max_position_embeddings,
                  rms_norm_eps=c.rms_norm_eps, tie_word_embeddings=False, z_loss_weight=0, torch_dtype="float32")
    return out, config


def baichuan2_13b(c, tensors):
    out, config = baichuan2(c, tensors)
    del config["max_position_embeddings"]
    return out, config


RENAMED = {"chatglm": chatglm, "baichuan2": baichuan2, "baichuan2_13b": baichuan2_13b}


def linear_biases(heads, length):
    """What Baichuan 13B adds to the scores, with -infinity for later keys: [1, heads, length, length]."""
    power = 2**math.floor(math.log2(heads))
    slopes = [2**(-8 * (i + 1) / power) for i in range(power)] + [2**(-8 * (i + 1) / (2 * power)) for i in range(0, 2 * power, 2)]
    bias = torch.tensor(slopes[:heads]).view(heads, 1, 1) * torch.arange(length).view(1, 1, length)
    return (bias + torch.full((length, length), -math.inf).triu(1)).unsqueeze(0)


def like_baichuan(family, model):
    """Makes a Llama compute what a Baichuan does, but for the mask of the 13B (linear_biases)."""
    model.lm_head = Normalized(model.lm_head)
    model.is_linear = family == "baichuan2_13b"
    for module in model.modules():
        if model.is_linear and hasattr(module, "inv_freq"):
            module.inv_freq.zero_()


class Normalized(torch.nn.Module):
    def __init__(self, linear):
        super().__init__()
        self.weight = linear.weight

    def forward(self, x):
        return torch.nn.functional.linear(x, torch.nn.functional.normalize(self.weight))
