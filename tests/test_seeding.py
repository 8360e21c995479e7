"""Particles along filaments and over surfaces are where geometry says."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import scipy
from scipy.spatial.transform import Rotation

import funpipe as fp
from funpipe.space.curves import smooth_curve
from funpipe.space.surfaces import on_triangles, sphere_through, spread

BENT = np.array(
    [[30, 10, 12], [34, 40, 20], [31, 75, 44], [36, 110, 60], [30, 150, 61.0]]
)
MOTION = Rotation.from_rotvec([0.4, -1.1, 0.7]), np.array([12.0, -3.0, 40.0])


def axes_of(molecules: fp.Molecules) -> tuple[np.ndarray, ...]:
    """Return where the template's z, y and x point."""
    return tuple(np.moveaxis(molecules.rotations.as_matrix(), 2, 0))


def arc_length(points: np.ndarray, count: int = 400_000) -> float:
    """Return a smooth curve's length as that of many short lines."""
    curve = smooth_curve(points)
    lines = np.diff(curve.spline(np.linspace(0, 1, count + 1)), axis=0)
    return float(np.linalg.norm(lines, axis=1).sum())


# Curves.

BACK = np.array([[-1.0, -3, 0], [-2, -6, -1], [-1, -3, 0]])
BACK_AND_FORTH = np.array([[0.0, 1, 2], [1, 4, 3], [3, 8, 3]])
TO_AND_FRO = np.array(
    [[3, 8, 3], [0, 1, 2], [3, 8, 3], [1, 4, 3], [3, 8, 3], [1, 4, 3]]
)


@pytest.mark.parametrize(
    "seed", [fp.helix(rise=1.0), fp.lattice(spacing=1.0, radius=2.0, kind="tube")]
)
def test_a_curve_that_turns_back_at_a_point_is_refused(seed):
    with pytest.raises(ValueError, match="molecules must be in order along a curve"):
        seed(BACK)


def test_smoothing_that_is_reached_within_a_hundredth_is_not_spoken_of():
    near = BACK_AND_FORTH[[2, 1, 0, 2, 0, 2, 1]]
    curve = smooth_curve(near, 0.1)  # a warning would be an error
    assert curve.length > 10


def test_smoothing_that_is_not_reached_is_said_with_how_near_it_is():
    with pytest.warns(UserWarning, match="that is 0.1 nm from them, .* it is 0.165 nm"):
        smooth_curve(TO_AND_FRO, 0.1)
    with pytest.warns(UserWarning) as caught:
        fp.helix(TO_AND_FRO, rise=1.0, smoothing=0.1)
    assert [each.filename for each in caught] == [__file__]


def test_a_smooth_curve_goes_through_its_points():
    curve = smooth_curve(BENT)
    dense, _ = curve.at(np.linspace(0, curve.length, 20_000))
    away, _ = scipy.spatial.KDTree(dense).query(BENT)
    assert away.max() < 0.01
    np.testing.assert_allclose(curve.length, arc_length(BENT), rtol=1e-9)


def test_particles_are_a_rise_apart_along_the_curve():
    rise = 4.1
    found = fp.helix(BENT, rise=rise)
    curve = smooth_curve(BENT - BENT[0])
    parameters = curve.parameter(found.features["position_along"])
    for low, high in itertools.pairwise(parameters):
        points = curve.spline(np.linspace(low, high, 20_001))
        length = np.linalg.norm(np.diff(points, axis=0), axis=1).sum()
        assert abs(length - rise) < 1e-6
    assert 0 <= curve.length - found.features["position_along"][-1] < rise
    np.testing.assert_allclose(found.positions[0], BENT[0], atol=1e-9)


def test_z_is_the_tangent_and_frames_do_not_twist():
    found = fp.helix(BENT, rise=0.02)
    z, _, x = axes_of(found)
    steps = np.diff(found.positions, axis=0)
    steps /= np.linalg.norm(steps, axis=1, keepdims=True)
    assert (steps * (z[1:] + z[:-1])).sum(axis=1).min() / 2 > 1 - 1e-7
    # Nothing turns x about z: what it changes by is along z.
    change = np.diff(x, axis=0)
    about = np.abs((change * np.cross(z[1:], x[1:])).sum(axis=1))
    assert about.max() < 1e-6
    assert np.linalg.norm(change, axis=1).max() > 1e-4


def test_a_straight_helix_is_the_plain_formula():
    """x = r cos φ, y = r sin φ, z = rise j, φ = azimuth + twist j, right-handed."""
    rise, twist, radius, azimuth = 2.75, -166.7, 3.0, 20.0
    line = np.array([[1.0, 50.0, 60.0], [101.0, 50.0, 60.0]])  # along z
    options = {"rise": rise, "twist": twist, "radius": radius, "azimuth": azimuth}
    found = fp.helix(line, towards=(0, 0, 1), **options)
    j = np.arange(37)
    angle = np.radians(azimuth + twist * j)
    x, y = 60 + radius * np.cos(angle), 50 + radius * np.sin(angle)
    expected = np.stack([1 + rise * j, y, x], axis=1)
    np.testing.assert_allclose(found.positions, expected, atol=1e-9)
    along, _, outwards = axes_of(found)
    np.testing.assert_allclose(along, np.tile([1.0, 0, 0], (37, 1)), atol=1e-9)
    away = np.stack([0 * angle, np.sin(angle), np.cos(angle)], axis=1)
    np.testing.assert_allclose(outwards, away, atol=1e-9)
    assert np.linalg.det(found.rotations.as_matrix()).min() > 0.999


def test_neighbours_on_a_bent_filament_are_turned_by_the_twist():
    plain, twisted = (fp.helix(BENT, rise=3.0, twist=each) for each in (0, 25.0))
    between = (plain.rotations.inv() * twisted.rotations).as_matrix()
    angle = np.unwrap(np.arctan2(between[:, 1, 2], between[:, 2, 2]))
    # In the order z, y, x a right-handed turn about z takes x to y.
    np.testing.assert_allclose(np.degrees(angle), 25.0 * np.arange(len(angle)))
    np.testing.assert_allclose(between[:, 0, 0], 1, atol=1e-9)


def test_a_microtubules_lattice_is_a_left_handed_helix_of_three_starts():
    line = np.array([[0.0, 0, 0], [0.0, 200.0, 0]])
    options = {"rise": 4.1, "radius": 11.0, "protofilaments": 13, "starts": -3}
    found = fp.helix(line, start=50.0, azimuth=10.0, **options)
    p, s = found.features["protofilament"], found.features["position_along"]
    assert np.array_equal(np.unique(p), np.arange(13))
    z, y, x = found.positions.T
    np.testing.assert_allclose(y, s)
    np.testing.assert_allclose(np.hypot(z, x), 11.0)
    # Along y from z on, right-handed: z to x.
    angle = np.degrees(np.arctan2(x, z))
    np.testing.assert_allclose(
        (angle - 10 - 360 / 13 * p + 180) % 360 - 180, 0, atol=1e-6
    )
    climbed = (s - 50.0 + 3 * 4.1 * p / 13) / 4.1
    np.testing.assert_allclose(climbed, np.round(climbed), atol=1e-6)
    counts = np.bincount(p)
    assert set(counts) <= {48, 49}
    assert s.min() >= 0
    assert s.max() <= 200


def test_a_seam_is_where_the_starts_are_no_whole_number():
    line = np.array([[0.0, 0, 0], [0.0, 100.0, 0]])
    found = fp.helix(line, rise=8.2, protofilaments=13, starts=-1.5, radius=11.0)
    first = [
        found.features["position_along"][found.features["protofilament"] == p][0]
        for p in range(13)
    ]
    steps = np.diff([*first, first[0]]) / 8.2
    np.testing.assert_allclose((steps[:-1] + 1.5 / 13 + 0.5) % 1, 0.5, atol=1e-9)
    assert abs((steps[-1] + 1.5 / 13 + 0.5) % 1 - 0.5) == pytest.approx(0.5)


def test_a_twist_turns_all_protofilaments_alike():
    line = np.array([[0.0, 0, 0], [0.0, 80.0, 0]])
    options = {"rise": 4.0, "radius": 5.0, "protofilaments": 3, "starts": 1}
    found = fp.helix(line, twist=7.0, start=8.0, azimuth=5.0, **options)
    p, s = found.features["protofilament"], found.features["position_along"]
    angle = np.degrees(np.arctan2(found.positions[:, 2], found.positions[:, 0]))
    expected = 5 + 120 * p + 7.0 * (s - 8) / 4
    np.testing.assert_allclose((angle - expected + 180) % 360, 180, atol=1e-6)


def test_a_helix_moves_and_turns_with_its_points():
    turn, shift = MOTION
    options = {"rise": 5.0, "twist": 30.0, "radius": 4.0, "protofilaments": 2}
    found = fp.helix(BENT, towards=(1, 0.2, 0), **options)
    moved = fp.helix(
        turn.apply(BENT) + shift, towards=turn.apply([1, 0.2, 0]), **options
    )
    np.testing.assert_allclose(
        moved.positions, turn.apply(found.positions.copy()) + shift, atol=1e-8
    )
    assert ((turn * found.rotations).inv() * moved.rotations).magnitude().max() < 1e-8


def test_filaments_of_a_model_stay_apart_and_keep_what_is_theirs():
    line = np.array([[0.0, 0, 0], [0, 20.0, 0]])
    points = fp.Molecules(
        np.concatenate([line, line + 50, line + np.array([0, 0, 90])]),
        features={
            "object": [0, 0, 0, 0, 1, 1],
            "contour": [0, 0, 1, 1, 0, 0],
            "tomogram": ["a", "a", "b", "b", "b", "b"],
            "index": range(6),
        },
    )
    found = fp.helix(points, rise=10.0)
    assert len(found) == 9
    names = ["filament", "object", "contour", "tomogram"]
    rows = list(zip(*(found.features[each].tolist() for each in names), strict=True))
    assert rows[::3] == [(0, 0, 0, "a"), (1, 0, 1, "b"), (2, 1, 0, "b")]
    assert "index" not in found.features
    np.testing.assert_allclose(found.positions[6:, 2], 90)
    named = points.with_features(filament=["x", "x", "y", "y", "y", "y"])
    by_name = fp.helix(named, rise=1.0, filament="filament")
    assert set(by_name.features["filament"]) == {"x", "y"}
    split = fp.halves(found, together="filament")
    for each in split.groupby("filament").values():
        assert len(set(each.features["half"])) == 1


def test_a_models_contours_are_its_filaments(tmp_path):
    pytest.importorskip("imodmodel", reason="writes a .mod: needs the extra 'imod'")
    drawn = fp.Molecules(
        np.concatenate([BENT, BENT + 30]), features={"contour": [0] * 5 + [1] * 5}
    )
    fp.write_molecules(drawn, tmp_path / "tubes.mod", scale=1.3)
    found = fp.helix(fp.read_molecules(tmp_path / "tubes.mod"), rise=4.0)
    expected = fp.helix(BENT, rise=4.0)
    some = found[found.features["contour"] == 1]
    np.testing.assert_allclose(some.positions, expected.positions + 30, atol=1e-3)


def test_points_picked_by_hand_are_smoothed():
    random = np.random.default_rng(0)
    y = np.arange(0, 200, 10.0)
    true = np.stack([0 * y + 20, y, 40 + 0.001 * (y - 100) ** 2], axis=1)
    picked = true + random.normal(0, 1.0, true.shape)
    axis, _ = (curve := smooth_curve(true)).at(np.linspace(0, curve.length, 5000))
    away = []
    for smoothing in (0.0, 1.7):
        found = fp.helix(picked, rise=0.5, smoothing=smoothing)
        inner = np.abs(found.positions[:, 1] - 95) < 80
        away.append(scipy.spatial.KDTree(axis).query(found.positions[inner])[0])
    assert np.median(away[1]) < 0.6 * np.median(away[0])


def test_the_real_microtubules_sites_are_a_helix():
    """What `microtubule` puts there by hand, in one call."""
    from microtubule import RADIUS, STARTS, TOMOGRAM, Tube, lattice_of, sites, wall_of

    if not TOMOGRAM.exists():
        pytest.skip(f"{TOMOGRAM} is not there")
    pytest.importorskip("tifffile", reason="reads a TIFF: needs the extra 'tiff'")
    tube = Tube()
    phase = lattice_of(wall_of(tube))
    by_hand = sites(tube, phase)
    arc = np.linspace(0, 196, 60)
    points, _, _ = tube.frames(arc, 0 * arc)
    found = fp.helix(
        points,
        rise=phase.period,
        radius=RADIUS,
        protofilaments=13,
        starts=-STARTS,
        start=phase.arc + phase.period * STARTS * phase.azimuth / (2 * np.pi),
        azimuth=-np.degrees(phase.azimuth),
    )
    away, which = scipy.spatial.KDTree(found.positions).query(by_hand.positions)
    assert away.max() < 0.02
    z, _, x = axes_of(found[which])
    outwards, downwards, _ = axes_of(by_hand)  # its polarity is the other one
    assert (x * outwards).sum(axis=1).min() > 0.99999
    assert (z * downwards).sum(axis=1).max() < -0.99999


# Surfaces.


def nearest(molecules: fp.Molecules) -> np.ndarray:
    return fp.neighbours(molecules).features["neighbour_distance"]


def octahedron() -> tuple[np.ndarray, np.ndarray]:
    """Return corners and faces, counter-clockwise in x, y, z seen from outside."""
    corners = 20.0 * np.array(
        [[0, 0, 1], [0, 1, 0], [1, 0, 0], [0, 0, -1], [0, -1, 0], [-1, 0, 0]]
    )  # x, y, z, −x, −y, −z
    faces = [[0, 1, 2], [1, 3, 2], [3, 4, 2], [4, 0, 2]]
    faces += [[1, 0, 5], [3, 1, 5], [4, 3, 5], [0, 4, 5]]
    return corners + np.array([30, 40, 50]), np.array(faces)


@pytest.mark.parametrize("kind", ["hull", "triangles"])
def test_triangles_are_covered_at_the_spacing_and_point_outwards(kind):
    corners, faces = octahedron()
    given = {"faces": faces} if kind == "triangles" else {}
    found = fp.lattice(corners, spacing=5.0, kind=kind, **given)
    away = found.positions - [30, 40, 50]
    np.testing.assert_allclose(np.abs(away).sum(axis=1), 20, atol=1e-6)
    assert nearest(found).min() >= 5.0 - 1e-6
    places, _ = on_triangles(corners[faces], 0.5)
    distance, _ = scipy.spatial.KDTree(found.positions).query(places)
    assert distance.max() < 5.0 + 5.0 / 8
    outwards = found.rotations.apply([1.0, 0, 0])
    inner = np.abs(away).min(axis=1) > 2.6  # all of what is near is on one face
    assert inner.sum() > 20
    np.testing.assert_allclose(
        outwards[inner], np.sign(away[inner]) / np.sqrt(3), atol=1e-6
    )
    assert (outwards * away).sum(axis=1).min() > 0


def test_faces_that_go_round_the_other_way_point_inwards():
    corners, faces = octahedron()
    options = {"spacing": 8.0, "kind": "triangles"}
    found = fp.lattice(corners, faces=faces[:, ::-1], **options)
    outwards = found.rotations.apply([1.0, 0, 0])
    assert (outwards * (found.positions - [30, 40, 50])).sum(axis=1).max() < 0


def test_spheres_are_covered_evenly():
    centres = np.array([[50.0, 50, 50], [50, 50, 150]])
    found = fp.lattice(centres, spacing=6.0, kind="sphere", radius=30.0)
    which = found.features["surface"]
    assert set(which) == {0, 1}
    away = found.positions - centres[which]
    np.testing.assert_allclose(np.linalg.norm(away, axis=1), 30)
    np.testing.assert_allclose(found.rotations.apply([30.0, 0, 0]), away, atol=1e-9)
    assert 0.8 * 6 < nearest(found).min() < nearest(found).max() < 1.15 * 6
    assert len(found) == 2 * round(4 * np.pi * 25)


def test_a_sphere_is_fitted_to_points_of_it():
    random = np.random.default_rng(0)
    away = random.normal(size=(30, 3))
    away *= 25 / np.linalg.norm(away, axis=1, keepdims=True)
    away = away[away[:, 0] > -5]  # a part of it
    centre, radius = sphere_through(away + np.array([7, 8, 9]))
    np.testing.assert_allclose([*centre, radius], [7, 8, 9, 25])
    found = fp.lattice(away + np.array([70, 80, 90]), spacing=9.0, kind="sphere")
    distance = np.linalg.norm(found.positions - [70, 80, 90], axis=1)
    np.testing.assert_allclose(distance, 25)
    with pytest.raises(ValueError, match="four points or more on a sphere, not in a"):
        fp.lattice(away * [0, 1, 1], spacing=9.0, kind="sphere")


@pytest.mark.parametrize("open_", [True, False])
def test_points_of_a_surface_are_thinned_and_point_to_one_side(open_):
    random = np.random.default_rng(1)
    away = random.normal(size=(4000, 3))
    away /= np.linalg.norm(away, axis=1, keepdims=True)
    if open_:
        _, y, x = away.T
        points = np.stack([2 * np.sin(3 * y), 40 * y, 40 * x], axis=1)  # a wave
        normals = np.stack([0 * y + 1, -6 * np.cos(3 * y) / 40, 0 * x], axis=1)
        normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    else:
        points, normals = away * [20, 30, 40], away / [20, 30, 40]
        normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    found = fp.lattice(points, spacing=6.0)
    assert nearest(found).min() >= 6.0
    distance, _ = scipy.spatial.KDTree(found.positions).query(points)
    assert distance.max() < 6.0
    _, which = scipy.spatial.KDTree(points).query(found.positions)
    likeness = (found.rotations.apply([1.0, 0, 0]) * normals[which]).sum(axis=1)
    if open_:  # which side is not said
        likeness *= np.sign(likeness[0])
    assert likeness.min() > 0.9
    assert np.median(likeness) > 0.995


def test_a_tube_has_rows_along_it():
    found = fp.lattice(BENT, spacing=5.0, kind="tube", radius=12.0)
    curve = smooth_curve(BENT - BENT[0])
    dense, along = curve.at(np.linspace(0, curve.length, 5000))
    axis, which = scipy.spatial.KDTree(dense + BENT[0]).query(found.positions)
    np.testing.assert_allclose(axis, 12.0, atol=0.01)
    z, y, _ = axes_of(found)
    away = found.positions - dense[which] - BENT[0]
    np.testing.assert_allclose(12 * z, away, atol=0.05)
    np.testing.assert_allclose(y, along[which], atol=0.01)
    assert len(found) == 15 * (int(curve.length / 5) + 1)
    assert "protofilament" not in found.features


def test_a_lattice_moves_and_turns_with_its_points():
    turn, shift = MOTION
    points = np.random.default_rng(2).normal(size=(40, 3)) * 20
    for kind in ("hull", "points"):
        dense = points
        if kind == "points":
            dense = np.concatenate([points * s for s in (1, 1.001)])
            dense *= 20 / np.linalg.norm(dense, axis=1, keepdims=True)
        found = fp.lattice(dense, spacing=7.0, kind=kind)
        moved = fp.lattice(turn.apply(dense) + shift, spacing=7.0, kind=kind)
        expected = turn.apply(found.positions.copy()) + shift
        assert len(moved) == pytest.approx(len(found), abs=3)  # ties may break anew
        if kind == "points":
            np.testing.assert_allclose(moved.positions, expected, atol=1e-8)
            np.testing.assert_allclose(
                moved.rotations.apply([1.0, 0, 0]),
                turn.apply(found.rotations.apply([1.0, 0, 0])),
                atol=1e-6,
            )


def test_surfaces_of_a_model_stay_apart():
    corners, _ = octahedron()
    points = fp.Molecules(
        np.concatenate([corners, corners + 100]),
        features={"object": [3] * 6 + [5] * 6, "contour": [0, 1] * 6},
    )
    found = fp.lattice(points, spacing=8.0, kind="hull")
    assert len(found) == 2 * len(found[found.features["object"] == 3])
    assert set(found.features["surface"]) == {0, 1}
    assert "contour" not in found.features


def test_spreading_is_greedy_from_the_first():
    points = np.random.default_rng(0).uniform(0, 10, (500, 3))
    kept = spread(points, 2.0)
    chosen: list[int] = []
    for i in np.argsort(np.linalg.norm(points - points[0], axis=1)):
        if all(np.linalg.norm(points[i] - points[j]) >= 2.0 for j in chosen):
            chosen.append(int(i))
    assert kept.tolist() == sorted(chosen)


# What is wrong.

LINE = np.array([[0.0, 0, 0], [0.0, 50.0, 0]])


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"rise": 0}, "rise must be a number above 0, not 0"),
        ({"rise": 1e-9}, "rise must be so wide that there are 10000000 particles"),
        ({"twist": 400}, "twist must be a number from -360 to 360, not 400"),
        ({"radius": -1}, "radius must be a number of 0 or more"),
        ({"protofilaments": 0}, "protofilaments must be a whole number of 1 or more"),
        ({"towards": (0, 2, 0)}, "towards must be across a filament where it begins"),
        ({"towards": (0, 0, 0)}, "towards must be a vector z, y, x that has a length"),
        ({"filament": "tube"}, "filament must be a feature that there is, none"),
        ({"molecules": LINE[:1]}, "two points or more of the filament 0, from mol"),
        ({"molecules": LINE[[0, 0]]}, "molecules must be two points or more"),
        ({"molecules": np.zeros((0, 3))}, "molecules must be one point or more"),
        ({"molecules": 1e10 * LINE}, "molecules must be points in nm, less than 1e"),
    ],
)
def test_a_wrong_argument_of_a_helix_is_named(changes, text):
    with pytest.raises((TypeError, ValueError), match=text):
        fp.helix(**{"molecules": LINE, "rise": 4.0, **changes})


CORNERS = octahedron()[0]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"spacing": 0}, "spacing must be a number above 0, not 0"),
        ({"spacing": 1e-4}, "spacing must be so wide that there are 10000000 points"),
        ({"kind": "cube"}, "kind must be one of 'points', 'hull', 'sphere', 'tube'"),
        ({"kind": "tube"}, "radius must be given for kind='tube'"),
        ({"radius": 3.0}, "radius must be left out, but for a sphere or a tube"),
        ({"kind": "triangles"}, "faces must be given for kind='triangles'"),
        ({"kind": "triangles", "faces": [[0, 1, 6]]}, "numbers of points, from 0 to 5"),
        ({"kind": "triangles", "faces": [[0, 0, 0]]}, "faces must have an area"),
        ({"faces": [[0, 1, 2]]}, "faces must be given for kind='triangles', and for"),
        ({"molecules": CORNERS * [1, 1, 0]}, "molecules must be points of a hull, not"),
        ({"molecules": CORNERS[:3]}, "four points or more of a hull, not 3"),
        ({"surface": "cell"}, "surface must be a feature that there is, none"),
    ],
)
def test_a_wrong_argument_of_a_lattice_is_named(changes, text):
    given = {"molecules": CORNERS, "spacing": 5.0, "kind": "hull", **changes}
    with pytest.raises((TypeError, ValueError), match=text):
        fp.lattice(**given)


def test_contours_that_are_too_far_apart_for_a_surface_are_refused():
    y = np.arange(0, 100, 1.0)
    apart = [np.stack([0 * y + z, y, 0 * y], axis=1) for z in (0.0, 50.0)]
    with pytest.raises(ValueError, match="surface, dense in both ways, but"):
        fp.lattice(np.concatenate(apart), spacing=5.0)


def test_seeding_waits_for_points():
    assert repr(fp.helix(rise=4.0)) == "<helix, waiting for molecules>"
    assert repr(fp.lattice(spacing=4.0)) == "<lattice, waiting for molecules>"
