"""What `validate` of a model may say: the gates that a version has to pass, and how its endpoint is asked.

```yaml
validate:
  golden: validation/support-chat.yaml
  benchmark: {concurrency: 16, warmUp: 10s, duration: 60s, minTokensPerSecond: 50, maxLatencyP99: 2s}
```
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, StringConstraints, WithJsonSchema

from gitops.spec.fields import Cpu, Duration, EnvName, Image, KubernetesName, Memory, ObjectName, PodEnvName, SpecModel
from gitops.spec.parts import SecretRef
from gitops.spec.validation_data import Contradiction as Contradiction
from gitops.spec.validation_data import DataGates as DataGates
from gitops.spec.validation_data import Parity as Parity
from gitops.spec.validation_data import contradictions as _data_contradictions

PROJECT_FILE_PATTERN = r"^[A-Za-z0-9_][A-Za-z0-9._@+=-]*(/[A-Za-z0-9_][A-Za-z0-9._@+=-]*)*$"
ProjectFile = Annotated[
    str,
    StringConstraints(pattern=PROJECT_FILE_PATTERN, max_length=1024),
    Field(examples=["validation/support-chat.yaml"]),
]
"""A file of the project by its path, which cannot climb out of it."""

URL_PATH_PATTERN = r"^/[A-Za-z0-9/_.~%:+@=&?-]*$"
UrlPath = Annotated[str, StringConstraints(pattern=URL_PATH_PATTERN, max_length=1024), Field(examples=["/v1/predict"])]
"""A path on the endpoint, with a query if it needs one."""

ANSWER_PATTERN = r"^[A-Za-z0-9_-]{1,100}(\.[A-Za-z0-9_-]{1,100}){0,19}$"
AnswerPath = Annotated[str, StringConstraints(pattern=ANSWER_PATTERN), Field(examples=["choices.0.text"])]
"""Keys and list positions to a value in a JSON answer, separated by dots."""


def _parser(pattern: str, scales: dict[str, float], complaint: str) -> Callable[[object], float]:
    form = re.compile(pattern)

    def parse(value: object) -> float:
        text = str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value
        match = form.fullmatch(text) if isinstance(text, str) else None
        if not match:
            raise ValueError(f"{value!r} {complaint}")
        return float(match[1]) * scales[match[2]]

    return parse


def _written(scale: float, unit: str) -> Callable[[float], str]:
    return lambda value: f"{round(value * scale, 9):g}{unit}"


_NUMBER = r"(\d{1,9}(?:\.\d{1,9})?)"
Seconds = Annotated[
    float,
    BeforeValidator(
        _parser(
            rf"{_NUMBER}(ms|s|m)",
            {"ms": 0.001, "s": 1.0, "m": 60.0},
            "is not a duration; write it like 500ms or 2s",
        )
    ),
    Field(gt=0, le=3600),
    PlainSerializer(_written(1000, "ms"), return_type=str),
    WithJsonSchema({"type": "string", "pattern": rf"^{_NUMBER}(ms|s|m)$", "examples": ["500ms", "2s"]}),
]
"""A span of time with fractions, held as seconds."""

Percent = Annotated[
    float,
    BeforeValidator(_parser(rf"{_NUMBER}(%)", {"%": 1.0}, "is not a threshold; write it like 0.1%")),
    Field(ge=0, le=100),
    PlainSerializer(_written(1, "%"), return_type=str),
    WithJsonSchema({"type": "string", "pattern": rf"^{_NUMBER}%$", "examples": ["0.1%"]}),
]
"""A share, held in percent."""

Rate = Annotated[float, Field(gt=0, le=1_000_000, strict=False)]
JsonValue = Any
"""Anything that JSON can say."""


_NOT_TO_ENDPOINTS = re.compile(
    r"(GITOPS|AWS|ARM|ACTIONS|CI|GITHUB|GITLAB|KUBE|SSH|MLFLOW|TF|DOCKER|VAULT)_.*"
    r"|GOOGLE_APPLICATION_CREDENTIALS.*|AZURE_(CLIENT|STORAGE|TENANT|FEDERATED)_.*|KUBECONFIG"
)


def _for_endpoints(name: str) -> str:
    if _NOT_TO_ENDPOINTS.fullmatch(name.upper()):
        raise ValueError(
            f"{name} is a credential of gitops, a cloud or CI and goes to no endpoint; name one of its own"
        )
    return name


KeyName = Annotated[EnvName, AfterValidator(_for_endpoints)]
"""A variable with the key of an endpoint: none that holds what the pipeline itself is trusted with."""


class Endpoint(SpecModel):
    """How the model's endpoint is asked. By default `openai` for vLLM, `triton` for Triton, else it has to be said."""

    protocol: Literal["openai-chat", "openai-completions", "triton", "json"]
    """`json` is any endpoint that takes and gives JSON: see `path`, `body` and `answer`."""
    model: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    """What the endpoint calls the model; by default its name here."""
    api_key_env: KeyName | None = None
    """The environment variable that holds the API key, sent as a bearer token. The key itself is never written down."""
    timeout: Seconds = 60.0
    """How long one answer may take to its last byte."""
    health: UrlPath | None = None
    """Where a `json` endpoint says that it is ready, such as `/health`; others have a place of their own."""
    path: UrlPath | None = None
    """Where a `json` endpoint is asked."""
    method: Literal["POST", "PUT", "GET"] = "POST"
    body: JsonValue = None
    """What a `json` endpoint is sent. `{prompt}`, `{messages}`, `{inputs}`, `{inputs.age}` and `{settings.maxTokens}`
    stand for the case's; a text that is nothing else becomes the value itself, also a list or a number."""
    answer: AnswerPath | None = None
    """Where in its JSON the answer of a `json` endpoint is, such as `choices.0.text`; by default all of it."""
    tokens: AnswerPath | None = None
    """Where a `json` endpoint says how many tokens it generated."""


class Benchmark(SpecModel):
    """Load on the endpoint, and what has to come of it. The cases of a file are asked in turn."""

    cases: ProjectFile | None = None
    """A file of cases as `golden` has; by default that one. Its expectations are not looked at."""
    requests: Literal["closed", "open"] = "closed"
    """`closed`: each of `concurrency` clients asks again when it has its answer. `open`: requests come at `rate`,
    however long answers take, and times count from when a request was due."""
    concurrency: Annotated[int, Field(ge=1, le=10_000)] = 8
    """Clients of a closed benchmark."""
    rate: Rate | None = None
    """Requests a second of an open benchmark."""
    arrivals: Literal["poisson", "constant"] = "poisson"
    """How an open benchmark spreads them: as independent people do, or evenly."""
    stream: bool = True
    """Ask for answers token by token, where the protocol can."""
    warm_up: Duration = 10
    """What is asked and not measured before."""
    duration: Annotated[Duration, Field(ge=1, le=6 * 3600)] = 60
    min_tokens_per_second: Rate | None = None
    """Generated tokens of all answers together."""
    min_requests_per_second: Rate | None = None
    """Good answers."""
    max_latency_p50: Seconds | None = None
    max_latency_p99: Seconds | None = None
    """To the last byte of an answer."""
    max_time_to_first_token_p99: Seconds | None = None
    max_inter_token_latency_p99: Seconds | None = None
    """Between tokens of an answer."""
    max_error_rate: Percent | None = None
    """Of all requests; without it, any error fails the gate."""
    baseline: ProjectFile | None = None
    """Figures of an earlier version, written by `--save-baseline`: nothing may be worse by more than `tolerance`."""
    tolerance: Percent = 10.0


class Server(SpecModel):
    """What serves the artifact while its gates ask it, on the machine that runs them."""

    command: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=4096)], ...],
        Field(min_length=1, max_length=64, strict=False, examples=[["tritonserver", "--model-repository={artifact}"]]),
    ]
    """`{artifact}` stands for the path of the artifact, `{port}` for a free port on loopback. No shell reads it."""
    ready_timeout: Annotated[Duration, Field(ge=1)] = 300
    """How long it may take until it answers."""
    env: dict[EnvName, str] = {}
    """Variables that it gets beside `PATH` and the like. No others of your environment reach it."""
    isolated: bool = True
    """Keep it from your files, where the machine allows that: it reads the project and the artifact alone. With
    `false`, such as for a command that asks docker, only your environment is kept from it."""


class Job(SpecModel):
    """A Kubernetes Job that runs a command of gitops."""

    image: Image
    """Has gitops, the tools that the command needs, and a checkout of this project."""
    project: Annotated[str, StringConstraints(pattern=r"^/[A-Za-z0-9/_.-]*$")] = "/project"
    """Where in the image that checkout is."""
    queue: KubernetesName | None = None
    """Kueue's local queue."""
    service_account: ObjectName = "default"
    """Whose rights it has outside of the cluster, such as at a store; its token is not mounted."""
    cpu: Cpu = "4"
    memory: Memory = "16Gi"
    disk: Memory = "50Gi"
    """Room for what it reads and makes."""
    env: dict[PodEnvName, str | SecretRef] = {}
    timeout: Annotated[Duration, Field(ge=60)] = 4 * 3600
    retries: Annotated[int, Field(ge=0, le=10)] = 2
    """Starts after the first; a gate that said no is not asked again."""
    keep: Duration = 24 * 3600
    """How long the finished Job stays to be looked at."""


class CheckJob(Job):
    """The gates as a Kubernetes Job (`gitops check --job`)."""

    namespace: KubernetesName | None = None
    """By default that of the environment whose model is asked."""


class Validation(SpecModel):
    """The gates of a model. What is left out is not asked; an empty `validate` asks whether the model loads."""

    server: Server | None = None
    """Serve the artifact for its gates. Without one `gitops check --endpoint` has to say where it is served."""

    golden: ProjectFile | None = None
    """A file of cases, each with what its answer has to be."""
    benchmark: Benchmark | None = None
    data: DataGates | None = None
    """Accuracy, drift and bias on recorded data."""
    parity: Parity | None = None
    """Whether this environment is what training was."""
    endpoint: Endpoint | None = None
    """How to ask, where the runtime does not say it."""
    job: CheckJob | None = None
    """How the gates are asked from inside the cluster."""


def contradictions(validation: Validation) -> Iterator[Contradiction]:
    """What each field allows but the whole does not; paths begin below `validate`."""
    if validation.benchmark:
        for found in _of_benchmark(validation.benchmark, validation.golden):
            yield found._replace(path=("benchmark", *found.path))
    if validation.endpoint:
        for found in _of_endpoint(validation.endpoint):
            yield found._replace(path=("endpoint", *found.path))
    if validation.data:
        for found in _data_contradictions(validation.data):
            yield found._replace(path=("data", *found.path))
    if validation.job:
        yield from _of_job(validation.job, validation.endpoint)


def _of_benchmark(benchmark: Benchmark, golden: str | None) -> Iterator[Contradiction]:
    if benchmark.requests == "open" and benchmark.rate is None:
        yield Contradiction((), "`requests: open` needs `rate`", "add `rate: 20` for 20 requests a second")
    if benchmark.requests == "closed" and benchmark.rate is not None:
        hint = "write `requests: open`, or remove `rate`"
        yield Contradiction(("rate",), "a closed benchmark has no rate: its answers set the pace", hint)
    if benchmark.requests == "open" and "concurrency" in benchmark.model_fields_set:
        hint = "write `requests: closed`, or remove `concurrency`"
        yield Contradiction(("concurrency",), "an open benchmark has as many clients as its rate needs", hint)
    if not benchmark.cases and not golden:
        yield Contradiction((), "there is nothing to ask", "add `cases:` with a file of cases, or `golden:`")
    timed = ("max_time_to_first_token_p99", "max_inter_token_latency_p99")
    if not benchmark.stream and (limit := next((name for name in timed if getattr(benchmark, name)), None)):
        alias = Benchmark.model_fields[limit].alias or limit
        yield Contradiction(
            (alias,), "without `stream` no token has a time of its own", "remove it, or `stream: false`"
        )


def _of_endpoint(endpoint: Endpoint) -> Iterator[Contradiction]:
    if endpoint.protocol == "json":
        if endpoint.path is None:
            yield Contradiction((), "`protocol: json` needs `path`", "add `path: /predict`")
        return
    for name in ("health", "path", "body", "answer", "tokens"):
        if getattr(endpoint, name) is not None:
            hint = "remove it, or write `protocol: json`"
            yield Contradiction((name,), f"`{name}` belongs to `protocol: json`", hint)


def _of_job(job: CheckJob, endpoint: Endpoint | None) -> Iterator[Contradiction]:
    key = endpoint.api_key_env if endpoint else None
    if key and not isinstance(job.env.get(key), SecretRef):
        hint = f"add `env: {{{key}: {{secret: <name of a Secret>, key: <its key>}}}}` to the Job"
        yield Contradiction(("job", "env"), f"the Job has to get the endpoint's key `{key}` from a Secret", hint)
