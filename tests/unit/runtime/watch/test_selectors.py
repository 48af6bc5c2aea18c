"""Selectors: whose pods are meant, whether written as an object or as a string."""

import pytest

from forebay.runtime.watch.selectors import Selector, SelectorError, parse_selector


@pytest.mark.parametrize(
    ("text", "taken", "left"),
    [
        ("a=b", {"a": "b"}, {"a": "c"}),
        ("a==b,c=d", {"a": "b", "c": "d"}, {"a": "b"}),
        ("a=b,c!=d", {"a": "b"}, {"a": "b", "c": "d"}),
        ("a in (x, y)", {"a": "y"}, {"a": "z"}),
        ("a=b,c notin (x,y)", {"a": "b"}, {"a": "b", "c": "x"}),
        ("example.org/a", {"example.org/a": ""}, {}),
        ("a=b,!c", {"a": "b"}, {"a": "b", "c": ""}),
    ],
)
def test_a_string_selects_as_kubectl_would(text: str, taken: dict[str, str], left: dict[str, str]) -> None:
    selector = parse_selector(text)
    assert selector.matches(taken)
    assert not selector.matches(left)


def test_an_object_selects_by_labels_and_expressions() -> None:
    """Protects: pods of another workload with the same labels were counted as this one's."""
    more = [{"key": "track", "operator": "NotIn", "values": ["canary"]}, {"key": "model", "operator": "Exists"}]
    selector = parse_selector({"matchLabels": {"app": "chat"}, "matchExpressions": more})
    assert selector.matches({"app": "chat", "model": "m"})
    assert not selector.matches({"app": "chat", "model": "m", "track": "canary"})
    assert not selector.matches({"app": "chat"})


@pytest.mark.parametrize("nothing", [None, "", {}])
def test_an_empty_selector_selects_nothing(nothing: object) -> None:
    selector = parse_selector(nothing)
    assert not selector
    assert not selector.matches({"app": "chat"})
    assert not Selector().matches({})


@pytest.mark.parametrize("odd", ["a in (b", "=b", 3])
def test_what_is_no_selector_is_refused(odd: object) -> None:
    with pytest.raises(SelectorError):
        parse_selector(odd)
