"""What `region=` takes, where particles are looked for, and each block of it."""

from __future__ import annotations

import math
import os
import pickle
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import funpipe as fp
from funpipe.base.digests import digest
from funpipe.boxes.inside import extent_ratio
from funpipe.io.volumes import open_volume
from funpipe.jobs.regions import region_of
from funpipe.space.contours import Plane, Solid, signed_depth, within

DATA = Path(__file__).parent / "data"
SHAPE = (9, 13, 21)
SCALE = 0.5


def labels(shape=SHAPE, dtype=np.uint8, seed=0):
    return np.random.default_rng(seed).integers(0, 4, shape).astype(dtype)


def mrc(folder, array, scale=SCALE, name="region.mrc"):
    path = folder / name
    fp.write_volume(path, array.astype(np.float32), scale)
    return path


def whole(region):
    return region.block((0, 0, 0), region.shape)


def refused(value, text, shape=SHAPE, error=ValueError):
    with pytest.raises(error, match=text) as found:
        region_of(value, shape, SCALE)
    assert str(found.value).startswith("region")


class Counted:
    """An array-like that keeps how large the blocks are that are read of it."""

    def __init__(self, array):
        self.array, self.shape, self.dtype = array, array.shape, array.dtype
        self.most = 0

    def __getitem__(self, where):
        found = self.array[where]
        self.most = max(self.most, found.size)
        return found


# Volumes.


def test_without_a_region_everything_is_inside():
    region = region_of(None, SHAPE, SCALE)
    assert whole(region).all() and region.count() == math.prod(SHAPE)
    assert region.describe() == "everywhere"


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int16, np.float32, np.float64])
def test_what_is_not_0_in_an_array_is_inside(dtype):
    array = labels(dtype=dtype)
    region = region_of(array, SHAPE, SCALE)
    assert np.array_equal(whole(region), array != 0)
    assert region.count() == np.count_nonzero(array)


@pytest.mark.parametrize("chosen", [2, [1, 3], (3,), {1, 2}, np.array([1, 2]), 2.0])
def test_labels_choose_the_voxels_that_equal_them(chosen, tmp_path):
    array = labels()
    wanted = np.isin(
        array, list(np.atleast_1d(list(chosen))) if isinstance(chosen, set) else chosen
    )
    for source in (array, mrc(tmp_path, array), Counted(array)):
        assert np.array_equal(whole(region_of((source, chosen), SHAPE, SCALE)), wanted)


def test_a_pair_is_a_slab_or_a_label_by_the_type_of_its_first():
    array = np.zeros(SHAPE, int)
    array[2:4] = 3
    assert region_of((1, 3), SHAPE, SCALE).describe() == "z from 1 to 3 nm"
    assert region_of([1.0, 3.0], SHAPE, SCALE).bounds[0] == (2, 0, 0)
    assert region_of(np.array([1.0, 3.0]), SHAPE, SCALE).bounds[1] == (7, 13, 21)
    assert region_of((array, 3), SHAPE, SCALE).bounds == ((2, 0, 0), (4, 13, 21))


def sources(folder, array):
    """Return an array as all that a region may be given as."""
    path = mrc(folder, array)
    np.save(folder / "a.npy", array)
    mapped = np.load(folder / "a.npy", mmap_mode="r")
    return {
        "array": array,
        "turned": np.asfortranarray(array),
        "mrc": path,
        "text": str(path),
        "lazy": open_volume(path).array,
        "mapped": mapped,
        "part": mapped[:],
        "copy on write": np.load(folder / "a.npy", mmap_mode="c"),
        "array-like": Counted(array),
    }


def test_any_source_of_the_same_voxels_is_the_same_region(tmp_path):
    array = labels()
    for name, each in sources(tmp_path, array).items():
        region = region_of(each, SHAPE, SCALE)
        assert np.array_equal(whole(region), array > 0), name


@pytest.mark.parametrize("kind", ["zarr", "h5py", "dask"])
def test_arrays_of_other_libraries_are_sliced_lazily(tmp_path, kind):
    library = pytest.importorskip(kind if kind != "dask" else "dask.array")
    array = labels()
    with ExitStack() as stack:
        if kind == "zarr":
            where = tmp_path / "a.zarr"
            given = library.create_array(where, data=array, chunks=(4, 8, 8))
        elif kind == "h5py":
            file = stack.enter_context(library.File(tmp_path / "a.h5", "w"))
            given = file.create_dataset("a", data=array)
        else:  # without threads, which would outlive the test
            stack.enter_context(sys.modules["dask"].config.set(scheduler="sync"))
            given = library.from_array(array, chunks=5)
        region = region_of((given, [1, 2]), SHAPE, SCALE)
        wanted = (array == 1) | (array == 2)
        assert region.bounds == ((0, 0, 0), SHAPE)
        assert np.array_equal(whole(region), wanted)
        sent = pickle.loads(pickle.dumps(region.elsewhere(tmp_path)))
        assert np.array_equal(whole(sent), wanted)


def boxes_in(shape):
    ends = [st.tuples(st.integers(-3, n + 3), st.integers(-3, n + 3)) for n in shape]
    return st.tuples(*ends).map(lambda found: [sorted(each) for each in found])


@settings(max_examples=60)
@given(
    box=boxes_in(SHAPE),
    sizes=st.sampled_from([SHAPE, (5, 7, 11), (18, 26, 42), (6, 9, 14)]),
    chosen=st.sampled_from([None, 2, (1, 3)]),
    lazy=st.booleans(),
    seed=st.integers(0, 99),
)
def test_a_block_is_that_part_of_the_whole_and_false_outside(
    box, sizes, chosen, lazy, seed
):
    array = labels(sizes, seed=seed)
    source = Counted(array) if lazy else array
    region = region_of(source if chosen is None else (source, chosen), SHAPE, SCALE)
    padded = np.pad(whole(region), 3)
    z, y, x = (slice(a + 3, b + 3) for a, b in box)
    low, high = np.transpose(box)
    assert np.array_equal(region.block(low, high), padded[z, y, x])


@settings(max_examples=60)
@given(st.integers(0, 10**6), st.sampled_from([0.002, 0.05, 0.5]))
def test_bounds_hold_all_that_is_inside_and_no_plane_more(seed, share):
    rng = np.random.default_rng(seed)
    array = rng.random(SHAPE) < share
    array[tuple(rng.integers(0, SHAPE))] = True
    low, high = region_of(array, SHAPE, SCALE).bounds
    there = np.argwhere(array)
    assert (low, high) == (tuple(there.min(axis=0)), tuple(there.max(axis=0) + 1))


def test_a_block_reads_no_more_than_it_needs():
    array = Counted(labels((40, 40, 40)))
    region = region_of(array, (160, 160, 160), SCALE)
    region.block((8, 8, 8), (16, 16, 16))
    assert array.most == 2**3


def test_of_finer_voxels_planes_are_read_a_few_at_a_time(monkeypatch):
    monkeypatch.setattr("funpipe.boxes.inside._TOGETHER", 2**10)
    given = labels((48, 48, 48))
    array = Counted(given)
    region = region_of(array, (6, 6, 6), SCALE)
    found = whole(region)
    assert array.most <= 48**2
    assert np.array_equal(found, given[4::8, 4::8, 4::8] > 0)


@settings(max_examples=50)
@given(st.integers(2, 5), st.integers(0, 4), st.integers(0, 99))
def test_a_binned_mask_covers_the_voxels_that_were_binned_into_it(factor, more, seed):
    # Binning leaves a remainder out; the voxels of that are of their neighbour.
    shape = tuple(6 * factor + min(more, factor - 1) for _ in range(3))
    array = labels((6, 6, 6), seed=seed) > 0
    array[0, 0, 0] = True
    found = whole(region_of(array, shape, SCALE))
    for index in np.ndindex(shape):
        coarse = tuple(min(each // factor, 5) for each in index)
        assert found[index] == array[coarse]


@settings(max_examples=100)
@given(
    st.sampled_from([0.1, 0.25, 0.5, 2 / 3, 0.8, 1.5, 2.0, 3.0, 4.0, 6.7]),
    st.tuples(*[st.integers(60, 900)] * 3),
)
def test_the_ratio_of_rounded_shapes_is_found_within_a_voxel(ratio, shape):
    other = tuple(round(n / ratio) for n in shape)
    found = extent_ratio(shape, other)
    for n, m in zip(shape, other, strict=True):
        assert abs(n - found * m) <= max(1, ratio)
    if ratio in (0.25, 0.5, 2.0, 3.0, 4.0):
        assert found == ratio


def test_the_scales_of_files_say_the_ratio_where_shapes_allow_it(tmp_path):
    path = mrc(tmp_path, np.ones((50, 60, 70)), scale=1.003)
    region = region_of(path, (101, 120, 140), SCALE)
    assert region.marked.ratio == pytest.approx(1.003 / SCALE)


def test_a_header_that_contradicts_the_shape_gives_a_warning(tmp_path):
    path = mrc(tmp_path, labels(), scale=0.1)
    with pytest.warns(UserWarning, match=r"says 0\.1 nm .* with 0\.5 nm"):
        region = region_of(path, SHAPE, SCALE)
    assert np.array_equal(whole(region), labels() > 0)


def test_later_changes_to_an_array_do_not_change_its_region():
    array = labels()
    region = region_of(array, SHAPE, SCALE)
    array[:] = 0
    assert np.array_equal(whole(region), labels() > 0)


def test_masked_voxels_and_nan_are_refused_where_they_are_seen(tmp_path):
    array = labels(dtype=np.float32)
    refused(np.ma.masked_equal(array, 0), "no masked voxels")
    array[3, 4, 5] = np.nan
    refused(array, "region must be finite, but has NaN")
    lazy = region_of(Counted(array), SHAPE, SCALE)
    assert lazy.block((0, 0, 0), (3, 13, 21)).any()
    for act in (lazy.count, lambda: whole(lazy)):
        with pytest.raises(ValueError, match=r"^region must be finite, but has NaN"):
            act()


def test_nothing_inside_is_an_error_at_once_or_of_a_file_when_counted(tmp_path):
    refused(np.zeros(SHAPE), r"region must hold a voxel .* 9 x 13 x 21 voxels marks no")
    path = mrc(tmp_path, labels())
    region = region_of((path, 9), SHAPE, SCALE)
    assert not whole(region).any()
    with pytest.raises(
        ValueError, match=r"^region .* but label 9 of .*region.mrc mark"
    ):
        region.count()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (np.ones((9, 13, 20)), r"tomogram's shape \(9, 13, 21\), .* \(9, 13, 20\)"),
        (np.ones((21, 13, 9)), r"tomogram's shape"),
        (Counted(np.ones((9, 26, 21))), r"tomogram's shape"),
        (np.ones((13, 21)), r"3-D array.* not an array of shape \(13, 21\)"),
        (np.ones(SHAPE, complex), r"3-D array"),
        (np.ones((0, 13, 21)), r"3-D array"),
        (3.5, r"must be None, a path .* not 3\.5"),
        ((1, 2, 3), r"must be None, a path"),
        ((labels(), 7), r"region\[1\] must be a label that there is, 0, 1, 2, 3, not"),
        ((labels(), [1, 9]), r"a label that there is.* not 9"),
        ((labels(), 1.5), r"region\[1\] must be a whole number.* not 1\.5"),
        ((labels(), True), r"region\[1\] must be a finite number, not True"),
        ((labels(), "a"), r"region\[1\] must be a finite number, not 'a'"),
        ((labels(), 10**30), r"region\[1\] must be a whole number"),
    ],
)
def test_a_wrong_region_is_said_with_what_would_be_right(value, text):
    refused(value, text)


@pytest.mark.parametrize(
    "value", [{"z": 1, "y": 2}, {1, 2}, object(), [labels(), []], [None, None], b"ab"]
)
def test_what_is_no_region_at_all_is_a_type_error_or_says_so(value):
    refused(value, "must be", error=(TypeError, ValueError))


def test_a_path_to_nothing_is_the_systems_own_error_and_says_which_argument():
    with pytest.raises(FileNotFoundError) as found:
        region_of("nowhere.mrc", SHAPE, SCALE)
    assert found.value.__notes__ == ["in region"]


def test_a_file_of_another_shape_is_named(tmp_path):
    path = mrc(tmp_path, np.ones((4, 4, 4)), scale=2.0)
    refused(path, r"not .*region\.mrc of shape \(4, 4, 4\) and 2 nm per voxel")


# Slabs.


@settings(max_examples=200)
@given(st.floats(-2, 8), st.floats(-2, 8), st.sampled_from([0.3, 0.5, 1.0]))
def test_a_slab_holds_the_voxels_whose_centres_are_between(lowest, highest, scale):
    centres = scale * np.arange(SHAPE[0])
    ends = np.array([[lowest], [highest]])
    assume(np.abs(centres - ends).min() > 1e-5)  # rounding is for another test
    inside = (centres > lowest) & (centres < highest)
    if lowest == highest or not inside.any():
        with pytest.raises(ValueError, match=r"^region must be"):
            region_of((lowest, highest), SHAPE, scale)
    else:
        found = whole(region_of((lowest, highest), SHAPE, scale))
        assert (found == inside[:, np.newaxis, np.newaxis]).all()


def test_rounding_takes_no_plane_from_a_slab():
    region = region_of((0.3 * 3, 0.1 * 9 * 2), SHAPE, 0.3)
    assert (region.low[0], region.high[0]) == (3, 7)


@pytest.mark.parametrize(
    ("slab", "text"),
    [
        ((3.0, 1.0), r"the lowest z and then the highest.*: write \(1, 3\)"),
        ((1.0, 1.0), "the lowest z and then the highest"),
        ((5.0, 9.0), r"the tomogram, whose voxels span 0 to 4 nm along z, not \(5\.0"),
        ((-9.0, -1.0), "whose voxels span 0 to 4 nm"),
        ((1.1, 1.2), r"the centre of a voxel between them, each 0\.5 nm"),
        ((math.nan, 3.0), r"region\[0\] must be a finite number"),
        ((0.0, math.inf), r"region\[1\] must be a finite number"),
        ((-1e308, 1e308, 0), "must be None"),
    ],
)
def test_a_slab_that_holds_nothing_is_refused(slab, text):
    refused(slab, text)


def test_a_slab_may_reach_out_of_the_tomogram():
    assert region_of((-1e308, 1e308), SHAPE, SCALE).count() == math.prod(SHAPE)


# Contours.


def crossing(y, x, polygons):
    """Tell whether a point is within polygons by counting the cuts of a ray."""
    inside = False
    for polygon in polygons:
        for (y0, x0), (y1, x1) in zip(
            polygon, np.roll(polygon, -1, axis=0), strict=True
        ):
            if y0 > y1:
                y0, x0, y1, x1 = y1, x1, y0, x0
            if y0 <= y < y1 and x0 + (y - y0) / (y1 - y0) * (x1 - x0) <= x:
                inside = not inside
    return inside


POINTS = st.tuples(*[st.floats(-4, 14) | st.integers(-4, 14).map(float)] * 2)
POLYGONS = st.lists(
    st.lists(POINTS, min_size=3, max_size=9).map(np.array), min_size=1, max_size=3
)


@given(POLYGONS)
def test_filling_is_what_naive_loops_over_points_and_edges_find(polygons):
    found = within(polygons, (-1, 0), (9, 11))
    for y, x in np.ndindex(found.shape):
        assert found[y, x] == crossing(y - 1, x, polygons)


@given(POINTS, st.lists(POINTS, min_size=2, max_size=2))
def test_polygons_that_share_an_edge_share_no_point_and_leave_none(middle, ends):
    corners = np.array([(-0.3, -0.3), (-0.3, 9.3), (9.3, 9.3), (9.3, -0.3)])
    count = np.zeros((9, 9), int)
    middle = np.clip(middle, 0, 9)
    for a, b in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        count += within([np.array([a, b, middle])], (0, 0), (9, 9))
    assert (count == 1).all()


def test_the_order_of_corners_and_their_beginning_do_not_matter():
    polygon = np.random.default_rng(1).uniform(0, 20, (8, 2))
    found = within([polygon], (0, 0), (20, 20))
    for other in (polygon[::-1], np.roll(polygon, 3, axis=0)):
        assert np.array_equal(within([other], (0, 0), (20, 20)), found)


def test_depth_is_the_distance_to_the_other_side():
    inside = np.random.default_rng(2).random((7, 9)) < 0.6
    found = signed_depth(inside)
    for at in np.ndindex(inside.shape):
        others = np.argwhere(inside != inside[at])
        distance = np.linalg.norm(others - at, axis=1).min() - 0.5
        wanted = distance if inside[at] else -distance
        assert found[at] == pytest.approx(wanted, abs=1e-5)


def circle(middle, radius, count=60):
    turn = np.linspace(0, 2 * np.pi, count, endpoint=False)
    return np.array(middle) + radius * np.column_stack([np.sin(turn), np.cos(turn)])


def solid(*planes, half=0.5):
    return Solid([Plane(z, polygons) for z, *polygons in planes], half)


def slices(body, zs, size=64):
    empty = np.zeros((size, size), bool)
    found = body.slices(zs, (0, 0), (size, size))
    return [empty if each is None else each for each in found]


def test_between_two_circles_the_radius_goes_over_evenly():
    body = solid((0.0, circle((32, 32), 10)), (10.0, circle((32, 32), 20)))
    for z, plane in enumerate(slices(body, range(11))):
        assert math.sqrt(plane.sum() / np.pi) == pytest.approx(10 + z, abs=0.4)


def test_at_its_planes_a_solid_is_what_is_drawn_and_between_both_at_most():
    rng = np.random.default_rng(3)
    drawn = {z: rng.uniform(10, 54, (6, 2)) for z in (2.0, 3.0, 7.0)}
    body = solid(*drawn.items())
    planes = dict(enumerate(slices(body, range(11))))
    filled = {z: within([each], (0, 0), (64, 64)) for z, each in drawn.items()}
    for z, each in filled.items():
        assert np.array_equal(planes[int(z)], each)
    for z in (4, 5, 6):
        assert not (planes[z] & ~(filled[3.0] | filled[7.0])).any()
        assert not (filled[3.0] & filled[7.0] & ~planes[z]).any()
    assert not any(planes[z].any() for z in (0, 1, 8, 9, 10))


def test_things_that_do_not_overlap_are_not_joined():
    body = solid((2.0, circle((12, 12), 8)), (20.0, circle((50, 50), 8)))
    found = [z for z, each in enumerate(slices(body, range(24))) if each.any()]
    assert found == [2, 20]


@given(st.floats(0.2, 30), st.floats(0.5, 4))
def test_a_plane_by_itself_is_as_thick_as_said(z, half):
    body = solid((z, circle((32, 32), 8)), half=half)
    found = [i for i, each in enumerate(slices(body, range(40))) if each.any()]
    assert found == [i for i in range(40) if z - i <= half and i - z < half]


# Models.


def model(path, *objects, kind="closed", size=None, pixel=None, between=()):
    """Write a model; an object is a list of (n, 3) contours, x y z in pixels."""
    pytest.importorskip("imodmodel", reason="imodmodel is not installed")
    from imodmodel.models import Contour, ImodModel, Object

    from funpipe.io.mod import put

    made = ImodModel()
    if pixel is not None:
        made.header.pixelsize, made.header.units = pixel, -9
    z, y, x = size or (0, 0, 0)
    made.header.xmax, made.header.ymax, made.header.zmax = x, y, z
    for contours in objects:
        each = Object()
        each.header.flags.open = kind == "open"
        each.header.flags.scattered = kind == "scattered"
        each.contours = [Contour(points=np.asarray(one, float)) for one in contours]
        for i in between:
            each.contours[i].header.flags.open = True
        made.objects.append(each)
    put(made, path)
    return path


def drawn(z, polygon):
    """Return a contour in IMOD's pixels: of corners y, x in voxels, at a voxel's z."""
    x, y = polygon[:, 1] + 0.5, polygon[:, 0] + 0.5
    # A model holds single precision.
    return np.column_stack([x, y, np.full(len(x), z)]).astype(np.float32)


LARGE = (12, 40, 50)


def random_contours(seed, zs, count=7):
    rng = np.random.default_rng(seed)
    return [drawn(z, rng.uniform(-5, 48, (count, 2))) for z in zs]


def naive(contours, shape=LARGE):
    """Fill contours plane by plane, point by point; those of a plane are nested."""
    found = np.zeros(shape, bool)
    for z in range(shape[0]):
        some = [each.astype(float) for each in contours if each[0, 2] == z]
        some = [each[:, 1::-1] - 0.5 for each in some]
        for y, x in np.ndindex(shape[1:]):
            found[z, y, x] = crossing(y, x, some)
    return found


@pytest.mark.parametrize("seed", range(4))
def test_the_inside_of_a_models_contours_is_what_naive_loops_find(tmp_path, seed):
    one = random_contours(seed, [2, 3, 3, 4])
    two = random_contours(seed + 10, [4, 5])
    path = model(tmp_path / "a.mod", one, two)
    region = region_of(path, LARGE, SCALE)
    wanted = naive(one) | naive(two)
    assert np.array_equal(whole(region), wanted)
    there = np.argwhere(wanted)
    assert region.low == tuple(there.min(axis=0))
    assert region.high == tuple(there.max(axis=0) + 1)
    assert region.describe() == f"the inside of 6 closed contours of {path}"


def test_a_contour_in_another_is_a_hole_but_objects_add_up(tmp_path):
    outer = drawn(3, circle((20, 25), 15))
    inner = drawn(3, circle((20, 25), 6))
    ring = whole(region_of(model(tmp_path / "a.mod", [outer, inner]), LARGE, SCALE))
    both = whole(region_of(model(tmp_path / "b.mod", [outer], [inner]), LARGE, SCALE))
    assert not ring[3, 20, 25] and both[3, 20, 25]
    assert np.array_equal(ring, naive([outer, inner]))
    assert np.array_equal(both, naive([outer]))


def test_planes_apart_are_joined_in_an_object_and_not_between_objects(tmp_path):
    low, high = (drawn(z, circle((20, 25), r)) for z, r in ((2, 8), (9, 14)))
    joined = region_of(model(tmp_path / "a.mod", [low, high]), LARGE, SCALE)
    apart = region_of(model(tmp_path / "b.mod", [low], [high]), LARGE, SCALE)
    area = whole(joined).sum(axis=(1, 2))
    radii = np.sqrt(area[2:10] / np.pi)
    assert radii == pytest.approx(np.linspace(8, 14, 8), abs=0.5)
    assert not area[:2].any() and not area[10:].any()
    assert np.flatnonzero(whole(apart).any(axis=(1, 2))).tolist() == [2, 9]


@settings(max_examples=40, deadline=None)
@given(boxes_in(LARGE), st.integers(0, 20))
def test_a_block_of_a_model_is_that_part_of_the_whole(box, seed):
    with tempfile.TemporaryDirectory() as folder:
        contours = random_contours(seed, [1, 5, 9])
        path = model(Path(folder) / "a.mod", contours)
        region = region_of(path, LARGE, SCALE)
    padded = np.pad(whole(region), 3)
    z, y, x = (slice(a + 3, b + 3) for a, b in box)
    low, high = np.transpose(box)
    assert np.array_equal(region.block(low, high), padded[z, y, x])


@pytest.mark.parametrize("known", ["size", "pixel", "both"])
def test_a_model_drawn_on_a_binned_volume_outlines_the_same_extent(tmp_path, known):
    # A box from face to face of pixels 2 to 4, 5 to 9 and 3 to 7 of the binned volume.
    corners = np.array([(4.5, 2.5), (4.5, 7.5), (9.5, 7.5), (9.5, 2.5)])
    contours = [drawn(z, corners) for z in (2, 3, 4)]
    facts = {"size": (6, 20, 25), "pixel": 4 * SCALE}
    facts = facts if known == "both" else {known: facts[known]}
    shape = (24, 80, 100)
    found = whole(region_of(model(tmp_path / "a.mod", contours, **facts), shape, SCALE))
    wanted = np.zeros(shape, bool)
    wanted[8:20, 20:40, 12:32] = True
    assert np.array_equal(found, wanted)


def test_a_model_on_finer_pixels_keeps_a_plane_for_each_contour(tmp_path):
    contour = drawn(9, circle((40, 40), 20))
    path = model(tmp_path / "a.mod", [contour], size=(24, 80, 100))
    found = whole(region_of(path, LARGE, SCALE))
    assert np.flatnonzero(found.any(axis=(1, 2))).tolist() == [4]


def test_the_size_a_model_was_drawn_on_counts_before_its_pixel_size(tmp_path):
    contour = drawn(3, circle((20, 25), 12))
    path = model(tmp_path / "a.mod", [contour], size=LARGE, pixel=0.1)
    with pytest.warns(UserWarning, match=r"says 0\.1 nm per voxel"):
        region = region_of(path, LARGE, SCALE)
    assert np.array_equal(whole(region), naive([contour]))


def test_a_contour_that_reaches_out_of_the_tomogram_is_cut_off_there(tmp_path):
    far, near = drawn(2, circle((20, 25), 300)), drawn(8, circle((20, 25), 10))
    found = whole(region_of(model(tmp_path / "a.mod", [far, near]), LARGE, SCALE))
    assert found[2].all()
    assert np.array_equal(found[8], naive([near])[8])
    outside = drawn(3, circle((20, 400), 20))
    both = whole(region_of(model(tmp_path / "b.mod", [near], [outside]), LARGE, SCALE))
    assert np.array_equal(both, naive([near]))


def test_a_real_model_of_3dmod_is_filled():
    pytest.importorskip("imodmodel", reason="imodmodel is not installed")
    path = DATA / "imod_two_contours.mod"
    region = region_of(path, (128, 128, 128), 0.448)
    found = whole(region)
    planes = np.flatnonzero(found.any(axis=(1, 2)))
    assert {59, 80} <= set(planes.tolist()) and planes[0] == 59 and planes[-1] == 80
    halved = whole(region_of(path, (64, 64, 64), 0.896))
    assert 8 * halved.sum() == pytest.approx(found.sum(), rel=0.15)


@pytest.mark.parametrize(
    ("kind", "text"),
    [("open", "has 1 open:"), ("scattered", "has 1 scattered:")],
)
def test_a_model_without_closed_contours_is_refused(tmp_path, kind, text):
    contour = drawn(3, circle((20, 25), 12))
    refused(model(tmp_path / "a.mod", [contour], kind=kind), text)


def test_contours_without_an_inside_do_not_count(tmp_path):
    contour = drawn(3, circle((20, 25), 12))
    short = model(tmp_path / "a.mod", [contour[:2]])
    refused(short, "has 1 short:")
    opened = model(tmp_path / "b.mod", [contour], between=[0])
    refused(opened, "has 1 open:")
    both = model(
        tmp_path / "c.mod", [contour, drawn(5, circle((9, 9), 5))], between=[1]
    )
    assert np.array_equal(whole(region_of(both, LARGE, SCALE)), naive([contour]))


def test_a_model_outside_of_the_tomogram_or_out_of_its_planes_is_refused(tmp_path):
    circled = circle((20, 25), 5)
    for i, (z, polygon) in enumerate(
        [(30, circled), (3, circled + 500), (3, circled * [0.001, 1])]
    ):
        path = model(tmp_path / f"{i}.mod", [drawn(z, polygon)])
        refused(path, r"must hold a voxel of the tomogram, but the inside", LARGE)
    tilted = drawn(3, circled)
    tilted[:, 2] += np.arange(len(tilted))
    refused(
        model(tmp_path / "t.mod", [tilted]), r"one of object 1 goes from z = 3 to 62"
    )
    far = model(tmp_path / "f.mod", [drawn(3, circled)], pixel=1e30)
    refused(far, r"a model with a pixel size near the tomogram's 0\.5 nm")


def test_a_label_of_a_model_is_refused(tmp_path):
    path = model(tmp_path / "a.mod", [drawn(3, circle((20, 25), 12))])
    refused((path, 1), r"must be a volume where it has a label.* pass region='")


def test_a_model_is_known_by_its_content_too(tmp_path):
    path = model(tmp_path / "outlines", [drawn(3, circle((20, 25), 12))])
    assert region_of(path, LARGE, SCALE).count() > 400
    (tmp_path / "b.mod").write_bytes(b"nothing of that kind")
    with pytest.raises(ValueError, match="not a readable IMOD model") as found:
        region_of(tmp_path / "b.mod", LARGE, SCALE)
    assert found.value.__notes__ == ["in region"]


# Processes and checkpoints.


def test_a_region_pickles_and_files_go_along_as_paths(tmp_path):
    array = labels((40, 50, 60))
    for name, each in sources(tmp_path, array).items():
        if name == "array-like":
            continue
        sent = region_of(each, (40, 50, 60), SCALE).elsewhere(tmp_path)
        content = pickle.dumps(sent)
        assert np.array_equal(whole(pickle.loads(content)), array > 0), name
        if name not in ("array", "turned", "copy on write"):
            assert len(content) < 2000


def test_large_arrays_go_to_other_processes_by_a_file(tmp_path):
    array = labels((100, 100, 100))
    for each in (array, Counted(array)):
        region = region_of((each, 2), array.shape, SCALE)
        sent = region.elsewhere(tmp_path)
        content = pickle.dumps(sent)
        assert len(content) < 2000
        assert np.array_equal(whole(pickle.loads(content)), array == 2)
    assert len(list(tmp_path.iterdir())) == 1  # of equal content one


def test_another_process_in_another_folder_reads_the_file(tmp_path, monkeypatch):
    array = labels()
    mrc(tmp_path, array)
    monkeypatch.chdir(tmp_path)
    region = region_of(("region.mrc", 2), SHAPE, SCALE)
    (tmp_path / "away").mkdir()
    (tmp_path / "away" / "region.pkl").write_bytes(pickle.dumps(region))
    code = "import pickle; print(pickle.load(open('region.pkl', 'rb')).count())"
    root = str(Path(fp.__file__).parents[1])
    found = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {root!r}); {code}"],
        cwd=tmp_path / "away",
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(found.stdout) == np.count_nonzero(array == 2)


def test_a_file_of_another_shape_by_then_is_an_error(tmp_path):
    path = mrc(tmp_path, labels())
    region = region_of(path, SHAPE, SCALE)
    mrc(tmp_path, labels((9, 13, 20)))
    with pytest.raises(ValueError, match="has changed since it was opened"):
        whole(region)


def test_threads_read_blocks_of_one_region_at_a_time(tmp_path):
    array = labels((30, 30, 30))
    regions = [
        region_of(each, (30, 30, 30), SCALE)
        for each in sources(tmp_path, array).values()
    ]

    def planes(region):
        return [region.block((z, 0, 0), (z + 1, 30, 30)) for z in range(30)]

    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(planes, regions * 2):
            assert np.array_equal(np.concatenate(found), array > 0)


def test_the_facts_of_a_region_tell_it_from_others_and_know_it_again(tmp_path):
    array, other = labels(), labels(seed=1)
    path = mrc(tmp_path, array)
    given = [
        None,
        (1.0, 3.0),
        (1.0, 2.0),
        array,
        other,
        (array, 1),
        (array, 2),
        (array, [1, 2]),
        path,
        (path, 1),
        (path, 2),
        Counted(array),
        Counted(other),
        (Counted(array), 1),
    ]
    found = [digest(region_of(each, SHAPE, SCALE).facts()) for each in given]
    assert len(set(found)) == len(given)
    again = [digest(region_of(each, SHAPE, SCALE).facts()) for each in given]
    assert again == found
    turned = region_of(np.asfortranarray(array), SHAPE, SCALE)
    assert digest(turned.facts()) == found[3]


def test_a_file_that_was_written_anew_has_other_facts(tmp_path):
    path = mrc(tmp_path, labels())
    before = digest(region_of(path, SHAPE, SCALE).facts())
    os.utime(path, (1, 1))
    assert digest(region_of(path, SHAPE, SCALE).facts()) != before


def test_the_name_of_the_argument_is_in_its_errors():
    with pytest.raises(ValueError, match=r"^region\['TS_1'\] must hold"):
        region_of(np.zeros(SHAPE), SHAPE, SCALE, "region['TS_1']")
