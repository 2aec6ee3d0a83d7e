"""What gates measured, in few words. Imports nothing heavy: `gitops history` uses it."""

from __future__ import annotations

import re
from collections.abc import Sequence

PASSES = ": pass"
"""How the sentence of a gate that passes ends."""

_LIMIT = re.compile(r"(?:, )?(?:pause|roll back) (?:above|below) [^,()]*")
_REQUESTS = re.compile(r", (\d+) requests\b")


def in_short(sentences: Sequence[str]) -> str:
    """The values of gates that pass, without their limits; how many requests they saw stands once, at the end.

    Other sentences stand first, in full.
    """
    others = [said for said in sentences if not said.endswith(PASSES)]
    passes = [said.removesuffix(PASSES) for said in sentences if said.endswith(PASSES)]
    values = [_LIMIT.sub("", _REQUESTS.sub("", said)).replace("(, ", "(").replace(" ()", "") for said in passes]
    requests = max((int(number) for said in passes for number in _REQUESTS.findall(said)), default=0)
    return "; ".join([*others, *values, *[f"{requests:,} requests"] * bool(requests)])
