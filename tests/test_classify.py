"""Classes: who is right, what they are compared with, and what is refused."""

from __future__ import annotations

import itertools
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import scipy
from scipy.spatial.transform import Rotation

import funpipe as fp
from funpipe.engine import classes
from funpipe.engine.amplitude import LADDER, over_ladder
from funpipe.engine.posterior import log_likelihood
from funpipe.jobs import measuring, sorting
from funpipe.simulate import (
    Blobs,
    asymmetric_molecule,
    blob_image,
    particles,
    perturbed,
    tomogram,
)
from funpipe.space.crops import whole_box, whole_boxes
from funpipe.space.tilts import as_tilt
from funpipe.space.transfer import per_voxel

BOX, TILT, MOLECULE = (16,) * 3, (-60, 60), asymmetric_molecule(3, radius=4.5)
WHOLE = blob_image(MOLECULE, BOX, 1.0)
FAR = np.linalg.norm(MOLECULE.centres - [4.5, 0, 0], axis=1)
REST = np.sort(FAR.argsort()[4:])
LESS = Blobs(MOLECULE.centres[REST], MOLECULE.sigma, MOLECULE.weights[REST])
PART = WHOLE - blob_image(LESS, BOX, 1.0)
MASK = fp.soft_otsu(sigma=1.0, radius=1.0)
UNIT = float(WHOLE[MASK(WHOLE, 1.0) > 0.5].std())
OPTIONS = {"scale": 1.0, "tilt": TILT, "progress": False}
REFERENCES = [WHOLE, WHOLE - PART]
COUNT = 80


def scene(count=COUNT, noise=2.0, seed=0, both=(MOLECULE, LESS)):
    """Return a tomogram, its particles, and which molecule each is."""
    random = np.random.default_rng(seed)
    side = int(np.ceil(count ** (1 / 3)))
    grid = np.stack(np.unravel_index(np.arange(count), (side,) * 3), axis=1)
    places = (grid + 0.5) * 17.0 + random.uniform(-0.5, 0.5, (count, 3))
    true = fp.Molecules(places, Rotation.random(count, rng=random))
    truth = random.permutation(count) % len(both)
    shape = (side * 17,) * 3
    volume = sum(
        tomogram(
            *(blobs, true[truth == each], shape, 1.0),
            noise=0.0 if each else noise * UNIT,
            seed=seed,
        )
        for each, blobs in enumerate(both)
    )
    return volume, true, truth


@pytest.fixture(name="made", scope="module")
def _made():
    return scene()


def probabilities(found):
    names = sorted(each for each in found.features if each.startswith("class_prob"))
    return np.stack([found.features[each] for each in names], axis=1)


def right(found, truth):
    """Return the part that is right, up to the order of two classes."""
    part = float((found.features["class"] == truth).mean())
    return max(part, 1 - part)


# Who is right.


def test_particles_are_of_the_template_that_they_are_like(made):
    volume, true, truth = made
    found = fp.classify(
        volume, true, templates=REFERENCES, mask=MASK, iterations=1, **OPTIONS
    )
    assert (found.features["class"] == truth).mean() >= 0.95
    np.testing.assert_array_equal(found.positions, true.positions)
    other = fp.classify(
        volume, true, templates=REFERENCES[::-1], mask=MASK, iterations=1, **OPTIONS
    )
    assert (other.features["class"] == 1 - truth).mean() >= 0.95


@pytest.mark.parametrize("start", ["variance", "random"])
def test_classes_are_found_without_templates(made, start):
    volume, true, truth = made
    told = []
    found = fp.classify(
        *(volume, true),
        classes=2,
        shape=16,
        mask=MASK,
        start=start,
        on_iteration=told.append,
        **OPTIONS,
    )
    assert right(found, truth) >= 0.9
    assert told[-1].converged and told[-1].changed <= 1e-3
    assert told[-1].molecules == found
    assert told[-1].log_likelihood > told[0].log_likelihood - 1e-6


def test_a_classification_says_in_a_line_what_it_is(made):
    volume, true, _ = made
    told = []
    how = {"classes": 2, "shape": 16, "mask": MASK, "iterations": 1}
    fp.classify(volume, true, on_iteration=told.append, **how, **OPTIONS)
    line, one, other = repr(told[0]), *(100 * told[0].shares)
    assert line.startswith(f"Classification(1: {one:.3g} %, {other:.3g} % of ")
    assert len(line) < 100


def test_a_classification_that_was_stopped_or_ran_elsewhere_is_the_same(made, tmp_path):
    volume, true, _ = made
    how = {"classes": 2, "shape": 16, "mask": MASK, "align": True, "iterations": 2}
    how |= {"max_shifts": 1.0, "rotations": (6, 6)}
    wanted = fp.classify(volume, true, **how, **OPTIONS)

    def stop(_):
        raise KeyboardInterrupt

    kept = {**OPTIONS, "checkpoint": tmp_path}
    with pytest.raises(KeyboardInterrupt):
        fp.classify(volume, true, on_iteration=stop, **how, **kept)
    first = {each: each.stat().st_mtime_ns for each in tmp_path.rglob("*.npz")}
    assert first
    with ThreadPoolExecutor(2) as pool:
        found = fp.classify(volume, true, executor=pool, **how, **kept)
    assert found == wanted
    assert all(each.stat().st_mtime_ns == then for each, then in first.items())


def test_the_variance_shows_the_classes_before_any_iteration(made):
    volume, true, truth = made
    told = []
    how = {"classes": 2, "shape": 16, "mask": MASK, "iterations": 1}
    fp.classify(volume, true, on_iteration=told.append, **how, **OPTIONS)
    (first,) = told
    assert right(first.molecules, truth) >= 0.9
    fp.classify(
        volume, true, start="random", on_iteration=told.append, **how, **OPTIONS
    )
    assert right(told[1].molecules, truth) < 0.9


def test_a_probability_is_how_often_it_is_right():
    volume, true, truth = scene(count=343, noise=5.0, seed=1)
    for given in ({"templates": REFERENCES}, {"classes": 2, "shape": 16}):
        found = fp.classify(volume, true, mask=MASK, **given, **OPTIONS)
        sure = probabilities(found).max(axis=1)
        np.testing.assert_allclose(probabilities(found).sum(axis=1), 1)
        assert 0.75 < right(found, truth) < 0.98
        assert abs(sure.mean() - right(found, truth)) < 0.05


def test_three_classes_of_unequal_shares_are_found():
    third = Blobs(MOLECULE.centres[:18], MOLECULE.sigma, MOLECULE.weights[:18])
    volume, true, truth = scene(125, 1.0, 2, both=(MOLECULE, LESS, third))
    chosen = np.flatnonzero((truth > 0) | (np.arange(len(truth)) % 2 == 0))
    told = []
    found = fp.classify(
        *(volume, true[chosen]),
        classes=3,
        shape=16,
        on_iteration=told.append,
        **OPTIONS,
    )
    table = np.zeros((3, 3), int)
    np.add.at(table, (truth[chosen], found.features["class"]), 1)
    best = scipy.optimize.linear_sum_assignment(-table)
    assert table[best].sum() >= 0.9 * len(chosen)
    np.testing.assert_allclose(
        told[-1].shares, probabilities(found).mean(axis=0), atol=1e-12
    )


def test_with_alignment_picks_come_to_their_places():
    volume, true, truth = scene(count=27, noise=0.5, seed=4)
    picks = perturbed(true, 1.0, 6.0, seed=5)
    found = fp.classify(
        *(volume, picks),
        templates=REFERENCES,
        mask=MASK,
        align=True,
        max_shifts=2.0,
        rotations=(8, 8),
        iterations=2,
        **OPTIONS,
    )
    assert (found.features["class"] == truth).mean() >= 0.95
    for name in ("score", "shift", "angle_error"):
        assert name in found.features
    before, after = (
        np.linalg.norm(each.positions - true.positions, axis=1).mean()
        for each in (picks, found)
    )
    assert after < 0.3 * before


def test_classes_differ_only_under_their_mask(made):
    volume, true, truth = made
    under = (np.abs(PART) > 0.2 * PART.max()).astype(np.float32)
    told = []
    found = fp.classify(
        *(volume, true),
        classes=2,
        shape=16,
        class_mask=under,
        on_iteration=told.append,
        **OPTIONS,
    )
    assert right(found, truth) >= 0.95
    apart = told[-1].maps[0] - told[-1].maps[1]
    inside = float(np.square(apart[under > 0]).sum())
    assert inside > 0.9 * float(np.square(apart).sum())  # but for the band's limit
    assert np.abs(told[-1].maps).max() > 2 * np.abs(apart[under == 0]).max()


# What they are compared with.


def measured(count=12, noise=2.0, seed=0, molecule=MOLECULE):
    lattice = classes.lattice_of(whole_box(BOX), 2.5, compiled=False)
    made = particles(
        *(molecule, BOX, 1.0, count),
        angle=0.0,
        shift=0.0,
        noise=noise * UNIT,
        seed=seed,
    )
    data = classes.measured_waves(
        whole_boxes(made.boxes),
        made.orientations,
        per_voxel(as_tilt("tilt", TILT), 1.0),
        lattice,
    )
    return data, lattice, made


def whole_of(data):
    sums = classes.class_sums(data, np.ones((len(data.W), 1)))
    return classes.Sums(sums.S[0], sums.Q[0])


def test_particles_are_measured_as_a_sum_over_voxels_says():
    data, lattice, made = measured(count=2)
    places = np.indices(BOX).reshape(3, -1).T - 7.5
    waves = np.exp(-2j * np.pi * places @ (lattice.waves / 16.0).T)
    for i, box in enumerate(made.boxes):
        values = (box - box.mean()) / box.std()
        turned = made.orientations[i].apply(lattice.waves / 16.0)
        W = as_tilt("tilt", TILT)(turned.T)
        F = values.reshape(-1) @ waves
        np.testing.assert_allclose(data.W[i], W)
        np.testing.assert_allclose(data.WF[i], W * F, atol=1e-2)
        np.testing.assert_allclose(
            data.power[i].sum(), (W * np.abs(F) ** 2).sum(), rtol=1e-4
        )
        assert data.counts[i].sum() == (W > 0).sum()


def test_sums_and_evidence_are_those_of_a_loop():
    data, lattice, _ = measured()
    n, N = data.W.shape
    random = np.random.default_rng(0)
    weights = random.random((n, 2, 3))
    sums = classes.class_sums(data, weights)
    S, Q = np.zeros((2, 3, N), complex), np.zeros((2, 3, N))
    for i in range(n):
        S += weights[i][..., None] * data.WF[i]
        Q += weights[i][..., None] * data.W[i]
    np.testing.assert_allclose(sums.S, S, rtol=1e-4, atol=1e-2)
    np.testing.assert_allclose(sums.Q, Q, rtol=1e-4, atol=1e-5)
    spectrum = classes.spectrum_of(data, whole_of(data), lattice.edges)
    T = S / np.maximum(Q, 1e-3)
    fold = random.integers(2, size=n)
    found = classes.evidence(data, T, fold, spectrum, lattice)
    shell = np.repeat(np.arange(len(lattice.edges) - 1), np.diff(lattice.edges))
    noise = spectrum.noise
    size = np.mean([(np.abs(each) ** 2 / noise).sum() for each in T.reshape(6, N)])
    for i in range(n):
        for k in range(3):
            t = T[fold[i], k]
            x = (np.conj(t) * data.WF[i] / noise).real.sum()
            g = (np.abs(t) ** 2 * data.W[i] / noise).sum()
            P = (data.power[i] / noise[lattice.edges[:-1]]).sum()
            count = 2 * (data.W[i] > 0).sum()
            for j, strength in enumerate(LADDER):
                rho = strength / np.sqrt(size)
                expected, _ = log_likelihood(x, g, P, count, rho)
                np.testing.assert_allclose(
                    found[i, k, j], expected, rtol=1e-3, atol=0.02
                )
    assert shell[-1] == len(lattice.edges) - 2


def test_particles_are_taken_in_blocks_that_memory_holds(monkeypatch):
    data, _, _ = measured(count=7)
    N = data.W.shape[1]
    for size, count in ((1, 1), (2, 2), (3, 3), (7, 7), (9, 9)):
        monkeypatch.setattr(classes, "_BLOCK", 12 * N * size + 11)
        blocks = list(classes._blocks(data))
        assert [each.start for each in blocks] == list(range(0, 7, count))
        assert all(each.stop - each.start == count for each in blocks)
    monkeypatch.setattr(classes, "_BLOCK", 1)  # less than one
    assert len(list(classes._blocks(data))) == 7


def test_the_powers_of_noise_and_signal_are_those_that_were_made():
    data, lattice, made = measured(count=200)
    found = classes.spectrum_of(data, whole_of(data), lattice.edges)
    scales = np.array([each.std() for each in made.boxes])
    white = 16**3 * (2 * UNIT) ** 2 * np.mean(1 / scales**2)
    first = lattice.edges[:-1]
    np.testing.assert_allclose(found.noise[first], white, rtol=0.1)
    T = classes.to_waves(WHOLE, lattice) / scales.mean()
    inside = np.linalg.norm(lattice.waves, axis=1) < 3
    ratio = found.signal[inside].mean() / np.square(np.abs(T[inside])).mean()
    assert 0.8 < ratio < 1.2


def test_powers_of_noise_and_signal_are_those_of_a_loop():
    random = np.random.default_rng(4)
    edges = np.array([0, 3, 7, 12, 14])
    shell = np.repeat(np.arange(4), np.diff(edges))
    n, N = 6, 14
    W = random.uniform(0.2, 1, (n, N)).astype(np.float32)
    W[:, 13] = 0  # a wave that none of them has
    F = random.standard_normal((n, N, 2)).view(complex)[..., 0]
    F += 3 * (shell == 0) - F.mean(axis=0) * (shell == 2)  # signal, and less than none
    F[:, shell == 3] = 0
    power = np.zeros((n, 4))
    for i in range(n):
        for w in range(N):
            power[i, shell[w]] += W[i, w] * abs(F[i, w]) ** 2
    counts = np.array([[3.0, 4.0, 5.0, 1.0]] * n)
    data = classes.Measured((W * F).astype("c8"), W, power, counts, np.ones(n))
    found = classes.spectrum_of(data, whole_of(data), edges)
    S, Q = (W * F).sum(axis=0), W.sum(axis=0)
    noise, signal = np.zeros(4), np.zeros(4)
    for s in range(4):
        some = [w for w in range(N) if shell[w] == s and Q[w] > 0]
        left = power[:, s].sum() - sum(abs(S[w]) ** 2 / Q[w] for w in some)
        noise[s] = left / (counts[:, s].sum() - len(some))
    noise = np.maximum(noise, 1e-6 * noise.max())  # where there is none
    more = np.zeros(4)
    for s in range(4):
        some = shell == s
        more[s] = (np.abs(S[some]) ** 2).sum() - noise[s] * Q[some].sum()
        signal[s] = max(more[s], 0) / (Q[some] ** 2).sum()
    assert more[0] > 0 > more[2] and signal[2] == 0
    np.testing.assert_allclose(found.noise, noise[shell], rtol=1e-4)
    np.testing.assert_allclose(found.signal, signal[shell], rtol=1e-4)
    nothing = data._replace(WF=0 * data.WF, power=0 * power)
    level = classes.spectrum_of(nothing, whole_of(nothing), edges)
    assert (level.noise == 1).all() and (level.signal == 0).all()


@pytest.mark.parametrize("masked", [False, True])
def test_references_are_averages_and_what_classes_differ_by(masked):
    """By Wiener's filter, wave by wave; what differs is of a fifth of the power."""
    data, lattice, _ = measured(count=6)
    random = np.random.default_rng(5)
    N = len(lattice.waves)
    spectrum = classes.Spectrum(random.uniform(1, 2, N), random.uniform(1, 3, N))
    spectrum.signal[:5] = 0
    weights = random.random((6, 2))
    sums, whole = classes.class_sums(data, weights), whole_of(data)
    mask = random.random(BOX) if masked else None
    found = classes.references(sums, whole, spectrum, lattice, mask)
    average, apart = np.zeros(N, complex), np.zeros((2, N), complex)
    for w in range(N):
        if spectrum.signal[w] == 0:
            continue  # nothing is believed
        over = spectrum.noise[w] / spectrum.signal[w]
        average[w] = whole.S[w] / (whole.Q[w] + over)
        mean = whole.S[w] / whole.Q[w] if whole.Q[w] > 0 else 0.0
        for k in range(2):
            off = sums.S[k, w] - sums.Q[k, w] * mean
            apart[k, w] = off / (sums.Q[k, w] + 5 * over)
    if masked:
        apart = classes.masked_waves(apart, mask, lattice)
    close = 1e-6 * np.abs(average).max()
    np.testing.assert_allclose(found, average + apart, rtol=1e-5, atol=close)
    # Of templates what the mask leaves is the average's.
    T = random.standard_normal((2, N, 2)).view(complex)[..., 0]
    part = classes.part_of_average(T, whole, spectrum, lattice, mask)
    wanted = T
    if masked:
        wanted = average + classes.masked_waves(T - average, mask, lattice)
    np.testing.assert_allclose(part, wanted, rtol=1e-5, atol=close)


def test_templates_are_scaled_as_a_loop_over_shells_says():
    random = np.random.default_rng(0)
    edges, K = np.array([0, 4, 9, 15]), 2
    shell = np.repeat(np.arange(3), np.diff(edges))
    noise = np.array([1.0, 20.0, 400.0])[shell]
    T = random.standard_normal((K, 15, 2)).view(complex)[..., 0]
    Q, much = random.uniform(5, 9, (K, 15)), np.array([[3.0], [0.5]])
    lacking = np.array([1.0, 0.6, 0.2])[shell]
    scatter = random.standard_normal((K, 15, 2)).view(complex)[..., 0]
    S = Q * much * lacking * T + np.sqrt(noise) * scatter
    spectrum = classes.Spectrum(noise, np.ones(15))
    found = classes.scaled(T, classes.Sums(S, Q), spectrum, edges)
    b = np.zeros(K)
    for k in range(K):
        over = sum((np.conj(T[k]) * S[k]).real / noise)
        b[k] = max(over / sum(Q[k] * np.abs(T[k]) ** 2 / noise), 0)
    for s in range(3):
        some = shell == s
        over = [(np.conj(T[k]) * S[k]).real[some].sum() for k in range(K)]
        norm = [(Q[k] * np.abs(T[k]) ** 2)[some].sum() for k in range(K)]
        fall = max(b @ over, 0) / (b**2 @ norm)
        np.testing.assert_allclose(found[:, some], T[:, some] * b[:, None] * fall)


def test_places_of_particles_are_the_eigenvectors_of_their_differences():
    data, lattice, _ = measured(count=12)
    whole = whole_of(data)
    spectrum = classes.spectrum_of(data, whole, lattice.edges)
    found = classes.scattered(data, whole, spectrum, lattice, None, 3)
    T = whole.S / (whole.Q + spectrum.noise / np.maximum(spectrum.signal, 1e-30))
    apart = []
    for WF, W in zip(data.WF, data.W, strict=True):
        overlap = (WF * T.conj() / spectrum.noise).real.sum()
        a = overlap / (W * np.abs(T) ** 2 / spectrum.noise).sum()
        left = (WF - a * W * T) * np.sqrt(spectrum.signal) / spectrum.noise
        apart.append(left)
    products = np.array([[np.vdot(a, b).real for b in apart] for a in apart])
    np.fill_diagonal(products, 0)
    values, vectors = np.linalg.eigh(products)
    for k in range(3):
        wanted = vectors[:, -1 - k] * np.sqrt(max(values[-1 - k], 0))
        sign = np.sign(wanted @ found[:, k])
        close = 1e-3 * np.abs(wanted).max()
        np.testing.assert_allclose(sign * found[:, k], wanted, atol=close)


def test_waves_that_depend_on_each_other_count_for_fewer():
    data, lattice, _ = measured(count=4)
    spectrum = classes.spectrum_of(data, whole_of(data), lattice.edges)
    random = np.random.default_rng(6)
    T = 30 * random.standard_normal((1, 2, len(lattice.waves), 2)).view(complex)[..., 0]
    each = np.array([1.0, 0.4, 0.9, 1e-4])
    power, WF = data.power.copy(), data.WF.copy()
    power[2], WF[2] = 0, 0  # of which nothing was measured
    some = data._replace(WF=WF, each=each, power=power)
    found = classes.evidence(some, T, np.zeros(4, int), spectrum, lattice)
    assert np.isnan(found[2]).all() and np.isfinite(found[[0, 1, 3]]).all()
    norms = (np.abs(T[0]) ** 2 / spectrum.noise).sum(axis=1)
    rho = LADDER / np.sqrt(norms.mean() * each.mean())
    for i, k in itertools.product((0, 1, 3), range(2)):
        x = (np.conj(T[0, k]) * data.WF[i] / spectrum.noise).real.sum()
        g = (np.abs(T[0, k]) ** 2 * data.W[i] / spectrum.noise).sum()
        P = (power[i] / spectrum.noise[lattice.edges[:-1]]).sum()
        N = max(2 * (data.W[i] > 0).sum() * each[i], 8.0)
        wanted, _ = log_likelihood(*(each[i] * e for e in (x, g, P)), N, rho)
        np.testing.assert_allclose(found[i, k], wanted, rtol=1e-3, atol=0.02)


def test_places_of_particles_under_a_mask_are_of_images():
    """Of as much of their differences as the mask lets through, voxel by voxel."""
    data, lattice, _ = measured(count=7)
    whole = whole_of(data)
    spectrum = classes.spectrum_of(data, whole, lattice.edges)
    mask = np.zeros(BOX)
    mask[4:9, 3:12, 5:11] = np.random.default_rng(7).uniform(0.2, 1, (5, 9, 6))
    mask[4] *= 0.01  # as good as outside
    found = classes.scattered(data, whole, spectrum, lattice, mask, 2)
    T = whole.S / (whole.Q + spectrum.noise / np.maximum(spectrum.signal, 1e-30))
    images = []
    for WF, W in zip(data.WF, data.W, strict=True):
        overlap = (WF * T.conj() / spectrum.noise).real.sum()
        a = overlap / (W * np.abs(T) ** 2 / spectrum.noise).sum()
        apart = (WF - a * W * T) * np.sqrt(spectrum.signal) / spectrum.noise
        image = classes.to_image(apart, lattice) * mask
        images.append(image[mask > 0.01 * mask.max()])
    products = np.array([[a @ b for b in images] for a in images])
    np.fill_diagonal(products, 0)
    values, vectors = np.linalg.eigh(products)
    for k in range(2):
        wanted = vectors[:, -1 - k] * np.sqrt(max(values[-1 - k], 0))
        sign = np.sign(wanted @ found[:, k])
        close = 1e-3 * np.abs(wanted).max()
        np.testing.assert_allclose(sign * found[:, k], wanted, atol=close)


def test_chances_of_classes_go_by_evidence_and_shares():
    logs = np.array([[1.0, 3.0, 2.0], [np.nan] * 3, [-900.0, -901.0, 5.0]])
    shares = np.array([0.5, 0.3, 0.2])
    found = classes.probabilities(logs, shares)
    likely = np.exp(logs[0]) * shares
    np.testing.assert_allclose(found[0], likely / likely.sum())
    np.testing.assert_allclose(found[1], shares)  # of what nothing is known
    np.testing.assert_allclose(found[2], [0, 0, 1], atol=1e-9)
    gone = classes.probabilities(logs[:1], np.array([0.5, 0.0, 0.5]))
    assert gone[0, 1] == 0 and gone[0].sum() == pytest.approx(1)


def test_a_lattice_has_half_of_the_waves_the_longest_first():
    lattice = classes.lattice_of(whole_box(BOX), 3.0, compiled=False)
    ball = {
        wave
        for wave in itertools.product(range(-8, 9), repeat=3)
        if 0 < np.linalg.norm(wave) <= 16 / 3.0
    }
    found = set(map(tuple, lattice.waves.tolist()))
    assert len(found) == len(lattice.waves) == len(ball) / 2
    assert found | {tuple(-i for i in each) for each in found} == ball
    length = np.linalg.norm(lattice.waves, axis=1)
    assert (np.diff(length) >= 0).all()
    for low, high in itertools.pairwise(lattice.edges):
        assert len(set(length[low:high].round())) == 1
    np.testing.assert_allclose(lattice.k, lattice.waves / 16)


@pytest.mark.parametrize("factor", [1e-5, 1e4])
def test_no_units_matter_to_classes(factor):
    data, lattice, _ = measured(count=6)
    random = np.random.default_rng(8)
    moved = data._replace(WF=data.WF * np.float32(factor), power=data.power * factor**2)
    weights, fold = random.random((6, 2)), np.zeros(6, int)
    found = []
    for each in (data, moved):
        whole, sums = whole_of(each), classes.class_sums(each, weights)
        spectrum = classes.spectrum_of(each, whole, lattice.edges)
        T = classes.references(sums, whole, spectrum, lattice, None)
        given = classes.scaled(
            T * factor ** random.integers(-1, 2), sums, spectrum, lattice.edges
        )
        ln = classes.evidence(each, T[None], fold, spectrum, lattice)
        places = classes.scattered(each, whole, spectrum, lattice, None, 2)
        found.append((spectrum, T, given, ln, np.abs(places)))
    (one, T, given, ln, places), (other, *rest) = found
    for before, after in zip(one, other, strict=True):
        np.testing.assert_allclose(after, before * factor**2, rtol=1e-3)
    for before, after in zip((T, given), rest[:2], strict=True):
        close = 1e-4 * np.abs(before).max() * factor
        np.testing.assert_allclose(after, before * factor, rtol=1e-3, atol=close)
    np.testing.assert_allclose(rest[2], ln, rtol=1e-3, atol=1e-2)
    close = 1e-3 * places.max()
    np.testing.assert_allclose(rest[3], places, rtol=1e-2, atol=close)


def test_images_and_waves_are_the_same_thing():
    _, lattice, _ = measured(count=1)
    image = np.random.default_rng(0).normal(size=(2, *BOX))
    waves = classes.to_waves(image, lattice)
    places = np.indices(BOX).reshape(3, -1).T - 7.5
    phases = np.exp(-2j * np.pi * places @ (lattice.waves / 16.0).T)
    np.testing.assert_allclose(waves, image.reshape(2, -1) @ phases, atol=1e-8)
    back = classes.to_image(waves, lattice)
    np.testing.assert_allclose(classes.to_waves(back, lattice), waves, atol=1e-8)
    ones = classes.masked_waves(waves, np.ones(BOX), lattice)
    np.testing.assert_allclose(ones, waves, atol=1e-8)


def test_no_particle_is_compared_with_itself():
    """Noise alone is as likely of either class; of averages with itself of its own."""
    data, lattice, _ = measured(count=40, noise=300.0)
    n = len(data.W)
    label = np.arange(n) % 2
    p = np.eye(2)[label]
    spectrum = classes.spectrum_of(data, whole_of(data), lattice.edges)
    spectrum = spectrum._replace(signal=0.05 * spectrum.noise)  # as if there were some
    fold = np.arange(n) // 2 % classes.FOLDS

    def own_more_likely(T, fold):
        found = classes.evidence(data, T, fold, spectrum, lattice)
        at = np.argmin(abs(LADDER - 20))
        ln = found[:, :, at]
        return ln[np.arange(n), label] - ln[np.arange(n), 1 - label]

    sums, whole = classes.class_sums(data, p), whole_of(data)
    with_it = classes.references(sums, whole, spectrum, lattice, None)
    biased = own_more_likely(with_it[None], np.zeros(n, int))
    own = np.eye(classes.FOLDS)[fold]
    of_folds = classes.class_sums(data, own[:, :, None] * p[:, None])
    folds = classes.class_sums(data, own)
    others = classes.references(
        classes.Sums(
            of_folds.S.sum(axis=0) - of_folds.S, of_folds.Q.sum(axis=0) - of_folds.Q
        ),
        classes.Sums(folds.S.sum(axis=0) - folds.S, folds.Q.sum(axis=0) - folds.Q),
        spectrum,
        lattice,
        None,
    )
    fair = own_more_likely(others, fold)
    error = fair.std() / np.sqrt(n)
    assert abs(fair.mean()) < 3 * error
    assert biased.mean() > 10 * error
    assert (biased > 0).mean() > 0.95


def test_particles_of_one_kind_are_not_sorted_with_certainty():
    """Compared with themselves, they would be: each class fits its own noise."""
    volume, true, _ = scene(count=64, noise=3.0, seed=6, both=(MOLECULE,))
    told = []
    how = {"classes": 2, "shape": 16, "start": "random", "iterations": 5}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it has not converged: there is no end
        fp.classify(volume, true, on_iteration=told.append, **how, **OPTIONS)
    sure = [probabilities(each.molecules).max(axis=1).mean() for each in told]
    assert max(sure) < 0.8


def test_the_classes_of_the_verb_follow_from_the_parts(made):
    """One iteration from templates, its sums and evidence written out."""
    volume, true, _ = made
    told = []
    fp.classify(
        *(volume, true),
        templates=REFERENCES,
        iterations=1,
        on_iteration=told.append,
        **OPTIONS,
    )
    lattice = classes.lattice_of(
        whole_box(BOX)._replace(radius=6.0, bulk=16**3), 2.0, compiled=False
    )
    from funpipe.boxes.cropping import cropped_boxes
    from funpipe.boxes.opening import open_tomograms
    from funpipe.jobs.preparing import masked_templates, prepare_all

    sources, _ = open_tomograms(volume, true, 1.0, as_tilt("tilt", TILT), "tomogram")
    boxes = cropped_boxes(sources, lattice.support)
    parts = [boxes.cut(each) for each in boxes.parts(boxes.chunks, None)]
    several = [
        classes.measured_waves(each[1], each[2], per_voxel(each[3], 1.0), lattice)
        for each in parts
    ]
    data = classes.Measured(*map(np.concatenate, zip(*several, strict=True)))
    spectrum = classes.spectrum_of(data, whole_of(data), lattice.edges)
    waves = classes.to_waves(
        masked_templates(prepare_all(REFERENCES, None, 1.0)), lattice
    )
    p, shares = np.full((len(true), 2), 0.5), np.full(2, 0.5)
    for _ in range(5):
        sums = classes.class_sums(data, p)
        T = classes.scaled(waves, sums, spectrum, lattice.edges)
        ln = over_ladder(
            classes.evidence(
                data, T[None], np.zeros(len(true), int), spectrum, lattice
            ),
            np.zeros(len(true), int),
        ).log_evidence
        likely = np.exp(ln - ln.max(axis=1, keepdims=True)) * shares
        p = likely / likely.sum(axis=1, keepdims=True)
        shares = p.mean(axis=0)
    np.testing.assert_allclose(probabilities(told[0].molecules), p, atol=2e-3)


def test_templates_are_brought_to_the_grey_scale_of_the_data(made):
    volume, true, _ = made
    how = {"mask": MASK, "iterations": 1, **OPTIONS}
    one = fp.classify(volume, true, templates=REFERENCES, **how)
    other = fp.classify(
        volume, true, templates=[7 * REFERENCES[0], *REFERENCES[1:]], **how
    )
    np.testing.assert_allclose(probabilities(one), probabilities(other), atol=1e-3)


# How it runs.


def test_the_same_seed_gives_the_same_and_executors_change_nothing(made, tmp_path):
    volume, true, _ = made
    sort = fp.classify(volume, classes=2, shape=16, iterations=2, **OPTIONS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it has not converged
        one = sort(true)
        assert sort(true) == one
        with ThreadPoolExecutor(2) as pool:
            assert sort(true, executor=pool) == one
        other = sort(true, seed=1)
    assert (probabilities(other) != probabilities(one)).any()


def test_what_is_finished_is_found_again(made, tmp_path, monkeypatch):
    volume, true, _ = made
    many = fp.Molecules.concat([true, true.translate([0.25, 0, 0])])  # several chunks
    sort = fp.classify(
        volume, templates=REFERENCES, iterations=1, checkpoint=tmp_path, **OPTIONS
    )
    worked = measuring.measured_waves
    calls = []

    def interrupted(*given):
        calls.append(given)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return worked(*given)

    monkeypatch.setattr(measuring, "measured_waves", interrupted)
    with ThreadPoolExecutor(1) as pool, pytest.raises(KeyboardInterrupt):
        sort(many, executor=pool)
    done = len(calls) - 1
    calls.clear()
    monkeypatch.setattr(
        measuring,
        "measured_waves",
        lambda *given: calls.append(given) or worked(*given),
    )
    found = sort(many)
    assert done >= 1 and len(calls) == int(np.ceil(len(many) / 64)) - done
    assert found == sort(many, checkpoint=None)


def test_what_memory_does_not_hold_goes_to_a_file(made, monkeypatch):
    volume, true, _ = made
    sort = fp.classify(volume, templates=REFERENCES, iterations=1, **OPTIONS)
    expected = sort(true)
    monkeypatch.setattr(measuring, "_HELD", 1000)
    kinds = []
    room = measuring._room
    monkeypatch.setattr(
        measuring,
        "_room",
        lambda *given: kinds.append(type(room(*given))) or room(*given),
    )
    assert sort(true) == expected
    assert kinds == [np.memmap, np.memmap]


def test_many_tomograms_are_sorted_together(made):
    volume, true, _ = made
    named = true.with_features(tomogram=np.where(np.arange(len(true)) % 3, "a", "b"))
    found = fp.classify(
        {"a": volume, "b": volume.copy()},
        named,
        templates=REFERENCES,
        mask=MASK,
        iterations=1,
        **OPTIONS,
    )
    alone = fp.classify(
        volume, true, templates=REFERENCES, mask=MASK, iterations=1, **OPTIONS
    )
    np.testing.assert_allclose(probabilities(found), probabilities(alone), atol=1e-3)


def test_a_class_that_runs_empty_is_said(made):
    volume, true, truth = made
    with pytest.warns(UserWarning, match="class 2 is empty from iteration 1 on"):
        found = fp.classify(
            *(volume, true),
            templates=[*REFERENCES, WHOLE[::-1, ::-1].copy() ** 2],
            mask=MASK,
            **OPTIONS,
        )
    assert right(found, truth) >= 0.95
    assert not found.features["class_probability_2"].any()


def test_particles_sure_of_a_class_that_is_gone_are_of_the_others():
    p = np.array([[1.0, 0, 0], [0, 1, 0], [0.01, 0.99, 0], [0, 0.6, 0.4]])
    before = np.full((4, 3), 1 / 3)
    found = sorting._Found(p, p.mean(axis=0))
    with pytest.warns(UserWarning, match="class 2 is empty from iteration 7 on: all 4"):
        kept = sorting._without_empty(found, before, 7).p
    np.testing.assert_allclose(kept[3], [0, 1, 0], atol=1e-12)
    np.testing.assert_allclose(kept[:3], p[:3], atol=1e-12)
    sure = np.array([[0.0, 1.0, 0.0]] * 3 + [[0.0, 0.55, 0.45]])
    with pytest.warns(UserWarning, match="is empty"):
        kept = sorting._without_empty(
            sorting._Found(sure, sure.mean(axis=0)), before, 1
        )
    np.testing.assert_array_equal(kept.p[:, 1], 1)


def test_boxes_that_hold_nothing_are_said_and_are_of_any_class():
    volume, true, _ = scene(count=27, noise=0.5)
    place = np.round(true.positions[0]).astype(int)
    volume[tuple(slice(max(0, each - 14), each + 14) for each in place)] = 0
    with pytest.warns(UserWarning, match=r"\d of 27 boxes hold nothing"):
        found = fp.classify(
            volume, true, templates=REFERENCES, mask=MASK, iterations=1, **OPTIONS
        )
    assert 0.2 < probabilities(found)[0, 0] < 0.8
    assert np.isfinite(probabilities(found)).all()


def test_iterations_that_do_not_suffice_are_said():
    volume, true, _ = scene(count=27, noise=8.0)
    with pytest.warns(UserWarning, match="after 2 iterations .* give more iterations"):
        fp.classify(
            volume, true, classes=2, shape=16, start="random", iterations=2, **OPTIONS
        )


WRONG = [
    ({"classes": 1}, "classes must be a whole number of 2 or more"),
    ({"classes": 2.5}, "classes must be a whole number"),
    ({"classes": 9}, "classes must be no more than there are particles, 8, not 9"),
    ({}, "templates or classes must be given"),
    ({"templates": "a.mrc"}, "templates must be .* from_file"),
    ({"templates": [WHOLE]}, "templates must be two or more"),
    ({"templates": [WHOLE, WHOLE[:8]]}, "^templates: several must have one shape"),
    ({"templates": [WHOLE, np.ones(BOX)]}, "^templates must vary under its mask"),
    ({"templates": [WHOLE, np.full(BOX, np.nan)]}, r"^templates.* must be finite"),
    ({"templates": REFERENCES, "classes": 3}, "classes must be 2, as many as there"),
    ({"templates": REFERENCES, "shape": 8}, "shape must be that of the templates"),
    ({"classes": 2, "shape": None}, "shape must be given where there are no templ"),
    ({"classes": 2, "class_mask": np.zeros(BOX)}, "^class_mask must be above 0"),
    ({"classes": 2, "mask": np.zeros(BOX)}, "^mask must be above 0 somewhere"),
    ({"classes": 2, "class_mask": np.ones((8,) * 3)}, "class_mask must have the"),
    ({"classes": 2, "class_mask": "mask.mrc"}, "class_mask must be .* from_file"),
    ({"classes": 2, "start": "kmeans"}, "start must be 'variance' or 'random'"),
    ({"classes": 2, "seed": 0.5}, "seed must be a whole number"),
    ({"classes": 2, "seed": "x"}, "seed must be a whole number"),
    ({"classes": 2, "iterations": 0}, "iterations must be a whole number of 1"),
    ({"classes": 2, "align": 1}, "align must be True or False"),
    ({"classes": 2, "on_iteration": 3}, "on_iteration must be a function"),
    ({"classes": 2, "resolution": 1.0}, "resolution must be 2 nm or more"),
    ({"classes": 2, "scale": -1}, "scale must be a number above 0"),
    ({"classes": 2, "shape": 99}, "fit into the tomogram"),
]


@pytest.mark.parametrize("given, text", WRONG)
def test_what_is_wrong_is_said_before_work_starts(given, text):
    volume = np.random.default_rng(0).normal(size=(40,) * 3)
    picks = np.full((8, 3), 20.0) + np.arange(8)[:, None] / 4
    given = {"shape": 16, **given} if "templates" not in given else given
    with pytest.raises((TypeError, ValueError), match=text):
        fp.classify(volume, picks, **{**OPTIONS, **given})


def test_nan_in_a_tomogram_and_no_particles_are_refused(made):
    volume, true, _ = made
    with pytest.raises(ValueError, match="molecules"):
        fp.classify(volume, true[:0], classes=2, shape=16, **OPTIONS)
    broken = volume.copy()
    broken[tuple(np.round(true.positions[0]).astype(int))] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        fp.classify(broken, true, classes=2, shape=16, **OPTIONS)
