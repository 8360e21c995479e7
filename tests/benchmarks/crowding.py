"""Parts of the benchmark for `search` in crowds: what is found, and is it as it says?

The conditions were fixed before a result was seen, and are those of `scenes` and
`searching`, noise but 3 and 6:

- crowd: of each of four tomograms the highest picks, three times as many as there are
  copies, are judged: all, the most significant first, and those that are said to be
  false in less than 1, 5 and 10 % of all cases down to them. Turns of the proteasome,
  whose symmetry is D7, are not judged.
- crowd-peers: three smaller ones of noise 6, at rotations of 15° and with a ball of 10
  voxels for a mask, by brute force too, and by pytme.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import molecules
import numpy as np
import scenes
from programs import rms, timed
from rivals import OPTIONS, ball, by_force, by_pytme, highest, rotations
from scenes import MASK, SCALE, Judged
from searching import COARSER, SPACING, errors_of

import funpipe as fp

RATES = (0.01, 0.05, 0.1)


def crowd(size: Any) -> list[dict[str, Any]]:
    """Search crowded tomograms: what is found, and whether the false ones are told."""
    if len(molecules.available(tuple(scenes.CROWD))) < len(scenes.CROWD):
        return []
    made = [scenes.crowded(100 + i, **shape_of(size)) for i in range(size.count(4))]
    made = made[:1] if size.tiny else made
    rows = []
    for name in scenes.TEMPLATES[:1] if size.tiny else scenes.TEMPLATES:
        for noise in (3.0,) if size.tiny else (3.0, 6.0):
            row = {"molecule": name, "noise": noise, "tomograms": len(made)}
            rows.append(row | of_crowd(size, name, noise, made))
    return rows


def shape_of(size: Any) -> dict[str, Any]:
    return {"shape": (48, 80, 80), "part": 0.01} if size.tiny else {}


def of_crowd(size: Any, name: str, noise: float, made: list[Any]) -> dict[str, Any]:
    template = scenes.image(scenes.body(name))
    took, told, right, what, z = [], [], [], [], []
    stated: list[Any] = []
    for i, scene in enumerate(made):
        true = scene.copies[name]
        seconds, found = timed(
            fp.search,
            scene.image(noise, seed=200 + i),
            template=template,
            mask=MASK,
            tilt=scene.tilt,
            spacing=40.0 if size.tiny else SPACING,
            count=3 * len(true),
            false_discovery_rate=0.99,
            **OPTIONS,
        )
        judged = scenes.judged(found, true)
        took.append(seconds)
        right.append(judged)
        told.append(found.features["false_discovery_rate"])
        z.append(found.features["z_score"])
        what.append(scenes.of_what(found, scene, name))
        stated.append(found.features["shift_error"])
    every = pooled(right, z)
    row = {"copies": every.count, "picks": len(every.right), "s": float(np.mean(took))}
    row |= dict(zip(("F1", "precision", "recall"), every.best_f1(), strict=True))
    row |= errors_of(every)
    if name == "3j9i":
        row.pop("median degrees", None)
        row.pop("within 15 degrees", None)
    shift = np.concatenate([e[r.right] for e, r in zip(stated, right, strict=True)])
    if every.right.any():
        row["distance / stated"] = row["rms voxels"] * SCALE / rms(shift)
    told, hit, kinds = map(np.concatenate, (told, [each.right for each in right], what))
    for q in RATES:
        chosen = told <= q
        false = chosen & ~hit
        row[f"picks at {q}"] = int(chosen.sum())
        row[f"false at {q}"] = float(false.sum() / max(1, chosen.sum()))
        row[f"recall at {q}"] = float((chosen & hit).sum() / every.count)
    for kind in ("nothing", "gold", "a copy twice", *scenes.CROWD):
        if kind != name:
            row[f"false: {kind}"] = int((false & (kinds == kind)).sum())
    return row


def pooled(several: list[Judged], z: list[np.ndarray]) -> Judged:
    """Return picks of several tomograms as one list, the most significant first."""
    order = np.argsort(-np.concatenate(z), kind="stable")
    columns = map(np.concatenate, zip(*(each[:4] for each in several), strict=True))
    count = sum(each.count for each in several)
    return Judged(*(each[order] for each in columns), count)


def crowd_peers(size: Any) -> list[dict[str, Any]]:
    """Search smaller crowded tomograms, by brute force and by pytme too."""
    if len(molecules.available(tuple(scenes.CROWD))) < len(scenes.CROWD):
        return []
    name, noise, spacing = "30S", 6.0, 60.0 if size.tiny else COARSER
    shape = shape_of(size) or {"shape": (64, 160, 160), "part": 0.2}
    template = scenes.image(scenes.body(name), 33)
    mask, turns = ball(template), rotations(spacing)
    found: dict[str, list[Any]] = {}
    for i in range(1 if size.tiny else 3):
        scene = scenes.crowded(300 + i, **shape)
        volume, count = scene.image(noise, seed=400 + i), 3 * len(scene.copies[name])
        given = volume, template, mask, scene.tilt
        search = partial(fp.search, volume, template=template, mask=mask, count=count)
        runs = {
            "funpipe": partial(search, tilt=scene.tilt, spacing=spacing, **OPTIONS),
            "brute force": lambda g=given, n=count: highest(
                by_force(*g, turns), turns, n
            ),
        }
        if size.pytme:
            runs["pytme"] = lambda g=given, n=count: by_pytme(size, *g, turns, n)[1]
        for program, run in runs.items():
            seconds, picks = timed(run)
            judged = scenes.judged(picks, scene.copies[name])
            score = picks.features["score"]
            found.setdefault(program, []).append((seconds, judged, score))
    rows = []
    for program, each in found.items():
        took, several, score = zip(*each, strict=True)
        every = pooled(list(several), list(score))
        row = {"program": program, "molecule": name, "noise": noise}
        row |= {
            "copies": every.count,
            "rotations": len(turns),
            "s": float(np.mean(took)),
        }
        row |= dict(zip(("F1", "precision", "recall"), every.best_f1(), strict=True))
        rows.append(row | errors_of(every))
    return rows
