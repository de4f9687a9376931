"""The same weights under llama.cpp and under foretoken: conversion and comparison. Run through `llama_cpp.sh`.

    llama_cpp.py convert MODEL_DIR OUT.gguf
    llama_cpp.py compare --llama-bench BIN --forward BIN --model DIR --gguf NAME=FILE ... [--threads N] [--rounds N]

`convert` writes a Llama checkpoint (config.json, one model.safetensors in bfloat16) as GGUF in bfloat16. It needs the
packages `gguf` and `numpy`. The tokenizer is left out: speed does not depend on it.

`compare` measures, in turns, so that a slow minute of the machine slows both: one row at depth 256 (plain decoding),
then 16 and 64 rows at depth 256 (the verify of a draft). Neither samples; llama.cpp computes logits for the last row
alone, foretoken for all rows, as a verify needs them. It needs the standard library alone.
"""

import argparse
import json
import shlex
import statistics
import subprocess
from pathlib import Path

ROWS = [1, 16, 64]
DEPTH = 256


def read_safetensors(path):
    """Yields names and bfloat16 matrices, as 16-bit integers in place."""
    import numpy

    with open(path, "rb") as file:
        header_len = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(header_len))
    data = numpy.memmap(path, dtype=numpy.uint8, mode="r", offset=8 + header_len)
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        if entry["dtype"] != "BF16":
            raise SystemExit(f"{name} is {entry['dtype']}, expected BF16")
        start, end = entry["data_offsets"]
        yield name, data[start:end].view(numpy.uint16).reshape(entry["shape"])


def interleave(matrix, num_heads):
    """Rows of queries or keys from halves (Hugging Face) to pairs (llama.cpp), as the rotary embedding turns them."""
    num_outputs, num_inputs = matrix.shape
    halves = matrix.reshape(num_heads, 2, num_outputs // num_heads // 2, num_inputs)
    return halves.swapaxes(1, 2).reshape(num_outputs, num_inputs)


LAYER = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
TOP = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}


def gguf_name(name):
    if name in TOP:
        return TOP[name]
    _, _, layer, rest = name.split(".", 3)
    return f"blk.{layer}.{LAYER[rest.removesuffix('.weight')]}.weight"


def convert(model, out):
    import gguf
    import numpy

    config = json.loads((model / "config.json").read_text())
    num_heads = config["num_attention_heads"]
    num_kv_heads = config.get("num_key_value_heads") or num_heads
    head_dim = config.get("head_dim") or config["hidden_size"] // num_heads
    writer = gguf.GGUFWriter(out, "llama")
    writer.add_vocab_size(config["vocab_size"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(num_heads)
    writer.add_head_count_kv(num_kv_heads)
    writer.add_key_length(head_dim)
    writer.add_value_length(head_dim)
    writer.add_rope_dimension_count(head_dim)
    writer.add_rope_freq_base(config.get("rope_theta", 10000.0))
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_BF16)
    writer.add_tokenizer_model("none")
    for name, matrix in read_safetensors(model / "model.safetensors"):
        if matrix.ndim == 1:
            # llama.cpp keeps norms in float32; a bfloat16 is the upper half of one.
            norm = (matrix.astype(numpy.uint32) << 16).view(numpy.float32)
            writer.add_tensor(gguf_name(name), norm)
            continue
        for part, heads in ("q_proj", num_heads), ("k_proj", num_kv_heads):
            if part in name:
                matrix = interleave(matrix, heads)
        data = numpy.ascontiguousarray(matrix).view(numpy.uint8)
        writer.add_tensor(gguf_name(name), data, raw_dtype=gguf.GGMLQuantizationType.BF16)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file(progress=True)
    writer.close()


def run(command, wrapper):
    return subprocess.run([*wrapper, *command], check=True, capture_output=True, text=True).stdout


def llama_cpp(options, gguf):
    """Tokens a second by rows, the median of the runs."""
    speeds = {}
    for rows in ROWS:
        # Decoding is timed over some tokens, as its first one alone would be noise.
        test = ["-p", "0", "-n", str(options.decode)] if rows == 1 else ["-p", str(rows), "-n", "0"]
        common = ["-m", gguf, "-t", str(options.threads), "-d", str(DEPTH), "-r", str(options.repeat)]
        out = run([options.llama_bench, *common, *test, "-o", "json"], options.wrapper)
        speeds[rows] = statistics.median(json.loads(out)[0]["samples_ts"])
    return speeds


def foretoken(options, dtype):
    """Tokens a second by rows, from the medians of `--bench forward`."""
    rows = ",".join(map(str, ROWS))
    common = ["--model", options.model, "--threads", str(options.threads), "--context", str(DEPTH)]
    command = [options.forward, *common, "--rows", rows, "--dtypes", dtype, "--seconds", str(options.seconds)]
    for line in run(command, options.wrapper).splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if cells[0].endswith(": median ms"):
            return {rows: rows / float(ms) * 1e3 for rows, ms in zip(ROWS, cells[1:])}
    raise SystemExit(f"{options.forward} printed no line of times")


def compare(options):
    sides = {f"foretoken {dtype}": lambda dtype=dtype: foretoken(options, dtype) for dtype in options.dtypes}
    for named in options.gguf:
        name, _, file = named.partition("=")
        sides[f"llama.cpp {name}"] = lambda file=file: llama_cpp(options, file)
    rounds = {name: [] for name in sides}
    for _ in range(options.rounds):
        for name, measure in sides.items():
            rounds[name].append(measure())
    print(f"{Path(options.model).name}, {options.threads} threads, depth {DEPTH}, tokens/s:")
    print(f"median of {options.rounds} interleaved rounds (slowest to fastest)\n")
    print("| | " + " | ".join(f"{rows} row{'s' * (rows > 1)}" for rows in ROWS) + " |")
    print("| --- |" + " --: |" * len(ROWS))
    for name, measured in rounds.items():
        cells = []
        for rows in ROWS:
            speeds = [speed[rows] for speed in measured]
            cells.append(f"{statistics.median(speeds):.1f} ({min(speeds):.1f} to {max(speeds):.1f})")
        print(f"| {name} | " + " | ".join(cells) + " |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    converting = commands.add_parser("convert")
    converting.add_argument("model", type=Path)
    converting.add_argument("out", type=Path)
    comparing = commands.add_parser("compare")
    comparing.add_argument("--llama-bench", required=True)
    comparing.add_argument("--forward", required=True, help="the binary of `--bench forward`")
    comparing.add_argument("--model", required=True)
    comparing.add_argument("--gguf", action="append", default=[], metavar="NAME=FILE")
    comparing.add_argument("--dtypes", type=lambda names: names.split(","), default=["bfloat16"])
    comparing.add_argument("--threads", type=int, default=2)
    comparing.add_argument("--rounds", type=int, default=3)
    comparing.add_argument("--repeat", type=int, default=3, help="runs of llama-bench within a round")
    comparing.add_argument("--decode", type=int, default=32, help="tokens that llama-bench decodes in a run")
    comparing.add_argument("--seconds", type=float, default=2, help="of foretoken within a round")
    comparing.add_argument("--wrapper", type=shlex.split, default=[], help="put before every measured command")
    options = parser.parse_args()
    if options.command == "convert":
        convert(options.model, options.out)
    else:
        compare(options)


if __name__ == "__main__":
    main()
