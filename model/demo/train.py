#!/usr/bin/env python3
"""Trains the carried model: Llama's architecture, small, on text that may be shipped.

    pip install torch tokenizers safetensors numpy
    train.py --data FILE.jsonl[.xz]... --output DIR [--tokens 300e6] [--device cuda]

One GPU does 300 M tokens in less than ten minutes; two processor cores do about 25 M in an hour. A run that was stopped
goes on where it was when it is started again with the same arguments. Foretoken itself needs none of this.

Documents are lines of JSON with `messages`, `question` and `answer`, `instruction`, `input` and `output`, or `text`; a
file that is no JSONL is split at blank lines. Every hundredth document is held out, by its hash, so that any two models
can be compared on the same text: `--evaluate DIR`.
"""

import argparse, hashlib, json, lzma, math, shutil, time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import nn

HERE = Path(__file__).parent
END = 0  # <|endoftext|>, before and between documents


def options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", type=Path, required=True, help="texts, .jsonl, .txt, or either as .xz")
    parser.add_argument("--output", type=Path, required=True, help="where the model and the state of the run are kept")
    parser.add_argument("--config", type=Path, default=HERE / "config.json", help="the shape of the model")
    parser.add_argument("--most", type=int, default=100_000, help="characters that are taken of one document")
    parser.add_argument("--tokens", type=float, default=300e6, help="to be seen in all")
    parser.add_argument("--length", type=int, default=512, help="of a row; the last eighth has rows of the whole context")
    parser.add_argument("--batch", type=int, default=32_768, help="tokens of a step")
    parser.add_argument("--rate", type=float, default=0.02, help="Muon's learning rate; AdamW's is a fifth of it")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--evaluate", type=Path, help="only tell this model's loss on the text that is held out")
    parser.add_argument("--save-every", type=float, default=60, help="seconds")
    return parser.parse_args()


# ---- text ----


def turns(document):
    """A document's text: a chat as ChatML, anything else as it is."""
    if "question" in document:
        document = {"messages": [("user", document["question"]), ("assistant", document["answer"])]}
    elif "instruction" in document:
        asked = "\n".join(filter(None, [document["instruction"], document.get("input")]))
        document = {"messages": [("user", asked), ("assistant", document["output"])]}
    if "messages" not in document:
        return document["text"]
    pairs = (m if isinstance(m, tuple) else (m["role"], m["content"]) for m in document["messages"])
    return "".join(f"<|im_start|>{role}\n{text.strip()}<|im_end|>\n" for role, text in pairs)


def documents(path, most):
    opened = lzma.open(path, "rt", encoding="utf-8") if path.suffix == ".xz" else open(path, encoding="utf-8")
    with opened as lines:
        if ".jsonl" in path.suffixes:
            yield from (turns(json.loads(line))[:most] for line in lines)
        else:
            text = lines.read().replace("<|endoftext|>", "\n\n")
            yield from (part.strip() for part in text.split("\n\n\n") if part.strip())


def is_held_out(text):
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4]) % 100 == 0


def streams(args, tokenizer):
    """All documents as two rows of tokens, to be learnt and held out; kept in the output folder for the next start."""
    kept = args.output / "tokens.npz"
    if not kept.exists():
        parts = ([], [])
        for path in args.data:
            texts = list(documents(path, args.most))
            for text, encoding in zip(texts, tokenizer.encode_batch_fast(texts, add_special_tokens=False)):
                parts[is_held_out(text)].append(np.array([END, *encoding.ids], dtype=np.uint16))
            print(f"{path.name}: {len(texts)} documents")
        order = np.random.default_rng(0).permutation(len(parts[0]))
        np.savez(kept, learnt=np.concatenate([parts[0][i] for i in order]), held_out=np.concatenate(parts[1]))
    tokens = np.load(kept)
    return tokens["learnt"], tokens["held_out"]


def rows(stream, first, count, length, device):
    """`count` rows of `length` tokens and the one after them, from row `first` on, the text being a ring."""
    starts = (first + np.arange(count)) * length
    index = (starts[:, None] + np.arange(length + 1)) % len(stream)
    return torch.from_numpy(stream[index].astype(np.int64)).to(device)


# ---- model ----


class Block(nn.Module):
    def __init__(self, c):
        super().__init__()
        d, h, kv, hd, m = (c[k] for k in ("hidden_size", "num_attention_heads", "num_key_value_heads", "head_dim", "intermediate_size"))
        self.heads, self.kv_heads, self.head_dim = h, kv, hd
        linear = lambda i, o: nn.Linear(i, o, bias=False)
        self.input_layernorm = nn.RMSNorm(d, c["rms_norm_eps"])
        self.self_attn = nn.ModuleDict({"q_proj": linear(d, h * hd), "k_proj": linear(d, kv * hd), "v_proj": linear(d, kv * hd), "o_proj": linear(h * hd, d)})
        self.post_attention_layernorm = nn.RMSNorm(d, c["rms_norm_eps"])
        self.mlp = nn.ModuleDict({"gate_proj": linear(d, m), "up_proj": linear(d, m), "down_proj": linear(m, d)})

    def forward(self, x, angles):
        n, (b, t, _) = self.input_layernorm(x), x.shape
        split = lambda name, heads: self.self_attn[name](n).view(b, t, heads, self.head_dim).transpose(1, 2)
        q, k, v = rotate(split("q_proj", self.heads), angles), rotate(split("k_proj", self.kv_heads), angles), split("v_proj", self.kv_heads)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        x = x + self.self_attn["o_proj"](mixed.transpose(1, 2).reshape(b, t, -1))
        n = self.post_attention_layernorm(x)
        return x + self.mlp["down_proj"](F.silu(self.mlp["gate_proj"](n)) * self.mlp["up_proj"](n))


def rotate(x, angles):
    cos, sin = (f(angles[: x.shape[2]]).to(x.dtype) for f in (torch.cos, torch.sin))
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1)


class Llama(nn.Module):
    """Tied embeddings; parameters are named as in Hugging Face's checkpoints."""

    def __init__(self, c):
        super().__init__()
        self.embed_tokens = nn.Embedding(c["vocab_size"], c["hidden_size"])
        self.layers = nn.ModuleList(Block(c) for _ in range(c["num_hidden_layers"]))
        self.norm = nn.RMSNorm(c["hidden_size"], c["rms_norm_eps"])
        half = torch.arange(0, c["head_dim"], 2) / c["head_dim"]
        positions = torch.arange(c["max_position_embeddings"])
        self.register_buffer("angles", positions[:, None] / c["rope_theta"] ** half, persistent=False)
        nn.init.normal_(self.embed_tokens.weight, std=0.02)
        for block in self.layers:
            for last in (block.self_attn["o_proj"], block.mlp["down_proj"]):
                nn.init.zeros_(last.weight)

    def forward(self, tokens):
        x = self.embed_tokens(tokens)
        for block in self.layers:
            x = block(x, self.angles)
        return F.linear(self.norm(x), self.embed_tokens.weight)

    def loss(self, tokens):
        """Nats per token."""
        with torch.autocast(tokens.device.type, torch.bfloat16):
            scores = self(tokens[:, :-1])
        return F.cross_entropy(scores.float().flatten(0, 1), tokens[:, 1:].flatten())


@torch.no_grad()
def held_out_loss(model, stream, length, device, most=200_000):
    count = min(len(stream), most) // length
    parts = [model.loss(rows(stream, first, min(16, count - first), length, device)).item() * min(16, count - first) for first in range(0, count, 16)]
    return sum(parts) / count


# ---- training ----


class Muon(torch.optim.Optimizer):
    """Momentum whose update is made orthogonal (Jordan et al., 2024): for matrices inside the network."""

    def __init__(self, parameters, lr, momentum=0.95):
        super().__init__(parameters, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                velocity = self.state[p].setdefault("velocity", torch.zeros_like(p))
                velocity.lerp_(p.grad, 1 - group["momentum"])
                update = orthogonal(p.grad.lerp(velocity, group["momentum"]))
                p.add_(update, alpha=-group["lr"] * max(1, p.shape[0] / p.shape[1]) ** 0.5)


def orthogonal(g, steps=5):
    """The nearest orthogonal matrix, roughly, by a Newton-Schulz iteration."""
    x = g.bfloat16() / (g.norm() + 1e-7)
    x = x.T if g.shape[0] > g.shape[1] else x
    for _ in range(steps):
        a = x @ x.T
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return (x.T if g.shape[0] > g.shape[1] else x).to(g.dtype)


def optimizers(model, rate):
    matrices = [p for p in model.layers.parameters() if p.ndim == 2]
    others = [model.embed_tokens.weight, *(p for p in model.parameters() if p.ndim == 1)]
    return [Muon(matrices, lr=rate), torch.optim.AdamW(others, lr=rate / 5, betas=(0.9, 0.95), weight_decay=0.0)]


def factor(done):
    """Of the learning rate: up for a hundredth of the run, then level, down to nothing over its last half."""
    return min(1.0, done / 0.01 + 0.01, 2.0 * (1.0 - done))


def export(model, args):
    """The folder that foretoken loads."""
    weights = {f"model.{name}": p.detach().to("cpu", torch.bfloat16) for name, p in model.named_parameters()}
    save_file(weights, args.output / "model.safetensors", metadata={"format": "pt"})
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        shutil.copyfile(args.config.parent / name, args.output / name)
    shutil.copyfile(args.config, args.output / "config.json")


def train(args, model, learnt, held_out, context):
    optimizer = optimizers(model, args.rate)
    state, seen, step = args.output / "state.pt", 0, 0
    if state.exists():
        kept = torch.load(state, map_location=args.device)
        model.load_state_dict(kept["model"])
        for one, saved in zip(optimizer, kept["optimizers"]):
            one.load_state_dict(saved)
        seen, step = kept["seen"], kept["step"]
    print(f"{sum(p.numel() for p in model.parameters()) / 1e6:.1f} M parameters, {len(learnt) / 1e6:.1f} M tokens, from {seen / 1e6:.1f} M on")
    saved, started, before = time.time(), time.time(), seen
    while seen < args.tokens:
        length = args.length if seen < 0.875 * args.tokens else context
        count = max(1, args.batch // length)
        loss = model.loss(rows(learnt, seen // length, count, length, args.device))
        for one in optimizer:
            one.zero_grad()
        loss.backward()
        rate = factor(seen / args.tokens)
        for one, full in zip(optimizer, (args.rate, args.rate / 5)):
            one.param_groups[0]["lr"] = full * rate
            one.step()
        seen, step = seen + count * length, step + 1
        if step % 20 == 0:
            speed = (seen - before) / (time.time() - started)
            print(f"\r{seen / 1e6:8.1f} M tokens  loss {loss.item():.3f}  {speed:9.0f} tokens/s", end="", flush=True)
        if time.time() - saved > args.save_every or seen >= args.tokens:
            print(f"  held out {held_out_loss(model, held_out, args.length, args.device):.3f}")
            kept = {"model": model.state_dict(), "optimizers": [one.state_dict() for one in optimizer], "seen": seen, "step": step}
            torch.save(kept, state.with_suffix(".new"))
            state.with_suffix(".new").replace(state)
            export(model, args)
            saved = time.time()


def main():
    args = options()
    torch.manual_seed(0)
    args.output.mkdir(parents=True, exist_ok=True)
    config = json.loads(args.config.read_text())
    learnt, held_out = streams(args, Tokenizer.from_file(str(args.config.parent / "tokenizer.json")))
    model = Llama(config).to(args.device)
    context = config["max_position_embeddings"]
    if args.evaluate:
        weights = load_file(args.evaluate / "model.safetensors")
        model.load_state_dict({name.removeprefix("model."): weight.float() for name, weight in weights.items()})
    else:
        train(args, model, learnt, held_out, context)
    losses = [held_out_loss(model, held_out, length, args.device) for length in (args.length, context)]
    print("held out, nats per token: {:.3f} at {}, {:.3f} at {}".format(losses[0], args.length, losses[1], context))


if __name__ == "__main__":
    main()
