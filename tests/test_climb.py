"""The climb ends at the optimum, and knows its errors where the model is not true."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from funpipe.engine import gauss_newton
from funpipe.engine import steps as quadratics
from funpipe.engine.gauss_newton import Poses, Spectra, climb
from funpipe.engine.limits import Limits
from funpipe.engine.noise import Sums, believed, local_noise, sums
from funpipe.engine.shells import each_shell, noise_of, shell_edges, shells_of
from funpipe.engine.spectra import filtered, sample, template_fields
from funpipe.simulate import Blobs, asymmetric_molecule, blob_image, particles
from funpipe.space.fourier import half_ball
from funpipe.space.geometry import centre
from funpipe.space.tilts import as_tilt

SHAPE = (24, 24, 24)
BLOBS = asymmetric_molecule(11, radius=6.0, sigma=1.3)
WAVES = half_ball(SHAPE, 3.5)
WAVES = WAVES[np.argsort((WAVES**2).sum(axis=1), kind="stable")]
FREE = Limits((20.0,) * 3)


def blurred(blobs, by):
    sigma = float(np.hypot(blobs.sigma, by))
    return Blobs(blobs.centres, sigma, blobs.weights * (blobs.sigma / sigma) ** 3)


def spectra_of(boxes, orientations, tilt):
    k = WAVES / SHAPE[0]
    F = np.fft.fftn(boxes, axes=(1, 2, 3))[:, *WAVES.T]
    F *= np.exp(2j * np.pi * (k * centre(SHAPE)).sum(axis=1))
    W = as_tilt("tilt", tilt)(np.einsum("nij,kj->ink", orientations.as_matrix(), k))
    return Spectra(k.astype(np.float32), F.astype(np.complex64), W.astype("f4"))


def fields_of(blobs):
    return (template_fields(blob_image(blobs, SHAPE, 1.0), 1 / 3.5),)


def problem(count, noise, template=BLOBS, data=BLOBS, neighbours=0, **options):
    """Return particles, their spectra and the template; noise as in its voxels."""
    image = blob_image(data, SHAPE, 1.0)
    unit = float(image[image > 0.1 * image.max()].std())
    options = {"tilt": (-60, 60), "shift": 1.5, "seed": 5, **options}
    made = particles(data, SHAPE, 1.0, count, noise=noise * unit, **options)
    boxes = made.boxes.copy()
    random = np.random.default_rng(6)
    for box in boxes:
        for _ in range(neighbours):
            way = random.standard_normal(3)
            shift = 14.5 * way / np.linalg.norm(way)
            box += blob_image(data, SHAPE, 1.0, Rotation.random(rng=random), shift)
    spectra = spectra_of(boxes, made.orientations, options["tilt"])
    return made, spectra, fields_of(template)


def starts(made, angle=4.0, shift=1.0, seed=0):
    random = np.random.default_rng(seed)
    count = len(made.boxes)
    turns = Rotation.from_rotvec(
        angle * random.uniform(-1, 1, (count, 3)) / np.sqrt(3), degrees=True
    )
    return Poses(
        np.arange(count),
        np.zeros(count, int),
        (made.rotations * turns).as_matrix(),
        made.shifts + random.uniform(-shift, shift, (count, 3)),
        np.zeros(count),
    )


def squares(found, made):
    """Return squared errors of rotation and shift, rad² and voxels²."""
    turns = (made.rotations.inv() * Rotation.from_matrix(found.poses.R)).magnitude()
    moves = np.square(found.poses.t - made.shifts).sum(axis=1)
    return np.stack([turns**2, moves], axis=1)


def ratios(found, made, factor=1.0):
    """Return actual errors against the predicted, of rotations and of shifts."""
    expected = (factor * found.variance).mean(axis=0)
    return np.sqrt(squares(found, made).mean(axis=0) / expected)


KINDS = {
    "white": {},
    "template blurred by 0.7": {"template": blurred(BLOBS, 0.7)},
    "template blurred by 1.5": {"template": blurred(BLOBS, 1.5)},
    "data blurred by 0.7": {"data": blurred(BLOBS, 0.7)},
    "data blurred by 1.5": {"data": blurred(BLOBS, 1.5)},
}


@pytest.mark.parametrize("kind", KINDS)
def test_poses_from_different_starts_meet_in_few_steps(kind):
    made, spectra, fields = problem(100, 2.0, **KINDS[kind])
    one, other = (
        climb(starts(made, seed=seed), spectra, fields, FREE, steps=10)
        for seed in (1, 2)
    )
    assert np.mean([one.converged, other.converged]) >= 0.98
    apart = np.square(one.poses.t - other.poses.t).sum(axis=1)
    turned = (
        Rotation.from_matrix(one.poses.R).inv() * Rotation.from_matrix(other.poses.R)
    ).magnitude() ** 2
    # Errors of 5 degrees leave some particles several maxima.
    share = 0.93 if kind == "data blurred by 1.5" else 0.97
    assert np.mean(apart < 0.15**2 * one.variance[:, 1]) >= share
    assert np.mean(turned < 0.15**2 * one.variance[:, 0]) >= share


def test_a_pose_that_has_not_converged_says_so():
    made, spectra, fields = problem(20, 1.0)
    far = starts(made, angle=12.0, shift=2.0)
    assert not climb(far, spectra, fields, FREE, steps=1).converged.any()
    assert climb(far, spectra, fields, FREE, steps=12).converged.all()


def test_expected_scores_of_last_steps_are_those_found_there():
    made, spectra, fields = problem(30, 2.0)
    found = climb(starts(made), spectra, fields, FREE, steps=10)
    there = climb(found.poses, spectra, fields, FREE, steps=0)
    np.testing.assert_allclose(found.poses.score, there.poses.score, atol=3e-4)


def climbed_alone(pose, data, limits, steps, correlation):
    """Return where one pose ends, whether it converged, and what was known there."""
    here = gauss_newton._linearise(pose, data)
    pose, reach, missing = pose._replace(score=here.score), 0.5, np.zeros((1, 6, 6))
    for _ in range(steps):
        now = here._replace(curvature=here.curvature + missing)
        outward = limits.outward(pose.R, pose.t)
        move = quadratics.solve(now, np.array([reach]), quadratics.FREE, outward)
        moved = gauss_newton._moved(pose, move.step, limits)
        old, size = pose.score[0], np.abs(move.step[0])
        # Smaller than a step can be, or than the noise lets it tell.
        small = max(size[:3]) <= 5e-4 and max(size[3:]) <= 5e-3
        if small or move.whole[0] <= 0.1 * correlation * now.noise[0]:
            square = old**2 + 2 * move.gain[0] / now.power[0]
            score = np.sqrt(min(square, 1.0)) if old > 0 else old
            return moved._replace(score=np.array([score])), True, here
        there = gauss_newton._linearise(moved, data)
        new, length = there.score[0], move.length[0]
        if length < 0.08:
            bent = there._replace(curvature=there.curvature + missing)
            fall = now.slope - there.slope
            missing = missing + quadratics.lacking(fall, move.step, bent)
        gained = (new * abs(new) - old * abs(old)) * there.power[0] / 2
        ratio = gained / move.gain[0]
        reach = max(reach, 2 * length) if ratio > 0.75 else reach
        reach = length / 3 if ratio < 0.25 else reach
        if new >= old - 1e-6:
            pose, here = moved._replace(score=there.score), there
        elif new >= old - 1e-5:
            return pose, True, here
    return pose, False, here


@pytest.mark.parametrize("correlation", [1.0, 2.5])
@pytest.mark.parametrize("steps", [0, 1, 2, 4, 8])
def test_poses_climb_as_each_alone_does(steps, correlation):
    made, spectra, fields = problem(12, 1.0)
    start = starts(made, angle=9.0, shift=1.5)
    limits = Limits((2.0, 1.5, 2.0), 170.0)
    found = climb(start, spectra, fields, limits, steps=steps, correlation=correlation)
    edges = shell_edges(spectra.k)
    counts = np.array(
        [
            [(W[low:high] > 0).sum() for low, high in itertools.pairwise(edges)]
            for W in spectra.W
        ]
    )
    data = gauss_newton._Data(spectra, fields[0], edges, counts)
    for i in range(12):
        pose, converged, here = climbed_alone(
            start.take([i]), data, limits, steps, correlation
        )
        assert found.converged[i] == converged
        np.testing.assert_allclose(found.poses.R[i], pose.R[0], atol=2e-5)
        np.testing.assert_allclose(found.poses.t[i], pose.t[0], atol=2e-4)
        assert found.poses.score[i] == pytest.approx(pose.score[0], abs=1e-5)
        variance = correlation * quadratics.variances(here, quadratics.FREE)[0]
        np.testing.assert_allclose(found.variance[i], variance, rtol=1e-3)
        sharpness = here.normal[0] / here.norm[0]
        close = 1e-3 * np.abs(sharpness).max()
        np.testing.assert_allclose(found.sharpness[i], sharpness, atol=close)


def test_of_several_templates_each_climbs_to_its_own():
    made, spectra, one = problem(6, 1.0)
    fields = (*one, *fields_of(blurred(BLOBS, 1.0)))
    start = starts(made)._replace(template=np.array([1, 0, 0, 1, 1, 0]))
    both = climb(start, spectra, fields, FREE, steps=6)
    for m in range(2):
        mine = np.flatnonzero(start.template == m)
        some = start.take(mine)._replace(template=np.zeros(3, int))
        alone = climb(some, spectra, (fields[m],), FREE, steps=6)
        np.testing.assert_allclose(both.poses.t[mine], alone.poses.t, atol=1e-4)
        np.testing.assert_allclose(both.variance[mine], alone.variance, rtol=1e-3)
        assert (both.converged[mine] == alone.converged).all()
        close = 1e-3 * np.abs(alone.sharpness).max()
        np.testing.assert_allclose(both.sharpness[mine], alone.sharpness, atol=close)
    shifts = climb(start, spectra, fields, FREE, steps=6, turning=False)
    np.testing.assert_allclose(shifts.poses.R, start.R, atol=1e-12)
    assert np.isnan(shifts.variance[:, 0]).all() and shifts.converged.all()
    assert (start.score == 0).all()  # what is given is left alone


@pytest.mark.parametrize("kind", KINDS)
def test_slope_and_curvature_are_those_of_the_score(kind):
    made, spectra, fields = problem(1, 0.0, tilt=None, **KINDS[kind])
    here = Poses(
        np.zeros(1, int),
        np.zeros(1, int),
        made.rotations.as_matrix(),
        made.shifts,
        np.zeros(1),
    )
    edges = shell_edges(spectra.k)
    counts = np.diff(edges)[None]
    data = gauss_newton._Data(spectra, fields[0], edges, counts)

    def step(change):
        return gauss_newton._linearise(
            gauss_newton._moved(here, np.array([change]), FREE), data
        )

    def f(change):
        there = step(change)
        return float(there.score[0] ** 2 * there.power[0] / 2)

    # By rotations H is as near as the template is to the data.
    near = {"white": 0.08}.get(kind, 0.5)
    h = np.array([0.04] * 3 + [0.15] * 3)
    middle = step(np.zeros(6))
    scale = np.sqrt(np.einsum("ii->i", middle.curvature[0]))
    for i, one in enumerate(np.diag(h)):
        up, down = f(one), f(-one)
        bend = -(up + down - 2 * f(0 * one)) / h[i] ** 2
        assert bend == pytest.approx(
            middle.curvature[0, i, i], rel=near if i < 3 else 0.08
        )
        rate = (f(one / 2) - f(-one / 2)) / h[i]
        if "1.5" not in kind:  # there the interpolation's ripple is larger
            assert abs(rate - middle.slope[0, i]) < 0.05 * scale[i] ** 2 * h[i]


@pytest.mark.parametrize("noise", [1.0, 3.0])
@pytest.mark.parametrize("kind", KINDS)
def test_errors_are_as_predicted_where_the_template_is_not_like_the_data(kind, noise):
    made, spectra, fields = problem(200, noise, **KINDS[kind])
    found = climb(starts(made), spectra, fields, FREE, steps=10)
    assert (np.abs(np.log(ratios(found, made))) < np.log(1.25)).all()


def test_errors_are_as_predicted_in_falling_noise():
    made, spectra, fields = problem(200, 0.7, falling=1.5)
    found = climb(starts(made), spectra, fields, FREE, steps=10)
    assert (np.abs(np.log(ratios(found, made))) < np.log(1.25)).all()


def test_local_noise_is_1_where_noise_is_alike_everywhere():
    made, spectra, fields = problem(100, 2.0)
    found = climb(starts(made), spectra, fields, FREE, steps=10)
    factor = local_noise(found.poses, spectra, fields)
    np.testing.assert_allclose(factor.mean(axis=0), 1, atol=0.15)


def test_local_noise_is_what_a_loop_over_waves_says():
    random = np.random.default_rng(7)
    k = (WAVES[:150] / SHAPE[0]).astype(np.float32)
    n, N = 3, len(k)
    fields = (*fields_of(BLOBS), *fields_of(blurred(BLOBS, 1.0)))
    F = 50 * random.standard_normal((n, N, 2)).view(complex)[..., 0]
    W = random.random((n, N)).astype(np.float32)
    W[:, ::7] = 0
    R = Rotation.random(n, rng=1).as_matrix()
    t, which = random.uniform(-1, 1, (n, 3)), np.array([1, 0, 1])
    poses = Poses(np.arange(n), which, R, t, np.zeros(n))
    found = local_noise(poses, Spectra(k, F.astype("c8"), W), fields)
    edges = shell_edges(k)
    shells = [np.arange(*each) for each in itertools.pairwise(edges)]
    assert len(shells) > 2
    at = Rotation.random(12, rng=0).as_matrix()  # where it is probed
    for q in range(n):
        T = sample(k @ R[q].astype("f4"), fields[which[q]], 1)[:, 0].astype(complex)
        D = F[q] * np.exp(2j * np.pi * (k @ t[q]))
        b, noise = np.zeros(len(shells)), np.zeros(N)
        sums = np.zeros((4, 1, len(shells)))
        for s, some in enumerate(shells):
            w = W[q, some]
            sums[0, 0, s] = (w * np.abs(T[some]) ** 2).sum()
            sums[1, 0, s] = (w * (T[some].conj() * D[some]).real).sum()
            sums[2, 0, s] = (w * np.abs(D[some]) ** 2).sum()
            sums[3, 0, s] = (w > 0).sum()
            b[s] = sums[1, 0, s] / sums[0, 0, s]
        for s, some in enumerate(shells):
            noise[some] = noise_of(*sums)[0, s]
        ratios = np.zeros((2, 12, 3))
        for i, turn in enumerate(at):
            P = sample(k @ turn.astype("f4"), fields[which[q]]).T.astype(complex)
            for axis in range(3):
                by_shift = -2j * np.pi * k[:, axis] * P[0]
                for kind, probe in enumerate((P[1 + axis], by_shift)):
                    product, expected = 0.0, 0.0
                    for s, some in enumerate(shells):
                        w, p = W[q, some], probe[some]
                        left = D[some] - b[s] * T[some]
                        product += (w * (left.conj() * p)).real.sum()
                        along = (w * (T[some].conj() * p)).real.sum()
                        square = (w * np.abs(p) ** 2).sum() - along**2 / sums[0, 0, s]
                        expected += noise[some[0]] * square
                    ratios[kind, i, axis] = product**2 / expected
        # With four numbers of noise that is alike everywhere.
        wanted = (ratios.sum(axis=(1, 2)) + 4) / (36 + 4)
        np.testing.assert_allclose(found[q], wanted, rtol=1e-2)


def test_probes_that_see_nothing_say_nothing():
    fields = (template_fields(np.zeros(SHAPE), 1 / 3.5),)
    made, spectra, _ = problem(2, 1.0)
    found = local_noise(starts(made), spectra, fields)
    assert np.isfinite(found).all()


def test_errors_among_neighbours_are_as_predicted_with_the_local_noise():
    made, spectra, fields = problem(200, 1.0, neighbours=4)
    found = climb(starts(made), spectra, fields, FREE, steps=10)
    factor = local_noise(found.poses, spectra, fields)
    assert (ratios(found, made) < 0.8).all()
    assert (np.abs(np.log(ratios(found, made, factor))) < np.log(1.25)).all()


def noise_at(poses, spectra, fields):
    shells = shells_of(spectra.k, SHAPE[0])
    return believed(sums(poses, spectra, fields, shells.edges), shells)


def test_what_data_lack_of_a_template_and_their_noise_are_found():
    made, spectra, fields = problem(100, 1.0, data=blurred(BLOBS, 1.0), falling=0.5)
    truth = Poses(
        np.arange(100),
        np.zeros(100, int),
        made.rotations.as_matrix(),
        made.shifts,
        np.zeros(100),
    )
    found = noise_at(truth, spectra, fields)
    k, length = spectra.k.T, np.linalg.norm(spectra.k, axis=1)
    # Up to a factor, which an amplitude makes up for.
    fall = np.exp(-2 * (np.pi * length) ** 2)
    clear = length < 0.25
    assert (found.fall_off(k)[clear] > 0).all()
    share = found.fall_off(k)[clear] / fall[clear]
    np.testing.assert_allclose(share / share.mean(), 1, atol=0.2)
    colour = length / found.weights(k)  # noise's power falls as 1 / |k|
    np.testing.assert_allclose(colour / colour.mean(), 1, atol=0.5)


@pytest.mark.parametrize(
    ("kind", "falling", "gain"),
    [("data blurred by 1.5", 0, 0.95), ("white", 1.5, 0.8), ("white", 0, 1.03)],
)
def test_errors_are_less_where_data_are_believed_as_far_as_they_go(kind, falling, gain):
    made, spectra, fields = problem(150, 0.7, falling=falling, **KINDS[kind])
    plain = climb(starts(made), spectra, fields, FREE, steps=10)
    noise = noise_at(plain.poses, spectra, fields)
    sure = spectra._replace(W=spectra.W * noise.weights(spectra.k.T).astype("f4"))
    seen = tuple(filtered(each, noise.fall_off) for each in fields)
    found = climb(plain.poses, sure, seen, FREE, steps=10)
    assert (
        np.sqrt(squares(found, made).mean(0) / squares(plain, made).mean(0)) < gain
    ).all()
    assert (np.abs(np.log(ratios(found, made))) < np.log(1.25)).all()


def test_the_order_of_the_waves_changes_nothing():
    made, spectra, fields = problem(10, 1.0)
    mixed = np.random.default_rng(0).permutation(len(spectra.k))
    other = Spectra(spectra.k[mixed], spectra.F[:, mixed], spectra.W[:, mixed])
    one, two = (
        climb(starts(made), each, fields, FREE, steps=10) for each in (spectra, other)
    )
    np.testing.assert_allclose(one.poses.t, two.poses.t, atol=1e-3)
    np.testing.assert_allclose(one.variance, two.variance, rtol=1e-3)


def test_the_noise_of_shells_is_found_beside_a_signal_of_any_amplitude():
    random = np.random.default_rng(0)
    k = np.sort(random.uniform(0.02, 0.3, 4000))[:, None] * [1, 0, 0]
    edges = shell_edges(k)
    shell = each_shell(edges)
    truth = 1 + shell / 3.0
    T = random.standard_normal((2, 4000, 2)).view(complex)[..., 0]
    D = (
        shell * T
        + np.sqrt(truth) * random.standard_normal((2, 4000, 2)).view(complex)[..., 0]
    )
    sums = [
        np.stack([each[:, shell == i].sum(1) for i in range(len(edges) - 1)], axis=1)
        for each in (np.abs(T) ** 2, (T.conj() * D).real, np.abs(D) ** 2)
    ]
    found = noise_of(*sums, np.tile(np.diff(edges), (2, 1)))
    np.testing.assert_allclose(found / truth[edges[:-1]], 1, atol=0.35)


def test_a_template_field_is_sampled_once_a_linearisation(monkeypatch):
    made, spectra, fields = problem(60, 2.0)
    asked = []

    def counting(points, field, count=4):
        asked.append(len(points))
        return sample(points, field, count)

    monkeypatch.setattr(gauss_newton, "sample", counting)
    climb(starts(made), spectra, fields, FREE, steps=10)
    assert sum(asked) / len(WAVES) / 60 < 4.0


def test_noise_and_fall_off_are_those_of_a_loop():
    """Few particles say little of a fall-off: it is held near 1 then."""
    random = np.random.default_rng(3)
    k = np.array([[i, 0, 0] for i in range(1, 6)]) / 8
    shells = shells_of(k, 8.0)
    norms = random.uniform(1, 3, (4, 5))
    overlaps = norms * random.uniform(0.2, 0.9, (4, 5))
    overlaps[3] *= -1  # a particle that is not like the template
    overlaps[:, 3] = [-0.9, -0.8, 0.1, 0.2]  # a shell that is against it
    powers = overlaps**2 / norms + random.uniform(0.5, 2, (4, 5))
    powers[:, 4] = 0.0  # a shell that the data lack
    counts = random.integers(3, 9, (4, 5))
    found = believed(Sums(norms, overlaps, powers, counts), shells)
    there = range(4)
    own = noise_of(norms * [1, 1, 1, 1, 0], overlaps * [1, 1, 1, 1, 0], powers, counts)
    own = own.mean(axis=1)
    a = [
        max(sum(overlaps[q, s] for s in there) / sum(norms[q, s] for s in there), 0)
        for q in range(4)
    ]
    assert a[3] == 0 and min(a[:3]) > 0
    noise, fall = np.zeros(5), np.ones(5)
    for s in there:
        seen = sum(a[q] ** 2 * norms[q, s] for q in range(4))
        g = sum(a[q] * overlaps[q, s] for q in range(4)) / seen
        numbers = sum(2 * counts[q, s] for q in range(4))
        for q in range(4):
            left = powers[q, s] - 2 * a[q] * g * overlaps[q, s]
            left += (a[q] * g) ** 2 * norms[q, s]
            noise[s] += max(left, 1e-4 * powers[q, s]) / own[q] / numbers
        # Its squared error, against 0.5² of how far fall-offs are from 1.
        error = noise[s] * own.mean() / seen
        fall[s] = max((g * 0.25 + error) / (0.25 + error), 0)
    np.testing.assert_allclose(found.fall, fall, rtol=1e-9)
    np.testing.assert_allclose(found.power, noise / noise.mean(), rtol=1e-9)
    assert fall[3] < 0.6 < fall[0] and found.power[4] == 0


def test_what_a_model_always_lacks_is_a_ten_thousandth_of_the_data():
    k = np.array([[1, 0, 0], [2, 0, 0]]) / 8
    norms = np.ones((1, 2))
    same = Sums(norms, norms, norms, np.full((1, 2), 5))  # data that are the template
    noise = believed(same._replace(powers=np.array([[1.0, 1.5]])), shells_of(k, 8.0))
    left = np.array([1e-4, 0.5])
    np.testing.assert_allclose(noise.power, left / left.mean(), rtol=1e-6)
