"""YAML 1.2 with lines."""

from __future__ import annotations

import math

import pytest

from sweeps.spec.yaml_lines import read_yaml

TEXT = """\
number: 1e-5
words: [yes, on, 'no', 012, 0x1F, -1e3, .inf, ~, 2020-01-01]
base: &base {x: 1, y: 2}
merged:
  <<: *base
  y: 3
deep:
  - first
  - inner:
      key: value
"""


def test_scalars_are_yaml_1_2() -> None:
    data = read_yaml(TEXT).data
    assert data["number"] == 1e-5
    assert data["words"] == ["yes", "on", "no", 12, 31, -1000.0, math.inf, None, "2020-01-01"]
    assert data["merged"] == {"x": 1, "y": 3}


@pytest.mark.parametrize(
    "text", ["1_000", "0b11", "-0x1F", "1_0.5", "0x_", "1:30", "0o9", "1e", "1.5e1_0", "off"]
)
def test_what_the_core_schema_does_not_know_is_text(text: str) -> None:
    assert read_yaml(f"[{text}]").data == [text]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0o14", 12),
        ("+12", 12),
        ("0x1F", 31),
        ("-012", -12),
        ("1.", 1.0),
        ("+.5", 0.5),
        ("1.e3", 1000.0),
        ("1E+2", 100.0),
        ("-.INF", -math.inf),
        ("+.inf", math.inf),
        ("TRUE", True),
        ("Null", None),
    ],
)
def test_what_the_core_schema_knows(text: str, value: object) -> None:
    [found] = read_yaml(f"[{text}]").data
    assert (found, type(found)) == (value, type(value))


def test_not_a_number_is_a_number() -> None:
    assert math.isnan(read_yaml("[.NaN]").data[0])


def test_every_node_has_its_line() -> None:
    document = read_yaml(TEXT)
    assert document.line(("number",)) == 1
    assert document.line(("merged", "y")) == 6
    assert document.line(("deep", 1, "inner", "key")) == 10
    assert document.line(("deep", 1, "inner", "missing")) == 9
    assert document.line(("nowhere",)) == 1


def test_all_errors_of_a_document_are_found_at_once() -> None:
    text = """\
a: 1
b: !!python/object/apply:os.system [ls]
a: 2
3: x
c: &c [*c]
d: !shape {x: 1}
<<: 4
"""
    assert read_yaml(text).errors == (
        (2, "the tag !!python/object/apply:os.system is not allowed: write plain values"),
        (3, "the key 'a' is there twice: first in line 1"),
        (4, "the key '3' is not text; put it in quotes"),
        (5, "an alias stands inside what it names"),
        (6, "the tag !shape is not allowed: write plain values"),
        (7, "'<<' takes a mapping or a list of mappings"),
    )


@pytest.mark.parametrize(
    ("text", "line", "part"),
    [
        ("a: [1,\nb: 2\n", 3, "expected ',' or ']'"),
        ("a:\n\tb: 1\n", 2, "cannot start any token"),
        ("a: 1\n---\nb: 2\n", 2, "expected a single document"),
        ("a: 'x\n", 2, "quoted scalar"),
        ("a: b: c\n", 1, "mapping values are not allowed"),
        ("a: *zz\n", 1, "undefined alias 'zz'"),
        ("a: \x01\n", None, "unacceptable character"),
    ],
)
def test_a_syntax_error_names_its_line(text: str, line: int | None, part: str) -> None:
    document = read_yaml(text)
    assert document.data is None
    [(found, message)] = document.errors
    assert found == line
    assert message.startswith("this is not YAML: ")
    assert part in message


@pytest.mark.parametrize("text", ["", "# only a comment\n", "---\n"])
def test_an_empty_text_has_no_data_and_no_error(text: str) -> None:
    document = read_yaml(text)
    assert document.data is None
    assert document.errors == ()
