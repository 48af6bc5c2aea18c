"""Cluster length buckets whose requests every variant serves alike, so that the program stays small.

Twenty clusters of a hundred buckets change the cost of a plan by well under one per cent and make it several
times faster to find. k-means with the k-means++ start of Arthur and Vassilvitskii (SODA 2007), on log speed.
"""

from collections.abc import Sequence

import numpy as np

from forebay.flow.fleet import VariantKey
from forebay.flow.sizing import WorkBucket
from forebay.flow.trace import FloatArray

MOST_BUCKETS = 20
CANNOT = 8.0
"""Log-seconds that stand for "cannot meet the SLO here"."""
CANNOT_WEIGHT = 4.0
ROUNDS = 25
NEGLIGIBLE_SHARE = 1e-3
"""A cluster may ignore members that a variant cannot serve if they are less than this share of its work."""


def cluster(buckets: Sequence[WorkBucket], most: int = MOST_BUCKETS) -> tuple[WorkBucket, ...]:
    """Return at most ``most`` buckets of the same total work; the choice depends on the buckets alone.

    A variant that cannot serve a noticeable part of a cluster is taken to serve none of it, which is careful.
    """
    useful = [bucket for bucket in buckets if bucket.share > 0]
    if len(useful) <= most:
        return tuple(useful)
    names = sorted({name for bucket in useful for name, _ in bucket.speed})
    speeds = np.array([[dict(bucket.speed).get(name, 0.0) for name in names] for bucket in useful])
    shares = np.array([bucket.share for bucket in useful])
    label = _k_means(_features(speeds), most)
    merged = (_merge(shares[label == k], speeds[label == k], names) for k in range(most) if np.any(label == k))
    return tuple(merged)


def _features(speeds: FloatArray) -> FloatArray:
    can = speeds > 0
    logs = np.where(can, -np.log(np.where(can, speeds, 1.0)), CANNOT)
    return np.concatenate([logs, CANNOT_WEIGHT * can], axis=1)


def _k_means(points: FloatArray, k: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    generator = np.random.default_rng(0)
    centres = points[[generator.integers(len(points))]]
    while len(centres) < k:
        distance = _distances(points, centres).min(axis=1)
        total = distance.sum()
        if total <= 0:
            break
        centres = np.vstack([centres, points[generator.choice(len(points), p=distance / total)]])
    label = np.zeros(len(points), dtype=np.int64)
    for _ in range(ROUNDS):
        nearest = _distances(points, centres).argmin(axis=1)
        if np.array_equal(nearest, label):
            break
        label = nearest
        centres = np.array(
            [points[label == i].mean(axis=0) if np.any(label == i) else centre for i, centre in enumerate(centres)]
        )
    return label


def _distances(points: FloatArray, centres: FloatArray) -> FloatArray:
    return np.asarray(((points[:, None, :] - centres[None, :, :]) ** 2).sum(axis=2))


def _merge(shares: FloatArray, speeds: FloatArray, names: Sequence[VariantKey]) -> WorkBucket:
    total = float(shares.sum())
    speed = []
    for column, name in zip(speeds.T, names, strict=True):
        lost = float(shares[column <= 0].sum())
        if lost > NEGLIGIBLE_SHARE * total:
            speed.append((name, 0.0))
            continue
        able = column > 0
        seconds = float((shares[able] / column[able]).sum())
        speed.append((name, float(shares[able].sum()) / seconds if seconds > 0 else 0.0))
    return WorkBucket(share=total, speed=tuple(speed))
