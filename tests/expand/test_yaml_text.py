"""YAML text becomes exact values with places, and every surprise is a problem with its way out."""

from decimal import Decimal

import pytest

from jobs.expand.yaml_scalars import resolve
from jobs.expand.yaml_text import load


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("12", 12),
        ("-3", -3),
        ("0", 0),
        ("0.001", Decimal("0.001")),
        ("1.0e-3", Decimal("0.001")),
        ("1.0e3", Decimal(1000)),
        (".5", Decimal("0.5")),
        ("true", True),
        ("False", False),
        ("~", None),
        ("", None),
        ("8/255", "8/255"),
        ("1e-3", "1e-3"),
        ("eps/4", "eps/4"),
    ],
)
def test_scalars_are_exact(text: str, value: object) -> None:
    found, problem = resolve(text)
    assert (found, type(found), problem) == (value, type(value), None)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("no", 'read as false; quote it: "no"'),
        ("On", 'read as true; quote it: "On"'),
        ("y", 'read as true; quote it: "y"'),
        ("010", "as octal 8; write 10"),
        ("0o17", "another base; write 15"),
        ("0x1F", "another base; write 31"),
        ("089", "starts with a zero; write 89"),
        ("1_000", "has underscores; write 1000"),
        ("1:30", "as 90 (base 60); write 90"),
        ("-1:30.5", "as -90.5 (base 60); write -90.5"),
        ("2024-01-31", "as a date; quote it"),
        ("-.INF", "must be finite"),
        (".nan", "must be finite"),
        ("9" * 41, "a number of 41 characters"),
    ],
)
def test_surprises_of_yaml_are_named(text: str, words: str) -> None:
    _, problem = resolve(text)
    assert problem is not None
    assert words in problem


def test_every_value_and_key_knows_its_place() -> None:
    root = load(b"a: 1\nmodel:\n  - {tau: 2.50}\n").root
    assert root is not None
    model = root.get("model")
    assert model is not None
    assert isinstance(model.value, tuple)
    tau = model.value[0].get("tau")
    assert tau is not None
    assert (tau.mark.line, tau.mark.column, tau.mark.path) == (3, 11, "model.0.tau")
    assert (root.keys["model"].line, model.value[0].keys["tau"].column) == (2, 6)
    assert str(tau.value) == "2.50"


def test_merge_keys_yield_to_written_ones() -> None:
    root = load(b"a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\nc: {<<: [*a, {z: 4}]}\n").root
    assert root is not None
    plain = root.plain()
    assert plain["b"] == {"x": 1, "y": 3}
    assert plain["c"] == {"x": 1, "y": 2, "z": 4}


@pytest.mark.parametrize(
    ("text", "line", "column", "words"),
    [
        ("a: 1\na: 2", 2, 1, "repeated key; first on line 1"),
        ("on: 1", 1, 1, "read as true"),
        ("3: 1", 1, 1, "a key is a word, found 3"),
        ("? [a]\n: 1", 1, 3, "a key is a word, found a list"),
        ('"\\e[31m": 1', 1, 1, "a key is a word, found control characters"),
        ("a: *b", 1, 4, "alias *b has no anchor &b above it"),
        ("a: &a [*a]", 1, 8, "alias *a stands inside its own anchor"),
        ("a: !!str b", 1, 4, "tag !!str is not allowed"),
        ("a: !own {}", 1, 4, "tag !own is not allowed"),
        ("a: {<<: 3}", 1, 9, "<< takes mappings, found 3"),
        ("a: [1\nb: 2", 2, 2, "a flow sequence that begins in line 1, column 4"),
        ('a: "b\nc: 1\n', 1, 4, "a quoted scalar that begins here"),
        ("a:\n\tb: 1", 2, 1, "line 2 is indented with a tab; use spaces"),
        ("", 1, 1, "expected one mapping; found nothing"),
        ("[1]", 1, 1, "expected one mapping; found a list"),
        ("a: 1\n---\nb: 1", 2, 1, "found a second document"),
        ("a: b\0c", 1, 5, "control character U+0000"),
        ("a: 1\nb: \u2028\x0c", 3, 1, "control character U+000C"),
    ],
)
def test_problems_have_places(text: str, line: int, column: int, words: str) -> None:
    (problem,) = load(text.encode()).problems
    assert (problem.line, problem.column) == (line, column)
    assert words in problem.message


def test_all_problems_of_a_text_are_found() -> None:
    document = load(b"a: no\nb: 010\nc: [.nan, !x z]\n")
    assert [p.path for p in document.problems] == ["a", "b", "c.0", "c.1"]
    assert document.root is not None


def test_aliases_do_not_hide_depth() -> None:
    deep = "[" * 40 + "{}" + "]" * 40
    document = load(f"a: &a {deep}\nb: {deep.replace('{}', '*a')}\n".encode())
    assert document.root is None
    assert document.problems[0].message == "nested deeper than 64 levels"


@pytest.mark.parametrize("count", [9_000, 11_000])
def test_number_of_values_is_bounded(count: int) -> None:
    document = load(b"a:\n" + b"- [1, 2, 3, 4, 5, 6, 7, 8, 9]\n" * count)
    assert bool(document.problems) == (count > 10_000)
