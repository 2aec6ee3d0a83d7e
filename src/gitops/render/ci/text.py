"""Jinja2 for workflows: their own delimiters, and values that cannot leave their place in YAML or a script."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from gitops.render.ci.actions import ACTIONS
from gitops.render.templates import Compiled
from gitops.render.yaml_text import YamlText, finalize

if TYPE_CHECKING:
    from gitops.render.sandbox import Sandbox


NOTHING = "\0"
"""Stands on a line that is to go."""


class CiTemplates(Compiled):
    """Workflows are full of `{{ … }}`, `[[ … ]]` and `#`, so these templates use `<@ … @>`, `<% … %>`, `<# … #>`."""

    def render(self, name: str, context: dict[str, Any]) -> str:
        """One file, as `Compiled.render`."""
        return super().render(name, context).replace(f"{NOTHING}\n", "")

    def _environment(self, language: str) -> Sandbox:
        if "ci" in self._environments:
            return self._environments["ci"]
        from gitops.render.sandbox import Sandbox

        # finalize escapes for YAML, `shell` for scripts
        environment = Sandbox(
            finalize,
            _FILTERS,
            block_start_string="<%",
            block_end_string="%>",
            variable_start_string="<@",
            variable_end_string="@>",
            comment_start_string="<#",
            comment_end_string="#>",
        )
        self._environments["ci"] = environment
        return environment


def _shell(value: object) -> YamlText:
    """A value as one word of a shell script inside a literal block."""
    return YamlText(shlex.quote(str(value)))


def _json(value: object) -> YamlText:
    """Names and URLs as JSON between single quotes; the spec's forms of both have no quote in them."""
    return YamlText(json.dumps(value))


def _bare(value: object) -> YamlText:
    """A value that stands inside quotes, a script or a comment, of a form that cannot end those."""
    return YamlText(str(value))


def _lines(macro: str) -> YamlText:
    """What a macro gives, which is YAML already, on lines of its own; none where it gives nothing."""
    return YamlText(macro.removesuffix("\n") or NOTHING)


def _script(text: str, indent: int) -> YamlText:
    """A script inside a literal block; the first line goes where it stands."""
    lines = text.rstrip("\n").split("\n")
    return YamlText("\n".join([lines[0], *(" " * indent + line if line else "" for line in lines[1:])]))


def _pinned(action: str) -> YamlText:
    known = ACTIONS[action]
    return YamlText(f"{action}@{known.commit} # {known.version}")


_FILTERS: Mapping[str, Callable[..., Any]] = {
    "shell": _shell,
    "json": _json,
    "bare": _bare,
    "lines": _lines,
    "script": _script,
    "pinned": _pinned,
}
