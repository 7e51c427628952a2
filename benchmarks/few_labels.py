"""What to make of 1, 8 or 64 examples a label: fine-tuning, a prompt, or a classifier on frozen sentence vectors.

Takes the examples that ``tasks.cloze --shots`` has drawn and what it found, and adds for each checkpoint, on the same
examples and the same held-out texts: fine-tuning from the first token and from the mean of all tokens; and on the
vectors of ``tasks.embed`` (means, scaled to length 1) the nearest neighbour and scikit-learn's logistic regression.
Prints a table of accuracies, mean and deviation over the draws, and a JSON line.

    python -m tasks.cloze --train TEXTS --test-share 0.2 --template ... --words ... --shots 1 8 64 --seeds 3 --out SHOTS
    python -m benchmarks.few_labels SHOTS --weights MINILM weights/bert-tiny --out runs/few
"""

import argparse
import json
import math
from collections.abc import Sequence
from pathlib import Path

from benchmarks.record import all_versions
from minibert.checkpoint import open_checkpoint
from minibert.errors import InputError
from minibert.files import read_json_lines, read_json_object
from minibert.training import Metric, choose_device
from tasks import registry
from tasks.embed import load
from tasks.run.advice import FEW_STEPS
from tasks.run.console import run_main
from tasks.run.folder import device_name, now, read_metrics
from tasks.run.grid import spread
from tasks.run.interrupts import command_line

_BATCH_SIZE = 4  # as tasks.cloze --shots trains
_LR = "2e-4"

Texts = tuple[list[str], list[str]]
"""Texts and their labels."""


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.few_labels",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("shots", metavar="SHOTS", type=Path, help="a folder of tasks.cloze --shots")
    parser.add_argument("--weights", nargs="+", required=True, help="checkpoints to compare")
    parser.add_argument("--out", type=Path, required=True, help="folder for the runs")
    options = parser.parse_args(argv)
    comparison = read_json_object(options.shots / "comparison.json")
    if not (options.shots / "data" / "test.jsonl").exists():
        raise InputError(f"{options.shots}: holds no draws; name a folder of tasks.cloze --shots.")
    draws = [path.name.removesuffix("-train.jsonl") for path in options.shots.glob("data/*-train.jsonl")]
    draws = sorted(
        (draw for draw in draws if not draw.startswith("all")), key=lambda draw: [*map(int, draw.split("-"))]
    )
    test = read(options.shots / "data" / "test.jsonl")
    rows: dict[str, dict[str, list[float]]] = {}
    for row in comparison["rows"]:
        rows.setdefault(f"shots: {row['method']}", {})[row["shots"]] = row["accuracy"]["values"]
    for number, (name, weights) in enumerate(zip(short_names(options.weights), options.weights, strict=True), 1):
        for method, found in frozen(weights, options.shots / "data", draws, test).items():
            rows[f"{name}: {method}"] = found
        for pooling in ("first", "mean"):
            runs = options.out / f"{number}-{pooling}"
            rows[f"{name}: fine-tuned, {pooling}"] = fine_tuned(weights, options.shots / "data", draws, pooling, runs)
    shown = list(dict.fromkeys(name.partition("-")[0] for name in draws))
    print("| method | " + " | ".join(f"{each} a label" for each in shown) + " |\n" + "|---" * (1 + len(shown)) + "|")
    for name, found in rows.items():
        print(f"| {name} | " + " | ".join(shown_spread(found.get(each, [])) for each in shown) + " |")
    print(json.dumps({
        "benchmark": "few_labels", "command": command_line("benchmarks.few_labels", argv),
        "shots": comparison["command"],
        "test_texts": len(test[0]), "accuracies": rows, "device": device_name(choose_device()), "finished": now(),
        "versions": all_versions(),
    }))  # fmt: skip


def read(path: Path) -> Texts:
    """The texts of a file that tasks.cloze --shots has written, a text and a label in each line."""
    pairs = [tuple(record.values()) for record in read_json_lines(path)]
    return [text for text, _ in pairs], [str(label) for _, label in pairs]


def frozen(weights: str, data: Path, draws: Sequence[str], test: Texts) -> dict[str, dict[str, list[float]]]:
    """The accuracy of classifiers on vectors, by method and number of examples, for each draw."""
    # Imported here because scikit-learn takes a second.
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier

    embed = load(weights, pooling="mean", normalize=True)
    vectors = embed(test[0])
    found: dict[str, dict[str, list[float]]] = {"nearest neighbour": {}, "logistic regression": {}}
    for draw in draws:
        texts, labels = read(data / f"{draw}-train.jsonl")
        given = embed(texts)
        for method, model in zip(found, (KNeighborsClassifier(1), LogisticRegression(max_iter=1000)), strict=True):
            accuracy = float(model.fit(given, labels).score(vectors, test[1]))
            found[method].setdefault(draw.partition("-")[0], []).append(accuracy)
    return found


def short_names(folders: Sequence[str]) -> list[str]:
    """Each folder's name, with as many of those above it as tell them apart."""
    parts = [Path(folder).resolve().parts for folder in folders]
    for count in range(1, max(map(len, parts))):
        names = [str(Path(*each[-count:])) for each in parts]
        if len(set(names)) == len(names):
            return names
    return list(folders)


def fine_tuned(weights: str, data: Path, draws: Sequence[str], pooling: str, runs: Path) -> dict[str, list[float]]:
    """The accuracy of runs of tasks.classification, which lie below ``runs``, by number of examples, for each draw."""
    arch = open_checkpoint(weights).config.model_type
    found: dict[str, list[float]] = {}
    for draw in draws:
        shots, _, seed = draw.partition("-")
        out = runs / draw
        parts = {part: data / f"{draw}-{part}.jsonl" for part in ("train", "dev")}
        files = [str(value) for part, path in parts.items() if path.exists() for value in (f"--{part}", path)]
        text, label = json.loads(parts["train"].read_text(encoding="utf-8").partition("\n")[0])
        steps = math.ceil(len(read(parts["train"])[0]) / _BATCH_SIZE)
        epochs = max(3, math.ceil(FEW_STEPS / steps))
        registry.run("classification", [
            *files, "--test", str(data / "test.jsonl"), "--arch", arch, "--weights", weights, "--pooling", pooling,
            "--text-column", text, "--label-column", label,
            "--epochs", str(epochs), "--batch-size", str(_BATCH_SIZE), "--lr", _LR, "--metric", "loss",
            "--seed", seed, "--no-baseline", "--out", str(out), "--resume",
        ])  # fmt: skip
        found.setdefault(shots, []).append(read_metrics(out)["final"]["test"]["accuracy"])
    return found


def shown_spread(values: Sequence[float]) -> str:
    """Mean and sample deviation."""
    if not values:
        return "-"
    found = spread(values, Metric("accuracy"))
    return f"{found['mean']:.4f}" + ("" if found["std"] is None else f" ± {found['std']:.4f}")


if __name__ == "__main__":
    run_main(main)
