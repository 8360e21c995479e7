"""RELION 3.1's adaptive local search, on the benchmark's particles.

The particles become subtomograms of 1 Å a voxel, each with the map of its missing
wedge, in the particle's own frame. RELION's priors are the poses that funpipe starts
from: no turn, no shift. One iteration is run, without the average that would end it.

RELION searches directions and in-plane angles apart, and at tilt 0 these are one.
Its reference is therefore the template turned by B⁻¹ (a quarter turn, exact), so that
the poses to be found lie about B, at tilt 90°. Its centre is voxel n // 2: the
reference is moved there from (n − 1) / 2.
"""

from __future__ import annotations

import resource
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy

from funpipe.base.euler import RELION
from funpipe.io.star import Star, read_star, write_star
from funpipe.io.volumes import write_mrc
from funpipe.space.fourier import fourier_vectors
from funpipe.space.tilts import as_tilt

ANGSTROM = 0.1  # nm, RELION's voxel here
PRIOR = (0.0, 90.0, 0.0)  # rot, tilt, psi
SPREAD = 3.0, 4.0  # voxels and degrees, of the priors: 3 pixels is RELION's own


class Found(NamedTuple):
    rotations: Any
    shifts: Any  # voxels
    seconds: float
    cpu_seconds: float


def command(folder, *, resolution, diameter, window, order, sigma, threads):
    """Return the words that start RELION; resolution and lengths are in voxels."""
    options = {
        "i": folder / "particles.star",
        "ref": folder / "reference.mrc",
        "o": folder / "run",
        "iter": 1,
        "K": 1,
        "tau2_fudge": 1,
        "particle_diameter": diameter,
        "ini_high": resolution,
        "strict_highres_exp": resolution,
        "healpix_order": order,
        "sigma_ang": sigma,
        "oversampling": 1,
        "offset_range": window,
        "offset_step": 1,
        "perturb": 0,
        "pad": 2,
        "pool": 10,
        "j": threads,
        "random_seed": 1,
        "verb": 0,
    }
    flags = (
        "zero_mask",
        "ctf",
        "ctf_corrected_ref",
        "no_norm",
        "no_scale",
        "dont_check_norm",
        "dont_combine_weights_via_disc",
        "preread_images",
        "skip_maximize",
    )
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    return ["relion_refine", *map(str, words), *(f"--{flag}" for flag in flags)]


def write_inputs(folder, template, mask, them, tilt):
    """Write the reference, the particles with their wedges, and their list."""
    n = len(template)
    B = RELION.rotations(PRIOR)[0].as_matrix()
    centre = np.full(3, (n - 1) / 2)
    turned = scipy.ndimage.affine_transform(
        template * mask, B, centre - B @ centre, order=0, mode="nearest"
    )
    moved = scipy.ndimage.fourier_shift(scipy.fft.fftn(turned), n // 2 - centre)
    reference = scipy.fft.ifftn(moved).real.astype(np.float32)
    write_mrc(folder / "reference.mrc", reference, ANGSTROM)
    k, weights_of = fourier_vectors(template.shape, 1.0), as_tilt("tilt", tilt)
    images, wedges = [], []
    for i, (box, orientation) in enumerate(
        zip(them.boxes, them.orientations, strict=True)
    ):
        seen = weights_of(np.tensordot(orientation.as_matrix(), k, axes=1))
        images.append(str(folder / f"{i:04}.mrc"))
        wedges.append(str(folder / f"{i:04}_wedge.mrc"))
        write_mrc(images[-1], box, ANGSTROM)
        write_mrc(wedges[-1], seen.astype(np.float32), ANGSTROM)
    count = len(images)
    optics = {
        "rlnOpticsGroup": np.array([1]),
        "rlnOpticsGroupName": np.array(["opticsGroup1"]),
        "rlnSphericalAberration": np.array([2.7]),
        "rlnVoltage": np.array([300.0]),
        "rlnImagePixelSize": np.array([10 * ANGSTROM]),
        "rlnImageSize": np.array([n]),
        "rlnImageDimensionality": np.array([3]),
    }
    angles = dict(zip(("Rot", "Tilt", "Psi"), PRIOR, strict=True))
    columns = {
        "rlnImageName": np.array(images),
        "rlnCtfImage": np.array(wedges),
        "rlnMicrographName": np.full(count, "tomogram"),  # one group for the noise
        "rlnOpticsGroup": np.ones(count, int),
        **{f"rlnAngle{name}": np.full(count, each) for name, each in angles.items()},
        **{f"rlnOrigin{axis}Angst": np.zeros(count) for axis in "XYZ"},
    }
    blocks = {"optics": optics, "particles": columns}
    write_star(folder / "particles.star", Star(blocks, "30001"))


def read_poses(folder, n):
    """Return rotations and shifts in voxels, template to box."""
    found = read_star(folder / "run_it001_data.star").blocks["particles"]
    angles = [found[f"rlnAngle{name}"] for name in ("Rot", "Tilt", "Psi")]
    origins = [found[f"rlnOrigin{axis}Angst"] for axis in "ZYX"]
    order = np.argsort(found["rlnImageName"])
    rotations = RELION.rotations(np.transpose(angles)) * RELION.rotations(PRIOR).inv()
    shifts = n // 2 - (n - 1) / 2 - np.transpose(origins) / (10 * ANGSTROM)
    return rotations[order], shifts[order]


def relion_aligned(
    template,
    mask,
    them,
    *,
    tilt,
    resolution,
    window,
    diameter,
    order=3,
    sigma=SPREAD[1],
    threads=2,
):
    """Return the poses that RELION finds, and the time that it takes in all."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_inputs(folder, template, mask, them, tilt)
        words = command(
            folder,
            resolution=resolution,
            diameter=diameter,
            window=window,
            order=order,
            sigma=sigma,
            threads=threads,
        )
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        start = time.perf_counter()
        done = subprocess.run(words, capture_output=True, text=True, cwd=folder)
        seconds = time.perf_counter() - start
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        if done.returncode:
            raise RuntimeError(f"{' '.join(words)}\n{done.stdout}{done.stderr}")
        rotations, shifts = read_poses(folder, len(template))
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Found(rotations, shifts, seconds, cpu)
