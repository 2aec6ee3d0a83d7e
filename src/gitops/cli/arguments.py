"""Arguments and options that several commands share."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Format(StrEnum):
    """How a result is printed."""

    TEXT = "text"
    JSON = "json"


Project = Annotated[Path, typer.Option("--project", "-C", help="Directory that holds pipeline.yaml.", file_okay=False)]
Embedded = Annotated[
    bool, typer.Option("--embedded", help="Use the embedded world in .gitops/ instead of any real system.")
]
Unit = Annotated[str, typer.Argument(help="ENVIRONMENT/MODEL, such as production/support-chat.", metavar="UNIT")]
HERE = Path()
