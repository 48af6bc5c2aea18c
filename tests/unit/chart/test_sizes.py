"""The rule of thumb in docs/install.md, its table, the chart's defaults and the production example agree."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "install.md").read_text()
CHART = ROOT / "charts" / "forebay"
_RULE = re.compile(
    r"^\| `resources\.(\w+)\.(\w+)` \| (\d+)(\w+) \+ ([\d.]+)\4 per pool \| (\d+)\4 \| (\d+)\4 \| (\d+)\4 \|$",
    re.MULTILINE,
)
#: For each amount: its base, its part per pool, and what the table says for 300, 1,000 and 2,000 pools.
RULES = {
    (kind, name): (float(base), float(each), [float(cell) for cell in cells])
    for kind, name, base, _, each, *cells in _RULE.findall(PAGE)
}
_UNITS = {"m": 1.0, "Mi": 1.0, "Gi": 1024.0}


def in_rule_units(amount: str) -> float:
    """Return an amount in millicores, or in Mi."""
    number, unit = re.fullmatch(r"([\d.]+)(\w+)", amount).groups()  # type: ignore[union-attr]
    return float(number) * _UNITS[unit]


def test_the_page_has_a_rule_for_each_amount_and_none_for_a_cpu_limit() -> None:
    assert set(RULES) == {("requests", "cpu"), ("requests", "memory"), ("limits", "memory")}


def test_the_table_follows_the_rule() -> None:
    for base, each, cells in RULES.values():
        assert cells == [base + each * pools for pools in (300, 1_000, 2_000)]


@pytest.mark.parametrize(("file", "pools"), [("values.yaml", 300), ("examples/production.yaml", 1_000)])
def test_the_charts_values_are_enough_for_what_they_are_said_to_be_for(file: str, pools: int) -> None:
    text = (CHART / file).read_text()
    assert f"{pools:,} pools" in text
    resources: Any = yaml.safe_load(text)["resources"]
    assert {(kind, name) for kind, amounts in resources.items() for name in amounts} == set(RULES)
    for (kind, name), (base, each, _) in RULES.items():
        needed = base + each * pools
        assert needed <= in_rule_units(resources[kind][name]) <= 1.5 * needed, (kind, name)
