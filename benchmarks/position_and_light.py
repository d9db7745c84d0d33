"""False alarms after changes of light and position, by `normalize`.

Two sets of images are generated, as seen with a fixed lamp and a lens with vignetting:
a fabric in arbitrary positions, and a round part with holes that is always in the same
position. Detectors are fitted on normal images only, and tested on normal images in
changed light, or shifted and rotated, and on defects. Some of the defects are large,
and differ little from a change of light. Writes results/position_and_light.json.

    python benchmarks/position_and_light.py --positions 0 1 3

With `--positions`, values of `MemoryBank(position=)` are compared instead, on the round
part. Writes results/position.json.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
from _common import record
from scipy import ndimage
from sklearn.metrics import roc_auc_score

from skfcdd import FCDDDetector
from skfcdd.datasets._flaws import FLAWS, Scene
from skfcdd.datasets._textures import fabric
from skfcdd.memory_bank import MemoryBank

SIDE = 128
FORMS = ("auto", "contrast", "flat-field", "local")
Y, X = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
VIGNETTE = 1 - 0.3 * (X**2 + Y**2) / 2
# Factor of the light on the surface, and offset that the camera adds.
LIGHT = {
    "as in training": (1.0, 0.0),
    "70 % of the light": (0.7, 0.0),
    "130 % of the light": (1.3, 0.0),
    "0.1 darker": (1.0, -0.1),
    "0.1 brighter": (1.0, 0.1),
    "slope of ±15 %": (1 + 0.15 * X, 0.0),
    "slope of ±30 %": (1 + 0.3 * X, 0.0),
    "no vignette": (1 / VIGNETTE, 0.0),
}
# Shift to the right in pixels, and rotation in degrees.
POSITION = {
    "shift of 1/16": (SIDE / 16, 0.0),
    "shift of 3/16": (3 * SIDE / 16, 0.0),
    "turn of 10°": (0.0, 10.0),
}
Draw = Callable[[np.random.RandomState, int, float, float], np.ndarray]


def draw_fabric(
    chance: np.random.RandomState, n: int, shift: float, turn: float
) -> np.ndarray:
    """Draw fabrics (n, h, w) of brightness 0 to 1; `shift` and `turn` are ignored."""
    return fabric(chance, n, SIDE, SIDE).images


def draw_part(
    chance: np.random.RandomState, n: int, shift: float, turn: float
) -> np.ndarray:
    """Draw brushed discs with holes on a dark table (n, h, w), within half a pixel."""
    off = chance.uniform(-0.5, 0.5, (2, n, 1, 1)) * 2 / SIDE
    y, x = Y + off[0], X + off[1] - 2 * shift / SIDE
    angle = np.deg2rad(turn)
    y, x = y * np.cos(angle) - x * np.sin(angle), y * np.sin(angle) + x * np.cos(angle)

    def inside(middle: tuple[float, float], radius: float) -> np.ndarray:
        distance = radius - np.hypot(y - middle[0], x - middle[1])
        return np.clip(distance * SIDE / 2 + 0.5, 0, 1)

    disc = inside((0, 0), 0.75)
    for place in np.arange(5) * 2 * np.pi / 6:  # no sixth hole, so rotation is visible
        disc = disc - inside((0.5 * np.sin(place), 0.5 * np.cos(place)), 0.1)
    noise = chance.standard_normal((n, SIDE, SIDE))
    brushed = ndimage.gaussian_filter(noise, (0, 0.7, 8)) * 0.2
    table = 0.25 + 0.02 * ndimage.gaussian_filter(noise[::-1], (0, 1, 1)) / 0.28
    return table + disc * (0.6 + brushed - table)


def patch(chance: np.random.RandomState, scene: Scene) -> np.ndarray:
    """Change the brightness by a fifth in a round patch, half as wide as the image."""
    covered = np.clip((0.5 - _distance(chance)) * SIDE / 8 + 0.5, 0, 1)
    return scene.image * (1 + chance.choice([-0.2, 0.2]) * covered)


def shade(chance: np.random.RandomState, scene: Scene) -> np.ndarray:
    """Change the brightness by a fifth around a point, without an edge."""
    covered = np.exp(-0.5 * (_distance(chance) / 0.3) ** 2)
    return scene.image * (1 + chance.choice([-0.2, 0.2]) * covered)


def _distance(chance: np.random.RandomState) -> np.ndarray:
    """Compute the distance (h, w) from a random point that is not near the border."""
    y, x = chance.uniform(-0.4, 0.4, 2)
    return np.hypot(Y - y, X - x)


DEFECTS = {name: FLAWS[name] for name in ("scratch", "spot", "stain")}
DEFECTS |= {"large patch": patch, "soft shade": shade}


def photograph(
    surfaces: np.ndarray,
    chance: np.random.RandomState,
    light: float | np.ndarray = 1.0,
    offset: float = 0.0,
) -> np.ndarray:
    """Return uint8 images (n, h, w) as taken by a camera with vignetting."""
    noise = 0.015 * chance.standard_normal(surfaces.shape)
    seen = 0.9 * surfaces * VIGNETTE * light + offset + noise
    return np.clip(np.round(255 * seen), 0, 255).astype(np.uint8)


def with_defects(
    surfaces: np.ndarray, kind: str, chance: np.random.RandomState
) -> np.ndarray:
    whole = np.zeros((SIDE, SIDE), dtype=np.int64)
    scenes = (Scene(image, 0.6 * image, whole) for image in surfaces)
    return np.stack([DEFECTS[kind](chance, scene) for scene in scenes])


def run(
    draw: Draw, form: str, seed: int, n_test: int, position: float = 0.0
) -> dict[str, object]:
    """Fit on 200 normal images, and score changed images and defects."""
    chance = np.random.RandomState(seed)
    train = photograph(draw(chance, 200, 0, 0), chance)
    surfaces = draw(chance, n_test, 0, 0)
    good = photograph(surfaces, chance)
    defects = {
        kind: photograph(with_defects(surfaces, kind, chance), chance)
        for kind in DEFECTS
    }
    changed = {
        name: photograph(surfaces, chance, *light) for name, light in LIGHT.items()
    }
    if draw is draw_part:
        for name, moved in POSITION.items():
            changed[name] = photograph(draw(chance, n_test, *moved), chance)
    bank = MemoryBank(position=position) if position else "auto"
    model = FCDDDetector(normalize=form, memory_bank=bank, random_state=seed)
    started = time.perf_counter()
    model.fit(train)
    fit_s = time.perf_counter() - started
    normal = model.anomaly_score(good)
    scores = {kind: model.anomaly_score(images) for kind, images in defects.items()}
    truth = np.repeat([0, 1], n_test)
    return {
        "data": draw.__name__.removeprefix("draw_"),
        "normalize": form,
        "position": position,
        "seed": seed,
        "n_test": n_test,
        "fit_s": round(fit_s, 1),
        "flagged": {
            name: round(float((model.predict(images) == -1).mean()), 4)
            for name, images in changed.items()
        },
        "image_auroc": {
            kind: round(float(roc_auc_score(truth, np.append(normal, found))), 4)
            for kind, found in scores.items()
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--images", type=int, default=40, help="normal test images")
    parser.add_argument("--positions", nargs="*", type=float, default=[])
    options = parser.parse_args()
    rows = []
    for position in options.positions:
        row = run(draw_part, "auto", options.seed, options.images, position)
        rows.append(row)
        print(row, flush=True)
    if rows:
        record("position", rows)
        return
    for draw in (draw_fabric, draw_part):
        for form in FORMS:
            rows.append(run(draw, form, options.seed, options.images))
            print(rows[-1], flush=True)
    record("position_and_light", rows)


if __name__ == "__main__":
    main()
