"""Damage done to files by chance, for tests that a reader refuses it; a long run calls ``mutate`` with more seeds."""

import io
import random
import zipfile


def mutate(data: bytes, chance: random.Random) -> bytes:
    """One damaged copy of a file that ``torch.save`` wrote, in its archive format or its older one.

    Half of an archive's copies have valid checksums and a damaged pickle, so that the damage reaches the unpickler.
    """
    if data.startswith(b"PK") and chance.random() < 0.5:
        return _repacked(data, chance)
    return damaged(data, chance)


def damaged(data: bytes, chance: random.Random) -> bytes:
    if not data:
        return b"\0"
    changed = bytearray(data)
    start = chance.randrange(len(changed))
    length = min(len(changed) - start, 2 ** chance.randrange(12))
    kind = chance.choice(("bits", "bits", "bytes", "cut", "remove", "repeat", "zeros", "grow"))
    if kind == "bits":
        for _ in range(2 ** chance.randrange(6)):
            changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    elif kind == "bytes":
        changed[start : start + length] = chance.randbytes(length)
    elif kind == "cut":
        del changed[start:]
    elif kind == "remove":
        del changed[start : start + length]
    elif kind == "repeat":
        changed[start:start] = changed[start : start + length]
    elif kind == "zeros":
        changed[start : start + length] = bytes(length)
    else:
        changed[start:start] = chance.randbytes(length)
    return bytes(changed)


def _repacked(data: bytes, chance: random.Random) -> bytes:
    """The archive with its pickle damaged or a record missing, empty or renamed, and every checksum right."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    kind = chance.choice(("pickle", "pickle", "pickle", "missing", "empty", "renamed"))
    victim = chance.choice(sorted(records))
    if kind == "pickle":
        victim = next(name for name in records if name.endswith("data.pkl"))
        records[victim] = damaged(records[victim], chance)
    elif kind == "missing":
        del records[victim]
    elif kind == "empty":
        records[victim] = b""
    else:
        records[victim + "x"] = records.pop(victim)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in records.items():
            archive.writestr(name, content)
    return packed.getvalue()
