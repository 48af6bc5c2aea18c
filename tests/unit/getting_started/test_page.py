"""docs/getting-started.md names only what is there, wherever no cluster can run it; and how the page is read."""

import re
import shlex
import subprocess
from pathlib import Path

import click
import pytest
import yaml

from forebay.cli.main import cli
from forebay.runtime.report.conditions import Type
from tests.getting_started import page

ROOT = page.PAGE.parents[1]
STEPS = page.steps(page.PAGE.read_text())
#: Each command with its words, those of pipelines apart.
COMMANDS = [
    shlex.split(part) for step in STEPS for line in step.commands.splitlines() for part in line.split(" | ")
]


def of(program: str) -> list[list[str]]:
    return [words[1:] for words in COMMANDS if words[0] == program]


def test_the_page_goes_all_the_way() -> None:
    assert [words for words in COMMANDS if words[0] == "make"] == [["make", "kind-up"], ["make", "kind-down"]]
    assert COMMANDS.index(["eval", "$(make -s kind-env)"]) == 1, "kubectl must not ask another cluster"
    assert {words[0] for words in COMMANDS} == {"make", "eval", "helm", "kubectl", "echo", "forebay"}
    assert len(of("kubectl")) >= 12


def test_its_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"make (?:-s )?([a-z-]+)", "".join(step.commands for step in STEPS))) <= targets


def test_its_files_and_links_exist() -> None:
    applied = [words[words.index("-f") + 1] for words in of("kubectl") if "-f" in words]
    files = {name for name in applied if name != "-"}
    assert files >= {"manifests/kind/engines.yaml", "manifests/kind/pool.yaml"}
    linked = re.findall(r"\]\(([^)#:]+)\)", page.PAGE.read_text())
    assert len(linked) > 5
    assert [name for name in files if not (ROOT / name).exists()] == []
    assert [name for name in linked if not (page.PAGE.parent / name).exists()] == []


def test_its_forebay_commands_are_taken() -> None:
    assert of("forebay")
    for name, *arguments in of("forebay"):
        command = cli.get_command(click.Context(cli), name)
        assert command is not None, name
        command.make_context(name, list(arguments))


def test_it_waits_for_conditions_that_pools_have() -> None:
    flags = [word for words in of("kubectl") if words[:2] == ["wait", "fpool/chat"] for word in words]
    conditions = {word.split("=")[2] for word in flags if word.startswith("--for=condition=")}
    assert conditions
    assert conditions <= set(Type)


def test_every_wait_ends() -> None:
    for words in of("kubectl"):
        if words[0] == "wait":
            assert [word for word in words if word.startswith("--timeout=")], words


def test_it_speaks_of_the_scenes_names() -> None:
    manifests = [
        item
        for name in ("engines.yaml", "pool.yaml")
        for item in yaml.safe_load_all((ROOT / "manifests" / "kind" / name).read_text())
    ]
    names = {f"{item['kind']}/{item['metadata']['name']}" for item in manifests}
    assert {"InferencePool/chat", "Service/load", "Namespace/serving"} <= names
    namespaces = {words[words.index("-n") + 1] for words in (*of("kubectl"), *of("helm")) if "-n" in words}
    assert namespaces == {"serving", "forebay-system"}


def test_its_traffic_is_within_what_the_generator_sends() -> None:
    load = (ROOT / "manifests" / "kind" / "engines.yaml").read_text()
    most = re.search(r"--max-rate=(\d+)", load)
    assert most is not None
    assert 0 < max(float(words[0]) for words in of("echo")) <= float(most[1])


def test_what_it_shows_was_printed_by_what_stands_above() -> None:
    shown = [step for step in STEPS if step.shown]
    assert len(shown) >= 4
    for step in shown:
        assert page.missing(step.shown, step.shown) == []


PAGE = """
```sh
make a
make b
```

```text
NAME  READY
a-x1  1/1
```

Text.

```sh
make c
```
"""


def test_steps_are_blocks_of_commands_with_what_they_show() -> None:
    first, second = page.steps(PAGE)
    assert first == page.Step(commands="make a\nmake b\n", shown="NAME  READY\na-x1  1/1\n")
    assert second == page.Step(commands="make c\n", shown="")


@pytest.mark.parametrize(
    "text", ["```console\n$ make a\n```\n", "```text\nno command\n```\n", f"{PAGE}\na\n```text\nb\n```\n"]
)
def test_a_block_that_would_not_be_run_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="neither commands nor their output"):
        page.steps(text)


def test_the_script_stops_at_the_first_failure(tmp_path: Path) -> None:
    text = page.script([page.Step("echo one\nA=two\n", ""), page.Step("echo $A\nfalse\necho three\n", "")], "--")
    done = subprocess.run(
        ["bash", "-c", text], capture_output=True, text=True, cwd=tmp_path, timeout=10, check=False
    )
    assert done.returncode == 1
    assert done.stdout == "-- 0\none\n-- 1\ntwo\n"


@pytest.mark.parametrize(
    ("shown", "printed", "lacks"),
    [
        ("NAME  READY\nchat-7f 1/2", "NAME READY   AGE\n", ["NAME  READY", "chat-7f 1/2"]),
        ("NAME  READY\npod-7f 1/2", "NAME      READY\npod-9c-x   3/14\n", []),
        ("b\na", "a\nb\n", ["a"]),
        ("chat  ...  engine", "chat   4 of 5  busy engine\n", []),
        ("Why: ... busy", "Why: prefill is idle\n", ["Why: ... busy"]),
        ("mode Auto", "mode Recommend\n", ["mode Auto"]),
        ("  demand 4.0/s ...", "  demand    12/s\n", []),
        ("chat-h100  3/3", "chat-l40s   14/15  \n", []),
        ("chat-h100  3/3", "other-l40s   14/15\n", ["chat-h100  3/3"]),
        ("... misses", "74 % expected misses\n", []),
        ("at -2.50 $/h, 74 %", "at -2.50 $/h, 2.3e-16 %\n", []),
    ],
)
def test_output_is_compared_loosely_but_compared(shown: str, printed: str, lacks: list[str]) -> None:
    assert page.missing(shown, printed) == lacks
