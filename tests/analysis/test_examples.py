"""The examples in docstrings run, and every function for notebooks has one."""

import doctest
import importlib

import pytest

import analysis
from analysis import _WHERE


@pytest.mark.parametrize("name", sorted(set(_WHERE)))
def test_examples_run(name: str) -> None:
    module = importlib.import_module(f"analysis.{_WHERE[name][0]}")
    function = getattr(analysis, name)
    (test,) = doctest.DocTestFinder(recurse=False).find(function, name, module)
    assert test.examples, f"analysis.{name} has no example"
    assert doctest.DocTestRunner().run(test).failed == 0


def test_what_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'sumary'"):
        analysis.sumary  # noqa: B018
    assert set(_WHERE) <= set(dir(analysis))
