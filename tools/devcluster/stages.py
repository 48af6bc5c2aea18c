"""Our KWOK stages: a GPU cold start in steps, each with a delay and a jitter that the object itself names.

A stage file under `stages/` states a delay as

    delay: {since: JQ, setting: NAME, defaultSeconds: N}

and `render` turns it into KWOK's `durationFrom`: the step happens `NAME-seconds` after `since`, plus a share of
`NAME-jitter-seconds`, both annotations (prefix `devcluster.forebay.io/`) of the object. Two things are better
than in a plain KWOK delay, which starts anew, with new luck, whenever the object changes (and pods and nodes are
written to by many): the delay counts from a time in the object's status, and the share is a hash of the object's
uid. Kubernetes keeps those times in whole seconds, so a step is exact to about half a second.
"""

from pathlib import Path
from typing import TypedDict, cast

import yaml

PREFIX = "devcluster.forebay.io/"
DIRECTORY = Path(__file__).with_name("stages")
#: The settings that the stage files use: what is waited for, in the order of a cold start.
SETTINGS = ("node-ready", "gpus-ready", "image-pull", "model-load", "termination")


class Delay(TypedDict):
    """How our stage files state a delay; see the module's description."""

    since: str
    setting: str
    defaultSeconds: float


def delay_expression(delay: Delay) -> str:
    """Return the jq expression of the remaining delay, as a Go duration in whole milliseconds."""
    setting = delay["setting"]
    if setting not in SETTINGS:
        raise ValueError(f"a stage waits for {setting!r}, which is none of {', '.join(SETTINGS)}")

    def seconds(name: str, default: float) -> str:
        return f'(.metadata.annotations["{PREFIX}{name}"] // "{default}" | tonumber)'

    # A polynomial hash of uid and setting, as a fraction: uniform enough for a jitter, the same at each look.
    share = f'(((.metadata.uid + "{setting}") | explode | reduce .[] as $c (7; (. * 31 + $c) % 10007)) / 10007)'
    # The time was cut to whole seconds: half a second is what was lost on average.
    due = (
        f"(({delay['since']}) | fromdateiso8601) + 0.5"
        f" + {seconds(f'{setting}-seconds', delay['defaultSeconds'])}"
        f" + {seconds(f'{setting}-jitter-seconds', 0)} * {share}"
    )
    return f'[({due} - now) * 1000 | floor, 0] | max | "\\(.)ms"'


def render() -> str:
    """Return all stages as one YAML stream that KWOK reads."""
    stages: list[object] = []
    for path in sorted(DIRECTORY.glob("*.yaml")):
        for stage in yaml.safe_load_all(path.read_text()):
            spec = stage["spec"]
            if "delay" in spec:
                delay = cast("Delay", spec["delay"])
                spec["delay"] = {
                    "durationMilliseconds": round(delay["defaultSeconds"] * 1000),
                    "durationFrom": {"expressionFrom": delay_expression(delay)},
                }
            stages.append(stage)
    return yaml.safe_dump_all(stages, sort_keys=False, width=10_000)
