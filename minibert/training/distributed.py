"""Data-parallel training by several processes, started by ``torchrun``.

Only process 0 writes. Small values are exchanged on the hosts by gloo, so that nothing here waits for a GPU. With one
process, every function returns its input.
"""

import contextlib
import os
import re
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

# What gloo says, which has no exception of its own.
_PEER_LOST = re.compile(
    "Connection (closed|reset|refused)|Broken pipe|gloo.*(Timed out|timeout|closure)|Socket Timeout"
)

_restarted = False
_store: Store | None = None
_STARTED = "started"


class PeerLost(Exception):
    """Another process of the group has died, or its host: this one cannot go on alone."""


@contextlib.contextmanager
def process_group(device: torch.device) -> Iterator[torch.device]:
    """Within the block, this process belongs to the group that ``torchrun`` started; yields its own device.

    Without ``torchrun``, yields ``device`` itself.

    Raises:
        InputError: this host has more processes than GPUs, or ``device`` names one GPU for all of them.
        PeerLost: an exchange with another process failed.
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
        store=_fresh_store(_store, rank, size),
        rank=rank,
        world_size=size,
    )
    succeeded = False
    try:
        # A host that lost no process may not have counted the restart.
        _restarted = all_reduce_sum([is_restart])[0] > 0
        yield device
        succeeded = True
    except RuntimeError as error:
        if not (isinstance(error, dist.DistError) or _PEER_LOST.search(str(error))):
            raise
        raise PeerLost("another process of this run has stopped, or cannot be reached") from None
    finally:
        _store = None
        # If this process alone failed, nccl would wait here for the others, which wait for this one.
        if succeeded or device.type != "cuda":
            dist.destroy_process_group()


def _fresh_store(store: Store, rank: int, size: int) -> Store:
    """A part of the store that this group has not used before it was restarted.

    When ``torchrun`` restarts its processes it keeps the store, and with it the addresses of dead processes. So process
    0 chooses a new prefix at each start. Every other process requests it under a random name of its own, and confirms
    that it has it. Requests from before a restart are answered as well, but nobody reads the answers.
    """
    own_id = uuid.uuid4().hex
    if rank > 0:
        store.set(f"request/{rank}", own_id)
        prefix = store.get(f"answer/{own_id}").decode()
        store.set(f"confirmed/{rank}/{prefix}", "")
        return PrefixStore(prefix, store)
    missing = set(range(1, size))
    deadline = time.monotonic() + dist.default_pg_timeout.total_seconds()
    while missing:
        for other in sorted(missing):
            if store.check([f"request/{other}"]):
                store.set(f"answer/{store.get(f'request/{other}').decode()}", own_id)
            if store.check([f"confirmed/{other}/{own_id}"]):
                missing.remove(other)
        if time.monotonic() > deadline:
            raise TimeoutError(f"process {min(missing)} of {size} did not join.")
        time.sleep(0.01)
    return PrefixStore(own_id, store)


def world_size() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """The number of this process, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def is_rank0() -> bool:
    """Whether this is process 0, which writes files and prints."""
    return rank() == 0


def mark_started() -> None:
    """Records that the run has taken its folder, so that restarted processes resume from it.

    A run that is refused before this, because its folder holds another run, is refused again after a restart.
    """
    if _store is not None and is_rank0():
        _store.set(_STARTED, "")


def was_restarted() -> bool:
    """Whether ``torchrun --max-restarts`` restarted the processes of a run that had called :func:`mark_started`."""
    return _restarted


def shard(values: Sequence[Value]) -> Sequence[Value]:
    """The part of ``values`` for this process: every N-th, starting at its rank.

    To evaluate in shards, shard whole batches: each is then computed as by a single process, and the results of
    :func:`all_gather` are the same to the last bit.
    """
    return values[rank() :: world_size()]


def all_gather(values: Sequence[Value]) -> list[Value]:
    """The results of all processes for their shards, in the order before :func:`shard`, in every process.

    The values must be on the host: a tensor would arrive on the GPU of its sender.
    """
    if world_size() == 1:
        return list(values)
    parts: list[Any] = [None] * world_size()
    dist.all_gather_object(parts, list(values))
    return [parts[i % len(parts)][i // len(parts)] for i in range(sum(map(len, parts)))]


def all_reduce_sum(values: Sequence[float]) -> list[float]:
    """The sum of each value over all processes, in fp64 on the host."""
    if world_size() == 1:
        return list(values)
    sums = torch.tensor(values, dtype=torch.float64)
    dist.all_reduce(sums)
    return sums.tolist()


def broadcast_from_rank0(compute: Callable[[], Value]) -> Value:
    """Calls ``compute`` in process 0, and returns its result, or raises its InputError or OSError, in all."""
    if world_size() == 1:
        return compute()
    outcome: list[Any] = [None, None]  # the result, the error
    if rank() == 0:
        try:
            outcome[0] = compute()
        except (InputError, OSError) as error:
            outcome[1] = error
    dist.broadcast_object_list(outcome)
    result, failure = outcome
    if failure is not None:
        raise failure
    return result


def data_parallel(model: nn.Module, device: torch.device) -> nn.Module:
    """The module to call in place of ``model``: copies the weights of process 0 to all processes now, and averages
    their gradients in each backward pass."""
    if world_size() == 1:
        return model
    devices = [device] if device.type == "cuda" else None
    return DistributedDataParallel(model, device_ids=devices, gradient_as_bucket_view=True)


def wait_for_all() -> None:
    """Returns when every process has called it."""
    if world_size() > 1:
        dist.barrier()
