"""A template of one's own for Deployments keeps what refuses files of another digest."""

from __future__ import annotations

import pytest

from gitops.errors import GitopsError
from gitops.render.renderer import Renderer
from gitops.render.templates import templates_of
from gitops.values import UnitKey
from tests.render.specs import project_templates, small

UNIT = UnitKey("dev", "chat")
TEMPLATES = project_templates()
NAME = "kubernetes/version/deployment.yaml.j2"
TEXT = TEMPLATES.sources[NAME]
VERIFY = TEXT[TEXT.index("{% if fetches %}") : TEXT.index("      containers:\n")]
WRITER = (
    "        - name: swap\n          image: busybox\n          volumeMounts:\n"
    "            - name: models\n              mountPath: /models\n"
)


def deployments(text: str) -> None:
    templates = templates_of({**TEMPLATES.sources, NAME: text}, frozenset({NAME}))
    Renderer(small(), templates).unit(UNIT)


def test_a_change_beside_it_is_free() -> None:
    deployments(TEXT.replace("revisionHistoryLimit: 2", "revisionHistoryLimit: 5"))


IMAGE = "- name: verify-model\n          image: "
ARGS = "          args:\n            {{ verify_args"
ENV = "          env: [{name: PATH, value: /tmp}]\n"
SERVED = "- name: models\n              mountPath: {{ models_path }}"

CHANGES = {
    "the last init container is fetch-model": (VERIFY, ""),
    "the last init container is swap": (VERIFY, VERIFY.replace("{% endif %}\n", WRITER + "{% endif %}\n")),
    "verify-model has another command": ("{{ verify_script | literal(14) }}", "exit 0"),
    "verify-model has another args": ("{{ verify_args | yaml(12) }}", "- /tmp"),
    "verify-model has another image": (IMAGE + "{{ fetch_image }}", IMAGE + "mine"),
    "verify-model sets env": (ARGS, ENV + ARGS),
    "may write to the volume models": (SERVED + "\n              readOnly: true", SERVED),
    "no container serves the volume models": (SERVED, SERVED.replace("models", "tmp", 1)),
    "incomplete or malformed": ("      initContainers:\n", "      other:\n"),
}


@pytest.mark.parametrize("said", CHANGES)
def test_what_would_serve_unverified_files_is_refused(said: str) -> None:
    old, new = CHANGES[said]
    assert old in TEXT
    with pytest.raises(GitopsError, match=said) as error:
        deployments(TEXT.replace(old, new))
    assert error.value.where == f"templates/{NAME}"
