#!/usr/bin/env python3
"""Takes one protection out at a time, as the files in tests/mutations say, and requires that the
test that guards it fails. Without arguments all of them, else those that are named.

A mutation names a test, a file, the lines that go (`- `) and those that come (`+ `). Indentation
does not count; the lines must be in the file exactly once. `--check` looks only at that.
"""

import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
FOLDER = ROOT / "tests/mutations"


class Mutation:
    def __init__(self, path):
        self.name = path.stem
        self.gone, self.come, fields = [], [], {}
        for line in path.read_text().splitlines():
            if line.startswith("- "):
                self.gone.append(line[2:])
            elif line.startswith("+ "):
                self.come.append(line[2:])
            elif not line.startswith("#"):
                key, value = line.split(": ", 1)
                fields[key] = value
        self.test, self.file = fields["test"], ROOT / fields["file"]

    def mutated(self):
        lines = self.file.read_text().split("\n")
        bare = [line.strip() for line in lines]
        size = len(self.gone)
        found = [at for at in range(len(bare)) if bare[at : at + size] == self.gone]
        if len(found) != 1:
            sys.exit(f"{self.name}: {len(found)} places in {self.file.relative_to(ROOT)}, not one")
        return "\n".join(lines[: found[0]] + self.come + lines[found[0] + size :])

    def survives(self):
        original = self.file.read_bytes()
        self.file.write_text(self.mutated())
        try:
            # A mutant that does not compile proves nothing.
            cargo("--no-run", check=True)
            return cargo(self.test, "--", "--exact", quiet=True).returncode == 0
        finally:
            self.file.write_bytes(original)


def cargo(*words, check=False, quiet=False):
    sink = subprocess.DEVNULL if quiet else None
    command = ["cargo", "test", "--quiet", "--bin", "groundwork", "--test", "it", *words]
    return subprocess.run(command, cwd=ROOT, check=check, stdout=sink, stderr=sink)


def main(words):
    named = [word for word in words if word != "--check"]
    mutations = [Mutation(path) for path in sorted(FOLDER.glob("*.mutation"))]
    chosen = [mutation for mutation in mutations if not named or mutation.name in named]
    if not chosen:
        sys.exit("no such mutation")
    for mutation in chosen:
        mutation.mutated()
    if "--check" in words:
        return print(f"{len(chosen)} mutations fit")
    survivors = 0
    for mutation in chosen:
        survived = mutation.survives()
        survivors += survived
        print(f"{mutation.name}: {'SURVIVED' if survived else 'caught by'} {mutation.test}", flush=True)
    print(f"{survivors} survived")
    sys.exit(survivors > 0)


main(sys.argv[1:])
