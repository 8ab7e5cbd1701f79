"""The statistics behind the analyses, on measured cells where there are any, else on cases with a known answer."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from pipeline.methods.forecast import Course, life, remaining
from pipeline.methods.knee import knee, knee_now
from pipeline.methods.regression import Floats, better, lasting, least_squares, t_quantile
from pipeline.methods.resistant import biweight_line
from pipeline.methods.shares import shares
from pipeline.methods.shrinkage import Cohort, cohort, shrunk
from pipeline.methods.slope import mann_kendall, theil_sen, year_on_year

MATR = Path(__file__).parents[1] / "golden" / "matr" / "capacity.parquet"
END = 0.1


@cache
def measured() -> dict[str, Course]:
    """Cells of the MATR set that lose 10 % of their first capacity: cycle and loss up to there."""
    lives = {}
    for (cell,), rows in pl.read_parquet(MATR).group_by("cell", maintain_order=True):
        age, mah = rows["cycle"].to_numpy().astype(float), rows["mah"].to_numpy().astype(float)
        first = np.median(mah[:2])
        loss = 1 - np.array([np.median(mah[max(0, i - 2) : i + 1]) for i in range(len(mah))]) / first
        ended = np.nonzero(loss >= END)[0]
        if len(ended):
            lives[str(cell)] = Course(age[: ended[0] + 1], loss[: ended[0] + 1])
    return lives


@pytest.mark.parametrize(("share", "bar"), [(0.5, 0.45), (0.7, 0.38), (0.85, 0.22)])
def test_the_end_of_life_of_measured_cells_is_told_from_their_siblings(share: float, bar: float) -> None:
    cells = measured()
    assert len(cells) == 58
    errors, within = [], []
    for name, course in cells.items():
        ends = course.age[-1]
        now = course.age <= share * ends
        others = [other for key, other in cells.items() if key != name]
        told = life(course.age[now], course.loss[now], END, others)
        assert told is not None
        errors.append(abs(told.p50 - ends) / ends)
        within.append(told.p10 <= ends <= told.p90)
    assert np.mean(errors) <= bar, f"{np.mean(errors):.3f}"
    assert 0.75 <= np.mean(within) <= 0.90, f"{np.mean(within):.3f}"


def test_knees_of_measured_cells_are_known_when_they_come() -> None:
    knees = {name: knee(course.age, 1 - course.loss) for name, course in measured().items()}
    sure = {name: found for name, found in knees.items() if found and found.accepted}
    assert len(sure) >= 55
    at = {name: float(np.interp(found.at, measured()[name].age, measured()[name].loss)) for name, found in sure.items()}
    off = []
    for name, found in sure.items():
        course, others = measured()[name], np.array([loss for key, loss in at.items() if key != name])
        told = knee_now(course.age, course.loss, others)
        off.append(abs(told - found.at) / course.age[-1] if told else 1.0)
    assert np.median(off) <= 0.06, f"{np.median(off):.3f}"


def test_a_life_is_not_told_without_loss_or_without_siblings() -> None:
    age = np.arange(1.0, 50)
    others = list(measured().values())
    assert life(age, np.zeros(49), 0.2, others) is None
    assert life(age, age / 1000, 0.2, []) is None
    assert remaining(age, age / 100, 0.2) == 0.0


def test_a_straight_course_has_no_knee_and_a_broken_one_has() -> None:
    x = np.arange(40.0)
    noise = np.random.default_rng(3).normal(0, 0.05, 40)
    straight = knee(x, 100 - 0.2 * x + noise)
    broken = knee(x, 100 - 0.2 * x - 0.8 * np.maximum(x - 25, 0) + noise)
    assert straight is not None
    assert not straight.accepted
    assert broken is not None
    assert broken.accepted
    assert broken.at == pytest.approx(25, abs=1)
    assert (broken.before, broken.after) == (pytest.approx(-0.2, abs=0.05), pytest.approx(-1.0, abs=0.1))
    assert knee(x[:11], x[:11]) is None


def test_theil_sen_forgets_wild_points() -> None:
    x = np.arange(20.0)
    y = 3.0 * x
    y[[3, 11]] += 500
    assert theil_sen(x, y) == pytest.approx(3.0)
    assert np.isnan(theil_sen(x, y, apart=100))


@pytest.mark.parametrize(
    ("p", "freedom", "value"),
    [(0.975, 1, 12.706), (0.975, 2, 4.303), (0.975, 3, 3.182), (0.975, 10, 2.228), (0.95, 30, 1.697)],
)
def test_student_quantiles(p: float, freedom: int, value: float) -> None:
    assert t_quantile(p, freedom) == pytest.approx(value, rel=2e-3)


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    rng, x = np.random.default_rng(5), np.column_stack([np.ones(12), np.arange(12.0)])
    fits = [least_squares(x, 2.0 * x[:, 1] + rng.normal(0, 1, 12)) for _ in range(600)]
    held = [lo <= 2.0 <= hi for lo, hi in (fit.interval(1) for fit in fits if fit)]
    assert 0.92 <= np.mean(held) <= 0.98
    assert least_squares(np.ones((5, 2)), np.arange(5.0)) is None


def test_a_column_that_explains_nothing_is_not_worth_its_price_and_one_that_does_is() -> None:
    rng = np.random.default_rng(5)
    line = np.column_stack([np.ones(40), np.arange(40.0)])
    chance, real = [], []
    for _ in range(200):
        noise, other = rng.normal(0, 1, 40), rng.normal(0, 1, 40)
        rich = np.column_stack([line, other])
        for found, share in ((chance, 0.0), (real, 2.0)):
            fits = [least_squares(columns, noise + share * other) for columns in (line, rich)]
            found.append(better(*(fit for fit in fits if fit)))
    assert np.mean(np.array(chance) < 0) > 0.9
    assert max(chance) < 10 < np.median(real)


def test_errors_that_last_widen_the_interval_until_it_holds_the_truth_again() -> None:
    rng, x = np.random.default_rng(6), np.column_stack([np.ones(40), np.arange(40.0)])
    narrow, wide = [], []
    for _ in range(400):
        noise = rng.normal(0, 1, 60)
        for n in range(1, 60):
            noise[n] += 0.6 * noise[n - 1]
        fit = least_squares(x, 2.0 * x[:, 1] + noise[20:])
        assert fit is not None
        reach = t_quantile(0.975, fit.freedom) * np.sqrt(fit.covariance[1, 1])
        narrow.append(abs(fit.coefficients[1] - 2.0) <= reach)
        wide.append(abs(fit.coefficients[1] - 2.0) <= reach * np.sqrt(fit.lasting))
    assert np.mean(narrow) < 0.8
    assert 0.88 <= np.mean(wide) <= 0.99
    assert lasting(np.tile([1.0, -1.0], 10)) == 1.0


def test_any_trend_at_all() -> None:
    rng = np.random.default_rng(1)
    assert mann_kendall(np.arange(20.0) + rng.normal(0, 1, 20)) < 1e-4
    assert mann_kendall(rng.normal(0, 1, 20)) > 0.05
    assert mann_kendall(np.ones(20)) == 1.0


def test_year_on_year_does_not_see_the_seasons() -> None:
    days = np.arange(0.0, 3 * 365)
    y = 100 - 2.0 * days / 365 + 5 * np.sin(2 * np.pi * days / 365)
    slope, lo, hi = year_on_year(days, y)
    assert (slope, lo, hi) == (pytest.approx(-2.0), pytest.approx(-2.0), pytest.approx(-2.0))
    assert np.isnan(year_on_year(days[:300], y[:300])[0])


def test_the_uncertain_lean_on_their_cohort_and_the_sure_do_not() -> None:
    around = Cohort(-2.0, 0.1, 0.25)
    unsure, sure = shrunk(-8.0, 5.0, around), shrunk(-8.0, 0.1, around)
    assert unsure[0] == pytest.approx(-2.0, abs=0.1)
    assert sure[0] == pytest.approx(-8.0, abs=0.3)
    assert unsure[1] < 5.0
    assert shrunk(-8.0, 1.0, Cohort(-2.0, 0.0, 0.0)) == (-2.0, 0.0)


def test_one_far_out_is_none_of_the_cohort_and_is_not_drawn_into_it() -> None:
    """A module that loses 30 points a year among those that lose three, each as unsure as its own scatter says."""
    around = Cohort(-3.0, 0.3, 0.6)
    value, error = shrunk(-30.0, 2.0, around)
    assert value == pytest.approx(-30.0, abs=1.0)
    assert error == pytest.approx(2.0, abs=0.1)
    assert shrunk(-5.0, 2.0, around)[0] == pytest.approx(-3.3, abs=0.3)


def test_a_cohorts_true_scatter_is_told_from_its_noise() -> None:
    rng = np.random.default_rng(7)
    errors = np.full(400, 0.5)
    found = cohort(rng.normal(-2, 0.8, 400) + rng.normal(0, 0.5, 400), errors)
    assert found.mean == pytest.approx(-2, abs=0.15)
    assert found.between == pytest.approx(0.64, abs=0.15)
    assert cohort(np.full(5, 1.0), np.full(5, 0.1)).between == 0.0


def test_years_and_cycles_are_told_apart_only_where_they_can_be() -> None:
    rng: np.random.Generator = np.random.default_rng(11)
    calendar, cyclic = rng.uniform(1, 2, 60), rng.uniform(0, 3, 60)
    loss: Floats = 2.0 * calendar + 0.5 * cyclic + rng.normal(0, 0.05, 60)
    found = shares(calendar, cyclic, loss)
    assert found is not None
    assert (found.calendar, found.cyclic) == (pytest.approx(2.0, rel=0.05), pytest.approx(0.5, rel=0.05))
    assert found.lo <= found.share <= found.hi
    assert shares(calendar, calendar * 2, loss) is None
    only_years = shares(calendar, cyclic, 2.0 * calendar - 0.3 * cyclic)
    assert only_years is not None
    assert only_years.cyclic == 0.0


def test_a_biweight_line_is_nearly_least_squares_where_errors_are_normal_and_knows_how_sure_it_is() -> None:
    rng = np.random.default_rng(1)
    told, plain = [], []
    for _ in range(300):
        x = rng.uniform(-1, 1, 100)
        y = 3 + 1.05 * x + 0.1 * rng.standard_normal(100)
        told.append(biweight_line(x, y, 0.001))
        plain.append(np.polyfit(x, y, 1)[0])
    slopes, errors = np.array(told).T
    assert slopes.mean() == pytest.approx(1.05, abs=0.004)
    assert slopes.std() == pytest.approx(np.std(plain), rel=0.1)
    assert np.mean(np.abs(slopes - 1.05) < 1.96 * errors) == pytest.approx(0.94, abs=0.03)


def test_a_biweight_line_passes_by_what_lies_to_one_side_and_with_no_scale_is_least_squares() -> None:
    rng = np.random.default_rng(2)
    x = rng.uniform(-40, 40, 288)
    y = 0.95 * x + 0.05 * rng.standard_normal(288)
    y[x > 30] += rng.uniform(2, 9, int((x > 30).sum()))
    assert biweight_line(x, y, 0.1)[0] == pytest.approx(0.95, abs=0.001)
    assert biweight_line(x, y, np.inf)[0] == pytest.approx(np.polyfit(x, y, 1)[0])
    assert np.polyfit(x, y, 1)[0] > 0.98


def test_a_line_through_what_stands_still_is_none() -> None:
    assert np.isnan(biweight_line(np.ones(50), np.arange(50.0), 0.1)).all()
