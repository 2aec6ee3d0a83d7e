"""vLLM's OpenAI-compatible server."""

from __future__ import annotations

import json

from pydantic import JsonValue

from gitops.render.runtimes.base import MODELS_DIR, Container, LoadMetric, image_of
from gitops.spec.pipeline import Model, OptionValue, VllmServe
from gitops.spec.vllm_options import FORMER, OPTIONS

_PORT = 8000
# The image is made for root: without a passwd entry PyTorch asks USER, and every cache needs a place of its own.
_ENV = {
    "HOME": "/cache",
    "USER": "vllm",
    "HF_HOME": "/cache/huggingface",
    "HF_HUB_OFFLINE": "1",
    "XDG_CACHE_HOME": "/cache",
    "XDG_CONFIG_HOME": "/cache/config",
    "VLLM_CACHE_ROOT": "/cache/vllm",
    "TORCHINDUCTOR_CACHE_DIR": "/cache/inductor",
    "TRITON_CACHE_DIR": "/cache/triton",
    "VLLM_NO_USAGE_STATS": "1",
}
_QUERIES = {"requests-running": "vllm:num_requests_running", "queue-length": "vllm:num_requests_waiting"}


class Vllm:
    """Options go on the command line: `vllm serve --config` drops every `false` without a word (vLLM issue 51401)."""

    def container(self, name: str, model: Model, /) -> Container:
        serve = model.serve
        assert isinstance(serve, VllmServe)
        ours: dict[str, OptionValue] = {"served-model-name": name, "port": _PORT}
        if serve.parallelism.tensor > 1:
            ours["tensor-parallel-size"] = serve.parallelism.tensor
        if serve.parallelism.pipeline > 1:
            ours["pipeline-parallel-size"] = serve.parallelism.pipeline
        options = {**ours, **serve.args, **ours}
        return Container(
            image=image_of(serve),
            command=("vllm", "serve"),
            args=(MODELS_DIR, *(word for key, value in options.items() for word in option(key, value))),
            env=_ENV,
            http_port=_PORT,
            metrics_port=_PORT,
            ready="/health",
            health="/health",
            writable={"tmp": "/tmp", "cache": "/cache"},  # noqa: S108  # a volume of the pod's own
        )

    def load_query(self, metric: LoadMetric, labels: str, /) -> str | None:
        return f"sum({_QUERIES[metric]}{{{labels}}})"


def option(key: str, value: OptionValue) -> tuple[str, ...]:
    """The words of one command-line option. `false` becomes `--no-<key>`: it fails loudly where vLLM has no such
    option. Maps become JSON, and lists what the option takes: words after it, the option again, or JSON.
    """
    if isinstance(value, bool):
        return (f"--{key}" if value else f"--no-{key}",)
    kind = OPTIONS.get(key) or FORMER.get(key)
    if isinstance(value, list) and kind in ("texts", "integers"):
        return (f"--{key}", *map(_word, value))
    if isinstance(value, list) and kind == "repeated":
        return tuple(f"--{key}={_word(one)}" for one in value)
    return (f"--{key}={_word(value)}",)


def _word(value: JsonValue) -> str:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list | dict) else str(value)
