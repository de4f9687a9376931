#!/usr/bin/env python3
"""Writes copy.jsonl: prompts that hold a text and ask for it again, whole or with one small change.

Prose comes from novels.txt, code from this project's own sources as they stand when this runs.
"""

import json
import re
from pathlib import Path

HERE = Path(__file__).parent

PROSE = [
    ("repeat", "Repeat the following text word for word.\n\n{}"),
    ("repeat", "Say this again, exactly as it stands:\n\n{}"),
    ("edit", "Write this text again with every \"I\" changed to \"we\", and nothing else:\n\n{}"),
    ("edit", "Correct the punctuation of this text and write all of it out again:\n\n{}"),
]
CODE = [
    ("code repeat", "Print this code again without any change:\n\n```rust\n{}\n```"),
    ("code edit", "Add a comment above this function, and print it whole:\n\n```rust\n{}\n```"),
]


def paragraphs():
    """Paragraphs of the novels that are neither a line of speech nor a page."""
    lines = (HERE / "novels.txt").read_text().splitlines()
    return [line.strip() for line in lines if 300 <= len(line.strip()) <= 700]


def functions():
    """Functions that begin at a line's start and fill a paragraph."""
    found = []
    for path in sorted((HERE / "../../model/src").glob("*.rs")):
        for match in re.finditer(r"^(?:pub )?fn .*?^}", path.read_text(), re.M | re.S):
            if 200 <= len(match.group()) <= 900:
                found.append(match.group())
    return found


def pick(items, count):
    """`count` items, evenly spread."""
    return [items[index * len(items) // count] for index in range(count)]


def main():
    questions = []
    for texts, tasks in ((pick(paragraphs(), 20), PROSE), (pick(functions(), 12), CODE)):
        for index, text in enumerate(texts):
            questions.append((tasks[index % len(tasks)], text))
    with open(HERE / "copy.jsonl", "w") as file:
        for number, ((category, task), text) in enumerate(questions, 1):
            line = {"question_id": number, "category": category, "turns": [task.format(text)]}
            print(json.dumps(line, ensure_ascii=False), file=file)


main()
