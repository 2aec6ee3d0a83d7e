"""Templates: strict, sandboxed, every value escaped, and errors that name the line."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from gitops.errors import GitopsError
from gitops.render.templates import Compiled, templates_of


def render(source: str, **context: Any) -> str:
    return Compiled({"x.j2": source}).render("x.j2", context)


def test_every_expression_is_escaped() -> None:
    injected = "a\nkind: Secret"
    assert yaml.safe_load(render("name: {{ name }}\n", name=injected)) == {"name": injected}
    assert yaml.safe_load(render("name: {{ 'x' ~ name }}\n", name=injected)) == {"name": "x" + injected}
    assert yaml.safe_load(render("name: {{ name | upper }}\n", name="yes")) == {"name": "YES"}


def test_terraform_templates_escape_for_hcl_with_and_without_the_filter() -> None:
    compiled = Compiled({"terraform/x.tf.j2": "a = {{ a }}\nb = {{ a | hcl }}\n"})
    assert compiled.render("terraform/x.tf.j2", {"a": 'x"${y}'}) == 'a = "x\\"$${y}"\nb = "x\\"$${y}"\n'


@pytest.mark.parametrize("name", ["x.j2", "terraform/x.tf.j2"])
def test_an_unknown_name_is_an_error_that_names_the_line(name: str) -> None:
    with pytest.raises(GitopsError, match="'nothing' is undefined") as error:
        Compiled({name: "first: 1\nsecond: {{ nothing }}\n"}).render(name, {})
    assert error.value.where == f"templates/{name}:2"


@pytest.mark.parametrize("source", ["{{ nothing.below }}", "{{ nothing | yaml(2) }}", "{{ known.below }}"])
def test_undefined_values_never_render(source: str) -> None:
    with pytest.raises(GitopsError, match=r"undefined|no attribute"):
        render(source, known={})


def test_a_malformed_template_is_an_error_that_names_the_line() -> None:
    with pytest.raises(GitopsError, match="does not render") as error:
        render("a: 1\n{% if %}\n")
    assert error.value.where == "templates/x.j2:2"


def test_a_missing_template_is_an_error() -> None:
    with pytest.raises(GitopsError, match="missing"):
        Compiled({}).render("kubernetes/gone.yaml.j2", {})


@pytest.mark.parametrize("source", ["{{ ().__class__.__mro__ }}", "{{ items.append(1) }}"])
def test_templates_are_sandboxed(source: str) -> None:
    with pytest.raises(GitopsError):
        render(source, items=[])


def test_the_digest_is_over_names_and_texts() -> None:
    digest = templates_of({"a": "1", "b": "2"}).digest
    assert templates_of({"b": "2", "a": "1"}).digest == digest
    assert templates_of({"a": "2", "b": "1"}).digest != digest
    assert templates_of({"a": "1"}).digest != digest


class Loud:
    """An object with public methods, as Pydantic models have them."""

    called = False

    def parse_raw(self, _data: str) -> str:
        Loud.called = True
        return "ran"

    def __str__(self) -> str:
        return "loud"


@pytest.mark.parametrize(
    "source",
    [
        "{{ thing.parse_raw('x') }}",
        "{{ thing | attr('parse_raw') }}",
        "{{ [thing] | map(attribute='parse_raw') | first }}",
        "{{ thing['parse_raw']('x') }}",
        "{{ call('x') }}",
        "{% set f = call %}{{ f('x') }}",
        "{{ ['x'] | map('attr', '__class__') | list }}",
        "{{ '{0.__class__}'.format(thing) }}",
        "{{ '%s'.__mod__.__self__ }}",
        "{{ self.__init__.__globals__ }}",
        "{{ cycler.__init__.__globals__ }}",
        "{{ lipsum.__globals__ }}",
    ],
)
def test_templates_call_nothing_but_methods_of_plain_values(source: str) -> None:
    thing = Loud()
    with pytest.raises(GitopsError):
        render(source, thing=thing, call=thing.parse_raw)
    assert not Loud.called


def test_what_templates_need_is_there() -> None:
    source = (
        "{% macro m(x) %}{{ x }}{% endmacro %}{% for k, v in d.items() %}{{ m(k.upper()) }} {{ v.b }} {{ loop.index }}"
        " {% endfor %}{{ d.get('c', 'none') }} {{ loop is defined }}"
    )
    assert render(source, d={"a": {"b": 7}}).split() == ["A", "7", "1", "none", "false"]
