"""SmolLM2 in PyTorch: a llama GGUF goes in; its tokenizer and a model that LoRA adapters can be trained on come out."""

import math

import gguf
import numpy
import tokenizers
import torch
import torch.nn.functional as F
from tokenizers import decoders, models, pre_tokenizers


def value(reader, key):
    return reader.fields[key].contents()


def tokenizer(reader):
    """The tokenizer that llama.cpp calls `smollm`: digits one by one, then GPT-2's byte-pair encoding."""
    assert (value(reader, "tokenizer.ggml.model"), value(reader, "tokenizer.ggml.pre")) == ("gpt2", "smollm")
    vocabulary = {token: i for i, token in enumerate(value(reader, "tokenizer.ggml.tokens"))}
    merges = [tuple(merge.split(" ")) for merge in value(reader, "tokenizer.ggml.merges")]
    made = tokenizers.Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    made.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte_level])
    made.decoder = decoders.ByteLevel()
    return made


class Llama:
    """Frozen weights in bfloat16, and for each matrix named in `adapted` two factors A and B, of which B begins at 0.

    Attention is over interleaved pairs, as GGUF files of this architecture lay rows of `attn_q` and `attn_k` out.
    """

    def __init__(self, reader, rank=0, alpha=0, adapted=(), seed=0, dtype=torch.bfloat16, device="cpu"):
        number = lambda key: value(reader, f"llama.{key}")
        self.blocks = number("block_count")
        self.heads, self.kv_heads = number("attention.head_count"), number("attention.head_count_kv")
        self.size = number("embedding_length") // self.heads
        self.epsilon = number("attention.layer_norm_rms_epsilon")
        self.base = number("rope.freq_base")
        self.dtype = dtype
        self.weights = {}
        for tensor in reader.tensors:
            values = torch.from_numpy(numpy.array(gguf.quants.dequantize(tensor.data, tensor.tensor_type), dtype=numpy.float32))
            self.weights[tensor.name] = values.to(device) if values.dim() == 1 else values.to(device, dtype)
        self.scale = alpha / rank if rank else 0.0
        self.lora = {}
        generator = torch.Generator().manual_seed(seed)
        for name in adapted:
            rows, columns = self.weights[name].shape
            a = torch.randn(rank, columns, generator=generator) / math.sqrt(columns)
            self.lora[name] = (a.to(device).requires_grad_(), torch.zeros(rows, rank, device=device, requires_grad=True))

    def linear(self, x, name):
        y = F.linear(x, self.weights[name])
        if name in self.lora:
            a, b = self.lora[name]
            y = y + F.linear(F.linear(x, a.to(self.dtype)), (self.scale * b).to(self.dtype))
        return y

    def norm(self, x, name):
        return F.rms_norm(x, x.shape[-1:], self.weights[name], self.epsilon).to(self.dtype)

    def rotate(self, x, cos, sin):
        pairs = x.float().unflatten(-1, (-1, 2))
        even, odd = pairs[..., 0], pairs[..., 1]
        return torch.stack((even * cos - odd * sin, even * sin + odd * cos), -1).flatten(-2).to(self.dtype)

    def hidden(self, tokens):
        """What the head is applied to: from [sequence, place] to [sequence, place, width]."""
        count, length = tokens.shape
        angles = torch.arange(length)[:, None] * self.base ** (-torch.arange(0, self.size, 2) / self.size)
        cos, sin = angles.cos().to(tokens.device), angles.sin().to(tokens.device)
        x = self.weights["token_embd.weight"][tokens].float()
        for i in range(self.blocks):
            name = lambda part: f"blk.{i}.{part}.weight"
            h = self.norm(x, name("attn_norm"))
            heads = lambda part: self.linear(h, name(part)).view(count, length, -1, self.size).transpose(1, 2)
            q, k, v = self.rotate(heads("attn_q"), cos, sin), self.rotate(heads("attn_k"), cos, sin), heads("attn_v")
            k, v = (t.repeat_interleave(self.heads // self.kv_heads, 1) for t in (k, v))
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2)
            x = x + self.linear(y, name("attn_output"))
            h = self.norm(x, name("ffn_norm"))
            x = x + self.linear(F.silu(self.linear(h, name("ffn_gate"))) * self.linear(h, name("ffn_up")), name("ffn_down"))
        return self.norm(x, "output_norm.weight")

    def head(self, hidden):
        return F.linear(hidden, self.weights["token_embd.weight"]).float()


def write_adapter(path, model, alpha, name):
    """The model's factors as llama.cpp's `convert_lora_to_gguf.py` writes them."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_type("adapter")
    writer.add_name(name)
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", alpha)
    for tensor, (a, b) in model.lora.items():
        writer.add_tensor(f"{tensor}.lora_a", a.detach().cpu().numpy().astype(numpy.float16))
        writer.add_tensor(f"{tensor}.lora_b", b.detach().cpu().numpy().astype(numpy.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
