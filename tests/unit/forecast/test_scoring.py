"""Demotion when persistence is better, and the way back."""

import numpy as np

from forebay.forecast.scoring import NEEDED, Scoreboard

ROW = np.array([0])


def feed(board: Scoreboard, times: int, own: float, persistence: float) -> None:
    for _ in range(times):
        board.score(ROW, np.full((1, 3), own), np.full((1, 3), persistence), np.array([10.0]))


def test_a_loser_is_demoted_only_after_enough_scores() -> None:
    board = Scoreboard(1, half_life=100.0)
    feed(board, NEEDED - 1, own=5.0, persistence=9.0)
    assert not board.demoted[0]
    feed(board, 1, own=5.0, persistence=9.0)
    assert board.demoted[0]
    report = board.report(0)
    assert report.scored == NEEDED
    assert report.pinball99_ratio is not None
    assert report.pinball99_ratio > 4.0
    assert report.coverage99 == 0.0


def test_it_must_win_to_come_back() -> None:
    """Between .. and 1.1 times persistence's loss a demoted one stays demoted and a trusted one stays trusted."""
    demoted, trusted = Scoreboard(1, half_life=50.0), Scoreboard(1, half_life=50.0)
    feed(demoted, 100, own=5.0, persistence=9.0)
    feed(trusted, 100, own=9.0, persistence=9.0)
    for board in (demoted, trusted):
        feed(board, 1000, own=8.95, persistence=9.0)
    assert demoted.demoted[0]
    assert not trusted.demoted[0]
    feed(demoted, 1000, own=9.5, persistence=9.0)
    assert not demoted.demoted[0]


def test_nothing_scored_says_nothing() -> None:
    report = Scoreboard(1, half_life=10.0).report(0)
    assert (report.scored, report.pinball90_ratio, report.coverage99) == (0, None, None)
