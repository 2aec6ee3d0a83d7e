"""What gates found, as a report and in words."""

from __future__ import annotations

from gitops.stages.results import Check, GateResult, report_json, summary

BAD = Check("refund-policy", False, 'the keyword "14 days"', '"We do not refund."')


def test_a_failed_gate_names_the_case() -> None:
    found = GateResult("golden", (Check("greeting", True), BAD))
    assert not found.passed
    assert found.failed == (BAD,)
    assert summary([found]) == (
        "golden: fail (1 of 2)",
        '  refund-policy: expected the keyword "14 days", got "We do not refund."',
    )


def test_nothing_checked_is_no_pass() -> None:
    found = GateResult("drift", ())
    assert not found.passed
    assert summary([found]) == ("drift: nothing was checked (0 of 0)",)


def test_many_failures_are_counted() -> None:
    found = GateResult("golden", tuple(Check(f"case-{number}", False) for number in range(9)))
    assert summary([found])[-2:] == ("  case-4", "  and 4 more")
    assert len(summary([found])) == 7


def test_a_report_is_plain_json() -> None:
    report = report_json([GateResult("golden", (BAD,), {"cases": 1}, "at http://localhost:8000")])
    assert report["passed"] is False
    assert report["gates"] == [
        {
            "gate": "golden",
            "passed": False,
            "note": "at http://localhost:8000",
            "figures": {"cases": 1},
            "checks": [
                {
                    "name": "refund-policy",
                    "passed": False,
                    "expected": 'the keyword "14 days"',
                    "got": '"We do not refund."',
                }
            ],
        }
    ]
    assert report_json([])["passed"] is True
