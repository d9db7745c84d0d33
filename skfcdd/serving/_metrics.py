"""Statistics of a server in the format of Prometheus."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import Counter

__all__ = ["Metrics"]

# Upper ends of the buckets of times, in seconds.
_ENDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """Numbers of requests, images and anomalies, and times.

    Its size does not depend on the requests: paths that are not served count as
    one.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: Counter[tuple[str, int]] = Counter()
        self._buckets = [0] * (len(_ENDS) + 1)
        self._seconds = 0.0
        self._numbers: Counter[str] = Counter()

    def request(self, path: str, status: int, seconds: float) -> None:
        """Count a completed request."""
        with self._lock:
            self._requests[path, status] += 1
            self._buckets[bisect_left(_ENDS, seconds)] += 1
            self._seconds += seconds

    def batch(self, n_images: int, n_anomalous: int) -> None:
        """Count images that were scored together."""
        with self._lock:
            self._numbers["batches"] += 1
            self._numbers["images"] += n_images
            self._numbers["anomalies"] += n_anomalous

    def text(self, waiting: int) -> str:
        """All numbers in the text format of Prometheus."""
        with self._lock:
            lines = _head("skfcdd_requests_total", "counter", "Requests handled.")
            lines += [
                f'skfcdd_requests_total{{path="{path}",status="{status}"}} {n}'
                for (path, status), n in sorted(self._requests.items())
            ]
            for name, words in (
                ("images", "Images scored."),
                ("anomalies", "Images classified as anomalous."),
                ("batches", "Batches of images scored together."),
            ):
                full = f"skfcdd_{name}_total"
                lines += [
                    *_head(full, "counter", words),
                    f"{full} {self._numbers[name]}",
                ]
            lines += _head(
                "skfcdd_images_waiting", "gauge", ("Images waiting to be scored.")
            )
            lines.append(f"skfcdd_images_waiting {waiting}")
            lines += self._times()
        return "\n".join(lines) + "\n"

    def _times(self) -> list[str]:
        name, total = "skfcdd_request_seconds", 0
        lines = _head(name, "histogram", "Time from request to response.")
        for end, n in zip([*map(str, _ENDS), "+Inf"], self._buckets, strict=True):
            total += n
            lines.append(f'{name}_bucket{{le="{end}"}} {total}')
        return [*lines, f"{name}_sum {self._seconds:.6f}", f"{name}_count {total}"]


def _head(name: str, kind: str, words: str) -> list[str]:
    return [f"# HELP {name} {words}", f"# TYPE {name} {kind}"]
