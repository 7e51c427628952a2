"""Zip archives that every reader reads alike.

A zip file is found from its end, and readers differ in how: where they look for the central directory, whether they
allow bytes before the archive, which of two equal names they take. What one reader has checked, another may read
otherwise. So an archive must have the one layout that leaves nothing to choose.
"""

import struct
import zipfile
from pathlib import Path
from typing import IO

MOST_RECORDS = 20_000  # torch.save writes one for each tensor, and a handful more

_END = struct.Struct("<4s4H2IH")  # "PK\5\6": disks, entries, the directory's size and offset, the comment's length
_LOCATOR = struct.Struct("<4sIQI")  # "PK\6\7": disk, offset of the zip64 end, disks
_END_64 = struct.Struct("<4sQ2H2I4Q")  # "PK\6\6": its size, versions, disks, entries, the directory's size and offset
_FULL = 0xFFFFFFFF, 0xFFFF  # a field of the older end whose value is in the zip64 end


def check_layout(file: IO[bytes]) -> None:
    """Checks the end of an archive: one directory, right before the end, which is the end of the file.

    Raises:
        ValueError: the archive leaves a reader something to choose, or has too many records.
    """
    size = file.seek(0, 2)
    end_at = size - _END.size
    if end_at < 0:
        raise ValueError("its end is missing")
    file.seek(end_at)
    mark, *disks, entries_here, entries, length, offset, comment = _END.unpack(file.read(_END.size))
    if mark != b"PK\5\6" or comment or any(disks):
        raise ValueError("it does not end as an archive of torch.save does")
    directory_end = end_at
    locator_at = end_at - _LOCATOR.size
    if locator_at >= _END_64.size:
        file.seek(locator_at)
        mark, disk, end_64_at, num_disks = _LOCATOR.unpack(file.read(_LOCATOR.size))
        if mark == b"PK\6\7":
            if disk or num_disks > 1 or end_64_at != locator_at - _END_64.size:
                raise ValueError("it has two ends")
            file.seek(end_64_at)
            older = entries_here, entries, length, offset
            mark, rest, _, _, *disks, entries_here, entries, length, offset = _END_64.unpack(file.read(_END_64.size))
            newer = entries_here, entries, length, offset
            agree = all(old == new or old in _FULL for old, new in zip(older, newer, strict=True))
            if mark != b"PK\6\6" or rest != _END_64.size - 12 or any(disks) or not agree:
                raise ValueError("its two ends differ")
            directory_end = end_64_at
    if offset + length != directory_end or entries_here != entries:
        raise ValueError("its directory is not where its end says, so two readers could read it differently")
    if entries > MOST_RECORDS:
        raise ValueError(f"it has {entries:,} records")


def check_entries(entries: list[zipfile.ZipInfo], path: Path) -> None:
    """Checks the directory: plain names in one folder, each once, stored as they are, none larger than the file.

    Raises:
        ValueError: something else is there.
    """
    if any(entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size for entry in entries):
        raise ValueError("it is compressed, which torch.save never does")
    if sum(entry.file_size for entry in entries) > path.stat().st_size:
        raise ValueError("its records are larger than the file")
    names = [entry.orig_filename for entry in entries]
    if not all(name.isascii() and name.isprintable() and "\\" not in name for name in names):
        raise ValueError("a record has an odd name")
    if len({name.lower() for name in names}) < len(names):  # torch finds records whatever their case
        raise ValueError("two of its records have the same name")
    if len({name.partition("/")[0] for name in names}) > 1:
        raise ValueError("its records are in two folders")
