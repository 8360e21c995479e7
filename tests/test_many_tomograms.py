from __future__ import annotations

import warnings
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

import funpipe as fp
from funpipe import Molecules, Tomogram
from funpipe.io.volumes import write_mrc
from funpipe.simulate import asymmetric_molecule, blob_image, tomogram

SCALE = 0.5  # nm per voxel
BOX = (16, 17, 18)
SHAPE = (37, 62, 63)
MOLECULE = asymmetric_molecule(count=14, radius=2.0, sigma=0.55)
TEMPLATE = blob_image(MOLECULE, BOX, SCALE)
TILTS = {"a": (-60, 60), "b": (-45, 50), "c": None}
OPTIONS = {
    "template": TEMPLATE,
    "max_shifts": 0.75,
    "rotations": ((10, 10),) * 3,
    "progress": False,
}


class Refusing(Executor):
    """An executor that must not be given work."""

    def submit(self, *_, **__):
        raise AssertionError("work has started")


def scene(seed: int, tilt: object) -> tuple[np.ndarray, Molecules, Molecules]:
    """Return a tomogram, where its molecules are, and picks beside them."""
    random = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid([18], [18, 44], [18, 44], indexing="ij"), -1)
    middles = grid.reshape(-1, 3) * SCALE + random.uniform(-0.3, 0.3, (4, 3))
    truth = Molecules(middles, Rotation.random(4, rng=random))
    picks = fp.Molecules(
        middles + random.uniform(-0.4, 0.4, (4, 3)),
        truth.rotations * Rotation.from_rotvec(random.normal(0, 3, (4, 3)), True),
    )
    return tomogram(MOLECULE, truth, SHAPE, SCALE, tilt=tilt, noise=0.1), truth, picks


SCENES = {name: scene(i, tilt) for i, (name, tilt) in enumerate(TILTS.items())}
NAMES = np.repeat(list(TILTS), 4)
SHUFFLED = np.random.default_rng(0).permutation(12)
PICKS = Molecules.concat([each[2] for each in SCENES.values()]).with_features(
    tomogram=NAMES, number=np.arange(12)
)[SHUFFLED]


def arrays() -> dict[str, Tomogram]:
    return {
        name: Tomogram(SCENES[name][0], SCALE, tilt) for name, tilt in TILTS.items()
    }


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tomograms")
    for name, (image, _, _) in SCENES.items():
        write_mrc(folder / f"{name}.mrc", image, SCALE)
    return {name: folder / f"{name}.mrc" for name in TILTS}


def one_by_one(**options) -> Molecules:
    """Align tomogram by tomogram, and put the results in the list's order."""
    results = [
        fp.align(
            SCENES[name][0],
            PICKS[PICKS.features["tomogram"] == name],
            scale=SCALE,
            tilt=tilt,
            **OPTIONS,
            **options,
        )
        for name, tilt in TILTS.items()
    ]
    together = Molecules.concat(results)
    number = together.features["number"].tolist()
    return together[[number.index(i) for i in PICKS.features["number"]]]


def assert_same(left: Molecules, right: Molecules) -> None:
    np.testing.assert_allclose(left.positions, right.positions, atol=1e-5)
    assert ((left.rotations.inv() * right.rotations).magnitude() < 1e-5).all()
    assert list(left.features) == list(right.features)
    for name in ("tomogram", "number", "template"):
        np.testing.assert_array_equal(left.features[name], right.features[name])
    for name in ("score", "shift_error", "angle_error"):
        np.testing.assert_allclose(left.features[name], right.features[name], rtol=1e-3)


def test_many_tomograms_align_as_each_alone_in_the_order_of_the_list():
    found = fp.align(arrays(), PICKS, **OPTIONS)
    assert_same(found, one_by_one())
    truth = Molecules.concat([each[1] for each in SCENES.values()])[SHUFFLED]
    off = np.linalg.norm(found.positions - truth.positions, axis=1)
    assert off.max() < 0.5 * SCALE


def test_files_bring_their_scales_to_this_process_and_to_an_executor(files):
    tilted = {name: Tomogram(files[name], tilt=TILTS[name]) for name in TILTS}
    found = fp.align(tilted, PICKS, **OPTIONS)
    assert_same(found, one_by_one())
    with ThreadPoolExecutor(2) as executor:
        assert_same(fp.align(tilted, PICKS, executor=executor, **OPTIONS), found)


def test_a_tilt_of_all_is_for_those_without_their_own(files):
    tomograms = {**files, "b": Tomogram(files["b"], tilt=(-45, 50))}
    found = fp.align(tomograms, PICKS, tilt=(-60, 60), **OPTIONS)
    own = {
        name: Tomogram(files[name], tilt=(-45, 50) if name == "b" else (-60, 60))
        for name in TILTS
    }
    assert_same(found, fp.align(own, PICKS, **OPTIONS))
    without = fp.align(files, PICKS, tilt=(-60, 60), **OPTIONS)
    lies_in_b = PICKS.features["tomogram"] == "b"
    differs = found.features["score"] != without.features["score"]
    np.testing.assert_array_equal(differs, lies_in_b)


def test_a_single_tomogram_may_bring_its_scale_and_tilt():
    image, _, picks = SCENES["b"]
    given = fp.align(image, picks, scale=SCALE, tilt=(-45, 50), **OPTIONS)
    assert fp.align(Tomogram(image, SCALE, (-45, 50)), picks, **OPTIONS) == given


def test_whitening_sees_the_noise_of_all_tomograms():
    # The one's noise is white, the other's of long waves; beside each other in one
    # array their particles have one noise, that of both.
    image, _, picks = SCENES["a"]
    random = np.random.default_rng(5)
    white, long = random.normal(size=(2, *SHAPE))
    long = fp.gaussian_filter(0.8)(long, SCALE)
    images = {"white": image + white, "long": image + 20 * long}
    apart = np.array([SHAPE[0] * SCALE, 0, 0])
    below = Molecules(picks.positions + apart, picks.rotations)
    stacked = np.concatenate(list(images.values()))  # along z
    both = Molecules.concat([picks, below])
    options = {"whiten": True, **OPTIONS}
    expected = fp.align(stacked, both, scale=SCALE, **options)
    tomograms = {name: Tomogram(each, SCALE) for name, each in images.items()}
    named = Molecules.concat([picks, picks]).with_features(
        tomogram=np.repeat(list(images), 4)
    )
    found = fp.align(tomograms, named, **options)
    for name in ("score", "shift_error", "angle_error"):
        np.testing.assert_allclose(
            found.features[name], expected.features[name], rtol=1e-3
        )
    for name, half in (("white", found[:4]), ("long", found[4:])):
        alone = fp.align(tomograms[name], picks, **options)
        changes = [
            np.abs(np.log(half.features[each] / alone.features[each]))
            for each in ("score", "shift_error", "angle_error")
        ]
        # By the noise of one it would be another, for each of the particles.
        assert (np.max(changes, axis=0) > 0.05).all()


def test_there_is_one_progress_bar_for_all(capsys):
    fp.align(arrays(), PICKS, **{**OPTIONS, "progress": True})
    shown = capsys.readouterr().err
    assert "12/12" in shown
    assert shown.count("\n") == 1  # a bar ends with one


@pytest.mark.parametrize("feature", ["rlnTomoName", "number"])
def test_the_feature_may_have_another_name_and_hold_numbers(feature):
    names = {"a": 3, "b": 1, "c": 2} if feature == "number" else {n: n for n in "abc"}
    values = [names[each] for each in PICKS.features["tomogram"]]
    picks = Molecules(PICKS.positions, PICKS.rotations, {feature: values})
    for kind in (int, str) if feature == "number" else (str,):
        tomograms = {kind(names[n]): each for n, each in arrays().items()}
        found = fp.align(tomograms, picks, tomogram_feature=feature, **OPTIONS)
        expected = fp.align(arrays(), PICKS, **OPTIONS)
        np.testing.assert_array_equal(found.positions, expected.positions)


# Averages.


@pytest.mark.parametrize("tilt", [None, (-60, 60)])
def test_the_average_over_many_is_the_mean_of_all_particles(tilt):
    tomograms = {name: Tomogram(SCENES[name][0], SCALE) for name in TILTS}
    found = fp.average(tomograms, PICKS, shape=BOX, tilt=tilt)
    stacked = np.concatenate([SCENES[name][0] for name in TILTS])  # along z
    offset = np.array([[list(TILTS).index(n) * SHAPE[0], 0, 0] for n in NAMES])
    one = Molecules(PICKS.positions + offset[SHUFFLED] * SCALE, PICKS.rotations)
    expected = fp.average(stacked, one, shape=BOX, scale=SCALE, tilt=tilt)
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.ptp(expected))


def test_each_particle_is_weighted_by_its_own_tilt_series():
    image, _, picks = SCENES["c"]
    picks = Molecules.concat([picks[:1], picks[1:2]]).with_features(
        tomogram=["full", "half"]
    )
    tomograms = {
        "full": Tomogram(image, SCALE),
        "half": Tomogram(image, SCALE, (-30, 30)),
    }
    found = fp.average(tomograms, picks, shape=12)
    waves, weights = 0, 0
    for i, tilt in enumerate([(-90, 90), (-30, 30)]):
        box = fp.subtomograms(image, picks[i], shape=12, scale=SCALE)[0]
        axes = [np.fft.fftfreq(12, SCALE)] * 3
        k = np.stack(np.meshgrid(*axes, indexing="ij"))
        turned = np.tensordot(picks.rotations[i].as_matrix(), k, axes=1)
        weight = fp.single_axis(tilt)(turned)
        waves, weights = waves + weight * np.fft.fftn(box), weights + weight
    expected = np.fft.ifftn(waves / np.maximum(weights, 1)).real
    # Nyquist's waves and their mirror images may differ in weight.
    np.testing.assert_allclose(found, expected, atol=0.02 * np.ptp(expected))
    plain = fp.average({**tomograms, "half": tomograms["full"]}, picks, shape=12)
    assert np.abs(found - plain).max() > 0.05 * np.ptp(expected)


# What is wrong is said before any work.


def wrong(files):
    lost = Tomogram(files["a"].with_name("lost.mrc"))
    return {
        "a name without a tomogram": (
            {"tomogram": {"a": files["a"], "b": files["b"]}},
            ValueError,
            r"tomogram lacks 'c', where molecules.features\['tomogram'\] puts 4 of 12 "
            "particles; it has 'a', 'b'$",
        ),
        "no such feature": (
            {"molecules": Molecules(PICKS.positions, features={"tomo": NAMES})},
            ValueError,
            "molecules have no feature 'tomogram' .* their features are 'tomo'$",
        ),
        "no features at all": (
            {"molecules": PICKS.positions},
            ValueError,
            "no feature 'tomogram' .* are none$",
        ),
        "a feature that is no name": (
            {"tomogram_feature": 3},
            TypeError,
            "tomogram_feature must be a name, not 3",
        ),
        "no tomograms": ({"tomogram": {}}, ValueError, "one tomogram or more, not no"),
        "no particles": (
            {"molecules": PICKS[:0]},
            ValueError,
            "molecules must be one particle or more, not none",
        ),
        "names that are one text": (
            {"tomogram": {**files, 1: files["a"], "1": files["a"]}},
            ValueError,
            "names that differ as text",
        ),
        "another scale": (
            {"tomogram": {**files, "b": Tomogram(files["b"], 0.55)}},
            ValueError,
            "one scale, .* 'a' has 0.5 nm per voxel, but 'b' 0.55",
        ),
        "an array without a scale": (
            {"tomogram": {**files, "b": SCENES["b"][0]}},
            ValueError,
            "(?s)scale must be given.*in the tomogram 'b'",
        ),
        "a lost file": (
            {"tomogram": {**files, "c": lost}},
            FileNotFoundError,
            "(?s)lost.mrc.*in the tomogram 'c'",
        ),
        "a damaged file": (
            {"tomogram": {**files, "c": files["c"].with_name("damaged.mrc")}},
            ValueError,
            "(?s)damaged.mrc.*in the tomogram 'c'",
        ),
        "no tomogram": (
            {"tomogram": {**files, "b": None}},
            TypeError,
            "(?s)a path or a 3-D array.*in the tomogram 'b'",
        ),
        "a wrong tilt": (
            {"tomogram": {**files, "b": Tomogram(files["b"], tilt=(60, -60))}},
            ValueError,
            r"(?s)tilt must be .*\(60, -60\).*in the tomogram 'b'",
        ),
        "a small tomogram": (
            {"tomogram": {**files, "b": Tomogram(np.ones((9, 50, 50)), SCALE)}},
            ValueError,
            r"template must fit into 'b' of \(9, 50, 50\) voxels",
        ),
        "a particle outside": (
            {"molecules": moved_out(7)},
            ValueError,
            rf"(?s)molecules\[7\] at .* lies wholly outside.*tomogram '{where(7)}'",
        ),
    }


def moved_out(i: int) -> Molecules:
    positions = PICKS.positions.copy()
    positions[i] += 100
    return Molecules(positions, PICKS.rotations, PICKS.features)


def where(i: int) -> str:
    return str(PICKS.features["tomogram"][i])


CASES = list(wrong({name: Path(name) for name in TILTS}))
ALIGN_ONLY = {"a small tomogram"}


@pytest.mark.parametrize("case", CASES)
def test_what_is_wrong_is_said_before_any_work(case, files, capsys):
    files["c"].with_name("damaged.mrc").write_bytes(b"no volume" * 200)
    changes, error, text = wrong(files)[case]
    given = {"tomogram": files, "molecules": PICKS, **changes}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*damaged.mrc")
        with pytest.raises(error, match=text):
            fp.align(**given, executor=Refusing(), **{**OPTIONS, "progress": True})
        if case not in ALIGN_ONLY:
            with pytest.raises(error, match=text):
                fp.average(**given, shape=8)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("i", [0, 3])
def test_nan_ends_the_work_and_is_said_with_its_tomogram(i, files):
    given = {**files, where(i): Tomogram(np.full(SHAPE, np.nan), SCALE)}
    text = rf"(?s)NaN or infinity near molecules\[\d+\].*in the tomogram '{where(i)}'"
    with pytest.raises(ValueError, match=text):
        fp.align(given, PICKS, **OPTIONS)
    with ThreadPoolExecutor(2) as pool, pytest.raises(ValueError, match=text):
        fp.align(given, PICKS, executor=pool, **OPTIONS)


class Counted:
    """An array that counts the voxels that are read of it."""

    def __init__(self, array):
        self.array, self.shape, self.dtype, self.read = (
            array,
            array.shape,
            array.dtype,
            0,
        )

    def __getitem__(self, index):
        block = self.array[index]
        self.read += block.size
        return block


def test_a_tomogram_of_floats_is_read_once():
    image, _, picks = SCENES["c"]
    cut, aligned, checked = Counted(image), Counted(image), Counted(image)
    fp.subtomograms(cut, picks, shape=BOX, scale=SCALE)
    assert 0 < cut.read <= len(picks) * np.prod([2 * n + 24 for n in BOX])
    fp.align(aligned, picks, scale=SCALE, **OPTIONS)
    largest = np.ceil(np.sqrt(3) * max(BOX)) + 3  # a box turned any way
    assert 0 < aligned.read <= len(picks) * largest**3
    fp.align(checked, picks, scale=SCALE, **{**OPTIONS, "preflight": True})
    assert checked.read == aligned.read


def test_a_tomogram_without_particles_is_a_warning_and_is_not_opened(files, tmp_path):
    more = {**files, "d": tmp_path / "d.mrc", "e": tmp_path / "e.mrc"}
    text = "no particles lie in 2 of the tomograms: 'd', 'e'$"
    with pytest.warns(UserWarning, match=text) as warned:
        found = fp.align(more, PICKS, **OPTIONS)
    assert [each.filename for each in warned] == [__file__]
    with pytest.warns(UserWarning, match=text) as warned:
        fp.average(more, PICKS, shape=BOX)
    assert [each.filename for each in warned] == [__file__]
    assert_same(found, fp.align(files, PICKS, **OPTIONS))


def test_boxes_that_leave_any_tomogram_are_one_warning(files):
    positions = PICKS.positions.copy()
    names = PICKS.features["tomogram"].tolist()
    positions[[names.index(each) for each in "abc"]] = 4.0, 4.0, 1.5
    picks = Molecules(positions, PICKS.rotations, PICKS.features)
    with pytest.warns(UserWarning, match="^3 of 12 boxes leave the tomo") as warned:
        fp.align(files, picks, **OPTIONS)
    assert [each.filename for each in warned] == [__file__]
    with pytest.warns(UserWarning, match="^3 of 12 boxes leave the tomo") as warned:
        fp.average(files, picks, shape=BOX)
    assert [each.filename for each in warned] == [__file__]
