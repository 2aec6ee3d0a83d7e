"""How vLLM's options reach its command line."""

from __future__ import annotations

import pytest

from gitops.render.runtimes.vllm import option
from gitops.spec.pipeline import OptionValue


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("max-num-seqs", 16, ("--max-num-seqs=16",)),
        ("enforce-eager", True, ("--enforce-eager",)),
        ("enforce-eager", False, ("--no-enforce-eager",)),
        ("limit-mm-per-prompt", {"image": 2}, ('--limit-mm-per-prompt={"image": 2}',)),
        ("limit-mm-per-prompt", '{"image": 2}', ('--limit-mm-per-prompt={"image": 2}',)),
        ("allowed-origins", ["https://a.example"], ('--allowed-origins=["https://a.example"]',)),
        ("allowed-origins", [], ("--allowed-origins=[]",)),
        (
            "lora-modules",
            ["a=/a", {"name": "b", "path": "/b"}],
            ("--lora-modules", "a=/a", '{"name": "b", "path": "/b"}'),
        ),
        ("cudagraph-capture-sizes", [1, 2], ("--cudagraph-capture-sizes", "1", "2")),
        ("cuda-graph-sizes", [1, 2], ("--cuda-graph-sizes", "1", "2")),
        ("middleware", ["acme.Auth", "acme.Limit"], ("--middleware=acme.Auth", "--middleware=acme.Limit")),
        ("of-another-version", {"a": ["ü", None]}, ('--of-another-version={"a": ["ü", null]}',)),
    ],
)
def test_an_option_becomes_the_words_that_the_server_takes(
    name: str, value: OptionValue, words: tuple[str, ...]
) -> None:
    assert option(name, value) == words
