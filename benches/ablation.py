#!/usr/bin/env python3
"""Trains Chimera with one thing changed at a time, all on the same tokens, and compares what comes out.

    cargo build --release && benches/ablation.py OUT --data TRAIN.jsonl --eval-data HELD_OUT.jsonl
    benches/ablation.py OUT --engine

The first trains each variant into a folder of OUT, unless it is there already, and prints what its log says of the
held-out texts: how often the target's likeliest token is among the one, three and five likeliest guesses of each step,
and tokens per verify along one branch. The second lets each draft for the prompts of `workloads/`: tokens per verify
with 32 draft tokens, which are always verified. Options behind `--` go to `foretoken train chimera` as they are.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent

VARIANTS = {
    "lean": [],
    "lean, no trigram encoder": ["--without-trigram"],
    "lean, no context": ["--without-context"],
    "lean, no residual": ["--without-residual"],
    "lean, one step trained": ["--heads", "1", "--steps", "1", "--validation-steps", "4"],
    "lean, reads its own guesses": ["--unroll", "guesses"],
    "faithful": ["--faithful"],
    "faithful, reads its own guesses": ["--faithful", "--unroll", "guesses"],
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--data", nargs="+", help="texts to learn from")
    parser.add_argument("--eval-data", nargs="+", help="texts to look at")
    parser.add_argument("--engine", action="store_true", help="draft for the workloads' prompts")
    parser.add_argument("--questions", default="12", help="of each workload")
    parser.add_argument("--only", choices=VARIANTS, help="this variant alone")
    arguments, more = parser.parse_known_args()
    more = [option for option in more if option != "--"]
    print_head(arguments.engine)
    for name, options in VARIANTS.items():
        if arguments.only not in (None, name):
            continue
        folder = arguments.out / name.replace(", ", "-").replace(" ", "-")
        if arguments.data and not (folder / "curves.svg").exists():
            train(folder, options + more, arguments)
        if (folder / "curves.svg").exists():
            cells = drafted(folder, arguments.questions) if arguments.engine else held_out(folder)
            print("|", " | ".join([name, *cells]), "|", flush=True)


def print_head(engine):
    columns = ["one branch, T = 0", "T = 1, at best", "top-1 by step", "top-3", "top-5"]
    if engine:
        columns = [f"{workload}, T = {temperature}" for workload in WORKLOADS for temperature in TEMPERATURES]
    print("|", " | ".join(["variant", *columns]), "|")
    print("| --- |" + " --: |" * len(columns))


def train(folder, options, arguments):
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    command = [target / "release/foretoken", "train", "chimera", "--output", folder, *options]
    command += ["--data", *arguments.data]
    if arguments.eval_data:
        command += ["--eval-data", *arguments.eval_data]
    subprocess.run(command, check=True, stdout=sys.stderr)


def held_out(folder):
    """The last validation's figures."""
    lines = map(json.loads, (folder / "log.jsonl").read_text().splitlines())
    last = [line for line in lines if line["kind"] == "validation"][-1]
    yield f"{last['acceptance_length']:.2f}"
    yield f"{last['sampled_acceptance_length']:.2f}"
    for field in ["top_1", "top_3", "top_5"]:
        yield " ".join(f"{100 * step[field]:.1f}" for step in last["steps"])


WORKLOADS = ["spec_bench", "gsm8k", "mbpp", "dialogue"]
TEMPERATURES = ["0", "1"]


def drafted(folder, questions):
    """Tokens per verify by workload and temperature."""
    command = ["cargo", "bench", "--quiet", "-p", "foretoken-benches", "--bench", "engine", "--"]
    command += ["--drafter", "chimera", "--chimera", folder.resolve(), "--drafters", "chimera", "--budgets", "32"]
    command += ["--acceptance-only", "--questions", questions, "--workloads", ",".join(WORKLOADS)]
    command += ["--temperatures", ",".join(TEMPERATURES)]
    table = subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.PIPE, text=True).stdout
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines() if line.startswith("|")]
    found = {(workload, temperature): length for workload, temperature, length, *_ in rows}
    return [found[workload, temperature] for workload in WORKLOADS for temperature in TEMPERATURES]


if __name__ == "__main__":
    main()
