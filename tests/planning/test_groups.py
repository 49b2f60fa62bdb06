"""Failures that belong together, in words that are harmless to a terminal."""

from jobs.attempts import Attempt, EndState
from jobs.planning import groups
from jobs.planning.plan import Action, Planned, Progress
from tests.examples import cell

End = tuple[EndState | None, str]
NAN: End = ("failed", "NotFinite: nan")
DISK: End = ("failed", "OSError: [Errno #]")


def item(seed: int, action: Action = "give_up") -> Planned:
    state = "completed" if action == "done" else "failed"
    return Planned(cell=cell(seed), action=action, state=state, reason="")  # type: ignore[arg-type]


def tried(*ends: End, host: str = "n1") -> Progress:
    return Progress(
        attempts=tuple(
            Attempt(number=n, state=state, signature=signature, reason="why", host=host)
            for n, (state, signature) in enumerate(ends, start=1)
        )
    )


def known(*found: Progress) -> dict[str, Progress]:
    return {cell(seed).training_id: one for seed, one in enumerate(found)}


def test_failures_are_clustered_by_cause_with_one_line_of_a_log() -> None:
    items = [item(seed) for seed in range(4)]
    told = known(tried(NAN), tried(NAN, host="n2"), tried(DISK), tried(NAN, NAN, host="n2"))
    lines = groups.by_error(items, told, lambda cause: f"line of {cause.signature}")
    assert lines[:4] == [
        "     3  NotFinite: nan",
        "        cells  digits/small-lif/clean/s0-1,3",
        "        nodes  n2 (2), n1 (1)",
        f"        e.g.   {cell(3).training_id[:8]} attempt 2: line of NotFinite: nan",
    ]
    assert lines[4] == "     1  OSError: [Errno #]"


def test_what_is_done_or_healed_is_no_error() -> None:
    told = known(tried(NAN), tried(NAN, ("completed", "")), tried((None, "")))
    items = [item(0, "done"), item(1, "evaluate"), item(2, "wait")]
    assert groups.by_error(items, told, lambda _: "") == ["no unfinished cell has failed"]


def test_a_cancel_does_not_hide_the_failure_before_it() -> None:
    told = known(tried(NAN, ("cancelled", "")))
    (cause,) = groups.causes([item(0)], told)
    assert (cause.signature, cause.attempt.number) == ("NotFinite: nan", 1)


def test_a_failure_without_words_is_its_state() -> None:
    last = Attempt(number=1, state="lost")
    (cause,) = groups.causes([item(0)], known(Progress(attempts=(last,))))
    assert (cause.signature, dict(cause.nodes)) == ("lost", {"unknown": 1})


def test_nodes_show_what_failed_on_them_healed_or_not() -> None:
    items = [item(0, "done"), item(1), item(2)]
    told = known(tried(DISK, ("completed", ""), host="n7"), tried(NAN), tried(NAN, NAN))
    assert groups.by_node(items, told) == [
        "n1      3 of 3 attempts failed  NotFinite: nan (3)",
        "n7      1 of 2 attempts failed  OSError: [Errno #] (1)",
    ]
    assert groups.by_node(items, {}) == ["nothing has run yet"]


def test_states_are_counted() -> None:
    assert groups.by_state([item(0, "done"), item(1), item(2)]) == [
        "     2  failed  digits/small-lif/clean/s1-2",
        "     1  completed  digits/small-lif/clean/s0",
    ]


def test_escape_codes_of_a_log_do_not_reach_the_terminal() -> None:
    bad = tried(("failed", "\x1b[2JError"), host="n\x07")
    text = "\n".join(groups.by_error([item(0)], known(bad), lambda _: "\x1b]0;x\x07"))
    assert text.isascii()
    assert "\x1b" not in text + "".join(groups.by_node([item(0)], known(bad)))
