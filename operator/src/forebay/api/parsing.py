"""From an object as the API server hands it out to a resource, or one sentence that says what is wrong."""

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import ValidationError

from forebay.api.base import API_VERSION, Resource
from forebay.api.v1alpha1 import KINDS

R = TypeVar("R", bound=Resource)

_BY_KIND = {kind.__name__: kind for kind in KINDS}
_SHOWN_ERRORS = 3
_PLAIN = {
    "extra_forbidden": "unknown field; remove it or correct its spelling",
    "missing": "required, but missing; add it",
    "string_type": "must be a string; put it in quotes",
    "int_type": "must be a whole number, without quotes",
    "bool_type": "must be true or false, without quotes",
    "tuple_type": "must be a list",
    "dict_type": "must be an object",
    "mapping_type": "must be an object",
    "model_type": "must be an object",
    "too_short": "needs at least {min_length}; add the missing",
    "too_long": "may have at most {max_length}; remove the rest",
    "string_too_short": "needs at least {min_length} characters",
    "string_too_long": "may have at most {max_length} characters; shorten it",
    "greater_than_equal": "must be at least {ge}; raise it",
    "less_than_equal": "must be at most {le}; lower it",
    "enum": "must be {expected}",
    "literal_error": "must be {expected}",
}


class InvalidResourceError(ValueError):
    """An object is not what its kind allows; the text is a sentence that says what to change."""


def parse(kind: type[R], body: Mapping[str, Any]) -> R:
    """Return ``body`` as a ``kind``.

    Raises:
        InvalidResourceError: a field is missing, unknown or wrong.
    """
    try:
        return kind.model_validate(body)
    except ValidationError as error:
        raise InvalidResourceError(f"{_called(kind, body)}: {explain(error)}.") from error


def parse_any(body: Mapping[str, Any]) -> Resource:
    """Return ``body`` as the resource that its ``kind`` names.

    Raises:
        InvalidResourceError: the kind is not one of Forebay's, or the object is invalid.
    """
    kind = _BY_KIND.get(str(body.get("kind")))
    if kind is None:
        known = ", ".join(_BY_KIND)
        raise InvalidResourceError(f"kind {body.get('kind')!r} is not in {API_VERSION}: use one of {known}.")
    return parse(kind, body)


def explain(error: ValidationError) -> str:
    """Return the first errors as one sentence without its full stop, each behind the path of its field."""
    entries = error.errors(include_url=False)
    wrong_within = {entry["loc"][:length] for entry in entries for length in range(len(entry["loc"]))}
    # A list whose entries are wrong counts as empty: that it is too short is not true.
    found = [
        f"{_path(entry['loc'])}{_said(entry)}"
        for entry in entries
        if entry["type"] != "too_short" or entry["loc"] not in wrong_within
    ]
    shown = "; ".join(dict.fromkeys(found[:_SHOWN_ERRORS]))
    return shown if len(found) <= _SHOWN_ERRORS else f"{shown}; and {len(found) - _SHOWN_ERRORS} more"


def _said(entry: Mapping[str, Any]) -> str:
    """Return pydantic's complaint in the words of somebody who writes YAML."""
    plain = _PLAIN.get(entry["type"])
    return plain.format(**entry.get("ctx", {})) if plain else str(entry["msg"])


def _path(location: tuple[str | int, ...]) -> str:
    path = ""
    for part in location:
        path += f"[{part}]" if isinstance(part, int) else f".{part}"
    return f"{path.lstrip('.')}: " if path else ""


def _called(kind: type[Resource], body: Mapping[str, Any]) -> str:
    metadata = body.get("metadata")
    if not isinstance(metadata, Mapping):
        return kind.__name__
    name = str(metadata.get("name", ""))
    namespace = metadata.get("namespace")
    return f"{kind.__name__} {namespace}/{name}" if namespace else f"{kind.__name__} {name}".rstrip()
