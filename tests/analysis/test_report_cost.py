"""What a report says a study cost."""

import re
from dataclasses import replace

import pandas as pd

from analysis.report import sections, study
from analysis.report.study import Tables
from tests.analysis import report_root


def test_cost_adds_up_by_state(tables: Tables) -> None:
    about = report_root.study(tables)
    cells = tuple(replace(cell, gpus=2) for cell in about.cells)
    mine = study.of_study(tables, about)
    unsaid = pd.Series(pd.NA, mine.attempts.index, "Int64")  # as by claims of older versions
    attempts = mine.attempts.assign(seconds=3600.0, gpus=unsaid, processes=unsaid)
    html = sections.cost(replace(about, cells=cells), attempts)
    numbers = re.findall(r'<td class="n">(.*?)</td>', html)
    assert numbers == ["8", "8.00", "16.00"] * 2


def test_cost_counts_what_a_job_held_not_what_the_manifest_asks_for_today(tables: Tables) -> None:
    about = report_root.study(tables)
    mine = study.of_study(tables, about)
    held = pd.Series([4] + [pd.NA] * 7, mine.attempts.index, "Int64")
    attempts = mine.attempts.assign(seconds=3600.0, gpus=held, processes=held)
    html = sections.cost(about, attempts)
    numbers = re.findall(r'<td class="n">(.*?)</td>', html)
    assert numbers == ["8", "8.00", "4.00", "7.00"] * 2


def test_an_attempt_without_an_end_costs_nobody_knows_what(tables: Tables) -> None:
    about = report_root.study(tables)
    mine = study.of_study(tables, about)
    html = sections.cost(about, mine.attempts.assign(seconds=float("nan"), state="open"))
    assert re.findall(r'<td class="n">(.*?)</td>', html)[:2] == ["8", "–"]
    assert "Of 8 attempts no end is written" in html
