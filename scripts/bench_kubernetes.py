#!/usr/bin/env python3
"""A plan of many Kubernetes objects in which nothing differs, against `kubectl diff --server-side` on the same objects.

    scripts/bench_kubernetes.py target/release/groundwork [OBJECTS] [KUBECTL]

Prints a Markdown table. The objects are rendered by the program, so kubectl compares what the plan declares. Needs Go,
which builds the sandbox's API server, and kubectl.
"""

import json
import pathlib
import statistics
import sys
import tempfile

from bench import Sandbox, head, row

PAIRS = 3
NAMESPACE = "many"


def declared(count):
    """A third each of config maps, service accounts and external secrets, by id."""
    steps = {}
    for number in range(count):
        name = f"object-{number:05}"
        common = {"namespace": NAMESPACE, "name": name, "labels": {"number": str(number)}}
        kinds = [
            {"kind": "kubernetes.config_map", "data": {"number": str(number), "text": "x" * 200}},
            {"kind": "kubernetes.service_account", "annotations": {"example.org/number": str(number)}},
            {
                "kind": "kubernetes.external_secret",
                "from": {"store": "vault"},
                "data": {"password": {"key": f"many/{name}", "property": "password"}},
            },
        ]
        steps[f"o{number:05}"] = kinds[number % len(kinds)] | common
    return steps


def write(sandbox, name, steps):
    plan = {"version": 1, "name": name, "steps": steps}
    pathlib.Path(sandbox.folder, f"{name}.yaml").write_text(json.dumps(plan))
    return f"{name}.yaml"


def measure(sandbox, count, kubectl):
    objects = declared(count)
    team = {"team": {"kind": "kubernetes.namespace", "name": NAMESPACE, "protect": False}}
    plan = write(sandbox, "many", team | objects)
    file = {"kind": "kubernetes.rendered", "path": "many-objects.yaml", "objects": list(objects.values())}
    sandbox.apply(write(sandbox, "files", {"file": file}))
    seconds, memory, calls = sandbox.apply(plan)
    head(f"{count} Kubernetes objects", "wall time", "reading calls", "writing calls", "peak memory")
    row("first apply", f"{seconds:.2f} s", calls["read"], calls["write"], f"{memory:.0f} MB")
    # kubectl exits with 1 where it finds a difference; then `run` ends the benchmark.
    diff = [kubectl, "diff", "--server-side", "--force-conflicts"]
    seconds, memory, calls = sandbox.apply(plan)
    row("second apply", f"{seconds:.2f} s", calls["read"], calls["write"], f"{memory:.0f} MB")
    ours, theirs = [], []
    for _ in range(PAIRS):
        ours.append(sandbox.groundwork("plan", plan))
        theirs.append(sandbox.run(*diff, "-f", "many-objects.yaml"))
    seconds, memory = (statistics.median(one[index] for one in ours) for index in (0, 1))
    row("no-change plan", f"{seconds:.2f} s", calls["read"], 0, f"{memory:.0f} MB")
    longest, most = (statistics.median(one[index] for one in theirs) for index in (0, 1))
    row("kubectl diff --server-side", f"{longest:.2f} s", "", 0, f"{most:.0f} MB")
    print(f"\nkubectl takes {longest / seconds:.1f} times as long, and {most / memory:.1f} times the memory.")


def main():
    program = str(pathlib.Path(sys.argv[1]).resolve())
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 1000
    kubectl = sys.argv[3] if len(sys.argv) > 3 else "kubectl"
    with tempfile.TemporaryDirectory() as folder, Sandbox(program, folder, "--with", "kubernetes") as sandbox:
        measure(sandbox, count, kubectl)


if __name__ == "__main__":
    main()
