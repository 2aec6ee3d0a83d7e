"""Jinja2 for templates, which a pull request may bring: they see plain data, and call nothing but its methods."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from jinja2 import StrictUndefined, Undefined
from jinja2.runtime import LoopContext, Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment

_PLAIN = (str, int, float, list, tuple, dict, type(None), Undefined)
_JINJA = (LoopContext, Macro)
"""What templates make themselves."""
_CALLED = (str, int, float, list, tuple, dict, *_JINJA)


class Sandbox(ImmutableSandboxedEnvironment):
    """Attributes and methods of plain values and of Jinja2's loops and macros: nothing else.

    Jinja2's sandbox alone leaves every public method of every object in reach, and a Pydantic model has one that
    unpickles. Contexts hold plain values; this is what makes it so.
    """

    def __init__(self, escape: Callable[[object], str], filters: Mapping[str, Callable[..., Any]], **syntax: str):
        super().__init__(
            undefined=StrictUndefined,
            finalize=escape,
            autoescape=False,  # finalize escapes for YAML and HCL; autoescape is for HTML
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
            **syntax,
        )
        self.filters.update(filters)

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Whether a template may read this attribute."""
        return isinstance(obj, (*_PLAIN, *_JINJA)) and super().is_safe_attribute(obj, attr, value)

    def is_safe_callable(self, obj: Any) -> bool:
        """Whether a template may call this."""
        known = isinstance(obj, _JINJA) or isinstance(getattr(obj, "__self__", None), _CALLED)
        return known and super().is_safe_callable(obj)
