"""Writes search.jsonl and test.jsonl beside this file: short problems of GSM8K's train and test parts.

Usage: questions.py GSM8K, a folder with train.jsonl and test.jsonl (recipes/tasks/README.md says where to get them).
"""

import json
import pathlib
import sys

HERE = pathlib.Path(__file__).parent

for part, name, count in [("train", "search", 96), ("test", "test", 144)]:
    rows = [json.loads(line) for line in open(pathlib.Path(sys.argv[1]) / f"{part}.jsonl", encoding="utf-8")]
    short = [row for row in rows if 200 < len(row["question"]) + len(row["answer"]) < 330][:count]
    (HERE / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in short), encoding="utf-8")
