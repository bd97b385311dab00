"""The windows against what they mean, written out slowly."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pipeline import windows

VALUES = st.one_of(st.just(float("nan")), st.integers(-5, 1000).map(float))
MINUTES = hnp.arrays(float, st.tuples(st.integers(1, 70), st.integers(1, 3)), elements=VALUES)


def naive(values, window, of_known):
    rows = len(values) - window + 1
    out = np.full((rows, values.shape[1]), np.nan)
    for i in range(rows):
        for g in range(values.shape[1]):
            known = [v for v in values[i : i + window, g] if not np.isnan(v)]
            if known:
                out[i, g] = of_known(known)
    return out


@pytest.mark.parametrize(
    ("made", "meant"),
    [
        (windows.known_sum, sum),
        (windows.known_max, max),
        (windows.known_min, min),
        (windows.known_mean, lambda known: sum(known) / len(known)),
    ],
    ids=["sum", "max", "min", "mean"],
)
@settings(deadline=None)
@given(values=MINUTES, data=st.data())
def test_a_window_is_of_what_is_known_in_it(made, meant, values, data):
    window = data.draw(st.integers(1, len(values)))
    np.testing.assert_array_equal(made(values, window), naive(values, window, meant))


@pytest.mark.parametrize("window", [1, 3, 10, 15, 23, 57, 60])
def test_where_the_array_begins_changes_no_bit(window: int):
    values = np.random.default_rng(window).normal(1e6, 1e-3, (200, 5))
    values[::7, 2] = np.nan
    whole = windows.known_sum(values, window)
    for begin in (1, 17, 64, 200 - window):
        np.testing.assert_array_equal(windows.known_sum(values[begin:], window), whole[begin:])


GROUPS = hnp.arrays(np.int64, st.tuples(st.integers(1, 6), st.integers(1, 9)), elements=st.integers(-1, 3))


@settings(deadline=None)
@given(group=GROUPS, data=st.data())
def test_the_median_over_peers_is_of_the_group_in_the_same_row(group, data):
    values = data.draw(hnp.arrays(float, group.shape, elements=VALUES))
    median, peers = windows.over_peers(values, group)
    for i, row in enumerate(group):
        for g, name in enumerate(row):
            if name < 0:
                continue
            members = values[i][row == name]
            known = members[~np.isnan(members)]
            assert peers[i, g] == len(members)
            np.testing.assert_equal(median[i, g], np.median(known) if len(known) else np.nan)


@settings(deadline=None)
@given(data=st.data(), rows=st.integers(8, 20))
def test_the_own_baseline_is_of_earlier_rows_at_the_same_load(data, rows):
    values = data.draw(hnp.arrays(float, (rows, 2), elements=VALUES))
    load = data.draw(
        hnp.arrays(float, (rows, 2), elements=st.sampled_from([100.0, 105.0, 150.0, float("nan")]))
    )
    found = windows.own_baseline(values, load, window=8, recent=2, share=0.1)
    for i in range(rows - 7):
        now = i + 7
        for g in range(2):
            alike = [
                values[j, g]
                for j in range(now - 7, now - 1)
                if abs(load[j, g] - load[now, g]) <= 0.1 * load[now, g] and not np.isnan(values[j, g])
            ]
            expected = sum(reversed(alike)) / len(alike) if len(alike) >= 5 else np.nan
            np.testing.assert_equal(found[i, g], expected)


def test_adding_what_is_unknown_adds_nothing():
    nan = np.nan
    found = windows.added(np.array([1.0, nan, 2.0, nan]), np.array([3.0, 4.0, nan, nan]))
    np.testing.assert_array_equal(found, [4.0, 4.0, 2.0, nan])
