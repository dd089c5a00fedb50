#!/usr/bin/env python3
"""Calls, times and memory of a groundwork binary against a sandbox of its own.

    scripts/bench.py target/release/groundwork [SECRETS]

Prints Markdown tables. Needs curl, as the bare reader that plans are compared with.
"""

import json
import os
import pathlib
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

PROJECT = pathlib.Path(__file__).resolve().parent.parent
PARALLEL = 16


def run(command, environment=None, folder=None):
    """Seconds, peak memory in MB and standard output of a command that must succeed."""
    with tempfile.TemporaryFile() as output:
        started = time.monotonic()
        child = subprocess.Popen(command, env=environment, cwd=folder, stdout=output)
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.monotonic() - started
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode != 0:
            sys.exit(f"{' '.join(command)} ended with {child.returncode}")
        output.seek(0)
        return seconds, usage.ru_maxrss / 1024, output.read().decode()


def summary_of(output):
    return next(event for event in map(json.loads, output.splitlines()) if event["event"] == "summary")


def row(*cells):
    print("| " + " | ".join(str(cell) for cell in cells) + " |")


def head(*cells):
    row(*cells)
    print("|" + " --- |" * len(cells))


def start_up(program):
    times = [run([program, "--help"])[0] * 1000 for _ in range(30)]
    return statistics.median(times)


class Sandbox:
    def __init__(self, program, folder, *options):
        self.program, self.folder = program, folder
        _, _, output = run([program, "sandbox", "up", "--dir", f"{folder}/sandbox", *options])
        lines = [line.removeprefix("export ") for line in output.splitlines() if line.startswith("export ")]
        self.environment = os.environ | dict(line.split("=", 1) for line in lines) | {"PATH": os.environ["PATH"]}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        run([self.program, "sandbox", "down", "--purge", "--dir", f"{self.folder}/sandbox"])

    def run(self, *command):
        return run(command, self.environment, self.folder)

    def groundwork(self, *arguments):
        return self.run(self.program, *arguments)

    def apply(self, plan):
        seconds, memory, output = self.groundwork("apply", plan, "--yes", "--format", "json")
        calls = summary_of(output)["api_calls"]
        return seconds, memory, calls


def quickstart(sandbox):
    head("quickstart, 18 steps", "wall time", "reading calls", "writing calls", "peak memory")
    seconds, memory, _ = sandbox.groundwork("plan", "quickstart.yaml")
    row("plan of nothing-yet", f"{seconds:.2f} s", "", 0, f"{memory:.0f} MB")
    for name in ("first apply", "second apply"):
        seconds, memory, calls = sandbox.apply("quickstart.yaml")
        row(name, f"{seconds:.2f} s", calls["read"], calls["write"], f"{memory:.0f} MB")
    seconds, memory, _ = sandbox.groundwork("plan", "quickstart.yaml")
    row("no-change plan", f"{seconds:.2f} s", "", 0, f"{memory:.0f} MB")


def write_plan(sandbox, name, steps):
    """A plan with the same custody as the quickstart's, whose admin it logs in as."""
    plan = {
        "version": 1,
        "name": name,
        "vault": {"auth": {"approle": {"role": "groundwork"}}},
        "custody": {
            "recipients": [{"kms": "alias/quickstart-custody"}],
            "stores": [{"file": ".groundwork/custody"}],
        },
        "aws": {"region": "us-east-1"},
        "steps": steps,
    }
    pathlib.Path(sandbox.folder, f"{name}.yaml").write_text(json.dumps(plan))
    # The journal says that the root token has ended, which is how its successor is found.
    journal = pathlib.Path(sandbox.folder, ".groundwork/journal")
    shutil.copy(journal / "quickstart.jsonl", journal / f"{name}.jsonl")


def mixed_steps(count):
    """Steps of several kinds, each written out, most of them with a reference to another."""
    steps = {}
    for number in range(count // 5):
        name = f"t{number:04}"
        steps |= {
            f"{name}_policy": {
                "kind": "vault.policy",
                "name": f"many-{name}",
                "rules": {f"secret/data/{name}/*": ["read", "list"]},
            },
            f"{name}_role": {
                "kind": "vault.approle_role",
                "name": f"many-{name}",
                "token_policies": ["{{ " + f"{name}_policy.name" + " }}"],
                "token_ttl": "1h",
            },
            f"{name}_secret": {
                "kind": "vault.kv_secret",
                "mount": "secret",
                "path": f"many/{name}",
                "data": {"user": name, "password": {"generate": {"length": 32}}},
            },
            f"{name}_user": {"kind": "aws.iam_user", "name": f"many-{name}"},
            f"{name}_note": {
                "kind": "file.template",
                "path": f"rendered/{name}.txt",
                "content": "{{ " + f"{name}_user.name" + " }} {{ " + f"{name}_role.name" + " }}\n",
            },
        }
    return steps


def many_steps(sandbox, count):
    head("plan of nothing-yet, five kinds", "wall time", "own CPU", "peak memory", "lines", "saved changeset")
    taken = {}
    for size in (count // 10, count):
        name = f"steps{size}"
        write_plan(sandbox, name, mixed_steps(size))
        saved = pathlib.Path(sandbox.folder, f"{name}.json")
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds, memory, output = sandbox.groundwork("plan", f"{name}.yaml", "--out", str(saved))
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        taken[size] = (seconds, cpu, memory)
        row(
            f"{size} steps",
            f"{seconds:.2f} s",
            f"{cpu:.2f} s",
            f"{memory:.0f} MB",
            output.count("\n"),
            f"{saved.stat().st_size / 1e6:.1f} MB",
        )
    time, cpu, memory = (more / less for less, more in zip(taken[count // 10], taken[count]))
    print(f"\nTen times the steps: {time:.1f} times the time, {cpu:.1f} the CPU, {memory:.1f} the memory.")


def many_secrets(sandbox, count):
    names = {f"s{number:05}": number for number in range(count)}
    steps = {
        "secrets": {
            "kind": "vault.kv_secret",
            "for_each": names,
            "mount": "secret",
            "path": "many/{{ each.key }}",
            "data": {"value": {"generate": {"length": 32}}},
        }
    }
    write_plan(sandbox, "many", steps)
    head(f"{count} KV secrets", "wall time", "reading calls", "writing calls", "peak memory")
    seconds, memory, calls = sandbox.apply("many.yaml")
    row("first apply", f"{seconds:.2f} s", calls["read"], calls["write"], f"{memory:.0f} MB")
    pairs = []
    for _ in range(3):
        ours, memory, calls = sandbox.apply("many.yaml")
        reader = [sys.executable, __file__, "--read", str(count)]
        _, _, output = sandbox.groundwork("login", "quickstart.yaml", "--", *reader)
        pairs.append((ours, float(output)))
    ours, bare = sorted(pairs, key=lambda pair: pair[0] / pair[1])[len(pairs) // 2]
    row("nothing to change", f"{ours:.2f} s", calls["read"], calls["write"], f"{memory:.0f} MB")
    row(f"curl reading the same, {PARALLEL} at once", f"{bare:.2f} s", count, 0, "")
    print(f"\nRatio: {ours / bare:.2f} (median of {len(pairs)} pairs).")


def read_all(count):
    """Run inside `groundwork login`: how long curl takes for all secrets."""
    lines = [f'header = "X-Vault-Token: {os.environ["VAULT_TOKEN"]}"']
    for number in range(count):
        lines += [f'url = "{os.environ["VAULT_ADDR"]}/v1/secret/data/many/s{number:05}"', 'output = "/dev/null"']
    lines += [f'cacert = "{path}"' for path in [os.environ.get("VAULT_CACERT")] if path]
    command = ["curl", "-sf", "--no-progress-meter", "--parallel", "--parallel-max", str(PARALLEL), "-K", "-"]
    started = time.monotonic()
    subprocess.run(command, input="\n".join(lines).encode(), check=True)
    print(time.monotonic() - started)


def main():
    if sys.argv[1:2] == ["--read"]:
        return read_all(int(sys.argv[2]))
    program = str(pathlib.Path(sys.argv[1]).resolve())
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 2000
    print(f"`--help`: {start_up(program):.1f} ms (median of 30 runs, process start included)\n", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(PROJECT / "plans/quickstart.yaml", folder)
        shutil.copytree(PROJECT / "templates", f"{folder}/templates")
        with Sandbox(program, folder) as sandbox:
            quickstart(sandbox)
            print(flush=True)
            many_steps(sandbox, 2000)
            print(flush=True)
            many_secrets(sandbox, count)


if __name__ == "__main__":
    main()
