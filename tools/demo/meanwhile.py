"""The scene's day in its own time, replayed in the simulator beside what people use today."""

from pathlib import Path

import yaml

from demo.scene import OWN_PACE, Scene, resources
from forebay.offline.replay.inputs.resource_files import load_fleet
from forebay.offline.replay.quick import quick_table
from forebay.offline.traces import at_rate, write_plain

MEAN_REQUESTS_PER_SECOND = 9.0
POLICIES = ("forebay", "keda-rate", "hpa", "static-peak")


def replayed(scene: Scene, folder: Path) -> str:
    """Return the table of a replay of the whole day, and leave its pool and trace in ``folder`` to play with."""
    day = at_rate(scene.original, MEAN_REQUESTS_PER_SECOND, seed=0)
    pool_file = folder / "pool.yaml"
    pool_file.write_text(yaml.safe_dump_all(resources(OWN_PACE), sort_keys=False), encoding="utf-8")
    write_plain(day, folder / "trace.csv")
    table = quick_table(load_fleet([pool_file], span_seconds=day.span_seconds), day, policies=POLICIES)
    return f"The same day at its own pace, in the simulator ({folder}/pool.yaml and trace.csv):\n\n{table}"
