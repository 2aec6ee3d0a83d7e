"""The texts that files are rendered from, and Jinja2 around them: strict, sandboxed, every value escaped."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import orjson

from gitops import __version__
from gitops.errors import GitopsError
from gitops.render.hcl import hcl
from gitops.render.yaml_text import block, finalize, literal

if TYPE_CHECKING:
    from jinja2 import Template

    from gitops.render.sandbox import Sandbox


@dataclass(frozen=True)
class Templates:
    """Template texts by their path below `templates/` (`kubernetes/version/deployment.yaml.j2`).

    `digest` is over names and texts and the version of gitops: what else a rendered file depends on. `replaced` are
    the names of those that do not come with gitops: what they render is checked more closely.
    """

    sources: Mapping[str, str]
    digest: str
    replaced: frozenset[str] = frozenset()


def templates_of(sources: Mapping[str, str], replaced: frozenset[str] = frozenset()) -> Templates:
    """Templates from texts; reading files is the caller's business."""
    content = orjson.dumps([__version__, sorted(sources.items())])
    return Templates(MappingProxyType(dict(sources)), "sha256:" + hashlib.sha256(content).hexdigest(), replaced)


@dataclass
class Compiled:
    """Templates ready to render. Each is compiled on its first use and kept; nothing loads Jinja2 before."""

    sources: Mapping[str, str]
    _environments: dict[str, Sandbox] = field(default_factory=dict)
    _templates: dict[str, Template] = field(default_factory=dict)

    def render(self, name: str, context: dict[str, Any]) -> str:
        """One file. Raises GitopsError when the template is missing, malformed or asks for unknown names."""
        template = self._templates.get(name)
        try:
            if template is None:
                template = self._templates[name] = self._compile(name)
            return template.render(context)
        except GitopsError:
            raise
        except Exception as error:  # a template is a program: it can fail in any way
            raise _failed(name, error) from error

    def check(self, names: Iterable[str]) -> None:
        """Raises GitopsError when one of these templates is malformed; what it asks for shows only when it renders."""
        from jinja2 import TemplateError

        for name in names:
            try:
                self._compile(name)
            except TemplateError as error:
                raise _failed(name, error) from error

    def _compile(self, name: str) -> Template:
        text = self.sources.get(name)
        if text is None:
            raise GitopsError(
                "this template is missing",
                where=f"templates/{name}",
                hint="install gitops again: it comes with all of them",
            )
        environment = self._environment("hcl" if name.startswith("terraform/") else "yaml")
        code = environment.compile(text, name=name, filename=name)
        return environment.template_class.from_code(environment, code, {})

    def _environment(self, language: str) -> Sandbox:
        if language not in self._environments:
            self._environments[language] = _LANGUAGES[language]()
        return self._environments[language]


def _failed(name: str, error: Exception) -> GitopsError:
    line = getattr(error, "lineno", None) or _template_line(error, name)
    return GitopsError(
        f"the template does not render: {error}",
        where=f"templates/{name}:{line}" if line else f"templates/{name}",
        hint="correct it, or remove it from your templates/ to use the one that comes with gitops",
    )


def _template_line(error: BaseException, name: str) -> int | None:
    """The last line of the template itself on the error's way up."""
    line, trace = None, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == name:
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


def _sandbox(escape: Callable[[object], str], filters: Mapping[str, Callable[..., Any]]) -> Sandbox:
    from gitops.render.sandbox import Sandbox

    return Sandbox(escape, filters)


class _HclText(str):
    """An HCL expression already: the filter's result must not be quoted again."""

    __slots__ = ()


def _hcl_text(value: object) -> str:
    if isinstance(value, _HclText):
        return value
    return _HclText(hcl(str(value) if hasattr(type(value), "_fail_with_undefined_error") else value))


_LANGUAGES: dict[str, Callable[[], Sandbox]] = {
    "yaml": lambda: _sandbox(finalize, {"yaml": block, "literal": literal}),
    "hcl": lambda: _sandbox(_hcl_text, {"hcl": _hcl_text}),
}
