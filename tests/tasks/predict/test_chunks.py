"""How many inputs are read before they are answered."""

from collections.abc import Iterator

from tasks.predict.chunks import chunks
from tasks.read.stream import Record


def test_a_stream_is_cut_by_number_and_by_size() -> None:
    def stream(size: int) -> Iterator[Record]:
        while True:
            yield Record({"text": "x" * size}, "")

    assert len(next(chunks(stream(10)))) == 2048
    assert len(next(chunks(stream(400_000)))) == 3
