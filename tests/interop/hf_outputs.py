"""What a model of transformers computes, as `nemo-host parity` reads it: golden.safetensors and golden.json (core/hub/golden.cpp)."""
import copy
import json
import tempfile

import torch
from safetensors.torch import load_file, save_file

from hf_renamed import RENAMED, linear_biases

PROMPT, NEW = 6, 10
cross_entropy = torch.nn.functional.cross_entropy


def random_ids(vocab, *shape, seed):
    return torch.randint(3, vocab, shape, generator=torch.Generator().manual_seed(seed))


def file_tensors(model, family, tensors):
    """Tensors by parameter, such as gradients, under the names and in the layout that the model's files have: they are saved as if they were weights."""
    if family in RENAMED:
        return RENAMED[family](model.config, tensors)[0]
    like = copy.deepcopy(model)
    with torch.no_grad():
        for name, p in like.named_parameters():
            p.copy_(tensors[name])
        for b in like.buffers():  # which files have too (expert biases of routers), and which have no gradient
            b.zero_()
    with tempfile.TemporaryDirectory() as folder:
        like.save_pretrained(folder)
        return load_file(f"{folder}/model.safetensors")


class Causal:
    """Decoders: logits of tokens, and a loss of each one's next."""
    rows, seq = 2, 19

    def __init__(self, model, seed):
        vocab = model.config.vocab_size
        ids, labels = (random_ids(vocab, self.rows, self.seq, seed=seed + i) for i in range(2))
        labels[0, 5:8] = -100
        self.inputs = {"input_ids": ids, "labels": labels}

    def of(self, model, ids):
        mask = None
        if getattr(model, "is_linear", False):
            mask = linear_biases(model.config.num_attention_heads, ids.shape[1]).expand(ids.shape[0], -1, -1, -1)
        return model(input_ids=ids, attention_mask=mask, use_cache=False).logits

    def logits(self, model):
        return self.of(model, self.inputs["input_ids"])

    def loss(self, model, logits):
        labels = self.inputs["labels"]
        return cross_entropy(logits[:, :-1].reshape(-1, logits.shape[-1]), labels[:, 1:].reshape(-1))

    def continued(self, model):
        out, margins = self.inputs["input_ids"][:1, :PROMPT].clone(), []
        for _ in range(NEW):
            best = self.of(model, out)[0, -1].topk(2)
            margins.append((best.values[0] - best.values[1]).item())
            out = torch.cat([out, best.indices[:1].view(1, 1)], dim=1)
        return {"gen.prompt_ids": out[:, :PROMPT].clone(), "gen.output_ids": out}, margins


class EncoderDecoder:
    """T5: the decoder's tokens are its labels, one later; a second batch has padding in the encoder."""
    rows, source, target = 2, 23, 13

    def __init__(self, model, seed):
        vocab = model.config.vocab_size
        self.inputs = {}
        for i, prefix in enumerate(("", "pad_")):
            ids, labels = random_ids(vocab, self.rows, self.source, seed=seed + i), random_ids(vocab, self.rows, self.target, seed=seed + 2 + i)
            labels[0, 4:6] = -100
            self.inputs.update({prefix + "input_ids": ids, prefix + "labels": labels})
        self.mask = torch.ones_like(ids)
        self.mask[0, 15:] = 0
        self.inputs["pad_attention_mask"] = self.mask

    def logits(self, model, prefix=""):
        mask = self.mask if prefix else None
        return model(input_ids=self.inputs[prefix + "input_ids"], attention_mask=mask, labels=self.inputs[prefix + "labels"], use_cache=False).logits

    def loss(self, model, logits, prefix=""):
        return cross_entropy(logits.reshape(-1, logits.shape[-1]), self.inputs[prefix + "labels"].reshape(-1))

    def padded(self, model):
        logits = self.logits(model, "pad_")
        return {"pad_logits": logits}, self.loss(model, logits, "pad_").item()

    def continued(self, model):
        out, margins = torch.zeros(self.rows, 1, dtype=torch.int64), []
        for _ in range(NEW):
            best = model(input_ids=self.inputs["pad_input_ids"], attention_mask=self.mask, decoder_input_ids=out, use_cache=False).logits[:, -1].topk(2)
            margins.append((best.values[:, 0] - best.values[:, 1]).tolist())
            out = torch.cat([out, best.indices[:, :1]], dim=1)
        return {"gen.output_ids": out}, [list(m) for m in zip(*margins)]


class Masked:
    """BERT: logits where tokens are masked and, with the pretraining heads, whether one sentence follows another. Both batches are padded."""
    rows, seq = 3, 17

    def __init__(self, model, seed):
        c = model.config
        self.binary = hasattr(model.cls, "seq_relationship")
        self.inputs = {}
        for i, prefix in enumerate(("", "pad_")):
            labels = random_ids(c.vocab_size, self.rows, self.seq, seed=seed + 10 + i)
            labels[:, ::3] = -100
            mask = torch.ones_like(labels)
            mask[0, 11 + i:] = 0
            self.inputs.update({prefix + "input_ids": random_ids(c.vocab_size, self.rows, self.seq, seed=seed + i), prefix + "labels": labels,
                                prefix + "attention_mask": mask,
                                prefix + "token_type_ids": random_ids(c.type_vocab_size + 3, self.rows, self.seq, seed=seed + 20 + i) - 3})
            if self.binary:
                self.inputs[prefix + "next_sentence_label"] = torch.tensor([0, 1, i])

    def outputs(self, model, prefix=""):
        return model(**{k: self.inputs[prefix + k] for k in ("input_ids", "attention_mask", "token_type_ids")})

    def logits(self, model, prefix=""):
        out = self.outputs(model, prefix)
        self.relation = out.seq_relationship_logits if self.binary else None
        return out.prediction_logits if self.binary else out.logits

    def loss(self, model, logits, prefix=""):
        loss = cross_entropy(logits.reshape(-1, logits.shape[-1]), self.inputs[prefix + "labels"].reshape(-1))
        return loss + cross_entropy(self.relation, self.inputs[prefix + "next_sentence_label"]) if self.binary else loss

    def padded(self, model):
        logits = self.logits(model, "pad_")
        loss = self.loss(model, logits, "pad_").item()
        return {"pad_logits": logits * self.inputs["pad_attention_mask"][..., None]}, loss


def batches_of(family, model, seed):
    kind = EncoderDecoder if family.startswith("t5") else Masked if family.startswith("bert") else Causal
    return kind(model, seed)


def write_golden(model, family, batches, folder):
    """Returns the logits."""
    logits = batches.logits(model)
    loss = batches.loss(model, logits)
    tensors, facts = {**batches.inputs, "logits": logits.detach()}, {"loss": loss.item()}
    model.zero_grad()
    loss.backward()
    grads = file_tensors(model, family, {n: torch.zeros_like(p) if p.grad is None else p.grad for n, p in model.named_parameters()})
    norms = {n: t.double().norm().item() for n, t in grads.items()}
    tensors.update({"grad." + n: t for n, t in grads.items()})
    facts.update(grad_norms=norms, grad_norm=sum(v * v for v in norms.values())**0.5,
                 noise_float32_vs_float64={"near_zero_gradients": [n for n, v in norms.items() if v < 1e-6]})
    with torch.no_grad():
        if hasattr(batches, "padded"):
            more, facts["pad_loss"] = batches.padded(model)
            tensors.update(more)
        if hasattr(batches, "continued"):
            more, margins = batches.continued(model)
            tensors.update(more)
            facts["generate"] = {"margins": margins}
    save_file({n: t.contiguous() for n, t in tensors.items()}, f"{folder}/golden.safetensors")
    with open(f"{folder}/golden.json", "w") as f:
        json.dump(facts, f)
    return logits.detach()
