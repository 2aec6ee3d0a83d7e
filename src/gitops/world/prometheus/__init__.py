"""A Prometheus, or anything that speaks its query API, as a source of metrics."""

from gitops.world.prometheus.source import PrometheusSource as PrometheusSource
