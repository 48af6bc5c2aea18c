"""The tables of dialects in the documentation are those of the files."""

import dialectdocs


def test_the_page_has_the_tables_of_the_dialect_files() -> None:
    assert dialectdocs.page() == dialectdocs.PAGE.read_text(), "run `make crds`"
