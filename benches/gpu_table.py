"""What benches/gpu.sh has measured so far, as Markdown, and all of it in one results.json.

    gpu_table.py OUT > OUT/results.md
"""

import json
import pathlib
import sys


def main():
    out = pathlib.Path(sys.argv[1])
    results = {}
    print("# On a GPU\n\n| part | | status | seconds |\n| --- | --- | --- | --: |")
    for path in sorted(out.glob("*.status.json")):
        status = json.loads(path.read_text())
        results[status["name"]] = {"status": status["status"], "seconds": status["seconds"]}
        print(f"| {status['part']} | {status['name']} | {status['status']} | {status['seconds']} |")
    for path in sorted(out.glob("[0-9][0-9]-*.*")):
        name = path.name.split("-", 1)[1].split(".")[0]
        if path.suffix == ".txt":
            results.setdefault(name, {})["text"] = path.read_text()
            print(f"\n## {name}\n\n{path.read_text().strip()}")
        if path.suffix == ".jsonl":
            lines = [json.loads(line) for line in path.read_text().splitlines() if line.strip()]
            results.setdefault(name, {})["lines"] = lines
            print(f"\n## {name}\n")
            lossless(lines) if name == "lossless" else table(lines)
    (out / "results.json").write_text(json.dumps(results, indent=1))


def table(lines):
    """Objects of the same fields, one table for each set of them."""
    fields = None
    for line in lines:
        if list(line) != fields:
            fields = list(line)
            print("\n| " + " | ".join(fields) + " |\n|" + " --- |" * len(fields))
        print("| " + " | ".join(shown(line[field]) for field in fields) + " |")


def lossless(lines):
    same = sum(line["same"] for line in lines)
    print(f"{same} of {len(lines)} texts are what plain decoding says.")
    table(line for line in lines if not line["same"])


def shown(value):
    return f"{value:.4g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
