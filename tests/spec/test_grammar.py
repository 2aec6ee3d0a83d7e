"""Names, references and quantities against the grammars that others wrote, by the examples of those who wrote them."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from gitops.spec import environment, fields, parts
from gitops.spec.check_models import _NO_BRANCH
from gitops.spec.fields import parse_duration, parse_threshold
from gitops.spec.quantities import QUANTITY_PATTERN, amount, canonical
from gitops.spec.server_options import wrong_value

HEX = "be178c0543eb17f5f3043021c9e5fcf30285e557a4fc309cce97ff9ca6182912"


def fits(annotation: Any, value: object) -> bool:
    try:
        TypeAdapter(annotation).validate_python(value)
    except ValidationError:
        return False
    return True


# --- Images: the cases of distribution/reference ---------------------------------------------------------------

NAMES = [
    "short",
    "simple/name",
    "library/ubuntu",
    "docker/stevvooe/app",
    "aa/aa/aa/aa/aa/aa/aa/aa/aa/bb/bb/bb/bb/bb/bb",
    "aa/aa/bb/bb/bb",
    "a/a/a/a",
    "a",
    "a/aa",
    "a/aa/a",
    "foo.com",
    "foo.com:8080/bar",
    "foo.com/bar",
    "foo.com/bar/baz",
    "localhost:8080/bar",
    "sub-dom1.foo.com/bar/baz/quux",
    "blog.foo.com/bar/baz",
    "aa-a/a",
    "foo_bar",
    "foo_bar.com",
    "foo.com/foo_bar",
    "b.gcr.io/test.example.com/my-app",
    "xn--n3h.com/myimage",
    "xn--7o8h.com/myimage",
    "example.com/xn--7o8h.com/myimage",
    "example.com/some_separator__underscore/myimage",
    "do__cker/docker",
    "Asdf.com/foo/bar",
    "registry.io/foo/project--id.module--name.ver---sion--name",
    "[fd00:1:2::3]:5000/name",
    "192.168.1.1:5000/name",
]
NO_NAMES = [
    "a/a/a/a/",
    "a//a/a",
    "foo.com/",
    "foo.com:http/bar",
    "a^a",
    "aa/asdf$$^/aa",
    "asdf$$^/aa",
    "a-/a/a/a",
    "foo.com/a-/a/a",
    "-foo/bar",
    "foo/bar-",
    "foo-/bar",
    "foo/-bar",
    "_foo/bar",
    "foo_bar.com:8080/app",
    "____/____",
    "_docker/_docker",
    "docker_/docker_",
    "example.com/__underscore/myimage",
    "example.com/..dots/myimage",
    "example.com/.dots/myimage",
    "example.com/nodouble..dots/myimage",
    "docker./docker",
    ".docker/docker",
    "docker-/docker",
    "-docker/docker",
    "do..cker/docker",
    "do__cker:8080/docker",
    "Foo/FarB",
    "[fd00:1:2::3]5000/name",
    "[fd00:1:2::3%eth0]:5000/name",
]
REFERENCES = [
    "registry.com:8080/myapp:tag",
    f"registry.com:8080/myapp@sha256:{HEX}",
    f"registry.com:8080/myapp:tag2@sha256:{HEX}",
    f"localhost:8080@sha256:{HEX}",
    f"localhost:8080/name@sha256:{HEX}",
    f"localhost@sha256:{HEX}",
    f"name@sha512:{HEX}{HEX}",
    "my--model_server:1",
]
NO_REFERENCES = [
    "registry.com:8080/myapp@sha256:badbadbadbad",
    "registry.com:8080/myapp:invalid~tag",
    "bad_hostname.com:8080/myapp:tag",
    f"localhost:http/name@sha256:{HEX}",
    "registry.com:8080/myapp@bad",
    "registry.com:8080/myapp@2bad",
    "ghcr.io/Foo/bar:1",
    f"name@sha256:{HEX.upper()}",
]


@pytest.mark.parametrize("reference", [*NAMES, *REFERENCES])
def test_images(reference: str) -> None:
    assert fits(fields.Image, reference)


@pytest.mark.parametrize("reference", [*NO_NAMES, *NO_REFERENCES, ""])
def test_no_images(reference: str) -> None:
    assert not fits(fields.Image, reference)


# --- Quantities: the cases of apimachinery ---------------------------------------------------------------------

CANONICAL = {
    "0": "0",
    "0n": "0",
    "0Gi": "0",
    "1": "1",
    "1Ki": "1Ki",
    "8Ki": "8Ki",
    "7Mi": "7Mi",
    "4Pi": "4Pi",
    "5n": "5n",
    "4u": "4u",
    "3m": "3m",
    "8k": "8k",
    "50k": "50k",
    "40T": "40T",
    "1E": "1E",
    "1E-3": "1e-3",
    "1e3": "1e3",
    "1E6": "1e6",
    "1e14": "100e12",
    "1e13": "10e12",
    "100.035k": "100035",
    "0.001": "1m",
    "0.0005k": "500m",
    "0.05": "50m",
    "0.5": "500m",
    "0.00050k": "500m",
    "0.5e0": "500e-3",
    "0.5e-1": "50e-3",
    "10.035M": "10035k",
    "1.2e3": "1200",
    "1.3E+6": "1300e3",
    "9.01": "9010m",
    "8.1k": "8100",
    "7.123456M": "7123456",
    "6.987654321G": "6987654321",
    "5.444T": "5444G",
    "2.5P": "2500T",
    "3.001n": "4n",
    "0.0000000001": "1n",
    "0.9n": "1n",
    "0.00000012345": "124n",
    "100.035Ki": "102435840m",
    "0.5Mi": "512Ki",
    "0.05Gi": "53687091200m",
    ".001": "1m",
    ".0001k": "100m",
    "1.": "1",
    "1.G": "1G",
    "2048Mi": "2Gi",
    "1024Ki": "1Mi",
    "1000m": "1",
    "128974848000m": "128974848",
    "+64Gi": "64Gi",
}


@pytest.mark.parametrize("text", CANONICAL)
def test_quantities(text: str) -> None:
    assert canonical(text) == CANONICAL[text]
    assert canonical(canonical(text)) == canonical(text)


@given(st.from_regex(QUANTITY_PATTERN.replace("\\d", "[0-9]"), fullmatch=True).filter(lambda text: len(text) < 32))
def test_the_canonical_form_is_the_same_amount(text: str) -> None:
    whole, kept = amount(text), amount(canonical(text))
    assert 0 <= kept - whole < Fraction(1, 10**9)
    assert canonical(canonical(text)) == canonical(text)


@pytest.mark.parametrize(
    ("written", "kept"),
    [(8, "8"), (1.5, "1500m"), ("1.5", "1500m"), ("0.5", "500m"), ("500m", "500m"), ("2000m", "2"), ("1e3", "1e3")],
)
def test_cpus(written: object, kept: str) -> None:
    assert TypeAdapter(fields.Cpu).validate_python(written) == kept


@pytest.mark.parametrize("written", [0, "0", -1, "-1", True, "", ".", "1.0001", "1u", "8 CPUs", "eight", 10_000, "1E"])
def test_no_cpus(written: object) -> None:
    assert not fits(fields.Cpu, written)


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("64Gi", "64Gi"),
        ("1.5Gi", "1536Mi"),
        ("129M", "129M"),
        ("129e6", "129e6"),
        (128974848, "128974848"),
        ("128974848000m", "128974848"),
        ("123Mi", "123Mi"),
    ],
)
def test_memory(written: object, kept: str) -> None:
    assert TypeAdapter(fields.Memory).validate_python(written) == kept


@pytest.mark.parametrize(
    "written", ["64", "500m", "64gb", "64GB", "0Gi", "-1Gi", "1100000000000000.5", None, [], "9Ei"]
)
def test_no_memory(written: object) -> None:
    assert not fits(fields.Memory, written)


# --- Names: what Kubernetes, the Gateway API and Git say --------------------------------------------------------

GOOD: list[tuple[Any, list[str]]] = [
    (fields.KubernetesName, ["a", "1", "a--b", "0a", "a" * 63]),
    (fields.ObjectName, ["a", "a.b", "1.2.3", "my-cert.example.com", "a" * 63 + "." + "b" * 63]),
    (fields.PodEnvName, ["A", "_a", "spring.profiles.active", "a-b", ".a", "-x"]),
    (fields.Hostname, ["a.b", "*.example.com", "xn--n3h.com", "1.example.com", "a." + "b" * 63]),
    (environment.LabelKey, ["a", "example.com/a", "k8s.io/A_b.c", "simple", "a/" + "b" * 63]),
    (environment.LabelValue, ["", "a", "A_b.c", "a" * 63]),
    (environment.BucketName, ["abc", "a.b.c", "a-b", "a--b", "1.2", "a" * 63]),
    (parts.SecretRef, [".dockerconfigjson", "tls.key", "a_b", "-"]),
]
BAD: list[tuple[Any, list[str]]] = [
    (fields.KubernetesName, ["", "-a", "a-", "A", "a.b", "a_b", "a" * 64]),
    (fields.ObjectName, ["", ".a", "a.", "a..b", "-a.b", "a.-b", "A.b", "a" * 254]),
    (fields.PodEnvName, ["", "1a", ".", "..", "..a", "a b", "a=b", "ä"]),
    (fields.Hostname, ["", "localhost", "10.0.0.1", "*", "*.*.com", "a..b", "-a.b", "A.b", "a." + "b" * 64, "a.b."]),
    (environment.LabelKey, ["", "/a", "a/", "-./a", "a/b/c", "a..b/c", "Example.com/a", "a/" + "b" * 64]),
    (environment.LabelValue, ["-a", "a-", "a b", "a" * 64]),
    (environment.BucketName, ["ab", "a..b", "a.-b", "A.b", "a_b", "-ab", "ab-", "a" * 64]),
    (parts.SecretRef, [".", "..", "..a", "a/b", "", "a" * 254]),
]


def value_for(annotation: Any, text: str) -> object:
    return {"secret": "s", "key": text} if annotation is parts.SecretRef else text


@pytest.mark.parametrize(("annotation", "text"), [(kind, text) for kind, texts in GOOD for text in texts])
def test_names(annotation: Any, text: str) -> None:
    assert fits(annotation, value_for(annotation, text))


@pytest.mark.parametrize(("annotation", "text"), [(kind, text) for kind, texts in BAD for text in texts])
def test_no_names(annotation: Any, text: str) -> None:
    assert not fits(annotation, value_for(annotation, text))


@pytest.mark.parametrize("branch", ["main", "a/b", "release-1.2", "a.b/c", "lock"])
def test_branches(branch: str) -> None:
    assert not _NO_BRANCH.search(branch)


@pytest.mark.parametrize("branch", ["a..b", "a//b", "a/", "a.", "a/.b", "a.lock", "a.lock/b", "a./b"])
def test_no_branches(branch: str) -> None:
    assert _NO_BRANCH.search(branch)


def test_long_numbers_are_refused_at_once() -> None:
    """Python converts no more than 4300 digits, and a pattern that goes back over them takes for ever."""
    digits = "9" * 400_000
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration(f"{digits}s")
    with pytest.raises(ValueError, match="is not a threshold"):
        parse_threshold(f"{digits}x stable")
    assert wrong_value("gpu-memory-utilization", f"{digits}!", known=True)
