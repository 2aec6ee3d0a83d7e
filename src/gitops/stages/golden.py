"""The gates `loads` and `golden`: the model describes itself as declared, and answers cases as expected."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from time import perf_counter
from typing import Any

import orjson

from gitops.errors import GitopsError
from gitops.spec.problems import listed
from gitops.stages.endpoints import Endpoint, HttpEndpoint, Target, base_url, named, secret, wait_until_ready
from gitops.stages.expectations import Miss, cosine, misses, quoted, words_of
from gitops.stages.golden_file import Case, GoldenFile, Signature, Similar, TensorDeclaration
from gitops.stages.protocols.base import Answer, AskFailed, Content, TensorType
from gitops.stages.protocols.plain import PlainJson
from gitops.stages.protocols.triton import tensor_of
from gitops.stages.results import Check, GateResult

Report = Callable[[str], None]


# --- loads ---


def run_loads(target: Target, golden: GoldenFile | None = None, wait: float = 0.0) -> GateResult:
    """Whether the model is ready within `wait` seconds and describes itself as the golden file declares.

    Raises GitopsError when nothing listens there.
    """
    return asyncio.run(_loads(target, golden, wait))


async def _loads(target: Target, golden: GoldenFile | None, wait: float) -> GateResult:
    begun = perf_counter()
    async with HttpEndpoint(target) as endpoint:
        if failed := await wait_until_ready(endpoint, target.url, wait):
            return GateResult("loads", (Check("ready", False, "a ready model", str(failed)),), note=target.url)
        took = perf_counter() - begun
        checks = [Check("ready", True)] if target.dialect.health else []
        try:
            checks += await _described(endpoint, target, golden)
        except AskFailed as error:
            checks.append(Check("describes itself", False, "a description of the model", str(error)))
    if not checks:
        hint = "add `health` to the endpoint, or a golden file, whose first case is asked"
        raise GitopsError("nothing tells whether this endpoint is ready", where="validate.endpoint", hint=hint)
    return GateResult("loads", tuple(checks), {"ready-seconds": took}, note=target.url)


async def _described(endpoint: HttpEndpoint, target: Target, golden: GoldenFile | None) -> list[Check]:
    signature = golden.signature if golden else Signature()
    if isinstance(target.dialect, PlainJson):
        return await _described_by_answer(endpoint, golden, signature)
    description = await endpoint.describe()
    wrong = named(description, target.model)
    checks = [Check("describes itself", not wrong, f"the model {target.model}", wrong)]
    checks += _typed("input", signature.inputs, description.inputs)
    return checks + list(_typed("output", signature.outputs, description.outputs))


async def _described_by_answer(endpoint: Endpoint, golden: GoldenFile | None, signature: Signature) -> list[Check]:
    """Plain JSON says nothing about itself: the first answer shows what it gives."""
    if golden is None:
        return []
    answer = await endpoint.ask(golden.question(next(iter(golden.cases.values()))))
    answers = Check("answers", True)
    return [answers, *_typed("output", signature.outputs, {"answer": json_type(answer.content.document)})]


def json_type(document: Any) -> TensorType:
    """What a JSON value is, in the words of a signature: number, text, bool, object, null, and its lists' lengths."""
    words: list[tuple[type, str]] = [(bool, "bool"), (int, "number"), (float, "number"), (str, "text")]
    try:
        tensor = tensor_of(document, "")
    except ValueError:
        return TensorType("mixed", (len(document),))
    kinds = {next((word for kind, word in words if isinstance(one, kind)), _structure(one)) for one in tensor.data}
    return TensorType(kinds.pop() if len(kinds) == 1 else "mixed", tensor.shape)


def _structure(value: Any) -> str:
    return "null" if value is None else "object"


def _typed(
    what: str, declared: Mapping[str, TensorDeclaration], described: Mapping[str, TensorType]
) -> Iterator[Check]:
    for name, wanted in declared.items():
        got = described.get(name)
        shape = f" {list(wanted.shape)}" if wanted.shape is not None else ""
        if got is None:
            said = listed(described) if described else f"no {what}s described"
            yield Check(f"{what} {name}", False, f"{wanted.type}{shape}", said)
            continue
        fits = got.datatype == wanted.type and (wanted.shape is None or _fits(wanted.shape, got.shape))
        yield Check(f"{what} {name}", fits, f"{wanted.type}{shape}", f"{got.datatype} {list(got.shape)}")


def _fits(wanted: tuple[int, ...], got: tuple[int, ...]) -> bool:
    return len(wanted) == len(got) and all(w in (-1, g) for w, g in zip(wanted, got, strict=True))


# --- golden ---


def run_golden(target: Target, golden: GoldenFile, report: Report | None = None) -> GateResult:
    """Ask every case. A case whose answer does not come fails; others still are asked.

    The gate passes when at least `mustPass` of the cases do; the note then tells which ones failed. Raises
    GitopsError for a case that the protocol cannot ask, and when the embeddings endpoint cannot be asked.
    """
    return asyncio.run(_golden(target, golden, report))


async def _golden(target: Target, golden: GoldenFile, report: Report | None) -> GateResult:
    async with HttpEndpoint(target) as endpoint, _Similarity(golden) as similarity:
        turn = asyncio.Semaphore(golden.concurrency)
        finished = 0

        async def one(name: str, case: Case) -> tuple[Check, Answer | None]:
            nonlocal finished
            async with turn:
                found = await _asked(endpoint, similarity, name, golden, case)
            finished += 1
            if report and finished % 20 == 0:
                report(f"golden: {finished} of {len(golden.cases)} cases")
            return found

        tasks = [asyncio.create_task(one(name, case)) for name, case in golden.cases.items()]
        try:
            done = await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
    return _judged(golden, [check for check, _ in done], [answer for _, answer in done if answer])


async def _asked(
    endpoint: Endpoint, similarity: _Similarity, name: str, golden: GoldenFile, case: Case
) -> tuple[Check, Answer | None]:
    try:
        answer = await endpoint.ask(golden.question(case))
    except AskFailed as failed:
        return Check(name, False, "an answer", str(failed)), None
    except GitopsError as error:
        raise GitopsError(error.what, where=f"case {name}", hint=error.hint) from None
    found = list(misses(case.expect, answer.content))
    if case.expect.similar:
        found += await similarity.misses(case.expect.similar, answer.content)
    if not found:
        return Check(name, True), answer
    got = found[0].got + (" (cut off at maxTokens)" if answer.content.finish == "length" else "")
    return Check(name, False, "; ".join(miss.expected for miss in found), got), answer


def _judged(golden: GoldenFile, checks: list[Check], answers: list[Answer]) -> GateResult:
    passed = sum(check.passed for check in checks)
    share = 100 * passed / len(checks)
    slowest = max((answer.times.total for answer in answers), default=0.0)
    figures = {"cases": float(len(checks)), "passed-percent": share, "slowest-answer-seconds": slowest}
    if golden.must_pass == 100 or passed == len(checks):
        return GateResult("golden", tuple(checks), figures)
    enough = share >= golden.must_pass
    failed = "; ".join(check.sentence for check in checks if not check.passed)
    said = f"{share:g}% ({passed} of {len(checks)})"
    together = Check("cases that pass", enough, f"at least {golden.must_pass:g}%", said)
    if enough:
        good = tuple(check for check in checks if check.passed)
        return GateResult("golden", (*good, together), figures, note=f"tolerated: {failed}")
    return GateResult("golden", (together, *checks), figures)


class _Similarity:
    """Asks for embeddings; those of expected texts once."""

    def __init__(self, golden: GoldenFile) -> None:
        wanted = golden.embeddings
        key = secret(wanted.api_key_env) if wanted else ""
        self._model = wanted.model if wanted else ""
        self._endpoint = HttpEndpoint(Target(base_url(wanted.url), PlainJson("/"), "", key=key)) if wanted else None

    async def __aenter__(self) -> _Similarity:
        if self._endpoint:
            await self._endpoint.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._endpoint:
            await self._endpoint.__aexit__()

    async def misses(self, similar: Similar, content: Content) -> list[Miss]:
        """Nothing when the answer is near enough. Raises GitopsError when no embeddings come."""
        text = words_of(content)
        if not text.strip():
            return [Miss(f'something like "{quoted(similar.to)}"', quoted(text))]
        near = cosine(*await self._vectors(similar.to, text))
        if near >= similar.at_least:
            return []
        return [Miss(f"{similar.at_least:g} similar to {quoted(similar.to)}", f"{near:.3f} for {quoted(text)}")]

    async def _vectors(self, *texts: str) -> list[list[float]]:
        assert self._endpoint, "the golden file was checked"
        where = f"{self._endpoint.target.url}/v1/embeddings"
        body = orjson.dumps({"model": self._model, "input": list(texts), "encoding_format": "float"})
        try:
            document = await self._endpoint.post("/v1/embeddings", body)
            vectors = [
                list(map(float, one["embedding"])) for one in sorted(document["data"], key=lambda one: one["index"])
            ]
        except AskFailed as failed:
            raise GitopsError(f"no embeddings come: {failed}", where=where, hint="check `embeddings`") from None
        except (KeyError, TypeError, ValueError):
            raise GitopsError("this answers without embeddings", where=where, hint="check `embeddings`") from None
        if len(vectors) != len(texts) or len({len(vector) for vector in vectors}) != 1:
            raise GitopsError("its embeddings are of different lengths", where=where, hint="check `embeddings`")
        return vectors
