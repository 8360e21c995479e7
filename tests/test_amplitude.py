"""The amplitude that particles share, and how it scatters, as it was made."""

from __future__ import annotations

import numpy as np
import pytest
import scipy

from funpipe.engine import amplitude
from funpipe.engine.amplitude import LADDER, over_ladder


def evidence_of(random, count, strength, scatter=0.0, empty=0):
    """Return ln L at the ladder of places seen at so many standard deviations."""
    ladder = LADDER[:14]
    own = strength * np.exp(scatter * random.standard_normal(count))
    own[:empty] = 0
    z = own + random.standard_normal(count)
    return (ladder * z[:, None] - ladder**2 / 2)[:, None]


def test_between_amplitudes_evidence_is_its_parabola():
    random = np.random.default_rng(6)
    a, b, c = random.normal(size=(3, 5, 1))
    ladder = LADDER
    values = a + b * ladder / 10 + c * np.square(ladder / 10)
    for step in (0.0, 0.3, 1.0, 5.5, 6.49, len(ladder) - 1.2, len(ladder) - 1.0):
        at = 2 * 1.35**step / 10
        wanted = (a + b * at + c * at**2)[:, 0]
        found = amplitude._between(values, step)
        np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-9)
    two = amplitude._between(np.array([[1.0, 2.0]]), 0.5)
    part = (1.35**0.5 - 1) / 0.35
    np.testing.assert_allclose(two, 1 + part)
    np.testing.assert_allclose(np.diff(np.log(LADDER)), np.log(1.35))
    assert LADDER[0] == 2 and 95 < LADDER[-1] < 100


def test_between_amplitudes_the_three_that_are_nearest_count():
    """And no others: what is no parabola is nowhere else followed as well."""
    values = np.random.default_rng(11).normal(size=(2, 7))
    ladder = 1.35 ** np.arange(7)
    middles = {0.0: 1, 0.4: 1, 1.4: 1, 1.6: 2, 3.2: 3, 4.9: 5, 5.6: 5, 6.0: 5}
    for step, middle in middles.items():
        some = slice(middle - 1, middle + 2)
        for row, found in zip(values, amplitude._between(values, step), strict=True):
            parabola = np.polyfit(ladder[some], row[some], 2)
            assert found == pytest.approx(np.polyval(parabola, 1.35**step))


def test_evidence_of_scattered_amplitudes_is_the_integral_over_them():
    random = np.random.default_rng(7)
    values = evidence_of(random, 6, 6.0)
    spread = amplitude._Spread(step=4.0, scatter=0.15)
    found = amplitude._spread_over(values, spread)
    ln = np.linspace(-1.5, 1.5, 3001)
    steps = 4.0 + ln / np.log(1.35)
    density = scipy.stats.norm(0, 0.15).pdf(ln) * (ln[1] - ln[0])
    terms = np.stack([amplitude._between(values, each) for each in steps], -1)
    wanted = scipy.special.logsumexp(terms, axis=-1, b=density)
    np.testing.assert_allclose(found, wanted, atol=0.02)
    alone = amplitude._spread_over(values, amplitude._Spread(4.2, 0.0))
    np.testing.assert_allclose(alone, amplitude._between(values, 4.2))


@pytest.mark.parametrize(("strength", "scatter"), [(5.0, 0.0), (8.0, 0.3), (12.0, 0.1)])
def test_amplitudes_and_their_scatter_are_found(strength, scatter):
    random = np.random.default_rng(8)
    values = evidence_of(random, 6000, strength, scatter, empty=3000)
    mixed = random.permutation(len(values))
    found = amplitude._spread(values[mixed])
    assert 2 * 1.35**found.step == pytest.approx(strength, rel=0.06)
    assert found.scatter == pytest.approx(scatter, abs=0.1)
    # Finer than the steps between amplitudes.
    near = [found._replace(step=found.step + each) for each in (-0.3, 0.3)]
    some = values[mixed][::3]
    own = amplitude._likelihood(some, found)
    assert all(amplitude._likelihood(some, each) < own for each in near)


def test_the_share_is_the_likeliest_and_never_quite_0_or_1():
    random = np.random.default_rng(9)
    evidence = evidence_of(random, 400, 5.0, empty=280)[:, 0, 3]
    found = amplitude._share(evidence)
    shares = np.linspace(0.005, 0.995, 199)
    likely = [np.log(s * np.exp(evidence) + 1 - s).sum() for s in shares]
    assert found == pytest.approx(shares[np.argmax(likely)], abs=0.01)
    assert amplitude._fit(evidence) == pytest.approx(max(likely), abs=0.05)
    for sign, wanted in ((50.0, 9.5), (-50.0, 0.5)):
        assert amplitude._share(np.full(9, sign)) == pytest.approx(wanted / 10)


def test_what_places_hold_follows_from_all_of_them():
    random = np.random.default_rng(10)
    first = evidence_of(random, 300, 6.0, empty=150)
    values = np.concatenate([first, first - 2.0], axis=1)
    values[3], values[4, 1, 2] = np.nan, np.nan
    values[5] = -np.inf
    templates = np.arange(300) % 2
    found = over_ladder(values, templates)
    lost = np.isin(np.arange(300), (3, 4))
    for each in (found.log_odds, found.probability):
        np.testing.assert_array_equal(np.isnan(each), lost)
    assert found.log_evidence.shape == (300, 2)
    known = np.flatnonzero(~lost & (np.arange(300) != 5))
    own = 1 / (1 + np.exp(-2.0))
    wanted = np.where(templates == 0, own, 1 - own)
    np.testing.assert_allclose(found.probability[known], wanted[known], atol=1e-6)
    top = found.log_evidence[known].max(axis=1)
    mean = top + np.log(np.exp(found.log_evidence[known] - top[:, None]).mean(axis=1))
    share = amplitude._share(np.append(mean, -1e6))
    odds = mean + np.log(share) - np.log(1 - share)
    np.testing.assert_allclose(found.log_odds[known], odds, atol=1e-9)
    assert found.log_odds[5] < -1e5
    assert share == pytest.approx(0.5, abs=0.1)
