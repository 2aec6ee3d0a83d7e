"""What the workflow installs: the team's wheel of gitops and every package that it needs, each by its hash."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gitops.spec.ci import Wheel


@dataclass(frozen=True, slots=True)
class Locked:
    """What comes with gitops (`requirements/`): `packages` and `build` are requirement files with hashes, `extras` the
    names of the packages that the runtime (`""`) and each extra need.
    """

    packages: str
    build: str
    extras: Mapping[str, Collection[str]]


def requirements(wheel: Wheel, locked: Locked, extras: Collection[str]) -> dict[str, bytes]:
    """Two files, in the order in which pip installs them.

    `build.txt` is what builds the packages that come as source, which pip would otherwise fetch without a hash;
    `requirements.txt` is the rest.
    """
    wanted = {name for extra in ("", *extras) for name in locked.extras.get(extra, ())}
    blocks = re.findall(r"^\S.*(?:\n[ \t].*)*", locked.packages, re.MULTILINE)
    place = wheel.uri if wheel.uri.startswith(("https://", "./")) else f"./{wheel.uri}"
    ours = f"{place} \\\n    --hash={wheel.digest}"
    lines = [ours, *(block for block in blocks if _name(block) in wanted)]
    return {"build.txt": locked.build.encode(), "requirements.txt": ("\n".join(lines) + "\n").encode()}


def _name(block: str) -> str:
    return re.split(r"[=<>\[; ]", block, maxsplit=1)[0]
