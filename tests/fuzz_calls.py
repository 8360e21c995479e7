"""Valid calls of every public function, and what its arguments may be called.

For `tests/test_fuzz.py`.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation
from stage_examples import STAGES, example, is_converter

import funpipe as fp
from funpipe.engine.matching import ENGINE
from funpipe.stages.parsing import parse_pipeline


def provided(provider):
    return provider(1.0)


def converted(converter):
    return converter(IMAGE, 1.0), converter(IMAGE, 0.4)


def ramp(scale, length=3.0):
    n = round(length / scale)
    return np.arange(float(n**3)).reshape(n, n, n)


def derives(radius=2.0):
    return fp.sphere(radius)


def doubled(image, scale, factor=2.0):
    return image * factor


def lifted(function, first, second):
    return fp.lift(function)(first, second)(1.0)


def composed(first, second, last):
    return fp.compose(first, second, last)(1.0)


def loader_align(**given):
    return fp.SubtomogramLoader(VOLUME, PICKS, 1.0).align(**given)


def loader_average(**given):
    return fp.SubtomogramLoader(VOLUME, PICKS, 1.0).average(**given)


def provider_called(scale):
    return BLOB(scale)


def converter_called(image, scale):
    return fp.gaussian_filter(0.5)(image, scale)


def tilts_read(paths, axis, over):
    return fp.read_tilts(paths, axis=axis, hand=over)


def tomograms_read(path, folder, over):
    return list(fp.read_tomograms(path, folder=folder, hand=over))


def with_feature(values):
    return PICKS.with_features(score=values)


RNG = np.random.default_rng(0)
IMAGE = RNG.random((6, 5, 7)).astype(np.float32)
VOLUME = RNG.normal(size=(20, 20, 20)).astype(np.float32)
PICKS = fp.Molecules(
    [[9.0, 9.0, 10.0], [10.0, 11.0, 9.0]],
    Rotation.random(2, rng=0),
    {"tomogram": ["a", "b"], "score": [0.5, 0.25]},
)
CURVE = fp.Molecules(
    [[0.0, 1, 2], [1.0, 4, 3], [3.0, 8, 3], [7.0, 9, 4]],
    features={"tomogram": ["a"] * 4, "tube": [1] * 4},
)
BLOB = fp.from_gaussian((6.0, 6.0, 6.0), sigma=(0.8, 1.0, 1.5))
BOXES = np.stack([BLOB(1.0)] * 2)
SEARCH = {
    "max_shifts": 1.0,
    "rotations": (20, 20),
    "tilt": (-60, 60),
    "resolution": 2.5,
    "symmetry": "C1",
    "refine": True,
    "whiten": False,
    "estimate": "mean",
    "prior": (0.5, 8.0),
    "engine": ENGINE,
    "executor": None,
    "checkpoint": None,
    "progress": False,
}
OF_TOMOGRAM = {
    "tomogram": VOLUME,
    "molecules": PICKS,
    "template": BLOB,
    "mask": fp.soft_otsu(0.5, 0.5),
    "scale": 1.0,
    "tomogram_feature": "tomogram",
    "preflight": False,
    **SEARCH,
}
ALIGN_ONLY = (
    *("refine", "whiten", "estimate", "prior"),
    *("preflight", "checkpoint", "progress"),
)
OF_CHECK = {
    name: value for name, value in OF_TOMOGRAM.items() if name not in ALIGN_ONLY
}
OF_SCORE = {
    name: value
    for name, value in OF_TOMOGRAM.items()
    if name
    in (
        *("tomogram", "molecules", "template", "mask", "scale", "tilt", "resolution"),
        *("tomogram_feature", "executor", "checkpoint", "progress"),
    )
}
OF_LOADER = {
    name: value
    for name, value in OF_TOMOGRAM.items()
    if name not in ("tomogram", "molecules", "scale")
}
HALVES = PICKS.with_features(half=[1, 2], lattice=[1, 2])
OTHER = IMAGE + RNG.random((6, 5, 7)).astype(np.float32)
OF_MAPS = {"a": IMAGE, "b": OTHER, "mask": np.ones((6, 5, 7)), "scale": 1.0}
FOUND = fp.align_subtomograms(BOXES, template=BLOB, scale=1.0, progress=False)

PROVIDERS = {  # of files, and of images as small as these
    "from_file": {"path": "volume.mrc", "scale": None, "tol": 1e-5},
    "from_files": {"path": ["volume.mrc"] * 2, "scale": None, "tol": 1e-5},
    "from_array": {"img": IMAGE, "scale": 1.0, "tol": 1e-5},
    "from_arrays": {"imgs": [IMAGE, IMAGE], "scale": 1.0, "tol": 1e-5},
    "from_atoms": {
        "atoms": [[0.0, 0.0, -1.0], [0.0, 0.0, 1.0]],
        "weights": [1.0, 2.0],
        "center": None,
        "sigma": 0.5,
    },
    "from_gaussian": {"shape": 6.0, "sigma": 1.0, "shift": (0.0, 0.0, 0.0)},
    "from_structure": {"path": "two.pdb", "resolution": 1.0, "center": None},
}
LISTED = {"scale": 1.0, "tomograms": None, "first": None, "box": None}
OTHERS = {
    "align": (fp.align, OF_TOMOGRAM),
    "check": (fp.check, OF_CHECK),
    "align_subtomograms": (
        fp.align_subtomograms,
        {
            "boxes": BOXES,
            "template": BLOB,
            "mask": None,
            "scale": 1.0,
            "orientations": None,
            **SEARCH,
        },
    ),
    "apply_alignment": (fp.apply_alignment, {"molecules": PICKS, "found": FOUND}),
    "average": (
        fp.average,
        {
            "tomogram": {"a": VOLUME, "b": VOLUME},
            "molecules": PICKS,
            "shape": 5,
            "scale": 1.0,
            "tilt": (-60, 60),
            "weights": "score",
            "symmetry": "C2",
            "output_scale": 1.5,
            "tomogram_feature": "tomogram",
            "executor": None,
            "checkpoint": None,
            "progress": False,
        },
    ),
    "half_averages": (
        fp.half_averages,
        {
            "tomogram": {"a": VOLUME, "b": VOLUME},
            "molecules": HALVES,
            "shape": 5,
            "scale": 1.0,
            "tilt": (-60, 60),
            "weights": "score",
            "symmetry": "C2",
            "output_scale": 1.5,
            "tomogram_feature": "tomogram",
            "executor": None,
            "checkpoint": None,
            "progress": False,
        },
    ),
    "halves": (
        fp.halves,
        {
            "molecules": HALVES,
            "seed": 1,
            "within": 0.5,
            "box": 0.5,
            "together": ["lattice"],
            "redraw": True,
            "tomogram_feature": "tomogram",
        },
    ),
    "Halves": (fp.Halves, {"first": IMAGE, "second": IMAGE, "scale": 1.0}),
    "fsc": (fp.fsc, {**OF_MAPS, "seed": 1}),
    "conical_fsc": (
        fp.conical_fsc,
        {**OF_MAPS, "seed": 1, "angle": 30.0, "directions": 3},
    ),
    "local_resolution": (
        fp.local_resolution,
        {**OF_MAPS, "window": 3.0, "threshold": 0.5},
    ),
    "FSC.band": (fp.fsc(IMAGE, OTHER).band, {"level": 0.95}),
    "distinct": (
        fp.distinct,
        {
            "molecules": PICKS,
            "distance": 1.0,
            "score": "score",
            "tomogram_feature": "tomogram",
        },
    ),
    "random_rotations": (
        fp.random_rotations,
        {"molecules": PICKS, "about": (1.0, 0.0, 0.0), "seed": 1},
    ),
    "search": (
        fp.search,
        {
            "tomogram": VOLUME,
            "template": BLOB,
            "mask": fp.sphere(2.5),
            "scale": 1.0,
            "tilt": (-60, 60),
            "rotations": "all",
            "spacing": 45.0,
            "resolution": 2.5,
            "symmetry": "C1",
            "distance": 3.0,
            "count": 3,
            "threshold": None,
            "false_discovery_rate": None,
            "false_alarms": None,
            "region": None,
            "background": None,
            "tophat": None,
            "whiten": False,
            "exact": False,
            "record": None,
            "maps": None,
            "executor": None,
            "checkpoint": None,
            "progress": False,
        },
    ),
    "refine": (
        lambda **options: next(fp.refine(**options)),
        {
            "tomogram": {"a": VOLUME, "b": VOLUME},
            "molecules": HALVES,
            "start": 4.0,
            "template": BLOB,
            "mask": None,
            "shape": None,
            "scale": 1.0,
            "max_shifts": 1.0,
            "rotations": None,
            "tilt": (-60, 60),
            "resolution": None,
            "symmetry": "C1",
            "whiten": False,
            "keep": 1.0,
            "weights": None,
            "prepare_template": None,
            "iterations": 1,
            "within": None,
            "seed": 0,
            "tomogram_feature": "tomogram",
            "on_iteration": None,
            "executor": None,
            "checkpoint": None,
            "progress": False,
        },
    ),
    "classify": (
        fp.classify,
        {
            "tomogram": {"a": VOLUME, "b": VOLUME},
            "molecules": PICKS,
            "templates": [BLOB, 2 * BLOB + fp.from_gaussian((6.0, 6.0, 6.0), 0.7)],
            "classes": 2,
            "start": "variance",
            "mask": None,
            "class_mask": fp.soft_otsu(0.5, 0.5),
            "align": False,
            "shape": 6,
            "scale": 1.0,
            "max_shifts": 1.0,
            "rotations": (20, 20),
            "tilt": (-60, 60),
            "resolution": 2.5,
            "symmetry": "C1",
            "whiten": False,
            "iterations": 1,
            "seed": 0,
            "tomogram_feature": "tomogram",
            "on_iteration": None,
            "executor": None,
            "checkpoint": None,
            "progress": False,
        },
    ),
    "score": (fp.score, OF_SCORE),
    "landscape": (
        fp.landscape,
        {**OF_SCORE, "max_shifts": 1.0, "rotations": (20, 20), "symmetry": "C1"},
    ),
    "symmetry_expand": (
        fp.symmetry_expand,
        {"molecules": PICKS, "symmetry": "C2"},
    ),
    "neighbours": (
        fp.neighbours,
        {"molecules": PICKS, "symmetry": "C2", "tomogram_feature": "tomogram"},
    ),
    "subtomograms": (
        fp.subtomograms,
        {"tomogram": VOLUME, "molecules": PICKS, "shape": 5, "scale": 1.0},
    ),
    "helix": (
        fp.helix,
        {
            "molecules": CURVE,
            "rise": 1.0,
            "twist": 30.0,
            "radius": 2.0,
            "protofilaments": 3,
            "starts": -1.0,
            "start": 0.5,
            "azimuth": 10.0,
            "towards": (1.0, 0.0, 0.5),
            "smoothing": 0.1,
            "filament": "tube",
            "tomogram_feature": "tomogram",
        },
    ),
    "lattice": (
        fp.lattice,
        {
            "molecules": CURVE,
            "spacing": 2.0,
            "kind": "tube",
            "radius": 2.0,
            "faces": None,
            "surface": "tube",
            "tomogram_feature": "tomogram",
        },
    ),
    "lattice of triangles": (
        fp.lattice,
        {
            "molecules": CURVE,
            "spacing": 2.0,
            "kind": "triangles",
            "faces": [[0, 1, 3], [1, 2, 3]],
        },
    ),
    "subtract": (
        fp.subtract,
        {
            "tomogram": {"a": VOLUME, "b": VOLUME},
            "molecules": PICKS,
            "template": BLOB,
            "mask": fp.sphere(2.0),
            "scale": 1.0,
            "tilt": (-60, 60),
            "amplitude": 0.5,
            "tomogram_feature": "tomogram",
            "executor": None,
            "progress": False,
        },
    ),
    "prepare": (fp.prepare, {"template": BLOB, "mask": None, "scale": 1.0}),
    "report": (
        fp.report,
        {
            "result": fp.Molecules([[9.0, 9.0, 10.0]]),  # few pictures, for the time
            "path": "report.html",
            "template": None,
            "mask": None,
            "tomogram": None,
            "average": None,
            "null": None,
            "scale": 1.0,
            "tilt": (-60, 60),
            "symmetry": "C2",
            "near": 1.0,
            "parameters": {"seed": 1},
            "title": "a report",
            "tomogram_feature": "tomogram",
        },
    ),
    "stage_images": (
        fp.stage_images,
        {"pipeline": fp.gaussian_filter(0.5), "scale": 1.0, "image": IMAGE},
    ),
    "single_axis": (fp.single_axis, {"tilt_range": (-60, 60), "axis": "y"}),
    "dual_axis": (fp.dual_axis, {"y_range": (-60, 60), "x_range": (-60, 60)}),
    "tilt_series": (
        fp.tilt_series,
        {
            "angles": [-40.0, 0.0, 40.0],
            "axis": "y",
            "dose": [6.0, 0.0, 3.0],
            "defocus": [3.0, 3.1, 3.2],
            "astigmatism": (0.1, 30.0),
            "voltage": 300,
            "spherical_aberration": 2.7,
            "amplitude_contrast": 0.07,
            "phase_shift": 0.0,
            "thickness": 20.0,
            "phase_flipped": True,
            "corrected": False,
            "hand": -1,
        },
    ),
    "SubtomogramLoader": (
        lambda **given: fp.SubtomogramLoader(**given).average(4),
        {
            "image": VOLUME,
            "molecules": PICKS,
            "scale": 1.0,
            "tilt": None,
            "tomogram_feature": "tomogram",
        },
    ),
    "Tomogram": (
        lambda array, scale, tilt: fp.average(
            fp.Tomogram(array, scale, tilt), PICKS, shape=4
        ),
        {"array": VOLUME, "scale": 1.0, "tilt": (-60, 60)},
    ),
    "Molecules": (
        fp.Molecules,
        {
            "positions": PICKS.positions,
            "rotations": PICKS.rotations,
            "features": {"score": [1.0, 2.0]},
        },
    ),
    "read_molecules": (
        fp.read_molecules,
        {"path": "picks.csv", "format": None, **LISTED},
    ),
    "read_tilts": (tilts_read, {"paths": "angles.tlt", "axis": "y", "over": 1}),
    "read_tomograms": (
        tomograms_read,
        {"path": "tomograms.star", "folder": None, "over": 1},
    ),
    "write_molecules": (
        fp.write_molecules,
        {
            "molecules": PICKS,
            "path": "out.ndjson",
            "format": None,
            "like": None,
            **LISTED,
        },
    ),
    "write_volume": (
        fp.write_volume,
        {
            "path": "out.mrc",
            "image": IMAGE,
            "scale": 1.0,
            "origin": (0.0, 0.0, 0.0),
            "source": None,
        },
    ),
    "compose": (composed, {"first": fp.invert(), "second": fp.invert(), "last": BLOB}),
    "lift": (lifted, {"function": np.hypot, "first": BLOB, "second": 2.0}),
    "provider_function": (
        lambda function: fp.provider_function(function)()(1.0),
        {"function": ramp},
    ),
    "derived_function": (
        lambda function: fp.derived_function(function)(),
        {"function": derives},
    ),
    "converter_function": (
        lambda function: fp.converter_function(function)()(IMAGE),
        {"function": doubled},
    ),
    # What is no function, but is called or given arguments all the same.
    "loader.align": (loader_align, OF_LOADER),
    "loader.average": (
        loader_average,
        {"shape": 5, "tilt": (-60, 60), "tomogram_feature": "tomogram"},
    ),
    "provider": (provider_called, {"scale": 1.0}),
    "converter": (converter_called, {"image": IMAGE, "scale": 1.0}),
    "Molecules.from_csv": (fp.Molecules.from_csv, {"path": "picks.csv"}),
    "Molecules.to_csv": (PICKS.to_csv, {"path": "out.csv"}),
    "Molecules.concat": (
        fp.Molecules.concat,
        {"several": [PICKS, PICKS], "fill": {"tomogram": "TS_01"}},
    ),
    "Molecules.with_features": (with_feature, {"values": [1.0, 2.0]}),
    "Molecules.translate": (
        PICKS.translate,
        {"shift": [1.0, 2.0, 3.0], "frame": "particle"},
    ),
    "Molecules.rotate": (
        PICKS.rotate,
        {"rotation": Rotation.identity(2), "frame": "particle"},
    ),
    "Molecules.from_euler": (
        fp.Molecules.from_euler,
        {
            "positions": [[1.0, 2.0, 3.0]],
            "angles": [30, 40, 50],
            "convention": "relion",
            "features": {"tube": [1]},
        },
    ),
    "Molecules.euler": (PICKS.euler, {"convention": "dynamo"}),
    "Molecules.from_axes": (
        fp.Molecules.from_axes,
        {"positions": [[1.0, 2.0, 3.0]], "z": [1, 0, 0], "y": [[0, 1, 0]]},
    ),
    "Molecules.groupby": (PICKS.groupby, {"feature": "tomogram"}),
    "Molecules.sort_by": (
        PICKS.sort_by,
        {"feature": "tomogram", "descending": True},
    ),
    "Molecules.split": (PICKS.split, {"parts": 2, "seed": 1}),
    "Molecules.from_dataframe": (
        fp.Molecules.from_dataframe,
        {"table": PICKS.to_dataframe()},
    ),
    "parse_pipeline": (parse_pipeline, {"text": "invert()"}),
}
MADE_BY_OTHERS = {  # records that the package makes, and a pipeline; not functions
    "Alignment",
    "Classification",
    "ConicalFSC",
    "FSC",
    "Finding",
    "Iteration",
    "Landscape",
    "ImageConverter",
    "ImageProvider",
    "identity",
}
OPERAND = [
    "operand",
    "operands",
    "operation",
    "pipeline",
    "converter",
    "provider",
    "converts a 3-D numeric array",
    "must return a 3-D numeric array",
]
RENAMED = {  # parameters, and what else an error may call them
    "image": ["tomogram", "converts a 3-D numeric array"],
    "scale": ["lies wholly outside"],
    "tilt": ["tilt_range"],
    "result": ["molecules"],
    "array": ["tomogram"],
    "first": OPERAND,
    "second": OPERAND,
    "last": OPERAND,
    "text": ["a pipeline's text"],
    "values": ["features['score']"],
    "molecules": ["positions"],
    "function": [
        "a stage",
        "in the stage",
        "must take",
        "must have a name",
        "must return a 3-D numeric array",
        "must return a pipeline",
    ],
    "path": ["No such file or directory"],
    "box": ["box[0]", "box[1]"],
    "several": ["several"],
    "over": ["hand"],
    # What a function of the caller's own says, and what it was given.
    "on_iteration": ["Iteration", "Classificatio", "<lambda>"],
    "prepare_template": ["<lambda>"],
}


def valid_calls():
    calls = {}
    for name, function in STAGES.items():
        kind = converted if is_converter(function) else provided
        given = PROVIDERS.get(name) or example(function)
        calls[name] = (lambda f, then: lambda **g: then(f(**g)))(function, kind), given
    return {**calls, **OTHERS}
