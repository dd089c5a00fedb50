#!/usr/bin/env python3
"""Counts phrases that are hard to read, in the messages and comments of src/.

Messages (string literals of several words, and the help texts of src/cli) must have none. Of the comment
lines at most one in 200 may have one. `--list` shows each comment line too. Tests are not looked at.
"""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent

TURNS = {
    "is not a, not `is no`": r"(?<!there )(?<!There )\b(is|are|was|were) no\b(?! longer)",
    "only, not `alone`": r"\balone\b",
    "again, not `anew`": r"\banew\b",
    "name the subject, not `whoever`": r"\b[Ww]ho(m|so)?ever\b",
    "report, show, return; not `tell`": r"\b([Tt]ells?|[Tt]old|[Tt]elling)\b",
    "name the subject, not `somebody`": r"\b([Ss]ome|[Nn]o|[Aa]ny)body\b",
    "no longer, not `any more`": r"\bany more\b|\banymore\b",
    "name the subject, not `what …`": r"(^|[.:;] )What(ever)? (?!is |are |does |do |to |if )\w+|[.;] what \w+ \w+",
}
COMMENT_SHARE = 1 / 200


def strings(line):
    return [text for text in re.findall(r'"((?:[^"\\]|\\.)*)"', line) if " " in text.strip()]


def without_tests(text):
    kept, inside = [], False
    lines = text.splitlines()
    for number, line in enumerate(lines):
        begins = line.strip() == "#[cfg(test)]" and number + 1 < len(lines) and lines[number + 1].endswith("{")
        inside = (inside or begins) and line != "}"
        if not inside:
            kept.append((number + 1, line))
    return kept


def main():
    listed = "--list" in sys.argv
    comments = bad_comments = 0
    messages = []
    for path in sorted((ROOT / "src").rglob("*.rs")):
        if path.stem.endswith("tests") or path.stem == "testing":
            continue
        is_help = "cli" in path.parts
        for number, line in without_tests(path.read_text()):
            bare = line.strip()
            if bare.startswith("//"):
                comments += 1
                text = bare.lstrip("/!").strip()
                found = [why for why, turn in TURNS.items() if re.search(turn, text)]
                if found and is_help and bare.startswith("///"):
                    messages.append((path, number, bare, found))
                elif found:
                    bad_comments += 1
                    if listed:
                        print(f"{path.relative_to(ROOT)}:{number}: {bare}  ({'; '.join(found)})")
                continue
            for text in strings(line):
                found = [why for why, turn in TURNS.items() if re.search(turn, text)]
                if found:
                    messages.append((path, number, bare, found))
    for path, number, bare, found in messages:
        print(f"{path.relative_to(ROOT)}:{number}: {bare}  ({'; '.join(found)})")
    share = bad_comments / max(comments, 1)
    print(f"{len(messages)} messages; {bad_comments} of {comments} comment lines ({share:.2%})")
    return 1 if messages or share > COMMENT_SHARE else 0


if __name__ == "__main__":
    sys.exit(main())
