"""How often a cell is tried again: interruptions are nobody's fault, failures count. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from jobs.attempts import Attempt

FREE_RETRIES = 20
"""Retries after an interruption that is nobody's fault, while the work advances."""
FAILURES = 3
"""Failures of the infrastructure after which a cell is given up."""

INTERRUPTED = frozenset({"preempted", "node_fail", "lost", "timeout"})
"""Ends that are nobody's fault."""
_NEUTRAL = frozenset({"cancelled", "fenced", "completed"})


@dataclass
class _Budget:
    """What the attempts at a cell have used up, since its last success or mended error."""

    free: int = 0
    failures: int = 0
    fatal: str = ""
    last: str = ""

    @property
    def over(self) -> str:
        """Why nothing is tried again, or nothing."""
        if self.fatal:
            return f"{self.fatal}; the same error would come again"
        if self.failures >= FAILURES:
            return f"{self.failures} failures, last: {self.last}"
        if self.free >= FREE_RETRIES:
            return f"interrupted {self.free} times"
        return ""


def _is_free(attempt: Attempt) -> bool:
    """Whether an end is nobody's fault and cost no work."""
    interrupted = (attempt.state or "lost") in INTERRUPTED
    return interrupted and (attempt.advanced or not attempt.claimed)


def _used(attempts: Sequence[Attempt], submission: int = 0) -> _Budget:
    """What attempts used up; who sends again what was given up gives it a new budget."""
    used = _Budget()
    newest = 0
    for attempt in attempts:
        if attempt.submission > newest:
            newest = attempt.submission
            used = _Budget() if used.over else used
        state = attempt.state or "lost"
        if state == "completed":
            used = _Budget()
        if state in _NEUTRAL:
            continue
        last = attempt.reason or attempt.signature or state
        if attempt.deterministic:
            used = _Budget(fatal=last)
            continue
        used.fatal, used.last = "", last
        if _is_free(attempt):
            used.free += 1
        else:
            used.failures += 1
    return _Budget() if submission > newest and used.over else used


def tally(attempts: Sequence[Attempt]) -> str:
    """How the last attempt ended, and how much of its budget is used up."""
    last = attempts[-1]
    state = last.state or "lost"
    if state in _NEUTRAL:
        return state
    used = _used(attempts)
    if _is_free(last):
        return f"{state} ({used.free} of {FREE_RETRIES})"
    return f"{state} ({used.failures} of {FAILURES})" if used.failures else state


def exhausted(attempts: Sequence[Attempt], submission: int = 0) -> str:
    """Why a cell is given up, or nothing.

    What came before a mended error, or before work that was finished, no longer counts; nor what
    came before the submission of a cell that had been given up, since that was on purpose.

    Args:
        attempts: at the cell, ascending.
        submission: that wants to try next, if it is known.
    """
    if all(attempt.state == "completed" for attempt in attempts):
        return ""  # ten thousand times in a large study
    return _used(attempts, submission).over
