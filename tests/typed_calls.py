"""Calls as users write them, and their types; read by type checkers, not run."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, assert_type

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

import funpipe as fp
from funpipe import ImageConverter, ImageProvider, Molecules, SubtomogramLoader
from funpipe.base.arguments import Image
from funpipe.base.euler import Euler

image = np.zeros((8, 8, 8))
blob = fp.from_gaussian((8.0, 8.0, 8.0), sigma=1.5)
smooth = fp.gaussian_filter(2.0)

# Stages: whole calls, and in parts.
assert_type(blob, ImageProvider)
assert_type(blob(0.5), Image)
assert_type(smooth, ImageConverter)
assert_type(smooth(image, 0.5), Image)
assert_type(smooth(image), Image)
assert_type(fp.normalize(), ImageConverter)
assert_type(fp.dilation()(1.0), ImageConverter)
assert_type(fp.dilation()(radius=1.0), ImageConverter)
assert_type(fp.cylinder(1.0)(2.0), ImageConverter)
assert_type(fp.cylinder(1.0)(height=2.0, axis="y"), ImageConverter)
assert_type(fp.cylinder(1.0, 2.0, "x"), ImageConverter)
assert_type(fp.from_array(image, scale=0.18), ImageProvider)
assert_type(fp.from_file("ribosome.mrc"), ImageProvider)
assert_type(fp.from_file(Path("ribosome.mrc")), ImageProvider)

# Composition and arithmetic.
assert_type(smooth @ smooth, ImageConverter)
assert_type(smooth @ blob, ImageProvider)
assert_type(smooth.compose(blob), ImageProvider)
assert_type(smooth.compose(smooth), ImageConverter)
assert_type(blob + blob, ImageProvider)
assert_type(2 * smooth - 1, ImageConverter)
assert_type(image * blob, ImageProvider)
assert_type(~smooth & (smooth > 0), ImageConverter)
assert_type(blob + smooth, ImageConverter)
assert_type(smooth + blob, ImageConverter)
assert_type(fp.compose(), ImageConverter)
assert_type(fp.compose(smooth, smooth), ImageConverter)
assert_type(fp.compose(smooth, smooth, blob), ImageProvider)
assert_type(fp.lift(np.hypot)(blob, 1.0), ImageProvider)
assert_type(fp.lift(np.hypot)(1.0, image, blob), ImageProvider)
assert_type(fp.lift(np.hypot)(blob, smooth), ImageConverter)
assert_type(fp.lift(np.hypot)(smooth, blob), ImageConverter)
assert_type(fp.lift(np.hypot)(image, smooth), ImageConverter)

# Particles.
assert_type(Molecules([[1.0, 2, 3]]), Molecules)
Molecules(np.ones((2, 3)), features={"score": [0.5, 1]})

particles = Molecules([[1.0, 2, 3]])
assert_type(particles.translate([1, 2, 3], frame="particle"), Molecules)
assert_type(particles.rotate(Rotation.identity()), Molecules)
assert_type(Molecules.from_euler([[1, 2, 3]], [1, 2, 3], "relion"), Molecules)
assert_type(particles.euler(Euler("ZXZ", inverse=True)), NDArray[np.float64])
assert_type(Molecules.from_axes([[1, 2, 3]], z=[1, 0, 0], y=[0, 1, 0]), Molecules)
assert_type(particles.groupby("tube"), dict[Any, Molecules])
assert_type(particles.sort_by("score", descending=True), Molecules)
assert_type(particles.split(0.5, seed=1), tuple[Molecules, ...])
assert_type(Molecules.concat(particles, fill={"score": 0.0}), Molecules)
assert_type(Molecules.from_csv("picks.csv"), Molecules)
assert_type(SubtomogramLoader("tomogram.mrc", np.ones((2, 3))), SubtomogramLoader)
loader = SubtomogramLoader(Path("tomogram.mrc"), Molecules(np.ones((2, 3))), scale=1.0)
assert_type(loader.molecules, Molecules)
assert_type(loader.align(template=blob, mask=smooth), SubtomogramLoader)
assert_type(loader.average(8), Image)
assert_type(fp.align("tomogram.mrc", np.ones((2, 3)), template=blob), Molecules)
fp.align(template=blob, mask=smooth)("tomogram.mrc", np.ones((2, 3)))

# Halves, and how far they agree.
assert_type(fp.halves(particles, within=5.0, together="tube"), Molecules)
pair = fp.half_averages("tomogram.mrc", particles, shape=8)
assert_type(
    fp.average("tomogram.mrc", particles, shape=8, weights="score", symmetry="C3"),
    Image,
)
assert_type(fp.subtract("tomogram.mrc", particles, template=blob, mask=smooth), Image)
assert_type(pair, fp.Halves)
assert_type(pair.map(smooth).second, Image)
curve = fp.fsc(pair.first, pair.second, mask=smooth, scale=pair.scale)
assert_type(curve, fp.FSC)
assert_type(curve.resolution(0.5), float)
assert_type(curve.band()[0], NDArray[np.float64])
assert_type(fp.conical_fsc(image, image).anisotropy(), float)
assert_type(fp.local_resolution(image, image), Image)
assert_type(fp.distinct(particles, distance=1.0), Molecules)
assert_type(fp.symmetry_expand(particles, "C13"), Molecules)
assert_type(fp.helix([[0.0, 0, 0], [0, 9.0, 0]], rise=4.1), Molecules)
assert_type(fp.lattice(particles, spacing=4, kind="hull"), Molecules)
assert_type(fp.neighbours(particles), Molecules)
assert_type(fp.random_rotations(particles, about=(1, 0, 0), seed=1), Molecules)

# Simulation.
assert_type(fp.simulate.asymmetric_molecule(radius=4.0), fp.simulate.Blobs)
fp.simulate.tomogram(blob, particles, (16, 16, 16), 1.0, out=image, executor=None)
fp.simulate.tomogram(blob, particles, (16, 16, 16), 1.0, executor=ThreadPoolExecutor(2))
assert_type(
    fp.simulate.particles(blob, (8, 8, 8), 1.0, 3, executor=ThreadPoolExecutor(2)),
    fp.simulate.Particles,
)

# Refinement.
assert_type(fp.classify("tomogram.mrc", particles, templates=[blob, blob]), Molecules)
assert_type(fp.score("tomogram.mrc", particles, template=blob), Molecules)
around = fp.landscape("tomogram.mrc", particles, template=blob, mask=smooth)
assert_type(around.scores, NDArray[np.float32])
assert_type(fp.search("tomogram.mrc", template=blob, mask=smooth), fp.Molecules)
assert_type(
    fp.search("a.mrc", template=blob, background="mirrored", distance="mask"),
    fp.Molecules,
)
fp.search("a.mrc", template=blob, background=("random", "divided"), tophat=9.0)
fp.search("a.mrc", template=blob, false_alarms=1.0)
for step in fp.refine("tomogram.mrc", particles, template=blob, mask=smooth, start=4.0):
    assert_type(step, fp.Iteration)
    assert_type(step.maps.map(smooth), fp.Halves)
    assert_type(step.resolution, float)

# What is looked at.
assert_type(fp.stage_images(blob, 0.5), dict[str, Image])
assert_type(fp.report(particles, "report.html"), Path)
assert_type(fp.plot.slices(blob, scale=0.5), Axes)
assert_type(fp.plot.picks("tomogram.mrc", particles), Axes)
assert_type(fp.plot.search_scores("searched.json"), Axes)
assert_type(fp.plot.stages(blob, scale=0.5), Figure)
