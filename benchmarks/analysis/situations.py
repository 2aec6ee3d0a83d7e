"""What happens in production: to good versions, which nothing should stop, and to bad ones."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from benchmarks.analysis.rollouts import ERRORS, RELATIVE, Situation
from benchmarks.analysis.servers import CANDIDATE, Course, Servers
from benchmarks.analysis.world import Array
from gitops.rollout.policy import PolicyStep

FIXED = {"metric": "latency-p99", "pause": "2800ms", "rollback": "4s"}
"""1.25 and 1.8 times the p99 that stable has."""
MEMORY = {"metric": "gpu-memory", "pause": "95%"}
TIMES = (
    ("e2e, p99 12.7 s", "latency", "latency-p99", 12.7, 2.8),
    ("e2e, p99 2.2 s", "latency", "latency-p99", 2.2, 2.8),
    ("first token, p99 0.68 s", "time-to-first-token", "time-to-first-token-p99", 0.68, 3.2),
    ("between tokens, p99 36 ms", "inter-token-latency", "inter-token-latency-p99", 0.036, 2.6),
)


def level(usual: float) -> Course:
    """The same for ever and for everybody."""
    return lambda _version, minutes: usual + 0.0 * minutes


def during(begin: float, end: float, usual: float, then: float) -> Course:
    """Another level of both versions for a while."""
    return lambda _version, minutes: np.where((minutes >= begin) & (minutes < end), then, usual)


def alone(usual: float, wrong: float, begin: float = 0.0) -> Course:
    """Another level of the candidate from a minute on."""
    return lambda version, minutes: np.where((version == CANDIDATE) & (minutes >= begin), wrong, usual)


def _sick(version: str, pod: int, minutes: Array) -> Array:
    """Half of one pod's answers for a minute and a half in every half hour, while there are three pods or more."""
    ill = (pod == 0) & (version == CANDIDATE) & (minutes > 45) & (minutes % 30 < 11.5) & (minutes % 30 >= 10)
    return np.where(ill, 0.5, 0.0)


def _morning(_version: str, minutes: Array) -> Array:
    return np.asarray(1 + 2 * np.clip(minutes / 120, 0, 1))


def _hourly(_version: str, minutes: Array) -> Array:
    return np.where(minutes % 60 < 5, math.log(2), 0.0)


GOOD = (
    Situation("baseline", Servers()),
    Situation("a dependency fails for 10 min, 5 % errors of both", Servers(errors=during(20, 30, 0.0005, 0.05))),
    Situation(
        "both x1.6 slower and +0.9 % errors from minute 45, fixed limit",
        Servers(errors=during(45, math.inf, 0.0005, 0.0095), shift=during(45, math.inf, 0.0, math.log(1.6))),
        (FIXED, ERRORS),
    ),
    Situation(
        "morning: traffic x3 in 2 h, elasticity 0.5, fixed limit",
        Servers(requests=30, traffic=_morning, shift=lambda v, m: 0.5 * np.log(_morning(v, m))),
        (FIXED, ERRORS),
    ),
    Situation("hourly batch of 5 min, x2, fixed limit", Servers(shift=_hourly), (FIXED, ERRORS)),
    Situation("a sick node: half of one pod's answers, of three", Servers(sick=_sick)),
    Situation("GPU memory 94.3 +- 0.5 % under 95 %", Servers(gauge=level(94.3)), (MEMORY,)),
    Situation("errors 0.42 % in bursts under 0.5 %", Servers(errors=level(0.0042), error_noise=0.5)),
    Situation("latency +50 % from an idle pod to a full one", Servers(elasticity=math.log(1.5))),
    Situation("latency +100 % from an idle pod to a full one", Servers(elasticity=math.log(2))),
    Situation("a third of scrapes missing", Servers(lost=0.3)),
    Situation("wide noise, 8 %", Servers(noise=0.08)),
    Situation(
        "both beyond the limit for 12 hours: 2 % errors, p99 x1.6",
        Servers(errors=during(20, 740, 0.0005, 0.02), shift=during(20, 740, 0.0, math.log(1.6))),
        (FIXED, ERRORS),
        hours=18,
        every=300,
    ),
    Situation("four hours at 10 %", Servers(), steps=(PolicyStep(10, 4 * 3600), PolicyStep(99, 900))),
)


def _slower() -> Iterator[Situation]:
    for name, trait, metric, p99, ratio in TIMES:
        for factor in (1.08, 1.2, 1.3, 1.5):
            servers = Servers(trait=trait, median=p99 / ratio, p99=ratio, shift=alone(0.0, math.log(factor)))
            yield Situation(f"{name}, x{factor}", servers, ({**RELATIVE, "metric": metric},), good=factor < 1.1)


FAULTY = (
    *_slower(),
    Situation("nothing but errors, 1 % of 5 requests/s", Servers(requests=5, errors=alone(0.0005, 1.0)), good=False),
    Situation(
        "2 % errors of both for 12 hours, 3 % more of the candidate's",
        Servers(errors=lambda v, m: during(20, 740, 0.0005, 0.02)(v, m) + alone(0.0, 0.03, 60)(v, m)),
        good=False,
        hours=18,
        every=300,
    ),
    Situation("errors 0.7 % under 0.5 / 1 %", Servers(errors=alone(0.0005, 0.007)), good=False),
    Situation(
        "errors 0.1 -> 0.3 % under 1.5x stable",
        Servers(errors=alone(0.001, 0.003)),
        ({"metric": "error-rate", "pause": "1.5x stable"},),
        good=False,
    ),
    Situation("p99 x1.3, half an hour into the last step", Servers(shift=alone(0.0, math.log(1.3), 110)), good=False),
    Situation("p99 x1.5, half an hour into the last step", Servers(shift=alone(0.0, math.log(1.5), 110)), good=False),
)
ALL = (*GOOD, *FAULTY)
