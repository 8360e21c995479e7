"""Pictures, by what is drawn in them: data, labels with units, limits."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

import funpipe as fp
from funpipe import Iteration, plot
from funpipe.jobs.recording import SearchRecord, write_record

pytest.importorskip("matplotlib", reason="the extra plot is not installed")

from matplotlib.figure import Figure

BLOB = fp.from_gaussian((4.0, 5.0, 6.0), sigma=(0.8, 1.0, 1.5))
RNG = np.random.default_rng(0)
IMAGE = RNG.normal(size=(9, 12, 16)).astype(np.float32)
MOLECULES = fp.Molecules(
    RNG.uniform(5, 15, (6, 3)),
    Rotation.random(6, rng=0),
    {
        "score": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6],
        "shift": [0.5, 1.0, 1.5, 2.0, 0.2, 0.1],
        "angle": [5.0, 4.0, 3.0, 2.0, 1.0, 6.0],
        "shift_error": [0.1, 0.2, 0.3, 0.1, 0.2, np.nan],
        "angle_error": [1.0, 1.0, 2.0, 2.0, 3.0, np.nan],
        "at_limit": [False, False, False, True, False, False],
    },
)
SIGNAL, FIRST, SECOND = RNG.normal(size=(3, 24, 24, 24))
SIGNAL = fp.gaussian_filter(2.0)(SIGNAL) * 12
CURVE = fp.fsc(SIGNAL + FIRST, SIGNAL + SECOND, scale=0.5)
MASKED = fp.fsc(
    SIGNAL + FIRST, SIGNAL + SECOND, scale=0.5, mask=fp.cosine_edge(1.0) @ fp.sphere(3)
)
CONES = fp.conical_fsc(SIGNAL + FIRST, SIGNAL + SECOND, scale=0.5, directions=7)
NULL = np.linspace(0.2, 0.4, 200) ** 1.5
PEAKS = np.concatenate([[0.6, 0.5, 0.5, 0.45], NULL[::-1]])
FALSE = np.concatenate([[0.01, 0.02, 0.02, 0.03], np.full(200, 0.9)])
RECORD = SearchRecord(
    tomograms=("TS_01",),
    shapes=((20, 30, 40),),
    regions=("everywhere",),
    scale=1.0,
    resolution=4.0,
    spacing=12.0,
    rotations=7112,
    templates=1,
    symmetry="C1",
    whiten=False,
    exact=False,
    functions=80,
    distance=20.0,
    counts=((24000, 2400, 240, 204),),
    least=0.05,
    scores=PEAKS,
    picked=PEAKS[:4],
    false=FALSE,
    null=NULL,
    false_discovery_rate=0.05,
)


def texts(ax):
    return [each.get_text() for each in ax.texts]


def legend(ax):
    return [each.get_text() for each in ax.get_legend().get_texts()]


def line(ax, label):
    return next(each for each in ax.lines if each.get_label() == label)


DRAWN = {  # each with its data, and what it needs
    "slices": lambda **ax: plot.slices(IMAGE, **ax),
    "masked": lambda **ax: plot.masked(IMAGE, mask=np.ones(IMAGE.shape), **ax),
    "fsc": lambda **ax: plot.fsc(CURVE, **ax),
    "scores": lambda **ax: plot.scores(MOLECULES, **ax),
    "moves": lambda **ax: plot.moves(MOLECULES, **ax),
    "orientations": lambda **ax: plot.orientations(MOLECULES, **ax),
    "search_scores": lambda **ax: plot.search_scores(RECORD, **ax),
    "picks": lambda **ax: plot.picks(np.zeros((20,) * 3), MOLECULES, scale=1.0, **ax),
}


@pytest.mark.parametrize("name", DRAWN)
def test_axes_are_given_or_new_and_returned(name):
    given = Figure().subplots()
    assert DRAWN[name](ax=given) is given
    assert len(given.figure.axes) in (1, 2)  # maybe with a bar of colours
    ax = DRAWN[name]()
    assert isinstance(ax.figure, Figure) and ax.figure is not given.figure
    with pytest.raises(TypeError, match="ax must be None, or matplotlib's Axes, not"):
        DRAWN[name](ax=given.figure)


def test_pictures_leave_pyplot_alone():
    code = (
        "import sys, numpy as np; from funpipe import plot;"
        "assert 'matplotlib' not in sys.modules;"
        "plot.slices(np.zeros((4, 4, 4))).figure.savefig('/dev/null', format='png');"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_public_picture_is_tried_here():
    panels = {"stages", "iterations", "classes", "central_slices"}
    assert set(plot.__all__) == {*DRAWN, *panels}


@pytest.mark.parametrize("name", DRAWN)
def test_a_missing_matplotlib_names_its_extra(name, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"matplotlib is .* 'funpipe\[plot\]'"):
        DRAWN[name]()


# Images.


def planes_of(ax):
    return [np.asarray(each.get_array()) for each in ax.images]


def test_slices_go_through_a_point_and_lie_beside_each_other():
    ax = plot.slices(IMAGE, scale=0.5, at=(1.0, -2.0, 0.5))
    # 9 x 12 x 16 voxels: centres at 4, 5.5, 7.5, the point is at 6, 1.5, 8.5
    across_z, across_x, across_y = planes_of(ax)
    np.testing.assert_array_equal(across_z, IMAGE[6])
    np.testing.assert_array_equal(across_y, IMAGE[:, 2])
    np.testing.assert_array_equal(across_x, IMAGE[:, :, 9].T)
    first, right, below = (each.get_extent() for each in ax.images)
    assert first == [-4, 4, -3, 3]
    assert right[1] - right[0] == pytest.approx(4.5) and right[2:] == [-3, 3]
    assert below[3] - below[2] == pytest.approx(4.5) and below[:2] == [-4, 4]
    assert right[0] > 4 and below[3] < -3
    assert all(each.origin == "lower" for each in ax.images)
    assert {each.get_clim() for each in ax.images} == {ax.images[0].get_clim()}


@pytest.mark.parametrize(
    ("scale", "length"), [(0.1, 0.5), (0.27, 1), (0.5, 2), (1.0, 5), (20.0, 100)]
)
def test_the_bar_of_scale_is_as_long_as_it_says(scale, length):
    ax = plot.slices(IMAGE, scale=scale)
    bar = ax.lines[0].get_xdata()
    assert bar[1] - bar[0] == pytest.approx(length)
    assert f"{length:g} nm" in texts(ax)
    assert 16 * scale / 10 < length <= 16 * scale / 3


def test_slices_take_a_provider_at_the_scale():
    found = planes_of(plot.slices(BLOB, 0.5))
    np.testing.assert_array_equal(found[0], BLOB(0.5)[4])


@pytest.mark.parametrize("radius", [1.0, 1.5])
def test_the_contour_is_where_the_mask_is_half(radius):
    ball = fp.from_gaussian((6.0, 6.0, 6.0), sigma=1.0)
    ax = plot.masked(ball, mask=fp.sphere(radius), scale=0.25)
    assert len(ax.collections) == 3
    points = np.concatenate([each.vertices for each in ax.collections[0].get_paths()])
    away = np.linalg.norm(points, axis=1)
    assert (abs(away - radius) < 0.2).all()
    plain = plot.slices(ball, scale=0.25)
    np.testing.assert_array_equal(planes_of(ax)[1], planes_of(plain)[1])


def test_a_mask_of_ones_has_no_contour():
    ax = plot.masked(IMAGE, mask=None)
    assert len(ax.collections) == 0


def test_stages_are_drawn_in_order_each_under_its_text():
    pipeline = fp.dilation(0.5) @ fp.threshold(0.5) @ BLOB
    figure = plot.stages(pipeline, scale=0.5, columns=2)
    assert [each.get_title() for each in figure.axes] == [
        "from_gaussian((4.0, 5.0, 6.0),\n(0.8, 1.0, 1.5))",
        "threshold(0.5)",
        "dilation(0.5)",
    ]
    for ax, image in zip(
        figure.axes, fp.stage_images(pipeline, 0.5).values(), strict=True
    ):
        np.testing.assert_array_equal(planes_of(ax)[0], image[4])
    of_converter = plot.stages(fp.invert(), 1.0, image=IMAGE)
    assert [each.get_title() for each in of_converter.axes] == ["image", "invert()"]


def test_classes_are_drawn_with_how_many_they_are():
    features = {
        "class": [0, 2, 2, 2, 0, 2],
        "class_probability_2": [0, 1, 1, 0.5, 0, 1],
    }
    some = fp.Molecules(np.zeros((6, 3)), features=features)
    maps = [IMAGE, IMAGE + 1, 2 * IMAGE]
    figure = plot.classes(some, maps=maps, scale=0.5, columns=2)
    assert [each.get_title() for each in figure.axes] == [
        *("class 0: 2 (33 %)", "class 1: 0 (0 %)"),
        "class 2: 4 (67 %)\nmean probability 0.88",
    ]
    for ax, image in zip(figure.axes, maps, strict=True):
        np.testing.assert_array_equal(planes_of(ax)[0], image[4])


# Curves.


@pytest.mark.parametrize("curve", [CURVE, MASKED], ids=["plain", "masked"])
def test_the_fsc_is_drawn_with_its_band_and_thresholds(curve):
    ax = plot.fsc(curve)
    drawn = line(ax, "FSC")
    np.testing.assert_array_equal(drawn.get_xdata(), curve.frequency)
    np.testing.assert_array_equal(drawn.get_ydata(), curve.corrected)
    low, high = curve.band(0.95)
    band = ax.collections[0].get_paths()[0].vertices
    for x, at in zip(curve.frequency, (low + high) / 2, strict=True):
        assert any(np.isclose(band[:, 0], x)), at
    assert {*low.round(6), *high.round(6)} <= {*band[:, 1].round(6)}
    for at in (0.143, 0.5):
        resolution, between = curve.resolution(at), curve.resolution_range(at)
        said = f"{at:g}: {resolution:.3g} nm ({between[0]:.3g} to {between[1]:.3g})"
        assert said in legend(ax)
        assert any(
            np.allclose(each.get_xydata(), [[1 / resolution, at]]) for each in ax.lines
        )
    assert (ax.get_xlabel(), ax.get_ylabel()) == (
        "spatial frequency (1/nm)",
        "Fourier shell correlation",
    )
    masked = {"under the mask", "phases random", "without a mask"} & {*legend(ax)}
    assert len(masked) == (3 if curve is MASKED else 0)


def test_curves_without_the_mask_are_their_own():
    ax = plot.fsc(MASKED)
    for label, values in [
        ("under the mask", MASKED.fsc),
        ("phases random", MASKED.randomised),
        ("without a mask", MASKED.unmasked),
    ]:
        np.testing.assert_array_equal(line(ax, label).get_ydata(), values)


def test_cones_are_drawn_behind():
    ax = plot.fsc(CURVE, cones=CONES)
    behind = [each.get_ydata() for each in ax.lines[:7]]
    np.testing.assert_array_equal(behind, CONES.corrected)
    assert "7 directions" in legend(ax)


def test_a_curve_that_does_not_cross_says_so():
    above = fp.fsc(SIGNAL, SIGNAL, scale=0.5)
    assert "0.5: above it up to the last shell, 1 nm" in legend(plot.fsc(above))
    below = fp.fsc(FIRST, -FIRST, scale=0.5)
    assert "0.5: below it from the first shell on" in legend(plot.fsc(below))


def test_scores_are_a_histogram_and_the_null_is_as_if_as_many():
    null = RNG.normal(0, 0.1, 500)
    ax = plot.scores(MOLECULES, null=null)
    (outline,) = (each for each in ax.patches if hasattr(each, "get_data"))
    heights, edges, _ = outline.get_data()
    assert heights.sum() == pytest.approx(6)
    bars = [each for each in ax.patches if each is not outline]
    assert sum(each.get_height() for each in bars) == 6
    np.testing.assert_allclose([each.get_x() for each in bars], edges[:-1])
    np.testing.assert_allclose(heights, np.histogram(null, edges)[0] * 6 / 500)
    assert "median 0.35" in legend(ax)
    other = plot.scores(MOLECULES, feature="angle")
    assert other.get_xlabel() == "angle"


def test_the_scores_of_a_search_are_drawn_with_those_taken_and_the_null(tmp_path):
    ax = plot.search_scores(RECORD)
    everything, taken, null = (each.get_data() for each in ax.patches)
    edges = null.edges
    np.testing.assert_array_equal(null.values, np.histogram(NULL, edges)[0])
    np.testing.assert_array_equal(everything.values, np.histogram(PEAKS, edges)[0])
    np.testing.assert_array_equal(taken.values, np.histogram(PEAKS[:4], edges)[0])
    np.testing.assert_array_equal(everything.baseline, taken.values)
    assert legend(ax)[:2] == [
        "204 peaks",
        "4 taken, of 0.45 or more; 2 % expected to be false",
    ]
    path = tmp_path / "searched.json"
    write_record(RECORD, path)
    assert legend(plot.search_scores(path)) == legend(ax)


def test_the_false_that_are_expected_in_a_bar_are_drawn():
    ax = plot.search_scores(RECORD)
    edges = ax.patches[0].get_data().edges
    s, expected = line(ax, "expected, false").get_data()
    np.testing.assert_allclose(s, (edges[1:] + edges[:-1]) / 2)
    bar = np.minimum(np.digitize(PEAKS, edges), len(s)) - 1
    sums = np.bincount(bar, FALSE, len(s))
    np.testing.assert_allclose(expected, sums, atol=1e-9)
    assert any(each.get_xdata()[0] == 0.45 for each in ax.lines)  # the threshold


def test_a_search_without_a_null_and_without_picks_has_its_peaks_alone():
    bare = RECORD._replace(null=None, false=None, picked=PEAKS[:0])
    ax = plot.search_scores(bare)
    assert legend(ax) == ["204 peaks"] and not ax.lines
    some = plot.search_scores(bare._replace(picked=PEAKS[:2]))
    assert legend(some)[1] == "2 taken, of 0.5 or more"
    nothing = RECORD._replace(scores=PEAKS[:0], picked=PEAKS[:0], null=NULL[:0])
    with pytest.raises(ValueError, match="record must have one peak or more, not none"):
        plot.search_scores(nothing)


def test_moves_are_points_with_the_errors_that_are_stated():
    ax = plot.moves(MOLECULES)
    there = np.concatenate(
        [each.get_offsets() for each in ax.collections if hasattr(each, "get_sizes")]
    )
    features = MOLECULES.features
    expected = np.column_stack([features["shift"], features["angle"]])
    assert {*map(tuple, there.tolist())} == {*map(tuple, expected.tolist())}
    assert legend(ax)[:2] == ["5 particles", "1 particle at a limit"]
    assert legend(ax)[-1] == "stated errors, median 0.2 nm, 2°"
    bars = [
        each.get_segments() for each in ax.collections if hasattr(each, "get_segments")
    ]
    ends = np.array([each for some in bars for each in some])
    assert len(ends) == 10  # of five particles, along and up
    spans = {tuple(np.ptp(each, axis=0).round(6)) for each in ends}
    assert spans == {(0.2, 0), (0.4, 0), (0.6, 0), (0, 2), (0, 4), (0, 6)}
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("shift (nm)", "angle (degrees)")


def test_of_many_particles_the_errors_are_one_cross_at_the_medians():
    many = fp.Molecules.concat([MOLECULES[:5]] * 60)
    ax = plot.moves(many)
    bars = [each for each in ax.collections if hasattr(each, "get_segments")]
    assert sum(len(each.get_segments()) for each in bars) == 2
    middle = bars[0].get_segments()[0].mean(axis=0)
    np.testing.assert_allclose(middle, [1.0, 3.0])


def iteration(number, resolution):
    halves = fp.Halves(FIRST, SECOND, 0.5)
    return Iteration(
        *(number, MOLECULES, halves, SIGNAL, CURVE, resolution, 2.0 / number, 1.0),
        *(6, 0.5),
    )


def test_iterations_are_three_panels_over_their_numbers():
    several = (iteration(i, resolution) for i, resolution in ((1, 3.0), (2, np.inf)))
    figure = plot.iterations(several)
    rows = [each.lines[0].get_xydata() for each in figure.axes]
    np.testing.assert_array_equal(rows[0], [[1, 3.0], [2, np.nan]])
    np.testing.assert_array_equal(rows[1], [[1, 2.0], [2, 1.0]])
    np.testing.assert_array_equal(rows[2], [[1, 1.0], [2, 1.0]])
    assert [each.get_ylabel() for each in figure.axes] == [
        *("resolution (nm)", "moved (nm)", "turned (degrees)")
    ]
    assert figure.axes[1].lines[1].get_ydata().tolist() == [0.2, 0.2]
    assert figure.axes[2].get_xlabel() == "iteration"


# Where particles are, and how they are turned.


def test_views_are_projected_by_equal_areas():
    tilts = np.radians([0.0, 30.0, 60.0, 90.0])
    turns = Rotation.from_rotvec(np.outer(tilts, [0, 1, 0]))  # about y
    ax = plot.orientations(fp.Molecules(np.zeros((4, 3)), turns))
    x, y = ax.collections[0].get_offsets().T
    # the part of the half sphere within θ of its middle, 1 − cos θ, is the disc's
    np.testing.assert_allclose(x**2 + y**2, 1 - np.cos(tilts), atol=1e-12)
    np.testing.assert_allclose(y, 0, atol=1e-12)
    rim = max(each.radius for each in ax.patches)
    assert rim == 1 and {"30°", "60°", "90°", "x", "y", "z"} <= set(texts(ax))


def test_many_views_are_counted_in_hexagons_that_are_even_where_views_are():
    molecules = fp.Molecules(np.zeros((50_000, 3)), Rotation.random(50_000, rng=3))
    ax = plot.orientations(molecules)
    counts, centres = ax.collections[0].get_array(), ax.collections[0].get_offsets()
    inside = np.hypot(*centres.T) < 1
    mean = counts[inside].mean()
    area = np.pi / inside.sum()  # of a hexagon; the disc holds all views
    assert mean * np.pi / area == pytest.approx(50_000, rel=0.03)
    assert abs(counts[inside] - mean).max() < 6 * np.sqrt(mean)  # also on the rim
    assert ax.figure.axes[1].get_ylabel() == "views"
    few = plot.orientations(molecules[:10], symmetry="C5")
    assert len(few.collections[0].get_offsets()) == 50


def test_picks_are_circles_over_the_mean_of_a_slice():
    volume = RNG.normal(size=(20, 30, 40)).astype(np.float32)
    places = [[5.0, 3.0, 10.0], [5.5, 20.0, 2.0], [15.0, 1.0, 1.0]]
    some = fp.Molecules(places, features={"score": [1.0, 2.0, 3.0]})
    ax = plot.picks(
        volume, some, scale=0.5, z=5.0, thickness=2.0, diameter=3.0, color="score"
    )
    np.testing.assert_allclose(planes_of(ax)[0], volume[8:13].mean(axis=0), atol=1e-6)
    assert ax.images[0].get_extent() == [-0.25, 19.75, -0.25, 14.75]
    circles = ax.collections[0]
    np.testing.assert_array_equal(circles.get_offsets(), [[10.0, 3.0], [2.0, 20.0]])
    np.testing.assert_array_equal(circles.get_array(), [1.0, 2.0])
    assert ax.get_title() == "z = 5 ± 1 nm: 2 of 3 particles"
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("x (nm)", "y (nm)")
    circles.update_scalarmappable()
    assert len(np.unique(circles.get_edgecolor(), axis=0)) == 2  # colours by score


def test_particles_that_a_slice_cuts_are_drawn_thin_as_large_as_the_cut():
    places = [[5.0, 3.0, 10.0], [8.0, 20.0, 2.0], [15.0, 1.0, 1.0]]
    some = fp.Molecules(places, features={"score": [1.0, 2.0, 3.0]})
    ax = plot.picks(
        np.zeros((20, 30, 40)),
        some,
        scale=1.0,
        z=5.0,
        thickness=2.0,
        diameter=5.0,
        color="score",
    )
    whole, cut = ax.collections
    np.testing.assert_array_equal(whole.get_offsets(), [[10.0, 3.0]])
    np.testing.assert_array_equal(cut.get_offsets(), [[2.0, 20.0]])
    # Its centre is 2 nm beyond the slice: 2 sqrt(2.5² − 2²) nm of it are seen.
    np.testing.assert_allclose(cut.get_widths(), 3.0)
    assert cut.get_linewidths()[0] < whole.get_linewidths()[0]
    assert whole.get_clim() == cut.get_clim() == (1.0, 3.0)
    assert "1 of 3 particles" in ax.get_title()


def test_a_large_slice_is_made_coarser_and_says_the_same_places():
    volume = np.zeros((2, 2100, 30), np.float32)
    volume[:, 3:6, 6:9] = 9.0
    ax = plot.picks(volume, np.array([[0.0, 4.0, 7.0]]), scale=1.0)
    assert planes_of(ax)[0].shape == (700, 10)
    assert np.argwhere(planes_of(ax)[0] == 9).tolist() == [[1, 2]]


# What is wrong.


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: plot.slices(np.zeros((3, 3))), "image must be a 3-D array"),
        (lambda: plot.slices(IMAGE, scale=0), "scale must be a number above 0"),
        (lambda: plot.slices(IMAGE, at=(0, 0, 9)), r"at must be within 4.5 x 6 x 8 nm"),
        (lambda: plot.slices(fp.from_arrays([IMAGE], 1.0)), "image must be of one im"),
        (lambda: plot.masked([BLOB, BLOB], mask=None), "template must be one, not 2"),
        (lambda: plot.stages(fp.identity, image=IMAGE), "pipeline must have a stage"),
        (lambda: plot.stages(BLOB, columns=0), "columns must be a whole number of 1"),
        (
            lambda: plot.stages(fp.from_arrays([IMAGE], 1.0)),
            "pipeline must be of one image",
        ),
        (lambda: plot.classes(MOLECULES, maps=[IMAGE]), "feature must be a feature"),
        (
            lambda: plot.classes(
                MOLECULES.with_features(c=[0, 1, 2, 0, 1, 0]),
                maps=[IMAGE] * 2,
                feature="c",
            ),
            r"features\['c'\] must be whole numbers from 0 to 1",
        ),
        (lambda: plot.classes(MOLECULES, maps=IMAGE), r"maps\[0\] must be a 3-D array"),
        (lambda: plot.fsc(IMAGE), "curve must be an FSC"),
        (lambda: plot.fsc(CURVE, cones=CURVE), "cones must be None, or a ConicalFSC"),
        (
            lambda: plot.fsc(CURVE, thresholds=[0.5, 2]),
            r"thresholds\[1\] must be above 0",
        ),
        (lambda: plot.fsc(CURVE, level=1), "level must be above 0 and below 1"),
        (lambda: plot.scores([]), "molecules must have one finite score or more"),
        (lambda: plot.scores([[1.0]]), "molecules must be Molecules, or one number"),
        (lambda: plot.scores([1.0], null=["a"]), "null must be Molecules, or one num"),
        (
            lambda: plot.scores(MOLECULES, feature="none"),
            "molecules must have numbers as the feature 'none'",
        ),
        (
            lambda: plot.scores(MOLECULES, feature=[]),
            "feature must be the name of a fe",
        ),
        (lambda: plot.search_scores(PEAKS), "record must be a SearchRecord, or the pa"),
        (lambda: plot.search_scores("no.json"), "No such file"),
        (lambda: plot.moves(np.zeros((1, 3))), "numbers as the feature 'shift'"),
        (lambda: plot.moves(MOLECULES[:0]), "one particle or more, not none"),
        (lambda: plot.iterations([]), "several must be one or more of the iterations"),
        (lambda: plot.iterations([MOLECULES]), "several must be one or more of the it"),
        (lambda: plot.orientations(MOLECULES[:0]), "one particle or more, not none"),
        (lambda: plot.orientations(MOLECULES, symmetry="C0"), "symmetry must be a sym"),
        (
            lambda: plot.picks(IMAGE, MOLECULES, scale=1.0, z=99),
            "z must be a height in the tomogram, 0 to 8 nm, not 99",
        ),
        (lambda: plot.picks(IMAGE, MOLECULES), "scale must be given"),
        (
            lambda: plot.picks(IMAGE, MOLECULES, scale=1.0, color="none"),
            "color must be a feature that there is",
        ),
    ],
)
def test_what_is_wrong_is_one_clear_error(call, text):
    with pytest.raises((TypeError, ValueError, OSError), match=text):
        call()
