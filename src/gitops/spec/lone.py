"""A file beside the spec, checked by itself: every problem at once, each at its place."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from pydantic import ValidationError

from gitops.spec.documents import Document, Documents, Finding
from gitops.spec.explain import Spot, spots
from gitops.spec.fields import SpecModel
from gitops.spec.problems import SpecError
from gitops.spec.resolved import SourceFile

File = TypeVar("File", bound=SpecModel)


def load_lone(
    source: SourceFile,
    model: type[File],
    finding: Callable[[Spot, Document], Finding],
    contradictions: Callable[[File], Iterable[Finding]],
) -> File:
    """The file as a model. Raises SpecError.

    `finding` puts what Pydantic says into words; `contradictions` is asked of a file that is well-formed.
    """
    document = Document.read(source)
    try:
        file = model.model_validate(document.data)
    except ValidationError as error:
        found = spots(error, model, document.data)
        document.look_up(spot.path for spot in found)
        raise _refused(document, [finding(spot, document) for spot in found]) from None
    if wrong := list(contradictions(file)):
        raise _refused(document, wrong)
    return file


def _refused(document: Document, findings: list[Finding]) -> SpecError:
    return SpecError(Documents(document, {}).problems(findings))
