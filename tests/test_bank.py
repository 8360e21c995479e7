"""What a search prepares is what plain sums say, and no more than memory holds."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from funpipe.engine import bank as banks
from funpipe.engine.bank import masked, template_bank, with_dense
from funpipe.engine.cells import cells_of
from funpipe.engine.coverage import highest_told, net
from funpipe.engine.noise import Noise
from funpipe.engine.settings import SETTINGS
from funpipe.engine.shells import shells_of
from funpipe.engine.spectra import filtered, sample, template_fields, turning_rates
from funpipe.simulate import asymmetric_molecule, blob_image
from funpipe.space.crops import whole_box
from funpipe.space.fourier import half_ball
from funpipe.space.geometry import RotationGrid, rotation_grid

SHAPE = (24, 24, 24)
TEMPLATE, OTHER = (
    blob_image(asymmetric_molecule(seed, radius=7.0, sigma=1.3), SHAPE, 1.0)
    for seed in (3, 5)
)


def small_bank(rotations=((8, 4),) * 3, window=(2.0, 1.0, 0.0), templates=1, **options):
    images = [TEMPLATE, OTHER][:templates]
    return template_bank(
        np.stack(images).astype(np.float32),
        rotation_grid(rotations),
        window,
        4.0,
        support=whole_box(SHAPE),
        **options,
    )


def test_a_masks_own_edge_is_as_faint_as_a_constant_can_make_it():
    random = np.random.default_rng(1)
    template = random.normal(5, 1, (9, 10, 11)).astype(np.float32)
    mask = np.zeros((9, 10, 11), np.float32)
    mask[2:8, 0:7, 3:] = random.uniform(0.5, 1, (6, 7, 8))
    found = masked(template, mask)
    inside = mask > 0
    b = (template - found / np.where(inside, mask, 1))[inside]
    assert np.ptp(b) < 1e-4 and (found[~inside] == 0).all()
    padded = np.pad(mask.astype(float), 1)

    def edge(b):
        total = 0.0
        for z, y, x in np.ndindex(*mask.shape):
            i = z + 1, y + 1, x + 1
            for axis in range(3):
                up, down = list(i), list(i)
                up[axis] += 1
                down[axis] -= 1
                slope = (padded[tuple(up)] - padded[tuple(down)]) / 2
                total += ((template[z, y, x] - b) * slope) ** 2
        return total

    assert edge(b[0]) < min(edge(b[0] - 0.02), edge(b[0] + 0.02))


def test_stages_take_three_times_as_many_waves_and_say_what_they_hold():
    bank = small_bank()
    counts = [count for count, _ in bank.stages]
    assert counts[-1] == len(bank.k) and (np.diff(counts) > 0).all()
    for fewer, more in itertools.pairwise(counts):
        assert more <= SETTINGS.widening * fewer
        assert more == len(bank.k) or more == int(SETTINGS.widening * fewer)
    fields = bank.fields[0]
    power = np.abs(sample(bank.k.astype(float), fields, 1)[:, 0]) ** 2
    whole = highest_told(bank.templates[0], 4.0, banks.alike)[1]
    for count, part in bank.stages:
        held = power[:count].sum() / power.sum() * whole
        assert part == pytest.approx(held, rel=1e-4)
    lengths = np.linalg.norm(bank.k, axis=1)
    assert (np.diff(lengths) >= -1e-6).all()
    assert bank.spectra.shape == (len(bank.matrices), counts[0])
    np.testing.assert_allclose(bank.power, np.abs(bank.spectra) ** 2, rtol=1e-4)
    for row in (0, len(bank.matrices) - 1):
        points = bank.k[: counts[0]] @ bank.matrices[row]
        T = sample(points, fields, 1)[:, 0]
        np.testing.assert_allclose(bank.spectra[row], T, atol=1e-4)
    assert np.abs(bank.templates).max() == 1


def test_a_bank_that_is_not_refined_has_all_poses_and_waves():
    bank = small_bank(refined=False)
    assert len(bank.matrices) == len(bank.grid.rotations)
    assert bank.stages == ((len(bank.k), 1.0),)
    assert len(bank.k) == len(half_ball(SHAPE, 4.0))
    axes = np.arange(-2, 3), np.arange(-1, 2), [0]
    assert sorted(map(tuple, bank.shifts)) == sorted(itertools.product(*axes))


@pytest.mark.parametrize("templates", [1, 2])
def test_all_poses_of_the_grid_are_weighed(templates):
    bank = with_dense(small_bank(templates=templates))
    dense, m = bank.dense, templates
    r = len(bank.grid.rotations)
    assert len(dense.cells.turns) == r and len(dense.spectra) == m * r
    waves = bank.k[: bank.stages[0][0]]
    matrices = bank.grid.rotations.as_matrix()
    for row in (0, r - 1, m * r - 1):
        T = sample(waves @ matrices[row % r], bank.fields[row // r], 1)[:, 0]
        np.testing.assert_allclose(dense.spectra[row], T, atol=1e-4)
    error = dense.U.T @ dense.V - np.exp(2j * np.pi * (waves @ dense.cells.shifts.T))
    weight = dense.power.mean(axis=0)[:, None] / dense.power.mean(axis=0).sum()
    square = (weight * np.abs(error) ** 2).sum() / len(dense.cells.shifts)
    assert np.sqrt(square) <= 1.05 * SETTINGS.kernel_error
    sizes = dense.power.sum(axis=1).reshape(m, -1).mean(axis=1)
    strengths = dense.amplitudes * np.sqrt(sizes)
    np.testing.assert_allclose(strengths, banks.LADDER[:, None] * np.ones(m), rtol=1e-5)
    # As strong as the ladder says where all is measured.
    assert dense.group.shape == (1, 4)


@pytest.mark.parametrize("limit", ["bytes", "poses"])
def test_where_the_grid_is_too_large_the_net_is_weighed_or_nothing(limit, monkeypatch):
    bank = small_bank(rotations=(16, 2), window=(1.0, 1.0, 1.0))
    tried, r = len(bank.matrices), len(bank.grid.rotations)
    assert tried < r / 2
    waves, shifts = bank.stages[0][0], 27
    of_row = max(12 * waves, 4 * shifts)

    def weighed(rows):
        by = (
            {"bank_bytes": rows * of_row}
            if limit == "bytes"
            else {"weighed": rows * shifts}
        )
        monkeypatch.setattr(banks, "SETTINGS", SETTINGS._replace(**by))
        dense = with_dense(bank).dense
        return None if dense is None else len(dense.cells.turns)

    assert weighed(r + 0.5) == r
    assert weighed(r - 0.5) == tried
    assert weighed(tried / 2 + 0.5) == tried
    assert weighed(tried / 2 - 0.5) is None


def test_rotations_of_a_net_stand_for_those_that_are_nearest():
    grid = rotation_grid((24, 4))
    cells = cells_of(grid, np.zeros((1, 3)), (0, 0, 0))
    chosen, _ = net(grid, 12.0)
    some = grid.rotations[chosen]
    found = banks._of_fewer(cells, some)
    turns = np.zeros(len(some))
    for one, volume in zip(grid.rotations, cells.turns, strict=True):
        turns[(some.inv() * one).magnitude().round(9).argmin()] += volume
    # Of rotations halfway between two either may be.
    assert np.abs(found.turns - turns).sum() < 0.5 * turns.sum()
    assert found.turns.sum() == pytest.approx(cells.turns.sum())
    assert found.spacing == pytest.approx(found.turns.mean() ** (1 / 3))
    still = cells_of(RotationGrid(some, None), np.zeros((1, 3)), (0, 0, 0))
    assert banks._of_fewer(still, some[:4]).spacing == 0


def test_a_template_that_is_turned_in_parts_is_the_same():
    fields = template_fields(TEMPLATE, 1 / 3)
    k = half_ball(SHAPE, 3.0) / np.array(SHAPE)
    turns = Rotation.random(300, rng=0)
    assert len(turns) * len(k) > 2**18
    found = banks.turned_templates(fields, k, turns)
    for i in (0, 77, 299):
        T = sample(k @ turns[i].as_matrix(), fields, 1)[:, 0]
        np.testing.assert_allclose(found[i], T, atol=1e-5)


@pytest.mark.parametrize(
    ("shape", "finest", "times"),
    [
        ((24, 24, 24), 1 / 3, None),
        ((20, 28, 36), 0.3, None),
        ((8, 9, 10), 0.25, 8.0),  # all of it in the cache, and more
        ((50, 60, 64), 0.4, 2.0),
        ((9, 9, 9), 0.0, 8.0),
    ],
)
def test_fields_are_as_fine_as_the_cache_has_room_for(shape, finest, times):
    fields = template_fields(np.zeros(shape), finest)
    if times is None:
        # Half of a cube of frequencies, in 32 bytes each of four complex numbers.
        half = 32 * np.prod([2 * finest * n for n in shape]) / 2
        times = np.cbrt(4e6 / half)
        assert 2 < times < 8
    assert fields.grid.periods == tuple(round(times * n) for n in shape)
    a, b, c = (int(np.ceil(finest * n)) + 2 for n in fields.grid.periods)
    assert fields.grid.shape == (a, b, c)
    assert fields.values.shape == (4 * a * b * c, 8)


@pytest.mark.parametrize("shape", [(8, 9, 10), (7, 12, 6)])
def test_turning_rates_are_products_of_places_and_slopes(shape):
    """Of slopes by the waves of the box, but for the one that has no direction."""
    image = np.random.default_rng(0).normal(size=shape)
    spectrum = np.fft.fftn(image)
    slopes = []
    for axis, n in enumerate(shape):
        k = np.fft.fftfreq(n) * n
        k[k == -n / 2] = 0
        k = k.reshape([-1 if i == axis else 1 for i in range(3)])
        slopes.append(np.fft.ifftn(2j * np.pi * k / n * spectrum).real)
    middle = (np.array(shape) - 1) / 2
    found = turning_rates(image)
    for voxel in np.ndindex(*shape):
        slope = np.array([each[voxel] for each in slopes])
        for axis, rate in zip(np.eye(3), found, strict=True):
            turn = -np.cross(axis, voxel - middle) @ slope
            assert rate[voxel] == pytest.approx(turn, abs=1e-9)


def test_a_filter_is_by_the_length_of_each_wave():
    template = blob_image(asymmetric_molecule(3), (12, 13, 14), 1.0)
    fields = template_fields(template, 0.3)
    found = filtered(fields, lambda k: 1 / (0.1 + np.square(k).sum(axis=0)))
    k = np.random.default_rng(1).uniform(-0.15, 0.15, (40, 3))
    k = np.round(k * fields.grid.periods) / fields.grid.periods  # points of the grid
    factor = 1 / (0.1 + np.square(k).sum(axis=1))
    np.testing.assert_allclose(
        sample(k, found), factor[:, None] * sample(k, fields), rtol=1e-4, atol=1e-3
    )


def noise_of_the_bank(finest=4.0):
    """Return noise that falls, of data that are blurred."""
    k = half_ball(SHAPE, finest) / np.array(SHAPE)
    k = k[np.argsort(np.square(k).sum(axis=1), kind="stable")]
    shells = shells_of(k, 24.0)
    return Noise(shells, 2 / (0.1 + shells.length), np.exp(-8 * shells.length**2))


@pytest.mark.parametrize("refined", [True, False])
def test_a_bank_that_knows_the_noise_counts_waves_by_it(refined):
    noise = noise_of_the_bank()
    plain = small_bank(templates=2, refined=refined)
    bank = small_bank(templates=2, refined=refined, noise=noise)
    k = bank.k.astype(float)
    # Templates are as blurred as the data.
    T = sample(k, template_fields(bank.templates[1], 0.25), 1)[:, 0]
    found = sample(k, bank.fields[1], 1)[:, 0]
    close = 0.02 * np.abs(T).max()
    np.testing.assert_allclose(found, T * noise.fall_off(k.T), atol=close)
    count = bank.stages[0][0]
    counted = bank.power.mean(axis=0) * noise.weights(k[:count].T)
    error = bank.U.T @ bank.V - np.exp(2j * np.pi * (k[:count] @ bank.shifts.T))
    square = (counted[:, None] * np.abs(error) ** 2).sum() / counted.sum()
    assert np.sqrt(square / len(bank.shifts)) <= 1.05 * SETTINGS.kernel_error
    if not refined:
        assert len(k) == len(plain.k)
        return

    def told_by(k):
        return noise.weights(k) * noise.fall_off(k) ** 2

    told = [highest_told(each, 4.0, told_by) for each in bank.templates]
    assert np.linalg.norm(k[-1]) == pytest.approx(max(each for each, _ in told))
    held = min(part for _, part in told)
    parts = []
    for fields in bank.fields:
        power = np.abs(sample(k, fields, 1)[:, 0]) ** 2 * noise.weights(k.T)
        parts.append(np.cumsum(power) / power.sum())
    for count, part in bank.stages:
        wanted = held * min(each[count - 1] for each in parts)
        assert part == pytest.approx(wanted, rel=1e-3)


def test_waves_of_templates_count_as_the_data_have_them():
    noise = noise_of_the_bank()
    k = np.random.default_rng(2).uniform(-0.12, 0.12, (3, 9))
    found = banks._of_filtered(k, noise=noise)
    for wave, weight in zip(k.T, found, strict=True):
        fall = noise.fall_off(wave[:, None])[0]
        assert weight == pytest.approx(noise.weights(wave[:, None])[0] * fall * fall)


def test_amplitudes_are_those_at_which_particles_in_noise_are_as_strong():
    noise = noise_of_the_bank()
    bank = small_bank(templates=2, noise=noise)
    dense = with_dense(bank).dense
    weights = noise.weights(bank.k.T.astype(float))
    weights = weights[: dense.power.shape[1]] / weights.max()
    sizes = (dense.power * weights).sum(axis=1).reshape(2, -1).mean(axis=1)
    strengths = dense.amplitudes * np.sqrt(sizes)
    np.testing.assert_allclose(strengths, banks.LADDER[:, None] * [1, 1], rtol=1e-4)
    fields = [each._replace(values=each.values / 1000) for each in bank.fields]
    faint = with_dense(bank._replace(fields=tuple(fields))).dense
    np.testing.assert_allclose(faint.amplitudes, 1000 * dense.amplitudes, rtol=1e-4)
    whole = dense.U.T @ dense.V
    error = whole - np.exp(2j * np.pi * (bank.k[: len(weights)] @ dense.cells.shifts.T))
    weight = dense.power.mean(axis=0) * weights
    square = (weight[:, None] * np.abs(error) ** 2).sum() / weight.sum()
    assert np.sqrt(square / len(dense.cells.shifts)) <= 1.05 * SETTINGS.kernel_error


def test_shifts_that_are_weighed_go_from_face_to_face_a_voxel_apart_or_less():
    for most in (0.51, 0.8, 1.0, 1.6, 2.0 + 1e-12, 3.0, 7.3):
        found = banks._weighed(most)
        assert found[0] == -most and found[-1] == most and 0 in found
        apart = np.diff(found)
        assert np.ptp(apart) < 1e-9 and 0.5 < apart[0] <= 1 + 1e-9
    assert banks._weighed(3.0).tolist() == [-3, -2, -1, 0, 1, 2, 3]
    for most in (0.0, 0.5):
        assert banks._weighed(most).tolist() == [0]


def test_templates_of_short_waves_alone_are_refused():
    waves = np.cos(np.pi * np.arange(24))[:, None, None] * np.ones(SHAPE)
    smooth = np.cos(2 * np.pi * np.arange(24) / 8)[:, None, None] * np.ones(SHAPE)
    with pytest.raises(ValueError, match="must have waves of 4 voxels or more"):
        banks._check_power(waves[None], 4.0)
    banks._check_power(smooth[None], 4.0)
    banks._check_power(np.stack([waves, waves + 0.1 * smooth]), 4.0)
    banks._check_power((waves + 1e-3 * smooth)[None], 4.0)
    with pytest.raises(ValueError, match="only shorter ones"):
        banks._check_power((waves + 1e-7 * smooth)[None], 4.0)


def test_no_more_waves_are_turned_together_than_memory_holds(monkeypatch):
    fields = template_fields(TEMPLATE, 1 / 3)
    k = half_ball(SHAPE, 3.0) / np.array(SHAPE)
    together = []

    def counting(points, fields, count):
        together.append(points.shape[:-1])
        return sample(points, fields, count)

    monkeypatch.setattr(banks, "sample", counting)
    for count in (1, 2**18 // len(k), 2**18 // len(k) + 1, 300):
        together.clear()
        banks.turned_templates(fields, k, Rotation.random(count, rng=0))
        assert all(each[-1] == len(k) for each in together)
        assert sum(np.prod(each) for each in together) == count * len(k)
        assert len(together) == 1 + count * len(k) // 2**18
        assert max(np.prod(each) for each in together) < 2**18 + len(k)


def test_what_is_known_without_noise_is_that_all_is_alike():
    bank = small_bank(compiled=False)
    assert bank.noise is None and bank.local == (1.0, 1.0) and bank.dense is None
    assert not bank.compiled and not bank.fields[0].compiled
    assert not template_fields(TEMPLATE, 0.1).compiled
