"""Parts of the benchmark for `search` in crowds: what is found, and is it as it says?

The conditions were fixed before a result was seen, and are those of `scenes` and
`searching`, noise but 3 and 6:

- crowd: of each of four tomograms the highest picks, three times as many as there are
  copies, are judged: all, the most significant first, and those that are said to be
  false in less than 1, 5 and 10 % of all cases down to them. The proteasome is searched
  for as D7, and its turns are not judged.
- told: likewise four tomograms of nothing but 100 copies of the 30S and noise, 6 and 8,
  under a wedge: whether chance is told where nothing looks like the template; and down
  to where noise has 1, 10 and 100 peaks, how many of a tomogram's picks are false.
- peers: three smaller ones of noise 6, at rotations of 15° and with a ball of 10
  voxels for a mask, by brute force too, and by pytme.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import molecules
import numpy as np
import scenes
from programs import rms, timed
from rivals import OPTIONS, ball, by_force, by_pytme, highest, rotations
from scenes import MASK, SCALE, Judged
from searching import COARSER, SPACING, TILT, errors_of

import funpipe as fp

RATES = (0.01, 0.05, 0.1)
ALARMS = (1, 10, 100)


def crowd(size: Any, *, name: str, noise: int) -> list[dict[str, Any]]:
    """Search crowded tomograms: what is found, and whether the false ones are told."""
    if len(molecules.available(tuple(scenes.CROWD))) < len(scenes.CROWD):
        return []
    made = [scenes.crowded(100 + i, **shape_of(size)) for i in range(size.count(4))]
    made = made[:1] if size.tiny else made
    template = scenes.image(scenes.body(name))
    given = [
        Searched(e.image(noise, seed=200 + i), e.copies[name], e.tilt)
        for i, e in enumerate(made)
    ]
    every = searched(size, template, given, "D7" if name == "3j9i" else "C1")
    row = {"molecule": name, "noise": noise, "tomograms": len(made)} | every.row()
    if name == "3j9i":
        row.pop("median degrees", None)
        row.pop("within 15 degrees", None)
    whats = [
        scenes.of_what(found, scene, name)
        for found, scene in zip(every.found, made, strict=True)
    ]
    kinds = np.concatenate(whats)
    false = (every.told <= RATES[-1]) & ~every.hit
    for kind in ("nothing", "gold", "a copy twice", *scenes.CROWD):
        if kind != name:
            row[f"false: {kind}"] = int((false & (kinds == kind)).sum())
    return [row]


def shape_of(size: Any) -> dict[str, Any]:
    return {"shape": (48, 80, 80), "part": 0.01} if size.tiny else {}


def told(size: Any) -> list[dict[str, Any]]:
    """Search for copies that are hard to tell from noise, in noise alone."""
    if not molecules.available(("30S",)):
        return []
    template, rows = scenes.image(scenes.body("30S")), []
    shape = (48, 64, 64) if size.tiny else scenes.SHAPE
    for noise in (6.0,) if size.tiny else (6.0, 8.0):
        given = []
        for seed in range(500, 501 if size.tiny else 504):
            options = {"noise": noise, "seed": seed}
            made = scenes.with_one_kind("30S", size.count(100), shape, **options)
            given.append(Searched(*made, TILT))
        row = {"molecule": "30S", "noise": noise, "tomograms": len(given)}
        row |= searched(size, template, given).row()
        rows.append(row | alarmed(size, template, given))
    return rows


def alarmed(size: Any, template: np.ndarray, given: list[Searched]) -> dict[str, float]:
    """Search down to what noise scores: how many picks of a tomogram are false?"""
    right, alarms = [], []
    for each in given:
        picks = fp.search(
            each.image,
            template=template,
            mask=MASK,
            tilt=each.tilt,
            spacing=40.0 if size.tiny else SPACING,
            false_alarms=max(ALARMS),
            **OPTIONS,
        )
        right.append(scenes.judged(picks, each.true).right)
        alarms.append(picks.features["false_alarms"])
    hit, said = np.concatenate(right), np.concatenate(alarms)
    count = sum(len(each.true) for each in given)
    row = {}
    for most in ALARMS:
        row[f"false of {most}"] = float((~hit & (said <= most)).sum() / len(given))
        row[f"recall of {most}"] = float((hit & (said <= most)).sum() / count)
    return row


class Searched(NamedTuple):
    """A tomogram that is searched."""

    image: np.ndarray
    true: fp.Molecules
    tilt: Any


class Picked(NamedTuple):
    """What was picked in some tomograms."""

    ranked: list[fp.Molecules]
    """By their scores, however many of them are false."""
    found: list[fp.Molecules]
    """As it is told how many are false."""
    true: list[fp.Molecules]
    seconds: float

    @property
    def judged(self) -> list[Judged]:
        return list(map(scenes.judged, self.found, self.true))

    @property
    def told(self) -> np.ndarray:
        return self.column("false_discovery_rate")

    @property
    def hit(self) -> np.ndarray:
        return np.concatenate([each.right for each in self.judged])

    def column(self, name: str) -> np.ndarray:
        return np.concatenate([each.features[name] for each in self.found])

    def row(self) -> dict[str, Any]:
        judged = list(map(scenes.judged, self.ranked, self.true))
        every = pooled(judged, [each.features["z_score"] for each in self.ranked])
        row = {"copies": every.count, "picks": len(every.right), "s": self.seconds}
        row |= dict(zip(("F1", "precision", "recall"), every.best_f1(), strict=True))
        row |= errors_of(every)
        pairs = zip(self.ranked, judged, strict=True)
        errors = [each.features["shift_error"][right.right] for each, right in pairs]
        if every.right.any():
            stated = rms(np.concatenate(errors))
            row["distance / stated"] = row["rms voxels"] * SCALE / stated
        hit, said = self.hit, self.told
        for q in RATES:
            chosen = said <= q
            row[f"picks at {q}"] = int(chosen.sum())
            row[f"false at {q}"] = float((chosen & ~hit).sum() / max(1, chosen.sum()))
            row[f"recall at {q}"] = float((chosen & hit).sum() / every.count)
        return row


def searched(
    size: Any, template: np.ndarray, given: list[Searched], symmetry: str = "C1"
) -> Picked:
    """Search tomograms one by one, for three times as many picks as there are."""
    ranked, found, took = [], [], []
    for each in given:
        search = partial(
            fp.search,
            each.image,
            template=template,
            mask=MASK,
            tilt=each.tilt,
            symmetry=symmetry,
            spacing=40.0 if size.tiny else SPACING,
            count=3 * len(each.true),
            **OPTIONS,
        )
        seconds, picks = timed(search, false_discovery_rate=0.99)
        ranked.append(search())
        found.append(picks)
        took.append(seconds)
    true = [each.true for each in given]
    return Picked(ranked, found, true, float(np.mean(took)))


def pooled(several: list[Judged], z: list[np.ndarray]) -> Judged:
    """Return picks of several tomograms as one list, the most significant first."""
    order = np.argsort(-np.concatenate(z), kind="stable")
    columns = map(np.concatenate, zip(*(each[:4] for each in several), strict=True))
    count = sum(each.count for each in several)
    return Judged(*(each[order] for each in columns), count)


def peers(size: Any) -> list[dict[str, Any]]:
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
