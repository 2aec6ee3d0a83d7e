"""Lists in pages, and what is tried again, on answers that are spelled out."""

from collections.abc import Mapping
from typing import Any

import orjson
import pytest

from gitops.world.kubernetes.api import Api, concurrently
from gitops.world.kubernetes.errors import ClusterError
from gitops.world.kubernetes.kinds import kind_of
from gitops.world.kubernetes.transport import NO_QUERY, Response, RetryPolicy

CONFIG_MAP = kind_of("v1", "ConfigMap")
ROUTE = kind_of("gateway.networking.k8s.io/v1", "HTTPRoute")


class Script:
    """A transport that gives these answers in turn, and keeps the queries."""

    def __init__(self, *answers: tuple[int, dict[str, Any]]) -> None:
        self.answers = list(answers)
        self.queries: list[Mapping[str, str]] = []

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] = NO_QUERY,
        body: bytes | None = None,
        content_type: str = "application/json",
        accept: str = "application/json",
    ) -> Response:
        self.queries.append(query)
        status, content = self.answers.pop(0)
        return Response(status, {}, orjson.dumps(content))

    def close(self) -> None:
        """Nothing to close."""


def api(script: Script) -> Api:
    return Api(script, "test", RetryPolicy(attempts=3, sleep=lambda _: None))


def page(*names: str, position: str = "") -> tuple[int, dict[str, Any]]:
    items = [{"metadata": {"name": name}} for name in names]
    return 200, {"metadata": {"continue": position}, "items": items}


def gone(position: str) -> tuple[int, dict[str, Any]]:
    return 410, {"kind": "Status", "reason": "Expired", "message": "too old", "metadata": {"continue": position}}


def names(script: Script) -> list[str]:
    return [item["metadata"]["name"] for items in api(script).pages(CONFIG_MAP, {"a": "b"}) for item in items]


def test_a_list_goes_on_where_it_was() -> None:
    script = Script(page("a", "b", position="x"), page("c"))
    assert names(script) == ["a", "b", "c"]
    assert [query.get("continue") for query in script.queries] == [None, "x"]
    assert all(query["labelSelector"] == "a=b" for query in script.queries)


def test_a_place_in_the_list_that_is_too_old_is_renewed() -> None:
    script = Script(page("a", position="old"), gone("new"), page("b"))
    assert names(script) == ["a", "b"]
    assert [query.get("continue") for query in script.queries] == [None, "old", "new"]


def test_a_place_that_cannot_be_renewed_is_an_error() -> None:
    with pytest.raises(ClusterError, match="410"):
        names(Script(page("a", position="old"), gone("")))


def test_a_lost_race_is_tried_again() -> None:
    lost = 409, {"kind": "Status", "message": "Operation cannot be fulfilled: the object has been modified"}
    assert names(Script(lost, page("a"))) == ["a"]


@pytest.mark.parametrize("status", [403, 404])
def test_a_kind_that_nobody_wants_may_be_absent(status: int) -> None:
    refused = status, {"kind": "Status", "message": "no"}
    assert list(api(Script(refused)).pages(ROUTE, {}, wanted=False)) == []
    with pytest.raises(ClusterError):
        list(api(Script(refused)).pages(ROUTE, {}))


def test_the_first_failure_ends_concurrent_work() -> None:
    def work(item: int) -> int:
        if item == 3:
            raise ValueError
        return item

    with pytest.raises(ValueError):  # noqa: PT011
        concurrently(work, range(100))
    assert concurrently(work, range(3)) == [0, 1, 2]
