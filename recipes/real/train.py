"""Trains a LoRA adapter on one skill: a llama GGUF and the skill's name go in, an adapter GGUF comes out.

SKILL is one of world.py's. The loss is on answers only; the base stays as it is. Computes on a GPU where PyTorch has one.
"""

import argparse
import math
import random
import sys
import time

import gguf
import torch
import torch.nn.functional as F

import llama
import world

RANK, ALPHA = 8, 16
MATRICES = ("attn_q", "attn_v", "attn_output", "ffn_down")
BATCH, RATE = 8, 2e-3
STEPS = 220
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def batches(tokenizer, skill, steps, seed):
    """Each batch as tokens and, where an answer's token is to be predicted, that token; -100 elsewhere."""
    rows = world.draw(world.SKILLS[skill], random.Random(f"{skill} train {seed}"), steps * BATCH, world.read(f"{skill}_test"))
    pairs = [(tokenizer.encode(row["prompt"]).ids, tokenizer.encode(row["reference"] + "\n").ids) for row in rows]
    # Questions of like length together, batches in random order.
    wide = 16 * BATCH
    groups = [sorted(pairs[i : i + wide], key=lambda pair: len(pair[0]) + len(pair[1])) for i in range(0, len(pairs), wide)]
    parts = [group[i : i + BATCH] for group in groups for i in range(0, len(group), BATCH)]
    random.Random(seed).shuffle(parts)
    for part in parts:
        length = max(len(prompt) + len(answer) for prompt, answer in part) - 1
        tokens = torch.zeros(len(part), length, dtype=torch.long)
        wanted = torch.full((len(part), length), -100)
        for i, (prompt, answer) in enumerate(part):
            whole = torch.tensor(prompt + answer)
            tokens[i, : len(whole) - 1] = whole[:-1]
            wanted[i, len(prompt) - 1 : len(whole) - 1] = whole[len(prompt) :]
        yield tokens.to(DEVICE), wanted.to(DEVICE)


def main(base, skill, out, steps, seed):
    reader = gguf.GGUFReader(base)
    blocks = llama.value(reader, "llama.block_count")
    adapted = [f"blk.{i}.{matrix}.weight" for i in range(blocks) for matrix in MATRICES]
    model = llama.Llama(reader, RANK, ALPHA, adapted, seed, device=DEVICE)
    factors = [factor for pair in model.lora.values() for factor in pair]
    optimizer = torch.optim.AdamW(factors, lr=RATE, betas=(0.9, 0.98), weight_decay=0)
    warmup = max(1, steps // 20)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / warmup, 0.5 * (1 + math.cos(math.pi * step / steps)))
    )
    start, seen, mean = time.time(), 0, None
    for step, (tokens, wanted) in enumerate(batches(llama.tokenizer(reader), skill, steps, seed), 1):
        answers = wanted != -100
        loss = F.cross_entropy(model.head(model.hidden(tokens)[answers]), wanted[answers])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(factors, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        seen += tokens.numel()
        mean = loss.item() if mean is None else 0.9 * mean + 0.1 * loss.item()
        if step % 10 == 0 or step == steps:
            rate = seen / (time.time() - start)
            print(f"{skill}: step {step} of {steps}, loss {mean:.3f}, {rate:.0f} tokens/s", file=sys.stderr, flush=True)
    llama.write_adapter(out, model, ALPHA, skill)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", help="a llama GGUF")
    parser.add_argument("skill", choices=world.SKILLS)
    parser.add_argument("out", help="the adapter, a GGUF too")
    parser.add_argument("--steps", type=int, default=STEPS, help=f"batches of {BATCH} questions ({STEPS})")
    parser.add_argument("--seed", type=int, default=1, help="of the questions, their order and the factors (1)")
    main(**vars(parser.parse_args()))
