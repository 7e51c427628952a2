"""Several processes that train as one, started by ``torchrun``; with one process, every function here does nothing.

Only process 0 writes. Small values travel between hosts' memories by gloo, so that nothing here waits for a GPU.
"""

import contextlib
import os
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel

from minibert.errors import InputError

Value = TypeVar("Value")

_restarted = False
_store: Store | None = None
_STARTED = "started"


@contextlib.contextmanager
def process_group(device: torch.device) -> Iterator[torch.device]:
    """Joins the processes that ``torchrun`` started, for the length of the block; gives this process's own device.

    Started otherwise, it gives ``device`` as it is.

    Raises:
        InputError: there are more processes on this host than GPUs, or one GPU was named for all of them.
    """
    global _restarted, _store
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        yield device
        return
    if device.type == "cuda":
        local_rank, num_devices = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
        if device.index is not None:
            raise InputError(f"--device {device}: under torchrun each process takes a GPU of its own; use cuda.")
        if local_rank >= num_devices:
            raise InputError(
                f"torchrun started more processes than the {num_devices} GPUs here; lower --nproc-per-node."
            )
        device = torch.device("cuda", local_rank)
        torch.cuda.set_device(device)
    _store, rank, size = next(rendezvous("env://"))
    is_restart = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0 and _store.check([_STARTED])
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo",
        store=_without_leftovers(_store, rank, size),
        rank=rank,
        world_size=size,
    )
    whole = False
    try:
        # The hosts that lost no process may not count the restart.
        _restarted = all_reduce_sum([is_restart])[0] > 0
        yield device
        whole = True
    finally:
        _store = None
        # Where one process fails alone, nccl would wait here for the others, which wait for this one.
        if whole or device.type != "cuda":
            dist.destroy_process_group()


def _without_leftovers(store: Store, rank: int, size: int) -> Store:
    """A part of the store that no earlier life of this group has written to.

    ``torchrun`` keeps the store when it restarts its processes, and with it the addresses of the dead ones. So process
    0 makes up a name for this life; another process asks for it under a name that it has made up itself, and says when
    it has the answer. Questions of earlier lives are answered, too, and nobody hears.
    """
    own = uuid.uuid4().hex
    if rank > 0:
        store.set(f"question/{rank}", own)
        life = store.get(f"answer/{own}").decode()
        store.set(f"heard/{rank}/{life}", "")
        return PrefixStore(life, store)
    deaf = set(range(1, size))
    deadline = time.monotonic() + dist.default_pg_timeout.total_seconds()
    while deaf:
        for other in sorted(deaf):
            if store.check([f"question/{other}"]):
                store.set(f"answer/{store.get(f'question/{other}').decode()}", own)
            if store.check([f"heard/{other}/{own}"]):
                deaf.remove(other)
        if time.monotonic() > deadline:
            raise TimeoutError(f"process {min(deaf)} of {size} did not join.")
        time.sleep(0.01)
    return PrefixStore(own, store)


def world_size() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """This process's number among them, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def is_rank0() -> bool:
    """Whether this is the process that writes files and prints."""
    return rank() == 0


def mark_started() -> None:
    """Notes that the files of this run are its own from here on: a restarted process may go on with them.

    A run that is refused before, because its folder holds another one, is refused again after a restart.
    """
    if _store is not None and is_rank0():
        _store.set(_STARTED, "")


def was_restarted() -> bool:
    """Whether ``torchrun --max-restarts`` restarted the processes of a run that had called :func:`mark_started`."""
    return _restarted


def shard(values: Sequence[Value]) -> Sequence[Value]:
    """This process's part of some values: every N-th, from its own number on.

    To evaluate in shards, deal out whole batches: each is then computed as one process would compute it, and the
    figures of :func:`all_gather`'s results are the same to the last bit.
    """
    return values[rank() :: world_size()]


def all_gather(values: Sequence[Value]) -> list[Value]:
    """Undoes :func:`shard` with the results for its values: all of them, in order, in every process.

    The values must lie on the host; tensors on a GPU would arrive on another process's.
    """
    if world_size() == 1:
        return list(values)
    parts: list[Any] = [None] * world_size()
    dist.all_gather_object(parts, list(values))
    return [parts[i % len(parts)][i // len(parts)] for i in range(sum(map(len, parts)))]


def all_reduce_sum(values: Sequence[float]) -> list[float]:
    """The sum over all processes of each value, added up in fp64 on the host."""
    if world_size() == 1:
        return list(values)
    sums = torch.tensor(values, dtype=torch.float64)
    dist.all_reduce(sums)
    return sums.tolist()


def broadcast_from_rank0(make: Callable[[], Value]) -> Value:
    """What ``make`` returns in process 0, in every process; also where it raises InputError or OSError."""
    if world_size() == 1:
        return make()
    made: list[Any] = [None, None]
    if rank() == 0:
        try:
            made[0] = make()
        except (InputError, OSError) as error:
            made[1] = error
    dist.broadcast_object_list(made)
    if made[1] is not None:
        raise made[1]
    return made[0]


def data_parallel(model: nn.Module, device: torch.device) -> nn.Module:
    """What to call for the loss in the model's place: it gives all processes process 0's weights now, and the mean of
    their gradients in each backward pass."""
    if world_size() == 1:
        return model
    devices = [device] if device.type == "cuda" else None
    return DistributedDataParallel(model, device_ids=devices, gradient_as_bucket_view=True)
