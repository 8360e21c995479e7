"""A search by few waves and poses finds what the exhaustive one finds."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

import funpipe as fp
from funpipe.engine.bank import masked, template_bank
from funpipe.engine.coverage import coverage, information, neighbours, net
from funpipe.engine.gauss_newton import Poses, Spectra, climb
from funpipe.engine.kernel import kernel
from funpipe.engine.limits import Limits
from funpipe.engine.settings import SETTINGS
from funpipe.engine.spectra import sample, template_fields
from funpipe.simulate import Blobs, asymmetric_molecule, blob_image, particles
from funpipe.space.crops import lattice, lattice_power, spectra, whole_box, whole_boxes
from funpipe.space.fourier import half_ball
from funpipe.space.geometry import RotationGrid, rotation_grid
from funpipe.space.tilts import as_tilt

SHAPE = (24, 24, 24)
BLOBS = asymmetric_molecule(3, radius=7.0, sigma=1.3)
TEMPLATE = blob_image(BLOBS, SHAPE, 1.0)


def known(template=TEMPLATE, finest=3.0):
    k = half_ball(SHAPE, finest) / np.array(SHAPE)
    k = k[np.argsort((k**2).sum(axis=1), kind="stable")]
    fields = template_fields(template, float(np.linalg.norm(k[-1])))
    return k, fields, information(fields, k, np.ones(len(k)))


def rod():
    along = np.linspace(-8.0, 8.0, 12)
    centres = np.stack([along, np.zeros(12), np.zeros(12)], axis=1)
    ends = np.array([[-8.0, 0.0, 2.5], [8.0, 2.0, 0.0]])
    return Blobs(np.concatenate([centres, ends]), 1.3, np.ones(14))


def ring():
    arm = asymmetric_molecule(2, count=6, radius=2.5, sigma=1.3)
    moved = arm.centres + np.array([0.0, 0.0, 5.0])
    turns = Rotation.from_rotvec(np.outer([0, 1, 2, 3], [np.pi / 2, 0, 0]))
    centres = np.concatenate([each.apply(moved) for each in turns])
    return Blobs(centres, arm.sigma, np.tile(arm.weights, 4))


def test_the_kernel_is_the_wave_to_the_error_that_it_may_have():
    k, _, about = known()
    power = np.diff(about.power, prepend=0)
    axes = [np.linspace(-m, m, n) for m, n in ((3.0, 5), (2.0, 3), (4.5, 7))]
    U, V = kernel(k, axes, power)
    shifts = np.array(list(itertools.product(*axes)))
    error = U.T @ V - np.exp(2j * np.pi * (k @ shifts.T))
    square = (power[:, None] * np.abs(error) ** 2).sum() / power.sum() / len(shifts)
    assert np.sqrt(square) <= 1.05 * SETTINGS.kernel_error
    assert len(U) < len(shifts)
    assert ((U.real == 0) | (U.imag == 0)).all()


def test_what_a_turn_and_a_shift_lose_is_what_the_information_says():
    k, fields, about = known()
    T = sample(k, fields, 1)[:, 0]
    random = np.random.default_rng(1)
    for _ in range(10):
        turn, shift = 0.02 * random.standard_normal(3), 0.05 * random.standard_normal(3)
        turned = sample(k @ Rotation.from_rotvec(turn).as_matrix(), fields, 1)[:, 0]
        moved = turned * np.exp(-2j * np.pi * (k @ shift))
        score = np.vdot(T, moved).real / np.linalg.norm(T) / np.linalg.norm(moved)
        power = about.power[-1]
        lost = turn @ about.turning[-1] @ turn + shift @ about.moving[-1] @ shift
        # What turn and shift do together is left out: the templates are centred.
        assert 1 - score == pytest.approx(lost / power / 2, rel=0.25)


@pytest.mark.parametrize("rotations", ["all", (30, 5), ((12, 4), (8, 4), (4, 4))])
@pytest.mark.parametrize("reach", [1.0, 9.0, 20.0, 60.0])
def test_a_net_has_a_rotation_near_every_one_of_the_grid(rotations, reach):
    grid = rotation_grid(rotations)
    chosen, apart = net(grid, reach)
    there, wanted = grid.rotations[chosen].as_quat(), grid.rotations.as_quat()[::17]
    nearest = 2 * np.arccos(np.clip(np.abs(wanted @ there.T).max(axis=1), 0, 1))
    assert np.degrees(nearest).max() <= max(reach, 1e-3)
    assert apart >= np.degrees(nearest).max() - 1e-3
    if reach > 4 * grid.spacing:
        assert len(chosen) < 0.2 * len(grid.rotations)


def test_rotations_that_were_listed_are_all_tried():
    grid = RotationGrid(Rotation.random(20, rng=0), None)
    assert len(net(grid, 60.0)[0]) == 20


def test_neighbours_are_those_within_reach_and_oneself():
    grid = rotation_grid((20, 5))
    found = neighbours(grid.rotations, 7.0)
    for i, row in enumerate(found[:20]):
        apart = np.degrees((grid.rotations[i].inv() * grid.rotations).magnitude())
        assert set(row) == set(np.flatnonzero(apart <= 7.0 + 1e-9))


@pytest.mark.parametrize("blobs", [BLOBS, rod(), ring()], ids=["blobs", "rod", "ring"])
def test_no_pose_of_the_grid_is_far_from_one_that_is_tried(blobs):
    k, fields, about = known(blob_image(blobs, SHAPE, 1.0))
    grid = rotation_grid((24, 4))
    covered = coverage([about], grid, (3.0, 3.0, 3.0))
    k = k[: covered.waves]
    tried = grid.rotations[covered.rotations]
    shifts = covered.shifts()
    random = np.random.default_rng(0)
    T = np.stack([sample(k @ R, fields, 1)[:, 0] for R in tried.as_matrix()])
    phases = np.exp(2j * np.pi * (k @ shifts.T))
    for turn in grid.rotations[random.integers(len(grid.rotations), size=30)]:
        shift = random.uniform(-3, 3, 3)
        F = sample(k @ turn.as_matrix(), fields, 1)[:, 0]
        F = F * np.exp(-2j * np.pi * (k @ shift))
        scores = (T.conj() * F) @ phases
        norms = np.linalg.norm(T, axis=1) * np.linalg.norm(F)
        assert (scores.real / norms[:, None]).max() >= 1 - 2.2 * SETTINGS.between


SCENES = {
    "blobs": (asymmetric_molecule(3, radius=7.0, sigma=1.3),),
    "two": (
        asymmetric_molecule(3, radius=7.0, sigma=1.3),
        asymmetric_molecule(8, radius=6.0, sigma=1.3),
    ),
    "rod": (rod(),),
    "ring": (ring(),),
    "bare of long waves": (asymmetric_molecule(5, radius=7.0, sigma=1.0),),
}


def scene(name, noise, count=30):
    templates = [blob_image(each, SHAPE, 1.0) for each in SCENES[name]]
    if name.startswith("bare"):
        wide = fp.gaussian_filter(2.5)
        templates = [each - wide(each, 1.0) for each in templates]
    unit = float(templates[0][np.abs(templates[0]) > 0.1 * templates[0].max()].std())
    options = {"angle": 10.0, "shift": 2.0, "tilt": (-60, 60), "seed": 4}
    return templates, particles(
        SCENES[name][0], SHAPE, 1.0, count, noise=noise * unit, **options
    )


def climbed_from_all(templates, made, rotations):
    """Return the best score of climbs from every rotation, at its best whole shift."""
    window = (3.0, 3.0, 3.0)
    masked_all = np.stack([masked(each, np.ones(SHAPE)) for each in templates])
    grid = rotation_grid(rotations)
    bank = template_bank(
        masked_all, grid, window, 4.0, support=whole_box(SHAPE), refined=False
    )
    crops = whole_boxes(made.boxes)
    F = spectra(crops, bank.k, bank.support)
    vectors = np.einsum("nij,kj->ink", made.orientations.as_matrix(), bank.k)
    W = as_tilt("tilt", (-60, 60))(vectors).astype(np.float32)
    waves = np.exp(2j * np.pi * (bank.k @ bank.shifts.T))
    best = np.full(len(F), -np.inf)
    for m, fields in enumerate(bank.fields):
        for R in grid.rotations.as_matrix():
            T = sample(bank.k @ R, fields, 1)[:, 0]
            t = bank.shifts[((W * T.conj() * F) @ waves).real.argmax(axis=1)]
            n = len(F)
            start = Poses(
                np.arange(n), np.full(n, m), np.tile(R, (n, 1, 1)), t, np.zeros(n)
            )
            there = climb(
                start,
                Spectra(bank.k, F, W),
                bank.fields,
                Limits(window, grid.limit),
                steps=20,
            )
            best = np.maximum(best, there.poses.score)
    k = lattice(SHAPE, 4.0)
    vectors = np.einsum("nij,kj->ink", made.orientations.as_matrix(), k)
    whole = lattice_power(crops, as_tilt("tilt", (-60, 60))(vectors), 4.0, bank.support)
    used = (W * np.abs(F) ** 2).sum(axis=1)
    return best * np.sqrt(used / whole)


@pytest.mark.parametrize("noise", [0.0, 3.0])
@pytest.mark.parametrize("name", SCENES)
def test_the_search_ends_as_high_as_climbs_from_all_of_the_grid(name, noise):
    templates, made = scene(name, noise)
    found = fp.align_subtomograms(
        made.boxes,
        scale=1.0,
        template=templates,
        max_shifts=3.0,
        rotations=(10, 5),
        tilt=(-60, 60),
        orientations=made.orientations,
        resolution=4.0,
        progress=False,
    )
    best = climbed_from_all(templates, made, (10, 5))
    assert (found.scores >= best - 2e-3).mean() >= 0.96
    assert len(rotation_grid((10, 5)).rotations) > 30
