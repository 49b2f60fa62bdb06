"""JSON Schema (draft 7) of manifests, for editors.

Looser than the reader, which alone judges: keys may come from `defaults`, so none is required here.
"""

import inspect
import re
from typing import Any

from pydantic import TypeAdapter

from jobs.expand.blocks import Reference, Resources
from jobs.expand.parts import HEADS, LISTS, adapter
from snnlib.spec.values import Spec

Schema = dict[str, Any]

_HEADS = "|".join(HEADS)
_DOTTED = r"^(dataset|model|regime|evaluation)(\.[a-z_]+)+$"
_REFERENCES = "#/definitions/{model}"
_KEYS = {
    "version": "Version of the manifest's language.",
    "name": "Name of the experiment: letters, digits, . _ - only.",
    "defaults": "What holds for every cell unless the cell says otherwise.",
    "grid": "Lists of values; the cells are their product.",
    "zip": "Lists of one length; the cells take their first values, their second values, …",
    "cells": "Cells written out one by one.",
    "include": "Adds keys to the cells it agrees with, or is a cell of its own.",
    "exclude": "Drops the cells that agree with an entry in all that it says.",
    "resources": "Shape of the jobs; `when` restricts an entry to some cells, later entries win.",
    "reference": "Published numbers that results are shown beside.",
}
_CELL = {
    "dataset": "What a network learns.",
    "model": "The network.",
    "regime": "How it is trained.",
    "epsilons": "Radii that every attack is evaluated at; 0 means the clean evaluation.",
    "attacks": "Attacks it is evaluated with; the clean evaluation comes by itself.",
    "evaluation": "Samples and randomness of the evaluations.",
    "stages": "What is computed of its network besides attacks, e.g. [gradients].",
    "faithful": "Repeat a published system: A is grad-obf-snn, B is HoSNN; fills unset options.",
    "seed": "Seed of initial weights, order and augmentation.",
}


def schema() -> Schema:
    """JSON Schema of a manifest, descriptions taken from the specifications' docstrings."""
    definitions: Schema = {}
    values = {head: _collect(adapter(head), definitions) for head in HEADS}
    shape = _collect(TypeAdapter(Resources), definitions)
    reference = _collect(TypeAdapter(Reference), definitions)
    classes = {cls.__name__: cls for cls in _subclasses(Spec)}
    for name, definition in definitions.items():
        _describe(definition, classes[name])
    for name, definition in definitions.items():
        definitions[name] = _with_words(definition, definitions)
    cell = {head: _with_words(value, definitions) for head, value in values.items()}
    cell = {head: {"description": _CELL[head], **value} for head, value in cell.items()}
    agrees = {"type": "object", "propertyNames": {"pattern": rf"^({_HEADS})(\..+)?$"}}
    definitions["Resources"]["properties"]["when"] = {"description": "For which cells.", **agrees}
    definitions["Reference"]["properties"]["where"] = {"description": "The cells.", **agrees}
    definitions |= {"Cell": _cell(cell), "Axes": _axes(cell), "Pattern": agrees}
    return _top(shape, reference, definitions)


def _top(shape: Schema, reference: Schema, definitions: Schema) -> Schema:
    def one(name: str) -> Schema:
        return {"$ref": f"#/definitions/{name}"}

    def many(entry: Schema) -> Schema:
        return {"type": "array", "items": entry}

    blocks: dict[str, Schema] = {
        "version": {"const": 1},
        "name": {"type": "string", "pattern": r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"},
        "defaults": {"allOf": [one("Cell")]},
        "grid": {"allOf": [one("Axes")]},
        "zip": {"allOf": [one("Axes")]},
        "cells": many(one("Cell")),
        "include": many(one("Pattern")),
        "exclude": many(one("Pattern")),
        "resources": {"anyOf": [shape, many(shape)]},
        "reference": many(reference),
    }
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "spikegrid manifest",
        "type": "object",
        "required": ["version", "name"],
        "anyOf": [{"required": [key]} for key in ("grid", "zip", "cells", "include")],
        "properties": {k: {"description": _KEYS[k], **block} for k, block in blocks.items()},
        "additionalProperties": False,
        "definitions": definitions,
    }


def _cell(values: Schema) -> Schema:
    return {
        "type": "object",
        "properties": values,
        "patternProperties": {_DOTTED: {}},
        "additionalProperties": False,
    }


def _axes(values: Schema) -> Schema:
    """Each value of a cell, or a list of them; seeds as a range too."""
    axes: Schema = {
        head: {"anyOf": [{"type": "array", "items": v}, v]} for head, v in values.items()
    }
    axes["seed"]["anyOf"].append({"type": "string", "pattern": r"^range\(.*\)$"})
    for head in LISTS:
        axes[head] = {"type": "array", "items": values[head]}
    return _cell(axes)


def _collect(found: TypeAdapter[Any], definitions: Schema) -> Schema:
    """Schema of a type; what it refers to joins the definitions."""
    made = found.json_schema(ref_template=_REFERENCES)
    definitions |= made.pop("$defs", {})
    if "title" in made and made.get("type") == "object":
        definitions[made["title"]] = made
        return {"$ref": _REFERENCES.format(model=made["title"])}
    return made


def _subclasses(cls: type) -> list[type]:
    found: list[type] = []
    sub: type
    for sub in cls.__subclasses__():
        found += [sub, *_subclasses(sub)]
    return found


def _describe(definition: Schema, cls: type) -> None:
    """Put the words of a class's docstrings beside its keys."""
    texts: dict[str, str] = {}
    for owner in reversed(cls.__mro__):
        texts |= _attributes(inspect.cleandoc(owner.__doc__ or ""))
    definition["description"] = inspect.cleandoc(cls.__doc__ or "").split("\n\n")[0]
    definition.pop("required", None)
    for key, value in definition["properties"].items():
        value.pop("title", None)
        if key in texts:
            value["description"] = texts[key]
        if value.get("type") == "number" and isinstance(value.get("default"), str):
            value["default"] = float(value["default"])


def _attributes(text: str) -> dict[str, str]:
    """Entries of a docstring's "Attributes:" section."""
    section = text.partition("Attributes:\n")[2]
    entries = re.findall(r"^    (\w+): (.*(?:\n {8,}.*)*)", section, re.MULTILINE)
    return {key: re.sub(r"\s+", " ", words) for key, words in entries}


def _with_words(value: Any, definitions: Schema) -> Any:
    """The same schema with a bare name allowed wherever a named specification stands."""
    if isinstance(value, list):
        return [_with_words(item, definitions) for item in value]
    if not isinstance(value, dict):
        return value
    kept = {k: v for k, v in value.items() if k not in ("discriminator", "oneOf", "$ref", "anyOf")}
    made = {key: _with_words(item, definitions) for key, item in kept.items()}
    options = _options(value)
    if not options:
        return made
    words = [word for option in options for word in _names(option, definitions)]
    if words:
        options = [{"enum": list(dict.fromkeys(words))}, *options]
    return {**made, "anyOf": options}


def _options(value: Schema) -> list[Schema]:
    """The alternatives of a schema, those of nested unions among them."""
    if "$ref" in value:
        return [{"$ref": value["$ref"]}]
    options = value.get("oneOf") or value.get("anyOf") or []
    return [leaf for option in options for leaf in _options(option) or [option]]


def _names(option: Schema, definitions: Schema) -> list[str]:
    """The words by which a referred specification can be chosen."""
    if "$ref" not in option:
        return []
    keys = definitions[option["$ref"].rpartition("/")[2]]["properties"]
    name = keys.get("name", keys.get("kind", {}))
    return list(name.get("enum", [name["const"]] if "const" in name else []))
