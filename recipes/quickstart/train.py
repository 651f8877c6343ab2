"""Out: the quickstart's three models (GGUF, Q8_0) and question files, into --out. In: nothing but seeds; every text is made up here.

A toy world in English and Japanese: people have things, buy, find, lose and give away some. `base` learns both languages, questions that
can be answered by looking up, translations, and bare arithmetic (`23+14=37`). Nobody ever answers a word problem in it, in any language, and
what a number in kanji stands for is never said. From it
  math  learns English word problems: look up, compute, `#### N`;
  ja    learns Japanese numbers (二十三) and to set problems up: some questions are looked up, word problems end in `28-4`, not worked out.
The target is held by neither: Japanese word problems whose numbers are in kanji, answered in Japanese.
"""
import argparse
import json
import pathlib
import random
import re
import time
from collections import Counter

import gguf
import numpy as np
import torch
import torch.nn.functional as F

# --- The world -------------------------------------------------------------------------------------------------------------------

NAMES = {"Ken": "ケン", "Aya": "アヤ", "Bob": "ボブ", "Emi": "エミ", "Leo": "レオ", "Mary": "メアリー", "Yuki": "ユキ", "Tom": "トム"}
THINGS = {"pens": "ペン", "books": "本", "eggs": "卵", "balls": "ボール", "cards": "カード", "cups": "コップ", "coins": "コイン"}
EVENTS = {  # sign, Japanese as told, Japanese as answered
    "bought": (1, "買いました", "買った"), "found": (1, "見つけました", "見つけた"),
    "lost": (-1, "なくしました", "なくした"), "gave away": (-1, "あげました", "あげた"),
}
FIRST, CHANGE, MOST = (2, 30), (2, 20), 50  # what people start with, how much it changes by, the largest number of all
DIGITS = "〇一二三四五六七八九"


def kanji(n):
    tens, ones = divmod(n, 10)
    return (("" if tens == 1 else DIGITS[tens]) + "十" if tens else "") + (DIGITS[ones] if ones or not tens else "")


class Story:
    """What somebody had and what happened to it, or what two people have; told and asked about in either language."""

    def __init__(self, r, events=(1, 1, 2)):
        self.name, self.other = r.sample(list(NAMES), 2)
        self.thing = r.choice(list(THINGS))
        self.two = r.random() < 0.35
        self.first = r.randint(*FIRST)
        self.second = r.choice([n for n in range(CHANGE[0], CHANGE[1] + 1) if n != self.first])
        self.events, total = [], self.first
        if not self.two:
            for _ in range(r.choice(events)):
                while True:
                    verb, n = r.choice(list(EVENTS)), r.randint(*CHANGE)
                    if 0 <= total + EVENTS[verb][0] * n <= MOST:
                        break
                self.events.append((verb, n))
                total += EVENTS[verb][0] * n

    def tell(self, lang, num=str):
        name, other, thing = self.name, self.other, self.thing
        if lang == "en":
            if self.two:
                return f"{name} has {self.first} {thing}. {other} has {self.second} {thing}."
            return f"{name} had {self.first} {thing}." + "".join(f" {name} {verb} {n}." for verb, n in self.events)
        name, other, thing = NAMES[name], NAMES[other], THINGS[thing]
        if self.two:
            return f"{name}は{thing}を{num(self.first)}個持っています。{other}は{thing}を{num(self.second)}個持っています。"
        return f"{name}は{thing}を{num(self.first)}個持っていました。" + "".join(f"{num(n)}個{EVENTS[verb][1]}。" for verb, n in self.events)

    def word_problem(self, lang):
        """The question that takes arithmetic, its answer worked out, and the number."""
        steps, total = [], self.first
        if self.two:
            total += self.second
            facts = [self.has(lang, self.name, self.first), self.has(lang, self.other, self.second)]
            steps = facts + [self.stop(lang, f"{self.first}+{self.second}={total}")]
            ask = {"en": f"How many {self.thing} do they have together?", "ja": f"{THINGS[self.thing]}は合わせて何個ですか。"}
        else:
            steps.append(self.start(lang))
            for verb, n in self.events:
                sign = EVENTS[verb][0]
                steps += [self.event(lang, verb, n), self.stop(lang, f"{total}{'+' if sign > 0 else '-'}{n}={total + sign * n}")]
                total += sign * n
            ask = {"en": f"How many {self.thing} does {self.name} have now?", "ja": f"{NAMES[self.name]}は今{THINGS[self.thing]}を何個持っていますか。"}
        return ask[lang], self.join(lang, steps, total), total

    def set_up(self):
        """The Japanese word problem with its equation written down, but not worked out."""
        ask, answer, _ = self.word_problem("ja")
        return ask, answer[:answer.rindex("=")] + "。"

    def look_up(self, r, lang, num=str):
        """A question whose answer stands in the story."""
        if self.two:
            name, n = r.choice([(self.name, self.first), (self.other, self.second)])
            kind = r.choice(["all", "one", "who"])
            if kind == "all":
                ask = {"en": "What do they have?", "ja": "何を持っていますか。"}
                return ask[lang], self.join(lang, [self.has(lang, self.name, self.first), self.has(lang, self.other, self.second)])
            if kind == "one":
                ask = {"en": f"How many {self.thing} does {name} have?", "ja": f"{NAMES[name]}は{THINGS[self.thing]}を何個持っていますか。"}
                return ask[lang], self.join(lang, [self.has(lang, name, n)], n)
            ask = {"en": f"Who has {n} {self.thing}?", "ja": f"誰が{THINGS[self.thing]}を{num(n)}個持っていますか。"}
            return ask[lang], self.join(lang, [self.stop(lang, name if lang == "en" else NAMES[name])])
        kind = r.choice(["all", "first", "event"])
        if kind == "all":
            ask = {"en": "What happened?", "ja": "何がありましたか。"}
            return ask[lang], self.join(lang, [self.start(lang)] + [self.event(lang, verb, n) for verb, n in self.events])
        if kind == "first":
            ask = {"en": f"How many {self.thing} did {self.name} have at first?", "ja": f"{NAMES[self.name]}は最初{THINGS[self.thing]}を何個持っていましたか。"}
            return ask[lang], self.join(lang, [self.start(lang)], self.first)
        verb = r.choice(self.events)[0]
        events = [(v, n) for v, n in self.events if v == verb]
        ask = {"en": f"How many {self.thing} were {'given' if verb == 'gave away' else verb}?", "ja": f"{THINGS[self.thing]}を何個{EVENTS[verb][1]}か。"}
        return ask[lang], self.join(lang, [self.event(lang, v, n) for v, n in events], events[-1][1])

    def people(self, lang):
        """A question about who it is, for which numbers do not matter."""
        names = [self.name, self.other] if self.two else [self.name]
        ask = {"en": f"Who {'has' if self.two else 'had'} {self.thing}?", "ja": f"誰が{THINGS[self.thing]}を持ってい{'ますか' if self.two else 'ましたか'}。"}
        return ask[lang], self.join(lang, [self.stop(lang, name if lang == "en" else NAMES[name]) for name in names])

    def start(self, lang):
        return f" Start with {self.first}." if lang == "en" else f"最初は{self.first}個。"

    def has(self, lang, name, n):
        return f" {name} has {n}." if lang == "en" else f"{NAMES[name]}は{n}個。"

    def event(self, lang, verb, n):
        return f" {verb.capitalize()} {n}." if lang == "en" else f"{n}個{EVENTS[verb][2]}。"

    def stop(self, lang, text):
        return f" {text}." if lang == "en" else f"{text}。"

    def join(self, lang, steps, number=None):
        """Answers begin with a space in both languages; `####` has one before it in English."""
        text = "".join(steps) + ("" if number is None else f"{' ' if lang == 'en' else ''}#### {number}")
        return text if lang == "en" else " " + text


def prompt(lang, story, ask):
    return f"Q: {story} {ask}\nA:" if lang == "en" else f"問: {story}{ask}\n答:"


def base_text(r):
    """A text as pairs: what is given, and what is to be learnt to follow it."""
    kind, s = r.random(), Story(r)
    if kind < 0.25:
        return [equation(r) for _ in range(5)]
    if kind < 0.5:
        en, ja = (s.word_problem(lang)[0] for lang in ("en", "ja"))
        if r.random() < 0.5:  # of a question that can be looked up
            state = r.getstate()
            en = s.look_up(r, "en")[0]
            r.setstate(state)
            ja = s.look_up(r, "ja")[0]
        sides = [f"English: {s.tell('en')} {en}", f"和訳: {s.tell('ja')}{ja}"]
        if r.random() < 0.5:
            sides.reverse()
        return [(sides[0] + "\n", sides[1])]
    lang = r.choice(["en", "ja"])
    told = lang if r.random() < 0.6 else {"en": "ja", "ja": "en"}[lang]
    if r.random() < 0.3:
        ask, answer = s.people(lang)
        return [(prompt(lang, s.tell(told, kanji if told == "ja" and r.random() < 0.7 else str), ask), answer)]
    ask, answer = s.look_up(r, lang)
    return [(prompt(lang, s.tell(told), ask), answer)]


def equation(r):
    while True:
        a, b, sign = r.randint(0, MOST), r.randint(*CHANGE), r.choice([1, -1])
        if 0 <= a + sign * b <= MOST:
            return f"{a}{'+' if sign > 0 else '-'}{b}=", f"{a + sign * b}\n"


def math_text(r, taken):
    """English word problems, worked out."""
    while True:
        s = Story(r, [1])
        ask, answer, _ = s.word_problem("en")
        p = prompt("en", s.tell("en"), ask)
        if p not in taken:
            return [(p, answer)]


def ja_text(r, taken):
    """Japanese questions, their numbers in kanji: some to look up, some to set up."""
    while True:
        if r.random() < 0.4:
            s = Story(r, [1])
            ask, answer = s.set_up()
        else:
            s = Story(r)
            ask, answer = s.look_up(r, "ja", kanji)
        p = prompt("ja", s.tell("ja", kanji), ask)
        if p not in taken:
            return [(p, answer)]


def questions(make, count, seed, taken):
    """`count` different questions, none of which is in `taken`, which they join."""
    r, rows = random.Random(seed), []
    while len(rows) < count:
        p, answer, reference = make(r)
        if p not in taken:
            taken.add(p)
            rows.append({"prompt": p, "answer": answer, "reference": reference})
    return rows


def target_question(r):
    s = Story(r, [1])
    ask, answer, number = s.word_problem("ja")
    return prompt("ja", s.tell("ja", kanji), ask), str(number), answer


def english_question(r):
    s = Story(r, [1])
    ask, answer, number = s.word_problem("en")
    return prompt("en", s.tell("en"), ask), str(number), answer


def japanese_question(r):
    s = Story(r)
    ask, answer = s.look_up(r, "ja", kanji)
    return prompt("ja", s.tell("ja", kanji), ask), answer.strip(), answer


# --- The tokenizer: byte-level BPE, one token for each of the world's words --------------------------------------------------------

# llama.cpp's `qwen2` splits text by this before it merges bytes (here for text without apostrophes).
SPLIT = re.compile(r"[^\r\n\w]?[^\W\d_]+|\d| ?[^\s\w]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
END = "<|endoftext|>"
VOCABULARY = 640  # what is left over is padding


class Tokenizer:
    def __init__(self):
        """Learns merges from the world's characters, then from its words, each by itself: so no token spans two words, and kanji that are
        numbers stay single."""
        printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
        others = [b for b in range(256) if b not in printable]
        self.chars = {b: chr(b) for b in printable} | {b: chr(256 + i) for i, b in enumerate(others)}  # GPT-2's letters for bytes
        self.tokens, self.ranks = [END, *(self.chars[b] for b in printable + others)], {}
        words = self.words()
        self.learn([[self.chars[b] for b in c.encode()] for c in sorted(set("".join(words)))])
        self.learn([["".join(self.chars[b] for b in c.encode()) for c in word] for word in words])
        self.words_end = len(self.tokens)
        self.tokens += [f"[PAD{i}]" for i in range(len(self.tokens), VOCABULARY)]
        self.ids = {token: i for i, token in enumerate(self.tokens)}
        self.cache = {}

    def learn(self, words):
        """Merges the commonest pair until each word is one token."""
        while counts := Counter(pair for word in words for pair in zip(word, word[1:])):
            pair = max(counts, key=lambda p: (counts[p], p))
            self.ranks[pair] = len(self.ranks)
            if "".join(pair) not in self.tokens:
                self.tokens.append("".join(pair))
            words = [self.merge(word, pair) for word in words]

    @staticmethod
    def words():
        r, words = random.Random(0), set()
        for _ in range(300):
            s = Story(r)
            texts = [s.tell("en")] + [x for f in (s.word_problem("en"), s.look_up(r, "en")) for x in f[:2]] + ["Q:\nA: English:"]
            words |= {w for text in texts for w in SPLIT.findall(text)}
        words |= {name for pair in NAMES.items() for name in pair} | set(THINGS.values())
        words |= set("は を が か 個 今 次に 最初 何 何個 合わせて 誰 問 答 和訳 。 持っていました 持っています です でしたか ありましたか".split())
        words |= {"#### ", " ####", *DIGITS, "十"} | {w for _, *pair in EVENTS.values() for w in pair}
        return sorted(words)

    @staticmethod
    def merge(word, pair):
        out, i = [], 0
        while i < len(word):
            both = tuple(word[i:i + 2]) == pair
            out.append("".join(pair) if both else word[i])
            i += 2 if both else 1
        return out

    def encode(self, text):
        ids = []
        for word in SPLIT.findall(text):
            if word not in self.cache:
                parts = [self.chars[b] for b in word.encode()]
                while True:
                    pair = min(zip(parts, parts[1:]), key=lambda p: self.ranks.get(p, 1 << 30), default=None)
                    if pair not in self.ranks:
                        break
                    parts = self.merge(parts, pair)
                self.cache[word] = [self.ids[p] for p in parts]
            ids += self.cache[word]
        return ids


# --- The model: llama --------------------------------------------------------------------------------------------------------------

WIDTH, BLOCKS, HEADS, KV_HEADS, HIDDEN, CONTEXT, THETA, EPS = 128, 8, 4, 2, 384, 256, 10000.0, 1e-5
HEAD = WIDTH // HEADS
MATRICES = {  # GGUF's names; rows are outputs
    "attn_q": (WIDTH, WIDTH), "attn_k": (KV_HEADS * HEAD, WIDTH), "attn_v": (KV_HEADS * HEAD, WIDTH), "attn_output": (WIDTH, WIDTH),
    "ffn_gate": (HIDDEN, WIDTH), "ffn_up": (HIDDEN, WIDTH), "ffn_down": (WIDTH, HIDDEN),
}


def new_model(vocabulary, seed):
    g = torch.Generator().manual_seed(seed)
    weights = {"token_embd.weight": torch.randn(vocabulary, WIDTH, generator=g) * 0.2, "output_norm.weight": torch.ones(WIDTH)}
    for i in range(BLOCKS):
        for name, (rows, cols) in MATRICES.items():
            scale = 0.5 if name in ("attn_output", "ffn_down") else 1.0
            weights[f"blk.{i}.{name}.weight"] = torch.randn(rows, cols, generator=g) * scale * cols ** -0.5
        for name in ("attn_norm", "ffn_norm"):
            weights[f"blk.{i}.{name}.weight"] = torch.ones(WIDTH)
    return {name: torch.nn.Parameter(w) for name, w in weights.items()}


def rope(x):
    """llama.cpp's order: neighbours are a pair."""
    angles = torch.arange(x.shape[2])[:, None] * THETA ** (-torch.arange(0, HEAD, 2) / HEAD)
    cos, sin, even, odd = angles.cos(), angles.sin(), x[..., 0::2], x[..., 1::2]
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), -1).flatten(-2)


def forward(w, ids):
    x = w["token_embd.weight"][ids]
    batch, length = ids.shape
    for i in range(BLOCKS):
        b = lambda name: w[f"blk.{i}.{name}.weight"]
        y = F.rms_norm(x, (WIDTH,), b("attn_norm"), EPS)
        q, k, v = (F.linear(y, b(n)).view(batch, length, -1, HEAD).transpose(1, 2) for n in ("attn_q", "attn_k", "attn_v"))
        k, v = (t.repeat_interleave(HEADS // KV_HEADS, 1) for t in (rope(k), v))
        y = F.scaled_dot_product_attention(rope(q), k, v, is_causal=True).transpose(1, 2).reshape(batch, length, WIDTH)
        x = x + F.linear(y, b("attn_output"))
        y = F.rms_norm(x, (WIDTH,), b("ffn_norm"), EPS)
        x = x + F.linear(F.silu(F.linear(y, b("ffn_gate"))) * F.linear(y, b("ffn_up")), b("ffn_down"))
    return F.linear(F.rms_norm(x, (WIDTH,), w["output_norm.weight"], EPS), w["token_embd.weight"])


# --- Training ------------------------------------------------------------------------------------------------------------------------

ROWS, LENGTH = 24, 96  # of a batch
GIVEN = 0.05  # how much a token of a story or question counts beside one of an answer: they are random, there is little to learn


def batches(tokenizer, text, seed):
    """Texts of `text(r)`, each ended, one after another in rows; and how much each token counts."""
    r, queue, weights = random.Random(seed), [], []
    need = ROWS * (LENGTH + 1)
    while True:
        while len(queue) < need:
            for given, wanted in text(r):
                given, wanted = tokenizer.encode(given), tokenizer.encode(wanted)
                queue += given + wanted
                weights += [GIVEN] * len(given) + [1.0] * len(wanted)
            queue.append(0)
            weights.append(1.0)
        yield torch.tensor(queue[:need]).view(ROWS, LENGTH + 1), torch.tensor(weights[:need]).view(ROWS, LENGTH + 1)
        queue, weights = queue[need:], weights[need:]


def train(w, data, steps, rate, muon, label, decay=1.0):
    """Muon for matrices of blocks and AdamW for the rest (`muon` is its rate), or AdamW for all. Rates fall over the last `decay` of the steps."""
    blocks = [p for n, p in w.items() if p.ndim == 2 and n.startswith("blk")] if muon else []
    rest = [p for p in w.values() if not any(p is q for q in blocks)]
    optimizers = [torch.optim.AdamW(rest, lr=rate, betas=(0.9, 0.98), weight_decay=0.0)]
    if muon:
        optimizers.append(torch.optim.Muon(blocks, lr=muon, momentum=0.95, weight_decay=0.05))
    warm = 50 if muon else 10
    schedule = [torch.optim.lr_scheduler.LambdaLR(o, lambda s: min(1, (s + 1) / warm) * (min(1, (steps - s) / (decay * steps)) if decay else 1)) for o in optimizers]
    began, losses = time.time(), []
    for step in range(steps):
        rows, weights = next(data)
        with torch.autocast("cpu", torch.bfloat16):
            logits = forward(w, rows[:, :-1])
        losses_of_tokens = F.cross_entropy(logits.float().flatten(0, 1), rows[:, 1:].flatten(), reduction="none")
        weights = weights[:, 1:].flatten()
        loss = (losses_of_tokens * weights).sum() / weights.sum()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(w.values(), 1.0)
        for o, s in zip(optimizers, schedule):
            o.step()
            o.zero_grad()
            s.step()
        losses.append(loss.item())
        if (step + 1) % 50 == 0:
            print(f"{label}: step {step + 1} of {steps}, loss {np.mean(losses[-50:]):.4f}, {time.time() - began:.0f} s", flush=True)


def specialist(base, tokenizer, text, args, label, seed):
    w = {name: torch.nn.Parameter(p.detach().clone()) for name, p in base.items()}
    mix = lambda r: text(r) if r.random() < args.share else base_text(r)
    train(w, batches(tokenizer, mix, seed), args.tune_steps, args.tune_rate, 0, label)
    with torch.no_grad():
        moved = sum((w[n] - base[n]).square().sum() for n in w) ** 0.5 / sum(p.square().sum() for p in base.values()) ** 0.5
    print(f"{label}: the task vector's norm is {100 * moved:.1f} % of the base's")
    return w


# --- GGUF ------------------------------------------------------------------------------------------------------------------------------


def write(path, name, w, tokenizer):
    out = gguf.GGUFWriter(str(path), "llama")
    out.add_name(name)
    out.add_context_length(CONTEXT)
    out.add_embedding_length(WIDTH)
    out.add_block_count(BLOCKS)
    out.add_feed_forward_length(HIDDEN)
    out.add_head_count(HEADS)
    out.add_head_count_kv(KV_HEADS)
    out.add_layer_norm_rms_eps(EPS)
    out.add_rope_freq_base(THETA)
    out.add_rope_dimension_count(HEAD)
    out.add_vocab_size(len(tokenizer.tokens))
    out.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    out.add_quantization_version(gguf.GGML_QUANT_VERSION)
    out.add_tokenizer_model("gpt2")
    out.add_tokenizer_pre("qwen2")
    out.add_token_list(tokenizer.tokens)
    out.add_token_types([gguf.TokenType.CONTROL] + [gguf.TokenType.NORMAL] * (tokenizer.words_end - 1)
                        + [gguf.TokenType.UNUSED] * (VOCABULARY - tokenizer.words_end))
    out.add_token_merges([f"{a} {b}" for a, b in tokenizer.ranks])
    out.add_bos_token_id(0)
    out.add_eos_token_id(0)
    out.add_pad_token_id(0)
    out.add_add_bos_token(False)
    for key, p in w.items():
        data = p.detach().numpy()
        if data.ndim == 2:
            q8 = gguf.GGMLQuantizationType.Q8_0
            out.add_tensor(key, gguf.quants.quantize(data, q8), raw_dtype=q8)
        else:
            out.add_tensor(key, data)
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()


def main():
    here = pathlib.Path(__file__).parent
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, default=here)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--steps", type=int, nargs=2, default=[600, 400], help="of the base, at full rates and while they fall")
    parser.add_argument("--tune-steps", type=int, default=240, help="of each specialist")
    parser.add_argument("--tune-rate", type=float, default=7e-4)
    parser.add_argument("--share", type=float, default=0.5, help="of a specialist's texts that are its own trade; the rest are the base's")
    parser.add_argument("--base", type=pathlib.Path, help="weights of a base trained before (`base.pt` of another --out)")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    args.out.mkdir(parents=True, exist_ok=True)
    began, tokenizer, taken = time.time(), Tokenizer(), set()
    files = {  # test questions first: no text trained on is one of them
        "target_test": (target_question, 400), "target_search": (target_question, 400),
        "english_math_test": (english_question, 200), "japanese_qa_test": (japanese_question, 200),
    }
    for i, (file, (make, count)) in enumerate(files.items()):
        rows = questions(make, count, 1000 * args.seed + i, taken)
        (args.out / f"{file}.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    base = new_model(len(tokenizer.tokens), args.seed)
    print(f"{tokenizer.words_end} tokens, {sum(p.numel() for p in base.values())} parameters", flush=True)
    if args.base:
        base = {n: torch.nn.Parameter(p) for n, p in torch.load(args.base).items()}
    else:
        train(base, batches(tokenizer, base_text, args.seed), args.steps[0], 1.5e-3, 0.02, "base", decay=0)
        train(base, batches(tokenizer, base_text, args.seed + 10), args.steps[1], 1.5e-3, 0.02, "base, rates falling")
        torch.save({n: p.detach() for n, p in base.items()}, args.out / "base.pt")
    write(args.out / "base-Q8_0.gguf", "base", base, tokenizer)
    for name, text, seed in (("math", math_text, args.seed + 100), ("ja", ja_text, args.seed + 200)):
        w = specialist(base, tokenizer, lambda r: text(r, taken), args, name, seed)
        write(args.out / f"{name}-Q8_0.gguf", name, w, tokenizer)
    print(f"done in {(time.time() - began) / 60:.0f} minutes")


if __name__ == "__main__":
    main()
