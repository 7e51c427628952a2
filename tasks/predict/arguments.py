"""The arguments of ``python -m tasks.predict``."""

from collections.abc import Sequence

from minibert.training.settings import PRECISIONS
from tasks.read.stream import FORMATS
from tasks.run.arguments import ArgumentParser
from tasks.run.console import program
from tasks.settings import ENGINES, INT8, TORCH


def parser() -> ArgumentParser:
    """``python -m tasks.predict``."""
    parser = ArgumentParser(
        prog=program("tasks.predict"),
        description="Answers from a trained run: one JSON line for each input, in the input's order.",
    )
    parser.add_argument("run", metavar="RUN", help="run folder, or a fine-tuned checkpoint's folder or hub name")
    parser.add_argument(
        "file", metavar="FILE", nargs="?", default="-",
        help="text (an input a line), JSON, CSV, TSV, parquet, Arrow, a folder; also .gz, .zip; - is standard input",
    )  # fmt: skip
    parser.add_argument(
        "--format", choices=FORMATS, default="auto", help="of the input (default: by ending and content)"
    )
    parser.add_argument("--encoding", help="of the input, such as gb18030 or big5 (default: utf-8)")
    parser.add_argument(
        "--columns", nargs="+", default=[], help="names of the columns of a table without a header, such as id,text"
    )
    parser.add_argument("--out", metavar="FILE", help="write here, whole or not at all (default: standard output)")
    parser.add_argument(
        "--threshold",
        metavar="X",
        help="of several labels: give those with this probability (default: as the run chose)",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument(
        "--precision", choices=(*PRECISIONS, INT8), default="auto",
        help="int8: on a CPU, in 8-bit integers, which is faster and a little less exact (default: auto)",
    )  # fmt: skip
    parser.add_argument(
        "--engine", choices=ENGINES, default=TORCH,
        help="onnx: ONNX Runtime, for a folder that tools/export.py has written (default: torch)",
    )  # fmt: skip
    return parser


def check_arguments(argv: Sequence[str]) -> None:
    """Shows the help, or refuses."""
    parser().parse_args(argv)
