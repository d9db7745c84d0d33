"""Receptive field of a cell after every stage of every architecture.

It is measured on the networks with random weights: on those of the paper at the image
sizes of the paper, and on all others at 224 pixels. Writes
results/receptive_fields.json, from which the documentation takes its table.

    python benchmarks/receptive_fields.py
"""

from __future__ import annotations

from _common import record

from skfcdd.backbones import list_backbones, make_backbone, measure_backbone


def usual_size(name: str) -> int:
    """Return the image size at which a network is measured."""
    if name == "tiny":
        return 8
    digits = name.removeprefix("fcdd").split("_")[0]
    return int(digits) if name.startswith("fcdd") else 224


def measure(name: str) -> list[dict[str, object]]:
    """Return one row for each stage of an architecture."""
    size, rows = usual_size(name), []
    usual = len(make_backbone(name, (size, size, 3), weights=None).stage_names)
    number = 0
    while True:
        number += 1
        try:
            network = make_backbone(name, (size, size, 3), weights=None, cut=number)
        except ValueError:  # no further stage
            return rows
        field = measure_backbone(network, (size, size), 3)
        rows.append(
            {
                "backbone": name,
                "stage": number,
                "name": network.stage_names[-1],
                "default": number == usual,
                "extent": str(field.extent[0]),
                "stride": round(field.stride[0], 3),
                "center": round(field.offset[0], 3),
            }
        )


def main() -> None:
    rows = [row for name in list_backbones() for row in measure(name)]
    print(record("receptive_fields", rows), "written; now run python docs/_tables.py")


if __name__ == "__main__":
    main()
