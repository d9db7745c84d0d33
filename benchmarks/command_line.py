"""Output of all commands of the command line, for a small folder of generated images.

Writes images of wood, with and without defects, to a folder, and runs all commands on
them as if in a terminal. Writes results/command_line.json, from which docs/_consoles.py
takes the sample output of the documentation.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import json
import os
import shlex
import shutil
import tempfile
import threading
from pathlib import Path
from urllib.request import Request, urlopen

from _common import record
from PIL import Image

from skfcdd.cli import main as skfcdd
from skfcdd.datasets import make_defects
from skfcdd.serving import Limits

SIZE, PORT = 64, 8000
# The keys are the names of the blocks in the documentation.
COMMANDS = {
    "split": "split photos -o parts.csv",
    "fit": "fit parts.csv -o first.skfcdd",
    "calibrate": "calibrate first.skfcdd parts.csv -o parts.skfcdd",
    "evaluate": "evaluate parts.skfcdd parts.csv",
    "info": "info parts.skfcdd",
    "predict": "predict parts.skfcdd new_parts -o scores.csv --regions defects.csv",
    "report": "report parts.skfcdd parts.csv -o report.html",
    "select": "select parts.skfcdd new_parts -n 12 -o to_mark.html",
    "update": (
        "update parts.skfcdd new_parts --review review.json --train parts.csv "
        "-o newer.skfcdd --epochs 5"
    ),
    "compare": "compare parts.skfcdd newer.skfcdd parts.csv -o comparison.html",
    "card": "card parts.skfcdd parts.csv -o card.html",
    "export": "export parts.skfcdd -o parts.onnx",
    "watch": "watch parts.skfcdd line3 -o verdicts.jsonl --once --usual 100",
    "demo": "demo --epochs 2",
}


class Terminal(io.StringIO):
    """Text stream that reports to be a terminal."""

    def isatty(self) -> bool:
        return True


def write_images() -> dict[str, bool]:
    """Write labelled photos and unlabelled parts; return which parts are defective."""
    data = make_defects(
        560,
        texture="wood",
        defect=["crack", "spot", "stain"],
        image_size=SIZE,
        anomaly_fraction=0.2,
        random_state=0,
    )
    truth = {}
    for i, image in enumerate(data.images):
        kind = str(data.defect[i])
        new = i >= 440
        folder = Path("new_parts") if new else Path("photos", kind)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"part{i:03d}.png"
        Image.fromarray(image).save(path)
        if new:
            truth[path.name] = kind != "good"
        elif kind != "good":
            masks = Path("photos", "ground_truth", kind)
            masks.mkdir(parents=True, exist_ok=True)
            mask = Image.fromarray(data.masks[i].astype("uint8") * 255)
            mask.save(masks / f"part{i:03d}_mask.png")
    return truth


def run(command: str) -> list[str]:
    """Run a command as if in a terminal, and return the lines of its final output."""
    shown = Terminal()
    progress = io.StringIO()
    with contextlib.redirect_stdout(shown), contextlib.redirect_stderr(progress):
        status = skfcdd(shlex.split(command))
    if status != 0:
        raise RuntimeError(f"{command} ended with {status}: {progress.getvalue()}")
    return shown.getvalue().splitlines()


def write_marks(truth: dict[str, bool]) -> None:
    """Write correct marks of the images with the highest scores, as a report does."""
    lines = Path("scores.csv").read_text().splitlines()
    rows = list(csv.DictReader(lines))
    rows.sort(key=lambda row: -float(row["score"]))
    threshold = float(rows[0]["threshold"])
    marks = [
        {
            "name": Path(row["path"]).name,
            "score": float(row["score"]),
            "mark": "defect" if truth[Path(row["path"]).name] else "good",
        }
        for row in rows[:25]
    ]
    review = {
        "format": "skfcdd-review",
        "version": 1,
        "title": "new parts",
        "threshold": threshold,
        "model_threshold": threshold,
        "images": marks,
    }
    Path("review.json").write_text(json.dumps(review))


def serve() -> dict[str, list[str]]:
    """Serve the model, and return its response to a request to score an image."""
    import uvicorn

    from skfcdd.persistence import load
    from skfcdd.serving import make_app

    app = make_app(load("parts.skfcdd"), limits=Limits())
    server = uvicorn.Server(uvicorn.Config(app, port=PORT, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        thread.join(0.05)
    place = f"http://127.0.0.1:{PORT}"
    image = next(Path("photos", "crack").iterdir()).read_bytes()
    with urlopen(Request(f"{place}/score", data=image)) as answer:
        score = answer.read().decode().splitlines()
    server.should_exit = True
    thread.join()
    return {"serve": score}


def main() -> None:
    """Run all commands in an empty folder, and write their output."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    found = {}
    home = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            truth = write_images()
            for name, command in COMMANDS.items():
                if name == "update":
                    write_marks(truth)
                elif name == "watch":  # copies with new modification times
                    shutil.copytree("new_parts", "line3", copy_function=shutil.copy)
                found[name] = {"command": command, "output": run(command)}
                print(f"$ skfcdd {command}", *found[name]["output"], "", sep="\n")
            lines = Path("scores.csv").read_text().splitlines()[:3]
            found["scores"] = {"command": "", "output": lines}
            lines = Path("defects.csv").read_text().splitlines()[:3]
            found["defects"] = {"command": "", "output": lines}
            lines = Path("verdicts.jsonl").read_text().splitlines()[:1]
            found["verdicts"] = {"command": "", "output": lines}
            for name, output in serve().items():
                found[name] = {"command": "", "output": output}
        finally:
            os.chdir(home)
    print(f"Written to {record('command_line', found)}")


if __name__ == "__main__":
    main()
