"""A watched folder: complete files only, none twice, none lost, whatever happens."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from _small import make_images, quick
from _watching import known_model, put, run
from PIL import Image

from skfcdd.cli import main
from skfcdd.cli._watching import Pace
from skfcdd.exceptions import CalibrationError
from skfcdd.monitoring import STATISTICS, DriftMonitor
from skfcdd.monitoring._folder import WatchedFolder
from skfcdd.monitoring._journal import Journal
from skfcdd.monitoring._stream import StreamMonitor
from skfcdd.persistence import save


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def rows_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


# -- which files are complete -------------------------------------------------------


def test_a_file_is_complete_when_it_has_stayed_unchanged(tmp_path):
    clock = Clock()
    folder = WatchedFolder(tmp_path, [".png"], settle=1, patience=5, clock=clock)
    path = tmp_path / "a.png"
    path.write_bytes(b"one")
    assert folder.look() == []
    clock.now = 0.5
    assert folder.look() == []
    clock.now = 1.2
    path.write_bytes(b"three")  # somebody is still writing
    assert folder.look() == []
    clock.now = 2.5
    (arrival,) = folder.look()
    assert (arrival.name, arrival.size) == ("a.png", 5)
    assert folder.look() == [arrival]  # until it is seen to
    folder.finish(arrival.name, arrival.state)
    assert folder.look() == []
    assert folder.n_waiting == 0


def test_another_file_of_the_same_name_is_another_image(tmp_path):
    folder = WatchedFolder(tmp_path, [".png"], settle=0, patience=5)
    path = tmp_path / "a.png"
    path.write_bytes(b"one")
    folder.look()
    (first,) = folder.look()
    folder.finish(first.name, first.state)
    path.write_bytes(b"other")
    folder.look()
    (second,) = folder.look()
    assert second.size == 5


def test_files_are_seen_to_in_the_order_of_their_age(tmp_path):
    for k, name in enumerate(["b.png", "a.png", "deep/c.png"]):
        path = put(tmp_path, name)
        os.utime(path, (100 + k, 100 + k))
    for name in (".hidden.png", "text.txt", ".hidden/d.png"):
        put(tmp_path, name)
    (tmp_path / "link").symlink_to(tmp_path)
    folder = WatchedFolder(tmp_path, [".png"], settle=0, patience=5)
    folder.look()
    assert [a.name for a in folder.look()] == ["b.png", "a.png", "deep/c.png"]


def test_memory_holds_only_files_that_are_there(tmp_path):
    folder = WatchedFolder(tmp_path, [".png"], settle=0, patience=5)
    for k in range(50):
        path = put(tmp_path, f"{k}.png")
        folder.look()
        (arrival,) = folder.look()
        folder.finish(arrival.name, arrival.state)
        path.unlink()
    folder.look()
    assert len(folder._done) == len(folder._waiting) == 0


def test_a_folder_that_vanishes_is_an_error_and_one_below_is_not(tmp_path):
    root = tmp_path / "root"
    put(root, "deep/a.png")
    folder = WatchedFolder(root, [".png"], settle=0, patience=5)
    folder.look()
    (root / "deep" / "a.png").unlink()
    (root / "deep").rmdir()
    assert folder.look() == []
    root.rmdir()
    with pytest.raises(FileNotFoundError):
        folder.look()


# -- rows ---------------------------------------------------------------------------


def test_a_row_that_was_cut_off_is_removed(tmp_path):
    path = tmp_path / "rows.jsonl"
    with Journal(path) as journal:
        journal.append([{"path": "a"}, {"path": "ä"}])
    whole = path.read_bytes()
    for n in range(1, len(b'{"path": "c"}') + 1):
        path.write_bytes(whole + b'{"path": "c"}'[:n])
        with Journal(path) as journal:
            assert [row["path"] for row in journal.rows()] == ["a", "ä"]
            journal.append([{"path": "d"}])
        assert path.read_bytes() == whole + b'{"path": "d"}\n'


@pytest.mark.parametrize("text", ["my notes", "x" * 200_000, "{\n"])
def test_foreign_files_are_left_as_they_are(tmp_path, text):
    path = tmp_path / "notes.txt"
    path.write_text(text)
    with (
        pytest.raises(ValueError, match="Choose another file"),
        Journal(path) as journal,
    ):
        list(journal.rows())
    assert path.read_text() == text


def test_one_file_has_one_writer(tmp_path):
    path = tmp_path / "rows.jsonl"
    with Journal(path), pytest.raises(OSError, match="another process"):
        Journal(path)
    Journal(path).__exit__()


# -- the whole ----------------------------------------------------------------------


def test_each_file_gets_one_row_over_several_runs(tmp_path):
    folder, output = tmp_path / "in", tmp_path / "rows.jsonl"
    for k in range(40):
        put(folder, f"{k % 3}/{k}.png", seed=k)
    assert run(folder, output)["n_images"] == 40
    for k in range(40, 50):
        put(folder, f"new/{k}.png", seed=k)
    told = run(folder, output)
    assert told["n_images"] == 10
    assert told["latency_median"] > 0
    rows = rows_of(output)
    assert len({row["path"] for row in rows}) == len(rows) == 50
    model = known_model()
    for row in rows[::7]:
        with Image.open(folder / row["path"]) as image:
            score = model.estimator.anomaly_score(np.asarray(image)[None])[0]
        assert row["score"] == pytest.approx(score, rel=1e-6)
        assert row["anomalous"] == (score > 0.5)
    assert run(folder, output)["n_images"] == 0


def test_files_that_are_broken_or_vanish_stop_nothing(tmp_path):
    folder, output, said = tmp_path / "in", tmp_path / "rows.jsonl", []
    for k in range(5):
        put(folder, f"{k}.png", seed=k)
    whole = (folder / "0.png").read_bytes()
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    (folder / "none.png").write_bytes(b"")
    (folder / "gone.png").symlink_to(tmp_path / "nowhere.png")
    told = run(folder, output, said=said)
    assert (told["n_images"], told["n_broken"]) == (5, 2)
    broken = [row["path"] for row in rows_of(output) if "error" in row]
    assert sorted(broken) == ["cut.png", "none.png"]
    assert len(said) == 2
    # A broken one that is completed later is scored.
    (folder / "cut.png").write_bytes(whole)
    assert run(folder, output)["n_images"] == 1


def test_a_file_removed_between_listing_and_reading_is_no_error(tmp_path, monkeypatch):
    folder, output = tmp_path / "in", tmp_path / "rows.jsonl"
    for k in range(6):
        put(folder, f"{k}.png", seed=k)
    look = WatchedFolder.look

    def look_and_lose(self):
        ready = look(self)
        if ready:
            (folder / "3.png").unlink(missing_ok=True)
        return ready

    monkeypatch.setattr(WatchedFolder, "look", look_and_lose)
    told = run(folder, output)
    assert (told["n_images"], told["n_broken"]) == (5, 0)


def test_a_slow_writer_is_waited_for(tmp_path):
    folder, output = tmp_path / "in", tmp_path / "rows.jsonl"
    content = put(tmp_path, "whole.png").read_bytes()
    folder.mkdir()
    stop = threading.Event()
    pace = Pace(poll=0.02, settle=0.05, patience=60)
    watching = threading.Thread(
        target=run, args=(folder, output), kwargs={"pace": pace, "stop": stop}
    )
    watching.start()
    with (folder / "slow.png").open("wb", buffering=0) as file:
        for start in range(0, len(content), 1 + len(content) // 6):
            file.write(content[start : start + 1 + len(content) // 6])
            time.sleep(0.15)  # longer than it takes to settle
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and not output.read_bytes():
        time.sleep(0.02)
    stop.set()
    watching.join()
    (row,) = rows_of(output)
    assert row["path"] == "slow.png"
    assert row["size"] == len(content)


def test_none_is_lost_or_doubled_when_the_process_is_killed(tmp_path):
    """Killed three times while files come in; a benchmark does more."""
    folder, output = tmp_path / "in", tmp_path / "rows.jsonl"
    folder.mkdir()
    script = (
        f"import sys, threading; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        f"from pathlib import Path\nfrom _watching import run, Pace\n"
        f"print('ready', flush=True)\n"
        f"run(Path({str(folder)!r}), Path({str(output)!r}), Pace(0.01, 0.01, 9), 30)\n"
    )
    put(folder, "first.png")
    n = 1
    for life in range(3):
        process = subprocess.Popen(
            [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout.readline() == "ready\n"
        before = len(output.read_bytes()) if output.exists() else 0
        for _ in range(60):
            put(folder, f"{n}.png", seed=n)
            n += 1
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and (
            not output.exists() or len(output.read_bytes()) <= before
        ):
            time.sleep(0.005)
        time.sleep(0.02 * life)
        process.kill()
        process.wait()
        process.stdout.close()
    run(folder, output, n_usual=30)
    found = Counter(row["path"] for row in rows_of(output))
    assert len(found) == n
    assert set(found.values()) == {1}
    # The monitor has seen each image once, too.
    state = DriftMonitor.load(tmp_path / "rows.jsonl.drift.json")
    assert state.n_seen_ == n - 30
    rows = rows_of(output)
    numbers = np.array([[row[name] for name in STATISTICS] for row in rows])
    again = DriftMonitor(random_state=0).fit(numbers[:30]).update(numbers[30:])
    assert again.evidence_ == pytest.approx(state.evidence_)


def test_drift_is_told_in_rows_and_words(tmp_path):
    folder, output, said = tmp_path / "in", tmp_path / "rows.jsonl", []
    for k in range(60):
        put(folder, f"{k}.png", seed=k)
    told = run(folder, output, n_usual=40, said=said)
    assert told["drift"]["n_seen"] == 20
    assert not told["drift"]["alarm"]
    for k in range(60, 90):
        put(folder, f"{k}.png", seed=k, scale=1.5)
    told = run(folder, output, n_usual=40, said=said)
    assert told["drift"]["alarm"]
    assert 20 < told["drift"]["alarm_at"] <= 50
    assert told["drift"]["by"] in STATISTICS
    assert any("Drift" in text for text in said)
    flags = [row["drift_alarm"] for row in rows_of(output)]
    assert not any(flags[:60])
    assert flags[-1]
    for other in ({"probability": 0.05}, {"n_usual": 50}):
        with pytest.raises(ValueError, match=r"probability of 0\.01, on 40 images"):
            run(folder, output, **{"n_usual": 40} | other)
    with pytest.raises(CalibrationError, match="at least"):
        run(folder, output, n_usual=5)


def test_rows_that_could_not_be_written_do_not_count(tmp_path, monkeypatch):
    folder, output = tmp_path / "in", tmp_path / "rows.jsonl"
    for k in range(50):
        put(folder, f"{k}.png", seed=k)
    run(folder, output, n_usual=40)
    for k in range(50, 60):
        put(folder, f"{k}.png", seed=k)

    def full(self, rows):
        raise OSError("No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Journal, "append", full)
        with pytest.raises(OSError, match="No space"):
            run(folder, output, n_usual=40)
    assert run(folder, output, n_usual=40)["drift"]["n_seen"] == 20
    assert len(rows_of(output)) == 60


def test_a_stream_monitor_is_what_its_rows_are(tmp_path):
    rng = np.random.RandomState(0)
    rows = [
        {"path": str(k)} | dict(zip(STATISTICS, rng.normal(size=4), strict=True))
        for k in range(90)
    ]
    whole = StreamMonitor(tmp_path / "whole.json", 30, 0.01)
    whole.feed(rows)
    path = tmp_path / "parts.json"
    first = StreamMonitor(path, 30, 0.01)
    first.feed(rows[:20])
    first.save()  # nothing yet
    assert not path.exists()
    second = StreamMonitor(path, 30, 0.01)
    second.replay([*rows[:10], {"path": "x", "error": "broken"}, *rows[10:50]])
    second.save()
    third = StreamMonitor(path, 30, 0.01)
    third.replay(rows[:70])
    third.feed(rows[70:])
    assert third.told() == whole.told()


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("watch") / "model.skfcdd"
    return save(quick(max_epochs=1).fit(make_images(20)[0]), path)


def test_command_watches_until_told_to_stop(saved, tmp_path):
    X = make_images(60)[0]
    folder, output = tmp_path / "in", tmp_path / "rows.jsonl"
    folder.mkdir()
    command = [
        *(
            sys.executable,
            "-c",
            "from skfcdd.cli import main; raise SystemExit(main())",
        ),
        *("watch", str(saved)),
        *(str(folder), "-o", str(output), "--poll", "0.05", "--settle", "0.05", "-q"),
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    for k, image in enumerate(X):
        Image.fromarray(image).save(folder / f"{k}.png")
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and (
        not output.exists() or len(output.read_bytes().splitlines()) < 60
    ):
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    told = json.loads(process.communicate(timeout=30)[0])
    assert process.returncode == 0
    assert told["n_images"] == 60
    assert told["drift"] == {"calibrated": False, "n_usual": 60}


def test_command_refuses_what_cannot_be_watched(saved, tmp_path, capsys):
    known = [str(saved), str(tmp_path)]
    assert main(["watch", str(saved), str(tmp_path / "none")]) == 1
    assert "not a folder" in capsys.readouterr().err
    assert main(["watch", *known, "-o", str(tmp_path / "no" / "rows")]) == 1
    assert main(["watch", *known, "--false-alarm-probability", "2"]) == 2
    assert main(["watch", *known, "-o", str(saved)]) == 1
    (tmp_path / "notes").write_text("mine")
    assert main(["watch", *known, "-o", str(tmp_path / "notes"), "--once"]) == 1
    assert (tmp_path / "notes").read_text() == "mine"
    output = str(tmp_path / "rows.jsonl")
    assert main(["watch", *known, "-o", output, "--once", "--usual", "0"]) == 0
