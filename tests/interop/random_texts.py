"""random_texts.py TOKENIZER.json COUNT SEED: random texts and what the tokenizers library makes of them, as JSON lines."""
import json
import random
import sys

from tokenizers import Tokenizer

tokenizer = Tokenizer.from_file(sys.argv[1])
tokenizer.no_truncation()
tokenizer.no_padding()
draw = random.Random(int(sys.argv[3]))
words = "the quick brown fox can't we'll I'M they'VE don't naïve Straße İstanbul ſ's 12345 3.14 $5 ½ ² x² <s> </s> <unk> [MASK] <|endoftext|> <think> \t\t  \n\n   \r\n ".split(" ")
specials = [t.content for t in tokenizer.get_added_tokens_decoder().values()]
blocks = [(0x20, 0x7E), (0xA0, 0x24F), (0x300, 0x36F), (0x370, 0x52F), (0x590, 0x6FF), (0x900, 0xDFF), (0xE00, 0xEFF), (0x1100, 0x11FF), (0x1E00, 0x20CF),
          (0x2100, 0x2BFF), (0x3000, 0x30FF), (0x4E00, 0x9FFF), (0xAC00, 0xD7A3), (0xF900, 0xFFEF), (0x10000, 0x1FFFF), (0x1F300, 0x1FAFF), (0x2F800, 0x2FA1F), (0xE000, 0xF8FF)]


def character():
    while True:
        kind = draw.random()
        if kind < 0.35:
            c = draw.randint(0x20, 0x7E)
        elif kind < 0.45:
            c = ord(draw.choice(" \t\n\r\u00a0\u2028\u3000\u200b\u200d\ufeff\ufffd\0\x1b"))
        elif kind < 0.9:
            c = draw.randint(*draw.choice(blocks))
        else:
            c = draw.randint(0, 0x10FFFF)
        if not 0xD800 <= c <= 0xDFFF:
            return chr(c)


def text():
    kind = draw.random()
    if kind < 0.4:
        return "".join(character() for _ in range(draw.randint(0, 40)))
    if kind < 0.7:
        return draw.choice(["", " ", "  ", "\n"]).join(draw.choice(words) for _ in range(draw.randint(0, 12)))
    pieces = [draw.choice([character(), draw.choice(words), draw.choice(specials or [""]), " "]) for _ in range(draw.randint(0, 20))]
    return "".join(pieces)


size = tokenizer.get_vocab_size()
for _ in range(int(sys.argv[2])):
    sample = text()
    whole = tokenizer.encode(sample)
    print(json.dumps({"text": sample, "ids": whole.ids, "offsets": whole.offsets, "tokens": whole.tokens,
                      "plain": tokenizer.encode(sample, add_special_tokens=False).ids,
                      "decoded": tokenizer.decode(whole.ids, skip_special_tokens=False), "skipped": tokenizer.decode(whole.ids)}))
