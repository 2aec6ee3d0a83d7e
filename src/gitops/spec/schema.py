"""JSON Schemas for editors and other tools."""

from __future__ import annotations

import ast
import inspect
from functools import cache
from itertools import pairwise
from typing import Any

from gitops.spec import (
    build,
    build_stages,
    ci,
    environment,
    parts,
    pipeline,
    pods,
    rollouts,
    signatures,
    simulation_file,
    validation,
    validation_data,
)
from gitops.spec.environment import Environment
from gitops.spec.fields import DURATION_PATTERN, SpecModel, format_duration
from gitops.spec.pipeline import Model, Pipeline
from gitops.spec.simulation_file import SimulationFile

_DIALECT = "http://json-schema.org/draft-07/schema#"
_PARTIAL = "Changed"
_MODULES = (
    pipeline,
    rollouts,
    environment,
    simulation_file,
    parts,
    pods,
    build,
    build_stages,
    validation,
    validation_data,
    signatures,
    ci,
)
Schema = dict[str, Any]


def pipeline_schema() -> Schema:
    """The schema of `pipeline.yaml`."""
    return _finished(_described(Pipeline), "gitops pipeline.yaml")


def environment_schema() -> Schema:
    """The schema of a file in `environments/`; its models may say any part of a model, and null removes a key."""
    schema = _described(Environment)
    schema.setdefault("$defs", {}).update(_partial_model())
    properties = schema["properties"]["models"]
    for keyword in ("additionalProperties", "patternProperties"):
        if keyword in properties:
            properties[keyword] = _over_values(properties[keyword], keyword)
    return _finished(schema, "gitops environment")


def simulation_schema() -> Schema:
    """The schema of `simulation.yaml`."""
    return _finished(_described(SimulationFile), "gitops simulation.yaml")


def _described(model: type[SpecModel]) -> Schema:
    """The model's schema, with the docstring below each field as its description.

    Pydantic could collect them itself, but would read its own source for that at every start of every command.
    """
    schema: Schema = model.model_json_schema()
    for name, definition in {**schema.get("$defs", {}), model.__name__: schema}.items():
        owner: Any = next(getattr(module, name) for module in _MODULES if hasattr(module, name))
        # A name for a type that refers to itself is a definition as well, and no class.
        for key, field in owner.model_fields.items() if hasattr(owner, "model_fields") else ():
            text = next((text for base in owner.__mro__ if (text := _docstrings().get((base.__name__, key)))), "")
            if text:
                definition["properties"][field.alias]["description"] = text
    return schema


@cache
def _docstrings() -> dict[tuple[str, str], str]:
    """What stands below the fields of the spec's classes, by class and field."""
    found = {}
    for module in _MODULES:
        for node in ast.parse(inspect.getsource(module)).body:
            for field, text in pairwise(node.body if isinstance(node, ast.ClassDef) else ()):
                match field, text:
                    case ast.AnnAssign(target=ast.Name(key)), ast.Expr(ast.Constant(str(words))):
                        assert isinstance(node, ast.ClassDef)
                        found[node.name, key] = inspect.cleandoc(words)
    return found


def _over_values(value: Schema, keyword: str) -> Schema:
    reference = {"$ref": f"#/$defs/{_PARTIAL}Model"}
    return reference if keyword == "additionalProperties" else dict.fromkeys(value, reference)


def _partial_model() -> Schema:
    """Definitions of Model and of all that it holds, with nothing required: `Model` becomes `ChangedModel`."""
    whole = _described(Model)
    definitions: Schema = whole.pop("$defs")
    partial = {f"{_PARTIAL}{name}": _relaxed(schema) for name, schema in definitions.items()}
    return {**definitions, **partial, f"{_PARTIAL}Model": _relaxed(whole)}


def _relaxed(schema: Schema) -> Schema:
    """An object of which any part may be said; whole where lists are, because lists replace."""
    relaxed = {key: value for key, value in schema.items() if key not in ("required", "default")}
    for keyword in ("properties", "patternProperties"):
        if keyword in relaxed:
            relaxed[keyword] = {name: _removable(_renamed(value)) for name, value in relaxed[keyword].items()}
    if isinstance(relaxed.get("additionalProperties"), dict):
        relaxed["additionalProperties"] = _removable(_renamed(relaxed["additionalProperties"]))
    return relaxed


def _renamed(schema: Schema) -> Schema:
    """The schema with its references to whole objects changed to partial ones."""
    if schema.get("type") == "array":
        return schema
    if schema.get("type") == "object":
        return _relaxed(schema)
    result = {key: value for key, value in schema.items() if key not in ("default", "discriminator", "oneOf")}
    if "$ref" in result:
        result["$ref"] = result["$ref"].replace("#/$defs/", f"#/$defs/{_PARTIAL}")
    choices = schema.get("oneOf") or schema.get("anyOf")
    if choices:
        result["anyOf"] = [_renamed(choice) for choice in choices]
    return result


def _removable(schema: Schema) -> Schema:
    described: Schema = {key: schema[key] for key in ("title", "description") if key in schema}
    if "anyOf" in schema:
        choices = [choice for choice in schema["anyOf"] if choice != {"type": "null"}]
        return {**schema, "anyOf": [*choices, {"type": "null"}]}
    return {**described, "anyOf": [schema, {"type": "null"}]}


def _finished(schema: Schema, title: str) -> Schema:
    return {"$schema": _DIALECT, **_cleaned(schema), "title": title}


def _cleaned(schema: Any) -> Any:
    """In plain JSON Schema: no OpenAPI keyword, no titles made from names, no keys but those that are described."""
    if isinstance(schema, list):
        return [_cleaned(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    result = {key: _cleaned(value) for key, value in schema.items() if not _is_noise(key, value, schema)}
    if schema.get("pattern") == DURATION_PATTERN and "default" in schema:
        result["default"] = format_duration(schema["default"])
    if isinstance(schema.get("default"), int | float) and (unit := _unit(str(schema.get("pattern", "")))):
        result["default"] = f"{schema['default']:g}{unit}"
    if "patternProperties" in schema:
        result["additionalProperties"] = False
    return result


def _unit(pattern: str) -> str:
    """The unit in which a number with this pattern is held, when it is written with one."""
    return "%" if pattern.endswith("%$") else "s" if pattern.endswith("(ms|s|m)$") else ""


def _is_noise(key: str, value: Any, schema: Schema) -> bool:
    made_up = key == "title" and isinstance(value, str) and "properties" not in schema
    return made_up or (key == "discriminator" and isinstance(value, dict) and "propertyName" in value)
