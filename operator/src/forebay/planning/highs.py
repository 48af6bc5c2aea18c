"""A sparse mixed-integer program, built column by column and row by row, and solved by HiGHS."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import highspy
import numpy as np

from forebay.flow.trace import FloatArray

INFINITY = highspy.kHighsInf


@dataclass(slots=True)
class LinearProgram:
    """Minimise ``cost x`` subject to row bounds, column bounds and integrality."""

    cost: list[float] = field(default_factory=list)
    lower: list[float] = field(default_factory=list)
    upper: list[float] = field(default_factory=list)
    integer: list[bool] = field(default_factory=list)
    row_lower: list[float] = field(default_factory=list)
    row_upper: list[float] = field(default_factory=list)
    starts: list[int] = field(default_factory=lambda: [0])
    index: list[int] = field(default_factory=list)
    value: list[float] = field(default_factory=list)
    offset: float = 0.0

    def column(
        self, *, cost: float = 0.0, lower: float = 0.0, upper: float = INFINITY, integer: bool = False
    ) -> int:
        """Add a variable and return its index."""
        self.cost.append(cost)
        self.lower.append(lower)
        self.upper.append(upper)
        self.integer.append(integer)
        return len(self.cost) - 1

    def row(self, terms: Sequence[tuple[int, float]], *, lower: float = -INFINITY, upper: float = INFINITY) -> int:
        """Add ``lower <= sum of coefficient * variable <= upper`` and return the row's index.

        No variable may be named twice: HiGHS would search for ever.
        """
        self.index.extend([column for column, _ in terms])
        self.value.extend([coefficient for _, coefficient in terms])
        self.starts.append(len(self.index))
        self.row_lower.append(lower)
        self.row_upper.append(upper)
        return len(self.row_upper) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramAnswer:
    """What HiGHS returned: values of all variables, or ``None`` if it found none."""

    values: FloatArray | None
    objective: float
    bound: float
    status: str
    row_duals: FloatArray | None = None
    """What one unit more of each row's bound changes in the objective; relaxed solves only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SolverOptions:
    """Limits of one solve. The node limit binds before the time limit, so that answers do not depend on speed."""

    relative_gap: float = 2e-3
    seconds: float = 2.0
    nodes: int = 2_000
    relaxed: bool = False
    """Ignore integrality: the LP bound."""
    plain: bool = False
    """Branch and bound without the heuristics and restarts that only pay on hard programs."""


_PLAIN: tuple[tuple[str, bool | float], ...] = (
    ("mip_heuristic_effort", 0.0),
    ("mip_heuristic_run_feasibility_jump", False),
    ("mip_heuristic_run_root_reduced_cost", False),
    ("mip_detect_symmetry", False),
    ("mip_allow_restart", False),
)


def solve_program(
    program: LinearProgram, options: SolverOptions, start: Mapping[int, float] | None = None
) -> ProgramAnswer:
    """Solve ``program`` on one thread, deterministically, from the values of some variables in ``start``."""
    highs = highspy.Highs()  # type: ignore[no-untyped-call]
    highs.silent()
    for name, setting in (
        ("threads", 1),
        ("random_seed", 1),
        ("mip_rel_gap", options.relative_gap),
        ("time_limit", options.seconds),
        ("mip_max_nodes", options.nodes),
        ("mip_heuristic_run_rins", False),  # these two take most of the time and find nothing on such programs
        ("mip_heuristic_run_rens", False),
        *(_PLAIN if options.plain else ()),
    ):
        highs.setOptionValue(name, setting)
    highs.passModel(_model(program, relaxed=options.relaxed))
    if start and not options.relaxed:
        columns = np.fromiter(start.keys(), dtype=np.int32)
        highs.setSolution(len(start), columns, np.fromiter(start.values(), dtype=np.float64))
    highs.run()
    return _answer(highs, program, relaxed=options.relaxed)


def _model(program: LinearProgram, *, relaxed: bool) -> highspy.HighsLp:
    lp = highspy.HighsLp()
    lp.num_col_ = len(program.cost)
    lp.num_row_ = len(program.row_lower)
    lp.offset_ = program.offset
    lp.col_cost_ = np.asarray(program.cost)
    lp.col_lower_ = np.asarray(program.lower)
    lp.col_upper_ = np.asarray(program.upper)
    lp.row_lower_ = np.asarray(program.row_lower)
    lp.row_upper_ = np.asarray(program.row_upper)
    lp.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    lp.a_matrix_.start_ = np.asarray(program.starts, dtype=np.int32)
    lp.a_matrix_.index_ = np.asarray(program.index, dtype=np.int32)
    lp.a_matrix_.value_ = np.asarray(program.value)
    if not relaxed and any(program.integer):
        kinds = highspy.HighsVarType
        lp.integrality_ = [kinds.kInteger if whole else kinds.kContinuous for whole in program.integer]
    return lp


def _answer(highs: highspy.Highs, program: LinearProgram, *, relaxed: bool) -> ProgramAnswer:
    info, status = highs.getInfo(), highs.modelStatusToString(highs.getModelStatus())
    if info.primal_solution_status != highspy.SolutionStatus.kSolutionStatusFeasible:
        return ProgramAnswer(values=None, objective=INFINITY, bound=-INFINITY, status=status)
    whole = any(program.integer) and not relaxed
    objective = float(info.objective_function_value)
    return ProgramAnswer(
        values=np.asarray(highs.getSolution().col_value),
        objective=objective,
        bound=float(info.mip_dual_bound) if whole else objective,
        status=status,
        row_duals=None if whole else np.asarray(highs.getSolution().row_dual),
    )
