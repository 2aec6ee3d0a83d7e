"""Any container that answers HTTP."""

from __future__ import annotations

from gitops.render.runtimes.base import Container, LoadMetric
from gitops.spec.pipeline import CustomServe, Model


class Custom:
    """Everything as declared, with the artifact at /models. Its root stays writable: nobody knows what it writes."""

    def container(self, _name: str, model: Model, /) -> Container:
        serve = model.serve
        assert isinstance(serve, CustomServe)
        return Container(
            image=serve.image,
            command=serve.command,
            args=serve.args,
            env={},
            http_port=serve.port,
            metrics_port=serve.port,
            ready=serve.health,
            health=serve.health,
            metrics=serve.metrics,
            read_only_root=False,
        )

    def load_query(self, _metric: LoadMetric, _labels: str, /) -> str | None:
        return None
