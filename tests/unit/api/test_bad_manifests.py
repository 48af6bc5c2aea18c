"""The models refuse every bad manifest, and say what the API server says."""

import pytest

from forebay.api.parsing import InvalidResourceError, parse_any
from tests.unit.api.manifests import BadManifest, bad_manifests

CASES = bad_manifests()


def test_the_table_is_large_and_its_names_are_distinct() -> None:
    assert len(CASES) >= 100
    assert len({case.name for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", [case for case in CASES if case.pydantic], ids=lambda case: case.name)
def test_it_is_refused_with_its_sentence(case: BadManifest) -> None:
    with pytest.raises(InvalidResourceError) as refused:
        parse_any(case.body)
    assert case.pydantic is not None
    assert case.pydantic in str(refused.value)


@pytest.mark.parametrize("case", [case for case in CASES if case.before], ids=lambda case: case.name)
def test_a_change_that_is_refused_is_fine_as_a_new_object(case: BadManifest) -> None:
    assert case.before is not None
    assert parse_any(case.before).name == parse_any(case.body).name
