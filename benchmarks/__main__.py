"""The command line of the benchmarks: `python -m benchmarks [--models N] [--json FILE] [TOPIC…]`."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from benchmarks.harness import TOPICS, Figure, Setting, machine, table


def main() -> int:
    """Measure the topics that were asked for; all by default."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("topics", nargs="*", metavar="TOPIC", help=", ".join(TOPICS))
    parser.add_argument("--models", type=int, default=1000, help="models of the synthetic spec (in 3 environments)")
    parser.add_argument("--commits", type=int, default=10_000, help="commits of the history")
    parser.add_argument("--objects", type=int, default=10_000, help="objects of the live comparison")
    parser.add_argument("--repeat", type=int, default=5, help="runs of which the best counts")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    asked = parser.parse_args()
    unknown = sorted(set(asked.topics) - set(TOPICS))
    if unknown:
        parser.error(f"no topic {', '.join(unknown)}; there are {', '.join(TOPICS)}")
    figures: list[Figure] = []
    print(machine())
    for topic in asked.topics or TOPICS:
        with tempfile.TemporaryDirectory(prefix=f"gitops-bench-{topic}-") as directory:
            setting = Setting(Path(directory), asked.models, asked.repeat, asked.commits, asked.objects)
            found = list(importlib.import_module(f"benchmarks.{topic}").measure(setting))
        print(table(found), end="\n\n", flush=True)
        figures += found
    if asked.json:
        document = {"machine": machine(), "figures": [asdict(figure) for figure in figures]}
        asked.json.write_text(json.dumps(document, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
