"""Parts of the benchmark for what a tilt series does: dose and contrast transfer.

The conditions were fixed before a result was seen: the 30S at 1 nm a voxel in a box of
32 and at 0.5 nm in one of 48, as Gaussians of one voxel; 41 tilts of 3 degrees from the
middle outwards, 120 e/Å² in all; 3 µm under focus, phases flipped or not; waves up to
Nyquist's; noise in units of the template's standard deviation inside its mask. Averages
are of 108 copies at their true poses in four tomograms of 0.8 nm a voxel, phases as
they were, noise 1; frequencies are those around the first zeros.
"""

from __future__ import annotations

import time
from typing import Any

import molecules
import numpy as np
from programs import errors, first, rms
from scipy.spatial.transform import Rotation

import funpipe as fp
from funpipe.simulate import (
    Blobs,
    blob_image,
    particles,
    pose_bound,
    tomogram,
)
from funpipe.space.shells import fourier_shell_correlation, resolution_at

ANGLES = np.arange(-60, 61, 3)
WEDGE = (-60, 60)
DOSE = 120.0 * (1 + np.argsort(np.argsort(np.abs(ANGLES), kind="stable"))) / 41
DEFOCUS = 3.0
BOXES = {1.0: 32, 0.5: 48}
BOUNDED = 100  # particles whose bound is computed
MASK = 3.0  # voxels beyond the outline
SPREAD = (2.0, 3.0, 4.0, 5.0)


def series(defocus: float = DEFOCUS, *, phase_flipped: bool) -> Any:
    return fp.tilt_series(
        ANGLES, dose=DOSE, defocus=defocus, phase_flipped=phase_flipped
    )


def ribosome(scale: float, box: int) -> Blobs:
    """Return the 30S as Gaussians of one voxel, in nm; smaller for a tiny box."""
    places, masses = molecules.mass("30S")
    places = places - np.average(places, axis=0, weights=masses)
    room = box * scale / 2 - 4 * scale
    reach = float(np.linalg.norm(places, axis=1).max())
    places = places * min(1.0, room / reach)
    centres, weights = molecules.pooled(places / scale, masses)
    return Blobs(centres * scale, scale, weights)


def poses(size: Any, *, scale: float) -> list[dict[str, Any]]:
    """Align with the tilt series that was, and with a plain wedge."""
    if not molecules.available(("30S",)):
        return []
    box, count = size.box(BOXES[scale]), size.count(200)
    blobs = ribosome(scale, box)
    template = blob_image(blobs, (box,) * 3, scale)
    mask = fp.soft_otsu(sigma=scale, radius=MASK * scale)(template, scale)
    unit = float(template[mask > 0.5].std())
    rows = []
    for flipped in (True, False):
        tilt = series(phase_flipped=flipped)
        limit = None
        for noise in (1.0, 3.0, 6.0):
            made = particles(
                blobs,
                (box,) * 3,
                scale,
                count,
                shift=2 * scale,
                tilt=tilt,
                noise=noise * unit,
                seed=60,
            )
            row = {"scale": scale, "box": box, "noise": noise, "particles": count}
            row["phases"] = "flipped" if flipped else "as they were"
            took = {}
            for name, given in (("", tilt), ("wedge ", WEDGE)):
                run = size.turns, made, template, mask, given, scale
                start = time.process_time()
                found = aligned(*run)
                took[name] = time.process_time() - start
                ours = errors(found.rotations, found.shifts, made)
                row |= {
                    f"{name}ms of a processor": 1e3 * took[name] / count,
                    f"{name}rms angle": rms(ours.angles),
                    f"{name}rms distance": rms(ours.distances) / scale,
                    f"{name}score": float(found.scores.mean()),
                }
                if not name:
                    best = ours
                    stated = found.angle_errors, found.shift_errors
                    row["angle / stated"] = rms(ours.angles) / rms(stated[0])
                    row["distance / stated"] = rms(ours.distances) / rms(stated[1])
            row["time / wedge"] = took[""] / took["wedge "]
            few = first(made, BOUNDED)
            if limit is None:  # it goes with the noise
                limit = pose_bound(
                    blobs, few, scale, resolution=2 * scale, noise=unit, tilt=tilt
                )
            for what, each, least in zip(
                ("angle", "distance"), best, limit, strict=True
            ):
                row[f"{what} / bound"] = rms(each[:BOUNDED]) / (noise * rms(least))
            rows.append(row)
    return rows


def aligned(
    turns: Any, made: Any, template: Any, mask: Any, tilt: Any, scale: float
) -> Any:
    return fp.align_subtomograms(
        made.boxes,
        template=template,
        mask=mask,
        scale=scale,
        max_shifts=3 * scale,
        rotations=turns,
        tilt=tilt,
        orientations=made.orientations,
        progress=False,
    )


def averages(size: Any) -> list[dict[str, Any]]:
    """Average tomograms of one defocus and of several, by H and by a plain wedge."""
    if not molecules.available(("30S",)):
        return []
    scale = 0.8
    box = size.box(40)
    blobs = ribosome(scale, box)
    truth = blob_image(blobs, (box,) * 3, scale)
    rows = []
    for name, focuses in (("3 µm", (DEFOCUS,) * 4), ("2 to 5 µm", SPREAD)):
        images, picks = tomograms(size, blobs, truth, focuses, scale)
        curves = {}
        for kind in ("tilt series", "wedge"):
            tilts = {
                each: series(focus, phase_flipped=False) if kind != "wedge" else WEDGE
                for each, focus in zip(images, focuses, strict=True)
            }
            many = {
                each: fp.Tomogram(image, scale, tilts[each])
                for each, image in images.items()
            }
            mean = fp.average(many, picks, shape=box, progress=False)
            curves[kind] = fourier_shell_correlation(mean, truth, scale)
        for kind, (frequency, fsc) in curves.items():
            band = fsc[(frequency > 0.3) & (frequency < 0.55)]
            rows.append(
                {
                    "defocus": name,
                    "weights": kind,
                    "particles": len(picks),
                    "mean FSC, 0.3 to 0.55 1/nm": float(band.mean()),
                    "lowest there": float(band.min()),
                    "nm at an FSC of 0.5": resolution_at(frequency, fsc, 0.5),
                }
            )
    return rows


def tomograms(
    size: Any, blobs: Blobs, truth: np.ndarray, focuses: Any, scale: float
) -> tuple[dict[str, np.ndarray], fp.Molecules]:
    """Return a tomogram of each defocus, and the molecules in them."""
    side, random = 1 if size.tiny else 3, np.random.default_rng(70)
    room = len(truth)
    margin = room  # so that no turned box leaves
    grid = np.stack(np.meshgrid(*[np.arange(side)] * 3, indexing="ij"), -1)
    places = (grid.reshape(-1, 3) * room + margin) * scale
    noise = float(truth[truth > 0.1 * truth.max()].std())
    images, parts = {}, []
    for i, focus in enumerate(focuses):
        turns = Rotation.random(len(places), rng=random)
        here = fp.Molecules(places, turns, {"tomogram": [f"{i}"] * len(places)})
        images[f"{i}"] = tomogram(
            blobs,
            here,
            ((side - 1) * room + 2 * margin,) * 3,
            scale,
            tilt=series(focus, phase_flipped=False),
            noise=noise,
            seed=71 + i,
        )
        parts.append(here)
    return images, fp.Molecules.concat(parts)
