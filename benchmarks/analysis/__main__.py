"""The analysis benchmark: `python -m benchmarks.analysis [--quick] [--runs N] [--json FILE]`."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks.analysis.judge import RULES, Result, judge, seed_of
from benchmarks.analysis.rollouts import Found, Situation
from benchmarks.analysis.rollouts import run as play_all
from benchmarks.analysis.scenarios import WITH_FAULT, WITHOUT_FAULT
from benchmarks.analysis.situations import ALL, FAULTY, GOOD
from benchmarks.analysis.world import LOOKS, Scenario, play

QUICK = (GOOD[0], GOOD[1], FAULTY[-1])


def main() -> int:
    """Play all scenarios and print what every rule made of them."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.analysis", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="60 runs of each scenario; enough to see that it works")
    parser.add_argument("--runs", type=int, default=1000, help="runs of each scenario")
    parser.add_argument("--rollouts", type=int, default=40, help="whole rollouts of each situation, 1 with --quick")
    parser.add_argument("--json", type=Path, help="also write the results to this file")
    asked = parser.parse_args()
    runs, start = 60 if asked.quick else asked.runs, time.perf_counter()
    print(f"{runs} rollouts of {LOOKS} looks a cell, seeds fixed; the rules:")
    print("\n".join(f"  {chr(97 + index)}  {rule}" for index, rule in enumerate(RULES)))
    wrong, found = run(WITHOUT_FAULT, runs), run(WITH_FAULT, runs)
    print("\nwrong rollbacks, % of the rollouts", table(wrong, WITHOUT_FAULT), sep="\n")
    print("\nfaults found, % of the rollouts, and the median look (a wrong rollback before the onset is no find)")
    print(table(found, WITH_FAULT), f"\n{time.perf_counter() - start:.0f} s", sep="\n")
    whole = situations(QUICK if asked.quick else ALL, 1 if asked.quick else asked.rollouts)
    if asked.json:
        results = [asdict(result) for result in wrong + found]
        report = {"runs": runs, "looks": LOOKS, "results": results, "situations": [asdict(one) for one in whole]}
        asked.json.write_text(json.dumps(report, indent=2) + "\n")
    return 0


def situations(played: Sequence[Situation], runs: int) -> list[Found]:
    """Whole rollouts; each line is printed when it is known, since a hundred of them take minutes."""
    start = time.perf_counter()
    print(f"\nwhole rollouts, {runs} of each situation: % rolled back, % paused, % stopped, median minute of the first")
    found = []
    for one in played:
        result = play_all(one, runs)
        shares = (result.rolled_back, result.paused, result.stopped)
        minute = "" if result.minute is None else f"@{result.minute:.0f}"
        print(one.name.ljust(64) + "".join(f"{100 * share:6.0f}" for share in shares) + f"{minute:>7}", flush=True)
        found.append(result)
    print(f"{time.perf_counter() - start:.0f} s")
    return found


def run(scenarios: Sequence[Scenario], runs: int) -> list[Result]:
    """One world at a time, so that only one is in memory."""
    return [result for scenario in scenarios for result in judge(play(scenario, runs, seed_of(scenario.name)))]


def table(results: Sequence[Result], scenarios: Sequence[Scenario]) -> str:
    """A line for each scenario, a column for each rule."""
    cells = {(result.scenario, result.rule): _cell(result, scenario_wrong(scenarios, result)) for result in results}
    width = max(len(scenario.name) for scenario in scenarios)
    head = " " * width + "".join(f"{chr(97 + index):>10}" for index in range(len(RULES)))
    lines = [s.name.ljust(width) + "".join(f"{cells[s.name, rule]:>10}" for rule in RULES) for s in scenarios]
    return "\n".join([head, *lines])


def scenario_wrong(scenarios: Sequence[Scenario], result: Result) -> bool:
    """Whether every rollback of this result's scenario is wrong."""
    return next(scenario.wrong for scenario in scenarios if scenario.name == result.scenario)


def _cell(result: Result, wrong: bool) -> str:
    if wrong:
        return f"{100 * result.wrong:.1f}"
    return f"{100 * result.found:.0f} @{result.delay:.0f}" if result.delay is not None else f"{100 * result.found:.0f}"


if __name__ == "__main__":
    sys.exit(main())
