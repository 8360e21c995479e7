"""How far two maps agree: by frequency under a mask, by direction, by place."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy
import toolz
from hypothesis import given, settings
from hypothesis import strategies as st

import funpipe as fp
from funpipe.space.fourier import fourier_vectors
from funpipe.space.local_shells import local_frequencies
from funpipe.space.shells import (
    fisher_band,
    hemisphere,
    in_cone,
    independent_part,
    shells_of,
    transform,
    with_random_phases,
    without_masks_share,
)

SIZE = 32
seeds = st.integers(0, 2**16)
shapes = st.tuples(*[st.integers(3, 9)] * 3)


def ball(radius: float, edge: float, size: int = SIZE) -> np.ndarray:
    axis = np.arange(size) - (size - 1) / 2
    r = np.sqrt(sum(a**2 for a in np.meshgrid(axis, axis, axis, indexing="ij")))
    return np.clip((radius + edge - r) / edge, 0, 1)


def noise(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def lengths(size: int = SIZE) -> np.ndarray:
    return np.sqrt((fourier_vectors((size,) * 3, 1.0) ** 2).sum(axis=0))


def filtered(image, amplitude) -> np.ndarray:
    waves = scipy.fft.rfftn(image) * amplitude(lengths(len(image)))
    return scipy.fft.irfftn(waves, s=image.shape)


# RELION 3.1.3's postprocessing of these maps and that mask, of 5 Å per voxel:
# relion_postprocess --i half1_class001_unfil.mrc --mask mask.mrc --angpix 5
#     --skip_fsc_weighting --force_mask
# Of shells 1 to 16 the columns rlnFourierShellCorrelation… UnmaskedMaps, MaskedMaps,
# rlnCorrectedFourierShellCorrelationPhaseRandomizedMaskedMaps and …Corrected.
RANDOM_FROM = 4  # rlnRandomiseFrom, 40 Å
RELION = np.loadtxt(
    """
    0.855357  0.950162  0.956344  0.950162
    0.895323  0.981805  0.981409  0.981805
    0.863739  0.961287  0.954110  0.961287
    0.711702  0.916558  0.656916  0.916558
    0.504429  0.821522  0.001578  0.821522
    0.320567  0.665001  0.017380  0.659076
    0.253437  0.555634  -0.01600  0.562630
    0.160474  0.335597  -0.00721  0.340350
    0.023928  0.181733  0.029586  0.156785
    -0.01746  0.105578  -0.05143  0.149328
    0.033245  0.081842  -0.03756  0.115083
    -0.00732  0.048968  0.015928  0.033575
    -0.00178  -0.00338  0.008136  -0.01161
    -0.00704  0.016190  0.001994  0.014224
    -0.02138  0.004446  0.014525  -0.01023
    -0.00662  0.038457  0.016146  0.022677
    """.strip().splitlines()
)


@pytest.fixture(scope="module", name="maps")
def _maps():
    signal, *noises = noise(0, 3, SIZE, SIZE, SIZE)
    blurred = filtered(signal, lambda k: 20 * np.exp(-12 * k))
    return [(ball(9, 2) * blurred + each).astype(np.float32) for each in noises]


MASK = ball(11, 4).astype(np.float32)


def naive(a, b, weigh) -> list[float]:
    """The formula, wave by wave of rfftn's half, each with a weight."""
    F, G = (np.fft.rfftn(each.astype(float)) for each in (a, b))
    sums = np.zeros((2 * SIZE, 3))
    for index in np.ndindex(F.shape):
        k = [(i + SIZE // 2) % SIZE - SIZE // 2 for i in index[:2]] + [index[2]]
        f, g = F[index], G[index]
        values = (f * g.conjugate()).real, abs(f) ** 2, abs(g) ** 2
        sums[round(math.hypot(*k))] += weigh(index[2]) * np.array(values)
    cross, first, second = sums[1 : SIZE // 2 + 1].T
    return list(cross / np.sqrt(first * second))


def both_mates(x: int) -> int:
    return 1 if x in (0, SIZE // 2) else 2


def as_in_memory(x: int) -> int:
    """RELION counts the waves that FFTW keeps: of x = 0 both mates, of others one."""
    return 1


@pytest.mark.parametrize("column", [0, 1])
def test_it_is_what_relion_finds_but_for_how_often_waves_at_x_0_count(maps, column):
    a, b = maps
    under = np.float32(1) if column == 0 else MASK
    expected = naive(under * a, under * b, as_in_memory)
    np.testing.assert_allclose(expected, RELION[:, column], rtol=0, atol=6e-6)
    found = fp.fsc(a, b, mask=MASK)
    ours = (found.unmasked, found.fsc)[column]
    np.testing.assert_allclose(ours, naive(under * a, under * b, both_mates), atol=1e-6)


def test_the_masks_share_is_taken_out_as_by_relion(maps):
    _, masked, random, corrected = RELION.T
    random = np.where(np.arange(1, 17) < RANDOM_FROM + 2, 0, random)
    found = without_masks_share(masked, random)
    np.testing.assert_allclose(found, corrected, rtol=0, atol=6e-6)


def test_phases_are_random_from_where_relion_has_them_so(maps):
    random = [fp.fsc(*maps, mask=MASK, seed=seed).randomised for seed in range(10)]
    start = RANDOM_FROM + 2
    assert (np.array(random)[:, : start - 1] == 0).all()
    assert (np.array(random)[:, start - 1 :] != 0).all()
    # RELION's is one draw more, of its own: within four times what draws differ by,
    # of which ours are the mean of four.
    mean, spread = np.mean(random, 0), 2 * np.std(random, 0, ddof=1)
    apart = np.abs(RELION[:, 2] - mean)[start - 1 :]
    assert (apart < 4 * spread[start - 1 :]).all()


def test_the_curve_is_near_relions(maps):
    found = fp.fsc(*maps, mask=MASK, scale=0.5)
    low, high = found.band(0.9999)
    assert ((low < RELION[:, 3]) & (RELION[:, 3] < high)).all()
    # RELION: 1.6 nm, the shell before the curve is below 0.143, without a line between.
    assert found.resolution_range(level=0.95)[0] < 1.6
    assert found.resolution_range(level=0.95)[1] > 1.6


# What the mask gives alone.


def test_what_a_mask_alone_makes_alike_is_not_claimed():
    sharp = ball(7, 0.1)
    overstated, claims = 0, []
    for seed in range(20):
        a, b = 4 + noise(seed, 2, SIZE, SIZE, SIZE)  # one level, and noises
        found = fp.fsc(a, b, mask=sharp, scale=0.5, seed=seed)
        claimed = found.corrected[2:]  # two shells are mixed with the level
        claims.append(claimed.mean())
        assert (claimed[2:] < 0.5).all()
        overstated += int((found.fsc[2:4] > 0.8).any())
    assert overstated == 20
    assert abs(np.mean(claims)) < 0.03


def test_a_signal_under_a_mask_keeps_what_it_has_within_the_band():
    truth = 1 / (1 + np.exp(8 * (np.arange(1, 17) / SIZE - 0.25)))
    inside, all_of_them = 0, 0
    for seed in range(20):  # of the maps and of the phases, which it must not make one
        signal, *noises = noise(seed, 3, SIZE, SIZE, SIZE)
        signal = filtered(signal, lambda k: np.exp(-4 * (k - 0.25)))  # SNR exp(−8(k−¼))
        found = fp.fsc(*(signal + each for each in noises), mask=MASK, seed=seed)
        low, high = found.band(0.9)
        inside += ((low < truth) & (truth < high))[1:].sum()
        all_of_them += 15
    assert 0.86 < inside / all_of_them < 0.96


def test_without_a_mask_there_is_nothing_to_correct(maps):
    found = fp.fsc(*maps)
    for each in (found.corrected, found.unmasked):
        np.testing.assert_array_equal(each, found.fsc)
    assert (found.randomised == 0).all()
    of_ones = fp.fsc(*maps, mask=np.ones((SIZE,) * 3))
    np.testing.assert_allclose(of_ones.fsc, found.fsc)
    np.testing.assert_allclose(of_ones.waves, found.waves)


def test_maps_that_agree_everywhere_are_not_corrected():
    a = noise(0, 16, 16, 16)
    found = fp.fsc(a, a + 0.1 * noise(1, 16, 16, 16), mask=ball(5, 2, 16))
    assert (found.randomised == 0).all()
    np.testing.assert_array_equal(found.corrected, found.fsc)
    assert found.resolution() == 2.0


@given(shapes, seeds, st.integers(1, 2))
def test_random_phases_leave_amplitudes_and_what_is_below(shape, seed, first):
    image, other = noise(seed, 2, *shape)
    shells, F = shells_of(shape), transform(image)
    mixed = with_random_phases(F, first, shells, other)
    np.testing.assert_allclose(abs(mixed), abs(F), atol=1e-9)
    below = shells.number < first
    np.testing.assert_array_equal(mixed[below], F[below])
    assert not np.allclose(mixed[~below], F[~below])
    # They are the transform of a real map: none is lost on the way back and forth.
    again = transform(scipy.fft.irfftn(mixed, s=shape))
    np.testing.assert_allclose(again, mixed, atol=1e-9)


# How sure it is.


@given(shapes)
def test_all_waves_are_counted_once(shape):
    shells = shells_of(shape)
    whole = np.stack(
        np.meshgrid(*(np.fft.fftfreq(n, 1 / max(shape)) for n in shape), indexing="ij")
    )
    length = np.sqrt((whole**2).sum(axis=0))
    for shell, waves in enumerate(shells.waves(), 1):
        near = (length > shell - 0.5 + 1e-6) & (length <= shell + 0.5 + 1e-6)
        assert 2 * waves == near.sum()


@pytest.mark.parametrize(
    "mask", [None, MASK, ball(6, 4), ball(11, 0.1), ball(8, 4)[:, ::-1] ** 2]
)
def test_noise_differs_by_as_much_as_of_so_many_independent_waves(mask):
    scores = []
    for seed in range(40):
        found = fp.fsc(*noise(seed, 2, SIZE, SIZE, SIZE), mask=mask)
        scores.append(np.arctanh(found.fsc) * np.sqrt(2 * found.waves - 2))
    some = np.array(scores)[:, found.waves > 5]
    assert np.std(some) == pytest.approx(1, abs=0.1)  # of 560 or more


def test_the_part_that_is_independent_is_the_sum_over_a_shell():
    mask = ball(6, 3, 24)
    M = np.fft.fftn(mask**2)
    power = abs(M / M[0, 0, 0]) ** 2
    k = np.stack(np.meshgrid(*[np.fft.fftfreq(24, 1 / 24)] * 3, indexing="ij"))
    shell = np.round(np.sqrt((k**2).sum(axis=0))) == 8
    where = np.argwhere(shell)
    total = sum(power[tuple((where - each).T)].sum() for each in where)
    expected = len(where) / total
    assert independent_part(mask, shells_of(mask.shape)) == pytest.approx(
        expected, rel=0.1
    )


@given(st.floats(-1, 1), st.floats(0, 1e4), st.floats(0.01, 0.999))
def test_the_band_is_around_the_curve_and_narrower_the_more_waves(fsc, waves, level):
    low, high = fisher_band([fsc] * 2, [waves, 2 * waves + 1], level)
    assert (low <= fsc + 1e-9).all()
    assert (high >= fsc - 1e-9).all()
    assert (high - low <= 2).all()
    assert high[1] - low[1] <= high[0] - low[0] + 1e-9


def test_the_band_is_of_correlations_of_pairs_of_numbers():
    """Of simulated correlations of 2n pairs of numbers so many are above a limit."""
    random, n, truth = np.random.default_rng(0), 20, 0.6
    x, y = random.normal(size=(2, 20_000, 2 * n))
    y = truth * x + math.sqrt(1 - truth**2) * y
    r = (x * y).sum(1) / np.sqrt((x**2).sum(1) * (y**2).sum(1))
    low, high = fisher_band(r, np.full(r.shape, float(n)), 0.8)
    assert ((low < truth) & (truth < high)).mean() == pytest.approx(0.8, abs=0.015)


def test_the_band_knows_that_the_masks_share_is_noisy_too():
    fsc, waves, share = np.full(3, 0.3), np.full(3, 51.0), np.array([0, 0.1, 1e-9])
    found = fp.FSC(*(1.0 * fsc for _ in range(3)), waves, 1.0 * fsc, share)
    low, high = found.band(0.9)
    plain, noisy = (fisher_band(fsc, waves / by, 0.9) for by in (1, 1.25))
    np.testing.assert_allclose([low[0], high[0]], [each[0] for each in plain])
    np.testing.assert_allclose([low[2], high[2]], [each[2] for each in noisy])
    np.testing.assert_allclose(low[1], (noisy[0][1] - 0.1) / 0.9)


def test_resolutions_are_read_off_the_corrected_curve(maps):
    found = fp.fsc(*maps, mask=MASK, scale=0.5)
    finest, coarsest = found.resolution_range()
    assert finest < found.resolution() < coarsest
    assert found.resolution(0.5) > found.resolution(0.143)
    at = np.interp(1 / found.resolution(0.5), found.frequency, found.corrected)
    assert at == pytest.approx(0.5)
    narrow, wide = found.resolution_range(0.143, 0.5), found.resolution_range(0.143)
    assert wide[0] < narrow[0] < narrow[1] < wide[1]


# By direction.


def test_of_a_cone_as_wide_as_can_be_it_is_that_of_all(maps):
    every = fp.conical_fsc(*maps, mask=MASK, angle=90, directions=5)
    found = fp.fsc(*maps, mask=MASK)
    assert every.corrected.shape == (5, 16)
    for each in every.corrected:
        np.testing.assert_allclose(each, found.corrected, atol=1e-12)
    for each in every.waves:
        np.testing.assert_allclose(each, found.waves)
    assert every.anisotropy() == pytest.approx(0, abs=1e-12)


def test_a_cone_holds_the_waves_within_its_angle(maps):
    a, b = maps
    found = fp.conical_fsc(a, b, angle=25, directions=3)
    line, shell = found.directions[1], 7
    F, G = np.fft.fftn(a.astype(float)), np.fft.fftn(b.astype(float))
    sums = np.zeros(3)
    count = 0
    for index in np.ndindex(F.shape):
        k = np.array([(i + SIZE // 2) % SIZE - SIZE // 2 for i in index])
        if round(np.linalg.norm(k)) == shell:
            cosine = abs(k @ line) / np.linalg.norm(k)
            if np.degrees(np.arccos(cosine)) <= 25:
                f, g = F[index], G[index]
                sums += (f * g.conjugate()).real, abs(f) ** 2, abs(g) ** 2
                count += 1
    expected = sums[0] / math.sqrt(sums[1] * sums[2])
    assert found.corrected[1, shell - 1] == pytest.approx(expected)
    assert found.waves[1, shell - 1] == count / 2


def test_a_map_that_is_worse_along_z_is_found_to_be():
    signal, *noises = noise(0, 3, SIZE, SIZE, SIZE)
    vectors = fourier_vectors((SIZE,) * 3, 1.0)
    k, along_z = lengths(), in_cone(vectors, [1.0, 0, 0], 45)
    cutoff = np.where(along_z, 0.15, 0.35)
    signal = scipy.fft.irfftn(scipy.fft.rfftn(signal) * 5 * (k < cutoff), s=(SIZE,) * 3)
    found = fp.conical_fsc(*(signal + each for each in noises), scale=0.5)
    resolutions = found.resolutions()
    tilted = np.degrees(np.arccos(found.directions[:, 0]))
    assert np.median(resolutions[tilted < 30]) == pytest.approx(0.5 / 0.15, rel=0.15)
    assert np.median(resolutions[tilted > 60]) == pytest.approx(0.5 / 0.35, rel=0.15)
    alike = filtered(noise(1, SIZE, SIZE, SIZE), lambda k: 5.0 * (k < 0.25))
    even = fp.conical_fsc(*(alike + each for each in noises), scale=0.5)
    assert even.anisotropy() < 0.05 < 0.15 < found.anisotropy()


def test_directions_are_spread_evenly():
    lines = hemisphere(200)
    np.testing.assert_allclose(np.linalg.norm(lines, axis=1), 1)
    both = np.concatenate([lines, -lines])
    cosine = both @ both.T - 2 * np.eye(400)
    nearest = np.degrees(np.arccos(cosine.max(axis=1)))
    assert nearest.min() > 5  # an even grid of 400 has neighbours 11 degrees apart
    np.testing.assert_allclose(both.T @ both / 400, np.eye(3) / 3, atol=0.01)


def test_where_nothing_is_resolved_there_is_no_anisotropy():
    a, b = np.zeros((2, 8, 8, 8))
    found = fp.conical_fsc(a, b, directions=4)
    assert (found.resolutions() == math.inf).all()
    assert found.anisotropy() == 0


# By place.


@pytest.mark.parametrize("where", [(11, 14, 9), (0, 22, 1)])
def test_the_local_correlation_is_the_windows(where):
    a, b = noise(0, 2, 24, 24, 24).astype(np.float32)
    b += 1.5 * a
    width = 6.0
    weights = np.ones((24, 24, 24))
    for axis, middle in enumerate(where):
        along = np.exp(
            -((np.arange(24) - middle) ** 2) / 2 / (width / 2.3548200450309493) ** 2
        )
        weights = weights * np.expand_dims(along, [i for i in range(3) if i != axis])
    local = []
    for band in (1, 2, 3):
        away = abs(lengths(24) * width - band)
        keep = np.where(away < 1, np.cos(np.pi / 2 * away) ** 2, 0)
        one, other = (
            scipy.fft.irfftn(scipy.fft.rfftn(each) * keep, s=(24,) * 3)
            for each in (a, b)
        )
        sums = [(weights * each).sum() for each in (one * other, one**2, other**2)]
        local.append(sums[0] / math.sqrt(sums[1] * sums[2]))
    for threshold in (*(np.array(local) - 0.01), *(np.array(local) + 0.01), 0.99):
        found = local_frequencies(a, b, width, threshold)[where] * width
        below = [i for i, each in enumerate(local) if each < threshold]
        if not below:
            expected = 3.0
        elif below[0] == 0:
            expected = 1.0
        else:
            before, after = local[below[0] - 1], local[below[0]]
            expected = below[0] + (before - threshold) / (before - after)
        assert found == pytest.approx(expected, abs=0.02)


def test_the_resolution_is_that_of_each_place():
    size, scale = 64, 0.5
    signal, *noises = noise(0, 3, size, size, size)
    strong, weak = (
        filtered(signal, lambda k, a=a: a * np.exp(-8 * k)) for a in (12, 4)
    )
    lower = np.arange(size).reshape(-1, 1, 1) < size / 2
    maps = [np.where(lower, weak, strong) + each for each in noises]
    found = fp.local_resolution(*maps, scale=scale, window=6.0)
    assert found.dtype == np.float32
    for place, amplitude in ((found[12:20], 4), (found[44:52], 12)):
        truth = 8 * scale / math.log(amplitude)  # where the signal is as the noise
        assert np.median(place) == pytest.approx(truth, rel=0.1)
    assert found.min() >= 2 * scale
    assert found.max() <= 6.0
    inside = ball(20, 4, size)
    masked = fp.local_resolution(*maps, scale=scale, window=6.0, mask=inside)
    np.testing.assert_array_equal(masked, np.where(inside > 0, found, 0))


def test_where_a_map_has_nothing_the_resolution_is_the_coarsest():
    found = fp.local_resolution(np.zeros((12, 12, 12)), noise(0, 12, 12, 12), window=4)
    np.testing.assert_array_equal(found, 4)


# What is given.


def test_masks_are_what_they_are_elsewhere(maps):
    a, b = maps
    by_provider = fp.fsc(a, b, mask=fp.from_array(MASK, scale=0.5), scale=0.5)
    by_array = fp.fsc(a, b, mask=MASK, scale=0.5)
    np.testing.assert_array_equal(by_provider.corrected, by_array.corrected)
    soft = fp.soft_otsu(1.0, 1.0)
    by_converter = fp.fsc(a, b, mask=soft, scale=0.5)
    of_mean = fp.fsc(a, b, mask=soft((a + b) / 2, 0.5), scale=0.5)
    np.testing.assert_allclose(by_converter.fsc, of_mean.fsc, atol=1e-5)


def test_it_waits_for_its_maps_and_is_repeated_by_its_seed(maps):
    a, b = maps
    waiting = fp.fsc(a, mask=MASK, scale=0.5, seed=3)
    assert repr(waiting) == "<fsc, waiting for b>"
    found, again = toolz.pipe(b, waiting), fp.fsc(a, b, mask=MASK, scale=0.5, seed=3)
    np.testing.assert_array_equal(found.corrected, again.corrected)
    other = fp.fsc(a, b, mask=MASK, scale=0.5, seed=4)
    assert (found.corrected != other.corrected).any()
    np.testing.assert_array_equal(found.fsc, other.fsc)


def test_what_is_found_is_frozen(maps):
    found = fp.fsc(*maps)
    with pytest.raises(AttributeError):
        found.fsc = found.waves
    for name in ("frequency", "fsc", "corrected", "waves", "randomised"):
        with pytest.raises(ValueError, match="read-only"):
            getattr(found, name)[0] = 1


A = np.ones((8, 8, 8))
ONE = np.zeros((8, 8, 8))
ONE[0, 0, 0] = 1


@pytest.mark.parametrize("function", [fp.fsc, fp.conical_fsc, fp.local_resolution])
@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"a": np.ones((8, 8))}, "a must be a 3-D array"),
        ({"b": np.ones((8, 8, 9))}, "b must have the shape of a"),
        ({"b": np.full((8, 8, 8), np.nan)}, "b must be finite"),
        ({"a": "half1.mrc"}, "a must be a 3-D array"),
        ({"a": fp.Halves(A, A)}, r"a must be one map, not .*: write fsc\(pair.first,"),
        ({"scale": 0}, "scale must be a number above 0"),
        ({"mask": np.zeros((8, 8, 8))}, "mask must be above 0 somewhere"),
        ({"mask": np.ones((8, 8, 9))}, r"mask must have the maps' shape \(8, 8, 8\)"),
        ({"mask": "mask.mrc"}, "mask must be .*: write from_file"),
        ({"mask": np.full((8, 8, 8), np.inf)}, "mask must be finite"),
    ],
)
def test_what_is_wrong_is_named(function, changes, text):
    arguments = {"a": ONE, "b": A, **changes}
    with pytest.raises((TypeError, ValueError), match=text):
        function(**arguments)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: fp.fsc(A, A, seed=0.5), "seed must be a whole number"),
        (lambda: fp.fsc(A, A, mask=[A, A]), "mask must be one, or 1"),
        (lambda: fp.fsc(ONE, A).resolution("x"), "threshold must be a number above 0"),
        (lambda: fp.fsc(ONE, A).resolution(1), "threshold must be above 0 and below"),
        (lambda: fp.conical_fsc(ONE, A).anisotropy(2), "threshold must be above 0 a"),
        (lambda: fp.fsc(ONE, A).band(1), "level must be above 0 and below 1, not 1"),
        (lambda: fp.fsc(ONE, A).band(0), "level must be a number above 0"),
        (lambda: fp.conical_fsc(A, A, angle=91), "angle must be above 0 and 90 deg"),
        (lambda: fp.conical_fsc(A, A, angle=0), "angle must be a number above 0"),
        (lambda: fp.conical_fsc(A, A, directions=0), "directions must be a whole"),
        (lambda: fp.conical_fsc(A, A, directions=10**5), "directions must be 10000 at"),
        (lambda: fp.local_resolution(A, A, window=1.9), "window must be from 2 nm, 2"),
        (lambda: fp.local_resolution(A, A, window=9), "window must be .* to 8 nm, not"),
        (lambda: fp.local_resolution(A, A, window=0), "window must be a number above"),
        (lambda: fp.local_resolution(A, A, threshold=1), "threshold must be above 0 a"),
        (lambda: fp.local_resolution(A, A, threshold=0), "threshold must be a number"),
    ],
)
def test_what_else_is_wrong_is_named(call, text):
    with pytest.raises((TypeError, ValueError), match=text):
        call()


@settings(max_examples=30)
@given(shapes, seeds)
def test_any_box_will_do(shape, seed):
    a, b = noise(seed, 2, *shape)
    mask = np.abs(noise(seed + 1, *shape)).clip(0, 1)
    found = fp.fsc(a, a + b, mask=mask)
    for each in (found.fsc, found.corrected, *found.band(), found.waves):
        assert np.isfinite(each).all()
        assert each.shape == (max(shape) // 2,)
    assert (np.abs(found.corrected) <= 1).all()
    cones = fp.conical_fsc(a, a + b, mask=mask, directions=3)
    assert np.isfinite(cones.corrected).all()
    local = fp.local_resolution(a, a + b, mask=mask)
    assert local.shape == shape
    assert np.isfinite(local).all()
