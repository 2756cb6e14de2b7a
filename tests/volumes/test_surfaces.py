from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from copick_tools.volumes.surfaces import fit, split

quick = settings(deadline=None, derandomize=True, max_examples=60)
EXTENT = 600.0
GRID = np.arange(0, EXTENT, 20)[:, None], np.arange(0, EXTENT, 20)[None, :]


def on(surface, y, x):
    y, x = np.asarray(y, dtype=float), np.asarray(x, dtype=float)
    return np.column_stack([surface(y, x), y, x])


def dome(y, x):
    return 90 - 2e-4 * ((y - 300) ** 2 + (x - 300) ** 2) + 0.05 * y


def scattered(rng, count, low=0.0, high=EXTENT):
    return rng.uniform(low, high, (2, count))


@pytest.mark.parametrize("count", [1, 2])
def test_one_or_two_clicks_give_a_constant(count):
    surface = fit(np.array([[50.0, 10, 10], [60.0, 500, 500]])[:count], EXTENT)
    assert surface.at(*GRID) == pytest.approx(50.0 if count == 1 else 55.0)


@quick
@given(st.integers(0, 10**6), st.integers(3, 12))
def test_a_plane_is_found_exactly(seed, count):
    rng = np.random.default_rng(seed)
    a, b, c = rng.uniform(-0.3, 0.3, 3)
    y, x = scattered(rng, count)
    y[:3], x[:3] = [0, 590, 300], [10, 100, 580]  # not in a row
    found = fit(on(lambda y, x: 80 + a + b * y + c * x, y, x), EXTENT).at(*GRID)
    assert np.abs(found - (80 + a + b * GRID[0] + c * GRID[1])).max() < 1e-2


def test_clicks_in_a_row_say_nothing_across_it():
    x = np.arange(0, 600, 100.0)
    row = on(lambda y, x: 30 + 0.1 * x + 0.5 * (y - 200), np.full(6, 200.0), x)
    row[:, 2] += np.tile([0.0, 2.0], 3)
    found = fit(row, EXTENT).at(*GRID)
    assert np.ptp(found, axis=0).max() < 3
    assert found[0, -1] - found[0, 0] == pytest.approx(0.1 * 580, abs=1)


def test_clicks_in_one_spot_give_a_constant():
    spot = np.array([[50.0, 300, 300], [58, 305, 300], [49, 300, 306]])
    assert np.ptp(fit(spot, EXTENT).at(*GRID)) == 0


def test_a_dome_is_found_from_spread_clicks():
    rng = np.random.default_rng(0)
    y, x = scattered(rng, 25)
    found = fit(on(dome, y, x), EXTENT)
    inside = (GRID[0] > 100) & (GRID[0] < 500) & (GRID[1] > 100) & (GRID[1] < 500)
    assert np.abs(found.at(*GRID) - dome(*GRID))[inside].max() < 1.0


@pytest.mark.parametrize("columns", [3, 5])
def test_clicks_in_two_rows_give_a_plane(columns):
    grid = on(dome, np.repeat([100.0, 500], columns), np.tile(np.linspace(50.0, 550, columns), 2))
    assert not fit(grid, EXTENT).bend.any()


@quick
@given(st.integers(0, 10**6), st.integers(7, 20))
def test_far_from_the_clicks_the_bend_stays_what_it_is(seed, count):
    rng = np.random.default_rng(seed)
    y, x = scattered(rng, count, 200, 400)
    clicks = on(dome, y, x)
    clicks[:, 0] += rng.normal(0, 3, count)
    found = fit(clicks, EXTENT)
    bent = found.at(*GRID) - replace(found, bend=np.zeros(6)).at(*GRID)
    assert found.limits[0] - 1e-9 <= bent.min()
    assert bent.max() <= found.limits[1] + 1e-9
    away = np.array([1e5, 2e5]), np.array([300.0, 300])
    bent = found.at(*away) - replace(found, bend=np.zeros(6)).at(*away)
    assert bent[0] == pytest.approx(bent[1], abs=0.1)


@pytest.mark.parametrize("count", [8, 20])
def test_one_wrong_click_hardly_moves_the_surface(count):
    rng = np.random.default_rng(1)
    y, x = scattered(rng, count)
    clicks = on(lambda y, x: 60 + 0.1 * y, y, x)
    clicks[rng.integers(count), 0] += 100
    found = fit(clicks, EXTENT)
    assert np.median(np.abs(found.at(*GRID) - (60 + 0.1 * GRID[0]))) < 4


def test_noise_is_no_bend():
    rng = np.random.default_rng(2)
    bends = [fit(np.column_stack([rng.normal(80, 5, 9), *scattered(rng, 9)]), EXTENT).bend.any() for _ in range(50)]
    assert sum(bends) < 15


def test_the_order_of_clicks_does_not_matter():
    rng = np.random.default_rng(3)
    clicks = on(dome, *scattered(rng, 23))
    clicks[:, 0] += rng.normal(0, 2, 23)
    one, other = fit(clicks, EXTENT), fit(rng.permutation(clicks), EXTENT)
    assert one.at(*GRID) == pytest.approx(other.at(*GRID), abs=0.01)
    assert one.bend.any()


def test_no_clicks():
    with pytest.raises(ValueError, match="no clicks"):
        fit(np.empty((0, 3)), EXTENT)


@quick
@given(st.integers(0, 10**6), st.integers(3, 15), st.integers(3, 15), st.floats(40, 200))
def test_two_tilted_surfaces_are_told_apart(seed, below, above, gap):
    rng = np.random.default_rng(seed)
    b, c = rng.uniform(-0.15, 0.15, 2)
    sides = []
    for count, offset in ((below, 0.0), (above, gap)):
        y, x = scattered(rng, count)
        y[:3], x[:3] = [10, 590, 300], [10, 100, 580]
        sides.append(on(lambda y, x, offset=offset: 50 + offset + b * y + c * x, y, x))
    mixed = np.vstack(sides)
    order = rng.permutation(len(mixed))
    low, high = split(mixed[order], EXTENT)
    assert sorted(low.tolist()) == sorted(sides[0].tolist())
    assert sorted(high.tolist()) == sorted(sides[1].tolist())


def test_two_domes_are_told_apart():
    rng = np.random.default_rng(0)
    sides = [on(lambda y, x, up=up: dome(y, x) + up, *scattered(rng, 20)) for up in (0, 45)]
    low, high = split(np.vstack(sides), EXTENT)
    assert len(low) == len(high) == 20
    assert sorted(low.tolist()) == sorted(sides[0].tolist())


def test_a_cloud_is_no_pair_of_surfaces():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="two surfaces"):
        split(rng.uniform(0, 180, (60, 3)) * [1, 3, 3], EXTENT)


def test_one_click_is_not_enough():
    with pytest.raises(ValueError, match="1 click"):
        split(np.zeros((1, 3)), EXTENT)
