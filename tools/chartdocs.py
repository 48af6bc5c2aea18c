"""`python -m chartdocs`: write what the chart has from elsewhere.

Its CRDs are copies; the environment of `forebay run` and the comments of its values come from the table of
settings, the kinds of workload from `forebay.flow.kinds`; the README's table and the schema's descriptions are the
comments of values.yaml; the dashboard comes from `chartdashboard`.
"""

import argparse
import json
import re
import sys
from pathlib import Path

import yaml

import chartdashboard
from forebay.flow.kinds import KINDS
from forebay.runtime.settings import Setting, settings_table

ROOT = Path(__file__).resolve().parents[1]
CHART = ROOT / "charts" / "forebay"
_INTRODUCTION = """\
# Forebay's Helm chart

    helm install forebay charts/forebay -n forebay-system --create-namespace --set image.repository=IMAGE

[docs/install.md](../../docs/install.md) says how to use it, and `examples/` has values for typical installs:

{examples}
The table, the descriptions in `values.schema.json` and the dashboard are generated (`python -m chartdocs`).

| value | default | meaning |
| --- | --- | --- |
"""


_SETTINGS = """\
{{{{- /* Generated from forebay/runtime/settings.py by `python -m chartdocs`: what single values set. */ -}}}}
{{{{- define "forebay.settings" -}}}}
{environment}{{{{- end }}}}

{{{{- /* Adds the durations among them to the dict `durations`, by their path. */ -}}}}
{{{{- define "forebay.settingDurations" -}}}}
{durations}{{{{- end }}}}
"""


def settings_template() -> str:
    """Return the part of the chart's Deployment that hands values to `forebay run`."""
    settings = [setting for setting in settings_table() if setting.option.chart]
    durations = (
        f'{{{{- $_ := set .durations "{setting.option.chart}" .values.{setting.option.chart} }}}}\n'
        for setting in settings
        if setting.is_duration
    )
    return _SETTINGS.format(environment="".join(map(_variable, settings)), durations="".join(durations))


def _variable(setting: Setting) -> str:
    """Return the lines that set one variable; what is empty by default is left out while it is empty."""
    value = f".Values.{setting.option.chart}"
    if setting.default:
        return f"- {{name: {setting.variable}, value: {{{{ {value} | toString | quote }}}}}}\n"
    shown = 'join "," .' if isinstance(setting.default, tuple) else "."
    lines = (f"{{{{- with {value} }}}}", f"- {{name: {setting.variable}, value: {{{{ {shown} | quote }}}}}}")
    return "\n".join((*lines, "{{- end }}", ""))


def with_help(values: str) -> str:
    """Return values.yaml with the help of each setting as the comment of the value that sets it.

    Raises:
        SystemExit: there is no such value, or none with a comment.
    """
    meanings = documented(values)
    for setting in settings_table():
        if setting.option.chart:
            if setting.option.chart not in meanings:
                raise SystemExit(
                    f"values.yaml lacks {setting.option.chart}: add it with its default, below a line"
                    ' "# -- help"; the help is replaced by that of runtime/settings.py'
                )
            key = setting.option.chart.rpartition(".")[2]
            before = f"# -- {meanings[setting.option.chart]}\n"
            pattern = re.compile(rf"{re.escape(before)}(?=\s*{key}:)")
            values, count = pattern.subn(f"# -- {setting.option.help}\n".replace("\\", r"\\"), values)
            if count != 1:
                raise KeyError(setting.option.chart)
    return values


def documented(values: str) -> dict[str, str]:
    """Return the meaning of each documented value, by its dotted path, in the order of the file."""
    path: list[str] = []
    meanings: dict[str, str] = {}
    meaning = ""
    for line in values.splitlines():
        if comment := re.match(r"\s*# -- (.*)", line):
            meaning = comment[1]
        elif key := re.match(r"( *)([A-Za-z]\w*):", line):
            path = [*path[: len(key[1]) // 2], key[2]]
            if meaning:
                meanings[".".join(path)] = meaning
            meaning = ""
    return meanings


def readme(values: str) -> str:
    """Return the chart's README.

    Raises:
        KeyError: a comment stands at a key that is none.
    """
    rows = []
    for path, meaning in documented(values).items():
        default = yaml.safe_load(values)
        for key in path.split("."):
            default = default[key]
        shown = yaml.safe_dump(default, default_flow_style=True, width=1000).removesuffix("...\n").strip()
        rows.append(f"| `{path}` | `{shown}` | {meaning.replace('|', chr(92) + '|')} |\n")
    return _INTRODUCTION.format(examples=_examples()) + "".join(rows)


def _examples() -> str:
    lines = []
    for path in sorted((CHART / "examples").glob("*.yaml")):
        comments = [line[2:] for line in path.read_text().splitlines() if line.startswith("# ")]
        lines.append(f"- [`{path.name}`](examples/{path.name}): {' '.join(comments)}\n")
    return "".join(lines)


_JSON_TYPES = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}


def with_descriptions(schema: str, values: str) -> str:
    """Return a JSON schema whose descriptions are the meanings of the values, for editors that show them.

    A documented value that the schema lacks is added with the type of its default. A pattern, or what else it must
    obey, is written into the schema by hand.
    """
    document = json.loads(schema)
    for path, meaning in documented(values).items():
        described, default = document, yaml.safe_load(values)
        for key in path.split("."):
            default = default[key]
            described = described["properties"].setdefault(key, {"type": _JSON_TYPES[type(default)]})
        described["description"] = meaning
    return json.dumps(document, indent=2) + "\n"


def workload_kinds() -> str:
    """Return the kinds of workload that may be scaled, as the templates of rights read them."""
    rows = [{"value": row.chart_value, "group": row.api_group, "resource": row.plural} for row in KINDS]
    return "# Generated from forebay.flow.kinds (python -m chartdocs).\n" + yaml.safe_dump(rows, sort_keys=False)


def generated() -> dict[Path, str]:
    """Return every generated file of the chart with its text."""
    values = with_help((CHART / "values.yaml").read_text())
    schema = CHART / "values.schema.json"
    files = {
        CHART / "values.yaml": values,
        CHART / "templates" / "_settings.tpl": settings_template(),
        CHART / "README.md": readme(values),
        schema: with_descriptions(schema.read_text(), values),
        CHART / "files" / "dashboards" / "forebay.json": chartdashboard.dashboard(),
        CHART / "files" / "workload-kinds.yaml": workload_kinds(),
    }
    for source in sorted((ROOT / "crds").glob("*.yaml")):
        files[CHART / "files" / "crds" / source.name] = source.read_text()
    return files


def main(arguments: list[str] | None = None) -> int:
    """Write the files; with ``--check`` write nothing, and return 1 if one differs or is left over."""
    parser = argparse.ArgumentParser(prog="python -m chartdocs", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a file differs")
    options = parser.parse_args(arguments)
    files = generated()
    wrong = [path for path, text in files.items() if not path.exists() or path.read_text() != text]
    left_over = sorted(set((CHART / "files" / "crds").iterdir()) - set(files))
    if options.check:
        for path in (*wrong, *left_over):
            sys.stderr.write(f"{path.relative_to(ROOT)} differs from its source: run python -m chartdocs\n")
        return 1 if wrong or left_over else 0
    for path in wrong:
        path.write_text(files[path])
    for path in left_over:
        path.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main())
