"""Values as HCL expressions, judged by Terraform itself where it is installed."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
from pathlib import Path

import pytest

from gitops.render.hcl import hcl


@pytest.mark.parametrize(
    ("value", "expression"),
    [
        ("plain", '"plain"'),
        ('say "hi"', r'"say \"hi\""'),
        ("back\\slash", r'"back\\slash"'),
        ("two\nlines\tand\r", r'"two\nlines\tand\r"'),
        ("bell\x07", r'"bell\u0007"'),
        ("${aws_s3_bucket.x.id}", '"$${aws_s3_bucket.x.id}"'),
        ("%{ if true }", '"%%{ if true }"'),
        ("$plain 100 % {}", '"$plain 100 % {}"'),
        ("Zürich 東京", '"Zürich 東京"'),
        (True, "true"),
        (False, "false"),
        (None, "null"),
        (16, "16"),
        (-1, "-1"),
        (0.5, "0.5"),
        ([], "[]"),
        (["a", 1, False], '["a", 1, false]'),
        (("a", "b"), '["a", "b"]'),
        ({}, "{}"),
        ({"team": "ml", "gitops/pool": "h100"}, '{ team = "ml", "gitops/pool" = "h100" }'),
        ({"null": {"nested": [1]}}, '{ "null" = { nested = [1] } }'),
    ],
)
def test_expression(value: object, expression: str) -> None:
    assert hcl(value) == expression


@pytest.mark.parametrize("value", [object(), b"bytes", math.nan, math.inf, {1: "a"}, {"a"}])
def test_refuses_what_hcl_has_no_words_for(value: object) -> None:
    with pytest.raises(TypeError):
        hcl(value)


def test_terraform_reads_back_the_same_values(tmp_path: Path) -> None:
    binary = shutil.which("terraform")
    if binary is None:
        pytest.skip("terraform is not installed")
    values = {
        "text": 'a"b\\c\nd${e}%{f}$${g}%%{h}$$$${\x01é東',
        "list": ["${x}", 1, 2.5, True],
        "map": {"if": "x", "a/b": {"c": "%{"}},
    }
    outputs = "".join(f'output "{name}" {{\n  value = {hcl(value)}\n}}\n' for name, value in values.items())
    (tmp_path / "main.tf").write_text(outputs, encoding="utf-8")
    subprocess.run([binary, f"-chdir={tmp_path}", "apply", "-auto-approve"], check=True, capture_output=True)
    answer = subprocess.run(
        [binary, f"-chdir={tmp_path}", "output", "-json"], check=True, capture_output=True, text=True
    )
    assert {name: entry["value"] for name, entry in json.loads(answer.stdout).items()} == values
