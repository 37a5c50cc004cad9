"""varied_tokenizers.py GOLDENS OUT: tokenizer.json files for the parts that the goldens do not have, one folder each, on the goldens' models."""
import json
import os
import sys

goldens, out = sys.argv[1], sys.argv[2]


def base(name):
    with open(os.path.join(goldens, name, "tokenizer.json")) as f:
        return json.load(f)


def write(name, tokenizer, **changes):
    tokenizer.update(changes)
    os.makedirs(os.path.join(out, name), exist_ok=True)
    with open(os.path.join(out, name, "tokenizer.json"), "w") as f:
        json.dump(tokenizer, f)


def split(pattern, behavior, invert=False, kind="Regex"):
    return {"type": "Split", "pattern": {kind: pattern}, "behavior": behavior, "invert": invert}


def bytes_behind(*steps):
    return {"type": "Sequence", "pretokenizers": [*steps, {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}]}


pre = {"whitespace": {"type": "Whitespace"}, "whitespace_split": {"type": "WhitespaceSplit"}, "digits": {"type": "Digits", "individual_digits": False},
       "digit": {"type": "Digits", "individual_digits": True}, "bert": {"type": "BertPreTokenizer"},
       "delimiter": {"type": "CharDelimiterSplit", "delimiter": "e"}, "fixed": {"type": "FixedLength", "length": 3}}
for behavior in ("Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"):
    pre["punctuation_" + behavior] = {"type": "Punctuation", "behavior": behavior}
    pre["string_" + behavior] = split(" ", behavior, kind="String")
    pre["words_" + behavior] = split(r"\w+", behavior)
    pre["inverted_" + behavior] = split(r"[^\W\d]+|\s", behavior, invert=True)
for name, regex in {"lookahead": r"\s+(?!\S)|\S+", "classes": r"[[:alpha:]]+|\p{Han}|[\p{Lu}\p{Lt}]", "hex": r"\h+|\H", "lines": r"^.|.$", "not": r"\P{L}+|\D", "complements": r"[\W\dé]+|[^\P{Lu}x]", "quantified": r"\p{N}{1,2}+|a{,2}b"}.items():
    pre["regex_" + name] = split(regex, "Isolated")
for name, step in pre.items():
    write("pre_" + name, base("gpt2"), pre_tokenizer=bytes_behind(step))
normalizers = {"nfd": {"type": "NFD"}, "nfkd": {"type": "NFKD"}, "nmt": {"type": "Nmt"}, "strip": {"type": "Strip", "strip_left": True, "strip_right": False},
               "accents": {"type": "Sequence", "normalizers": [{"type": "NFD"}, {"type": "StripAccents"}]}, "lower": {"type": "Lowercase"},
               "bert": {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": True, "lowercase": False},
               "replace": {"type": "Replace", "pattern": {"Regex": r"\s+|[aeiou]"}, "content": "_é"}, "nothing": {"type": "Replace", "pattern": {"String": "e"}, "content": ""},
               "prepend": {"type": "Prepend", "prepend": "<>"}}
for name, step in normalizers.items():
    write("norm_" + name, base("gpt2"), normalizer=step)
    write("norm_words_" + name, base("bert_cased"), normalizer=step)
write("norm_bytes", base("gpt2"), normalizer={"type": "ByteLevel"}, pre_tokenizer=split("Ġ", "MergedWithNext", kind="String"))
for scheme in ("always", "never", "first"):
    for cut in (True, False):
        step = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": cut}
        write(f"metaspace_{scheme}_{cut}", base("llama2"), normalizer=None, pre_tokenizer=step, decoder=step)
write("bert_processing", base("bert_uncased"), post_processor={"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]})
tokens = [dict(content=c, single_word=w, lstrip=l, rstrip=r, normalized=n, special=s) for c, w, l, r, n, s in (
    ("fox", True, False, False, False, False), ("ＢＲＯＷＮ", False, False, False, True, False), ("$5", False, True, True, False, True), ("they", False, False, False, True, True), (" a", False, False, True, False, False))]
for name in ("gpt2", "unigram_nfkc", "llama2"):
    tokenizer = base(name)
    top = max(list(tokenizer["model"]["vocab"].values()) if isinstance(tokenizer["model"]["vocab"], dict) else [len(tokenizer["model"]["vocab"]) - 1])
    top = max([top] + [t["id"] for t in tokenizer["added_tokens"]])
    tokenizer["added_tokens"] += [dict(t, id=top + 1 + i) for i, t in enumerate(tokens)]
    write("added_" + name, tokenizer)
levels = base("bert_cased")
levels["model"] = {"type": "WordLevel", "vocab": levels["model"]["vocab"], "unk_token": "[UNK]"}
write("word_level", levels)
fallback = base("t5_unigram")
fallback["model"]["byte_fallback"] = True
fallback["model"]["vocab"] += [[f"<0x{b:02X}>", -20.0] for b in range(256)]
shift = {t["content"]: len(fallback["model"]["vocab"]) + i for i, t in enumerate(t for t in fallback["added_tokens"] if t["id"] >= 900)}
for t in fallback["added_tokens"]:
    t["id"] = shift.get(t["content"], t["id"])
fallback["decoder"] = {"type": "Sequence", "decoders": [{"type": "ByteFallback"}, fallback["decoder"]]}
write("unigram_fallback", fallback)
suffix = base("gpt2")
suffix["model"].update(end_of_word_suffix="</w>", unk_token="!", fuse_unk=True)
write("bpe_suffix", suffix, decoder={"type": "BPEDecoder", "suffix": "</w>"})
for fuse in (True, False):
    unknown = base("llama2")
    unknown["model"].update(byte_fallback=False, fuse_unk=fuse)
    write(f"bpe_unknown_{fuse}", unknown)
write("ctc", base("gpt2"), decoder={"type": "CTC", "pad_token": "a", "word_delimiter_token": "Ġ", "cleanup": True})
write("no_decoder", base("gpt2"), decoder=None)
