"""The plan as a comment: safe, within its budget, and honest about what it leaves out."""

from __future__ import annotations

import dataclasses
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from gitops.plan.model import Plan, Refusal
from gitops.view.plan_markdown import marker, plan_markdown
from tests.plan.strategies import patient, plans
from tests.view import goldens
from tests.view.plans import NAMED, bump, hostile, large, refused

BLOCKS = re.compile(
    r"<!-- gitops-plan: [^<>]* -->|</details>|<details><summary>(<code>[^<>]*</code>|—): [^<>]*</summary>"
)
MARKDOWN = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])


@pytest.mark.parametrize("name", NAMED)
def test_golden(name: str) -> None:
    goldens.check(f"{name}.md", plan_markdown(NAMED[name]()))


def test_golden_hostile() -> None:
    goldens.check("hostile.md", plan_markdown(hostile()))


def test_golden_cut() -> None:
    goldens.check("large-cut.md", plan_markdown(large(20), budget=4000))


@patient
@given(plans, st.integers(2000, 12_000))
def test_never_over_budget(plan: Plan, budget: int) -> None:
    text = plan_markdown(plan, budget=budget)
    assert len(text) <= budget
    assert text.splitlines()[0] == marker(plan.base.pipeline)


@patient
@given(plans, st.integers(2000, 12_000) | st.just(10**7))
def test_nothing_is_injected(plan: Plan, budget: int) -> None:
    assert_only_ours(plan_markdown(plan, budget=budget))


def test_hostile_plan_injects_nothing() -> None:
    assert_only_ours(plan_markdown(hostile()))


def assert_only_ours(text: str) -> None:
    """Judged by a Markdown parser: no HTML, link, image, emphasis or heading but those that the view writes."""
    tokens = MARKDOWN.parse(text)
    details = 0
    for token in tokens:
        assert token.type not in {"code_block", "lheading", "hr", "blockquote_open", "ordered_list_open"}
        if token.type == "html_block":
            assert BLOCKS.fullmatch(token.content.strip()), token.content
            details += token.content.count("<details>") - token.content.count("</details>")
            assert 0 <= details <= 1
        elif token.type == "heading_open":
            assert token.markup in {"###", "####"}
        elif token.type == "inline":
            assert_inline(token)
    assert details == 0
    assert sum(token.type == "heading_open" for token in tokens) <= 3


def assert_inline(token: Token) -> None:
    for child in token.children or ():
        assert child.type in {"text", "html_inline", "softbreak", "strong_open", "strong_close", "text_special"}, child
        if child.type == "html_inline":
            assert child.content in {"<code>", "</code>"}
        assert not re.search(r"@\w|#\d|://|\bwww\.", child.content), child.content


def test_room_enough_cuts_nothing() -> None:
    assert "left out" not in plan_markdown(bump())


def test_cuts_the_least_important_first() -> None:
    whole = plan_markdown(large(3), budget=10**6)
    sizes = range(len(whole), 2000, -150)
    seen = [
        [
            noun
            for noun in ("file diff", "field list", "object", "unit", "row")
            if noun in cut(plan_markdown(large(3), budget=size))
        ]
        for size in sizes
    ]
    order = [len(nouns) for nouns in seen]
    assert order == sorted(order)
    assert ["file diff"] in seen
    assert ["file diff", "field list"] in seen


def cut(text: str) -> str:
    last = text.splitlines()[-1]
    return last if last.startswith("…") else ""


def test_says_exactly_what_was_cut() -> None:
    text = plan_markdown(large(20), budget=30_000)
    shown = text.count("```diff\n--- a/route.yaml")
    assert f"… {480 - shown} file diffs" in text


def test_refusals_and_warnings_are_never_cut() -> None:
    plan = dataclasses.replace(
        large(200),
        warnings=tuple(f"warning {i}" for i in range(5)),
        refusals=(Refusal("long", "word " * 2000, "--force"),),
    )
    text = plan_markdown(plan, budget=3000)
    assert len(text) <= 3000
    assert "**long**" in text
    assert "--force" in text
    assert all(f"warning {i}" in text for i in range(5))


def test_refusals_stand_before_everything_else() -> None:
    text = plan_markdown(refused())
    assert text.index("Refused") < text.index("| releases |")


def test_many_units_are_one_row_an_environment() -> None:
    text = plan_markdown(large(20))
    assert "| <code>production</code> | ~20 | ~160 | ~160 |" in text


def test_large_plan_takes_little_time() -> None:
    plan = large()
    start = time.process_time()
    assert len(plan_markdown(plan)) <= 60_000
    assert time.process_time() - start < 10
