"""An encoder by CUDA graphs: kernels are recorded once for all batches of about the same size, and launched as one.

A step over a few short sentences launches hundreds of kernels, and waits for each launch longer than for the kernel. A
graph replays them with the same shapes and addresses, so a batch is copied into a *bucket*: its number of tokens is
rounded up, and sequences without meaning fill the rest; the bounds of its sequences are a tensor, as everything else
that changes from batch to batch. Heads and losses stay outside: they are few kernels, and differ from task to task.
"""

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeVar, cast

import torch
from torch import Tensor

from minibert.attention import READ_NO_LENGTHS, choose_backend
from minibert.batch import PackedBatch
from minibert.config import EncoderConfig
from minibert.encoder import Encoder, EncoderOutput
from minibert.errors import InputError, is_out_of_memory
from minibert.shown import shown
from minibert.traced import Batch

Result = TypeVar("Result")

MOST_TOKENS = 3072
"""For more, PyTorch sorts tokens for the gradients of embedding tables, and waits for a count, which a graph cannot do.
Batches as large keep a GPU busy for longer than their launches take."""
MOST_GRAPHS = 256
_RECORDING = threading.Lock()  # a process may record one graph at a time


class Recorder(Protocol):
    """Records work on a device."""

    def record(self, work: Callable[[], Result]) -> tuple[Result, Callable[[], None]]:
        """What ``work`` returned, and a function that does the same again: it reads the same tensors, and writes its
        results to those returned here."""
        ...


class CudaRecorder:
    """Records CUDA graphs, which share their memory: only what ``work`` returned is kept from one to the next.

    They share a stream, too, whose workspaces PyTorch frees with the first graph that goes: so all of a recorder's
    graphs must go at the same time.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)
        self._pool = torch.cuda.graph_pool_handle()

    def record(self, work: Callable[[], Result]) -> tuple[Result, Callable[[], None]]:
        graph = torch.cuda.CUDAGraph()
        torch.cuda.synchronize(self._device)
        with torch.cuda.device(self._device), torch.cuda.stream(self._stream):
            # Other threads, which answer with other models, may go on meanwhile.
            graph.capture_begin(pool=self._pool, capture_error_mode="thread_local")
            try:
                result = work()
            finally:
                graph.capture_end()
        return result, graph.replay


def require_graphs(config: EncoderConfig, device: torch.device, dtype: torch.dtype) -> None:
    """Raises InputError if an encoder that computes in ``dtype`` cannot be recorded: for its attention must not read
    the lengths of sequences from the host."""
    backend = choose_backend(device, dtype, config.hidden_size // config.num_attention_heads)
    if device.type != "cuda" or backend not in READ_NO_LENGTHS:
        raise InputError(
            "--cuda-graphs: needs bf16 or fp16 on a GPU from A100 on, and attention heads whose width is a multiple of "
            "8 and at most 128; leave it out."
        )


class Bucket(NamedTuple):
    """What the batches of a graph have in common, at most.

    Attributes:
        num_rows: of the hidden states that are wanted; None for all.
    """

    num_tokens: int
    num_sequences: int
    max_seqlen: int
    num_rows: int | None

    @classmethod
    def of(cls, batch: PackedBatch, rows: Tensor | None, longest: int) -> "Bucket":
        """The smallest one for a batch, where no sequence may have more than ``longest`` tokens."""
        num_tokens = _eighths(batch.num_tokens)
        max_seqlen = min(longest, 128 if batch.max_seqlen <= 128 else longest)
        num_fillers = -(-(num_tokens - batch.num_tokens) // max_seqlen)
        return cls(
            num_tokens=num_tokens,
            num_sequences=max(64, _power(batch.num_sequences + num_fillers)),
            max_seqlen=max_seqlen,
            num_rows=None if rows is None else max(64, _eighths(len(rows))),
        )


def _power(count: int) -> int:
    """The next power of two, and at least 8."""
    return max(8, 1 << (count - 1).bit_length())


def _eighths(count: int) -> int:
    """The next of eight numbers between two powers of two, and at least 8."""
    step = max(8, _power(count) // 16)
    return -(-count // step) * step


@dataclass(frozen=True, kw_only=True)
class _Recording:
    """A graph with the tensors that it reads and writes.

    Attributes:
        inputs: B sequences of T tokens, and the rows wanted.
        output: their hidden states, ``(T, C)`` or ``(N, C)``.
        filler_ends: where sequences of the most tokens end.
        gradient: that of ``output``, for :attr:`backward`.
    """

    inputs: PackedBatch
    filler_ends: Tensor
    rows: Tensor | None
    output: Tensor
    gradient: Tensor | None
    forward: Callable[[], None]
    backward: Callable[[], None] | None

    def fill(self, batch: PackedBatch, rows: Tensor | None) -> None:
        """Copies a batch to the inputs. Behind it, tokens of earlier ones stay, as sequences that nobody reads."""
        count, num_tokens, inputs = batch.num_sequences, batch.num_tokens, self.inputs
        given = [batch.input_ids, batch.position_ids, batch.token_type_ids]
        own = [inputs.input_ids, inputs.position_ids, inputs.token_type_ids]
        torch._foreach_copy_([x[:num_tokens] for x in own], given)
        inputs.cu_seqlens[: count + 1].copy_(batch.cu_seqlens)
        fillers = inputs.cu_seqlens[count + 1 :]
        torch.clamp(self.filler_ends[: len(fillers)] + num_tokens, max=inputs.num_tokens, out=fillers)
        if self.rows is not None and rows is not None:
            self.rows[: len(rows)].copy_(rows)


class EncoderGraphs:
    """The recordings of an encoder, made when a bucket is first met; when there are 256 of them, all go.

    Batches of more than 3,072 tokens, and calls that ask for all hidden states, are computed as usual; so is
    everything with activation checkpointing. Gradients are written to the same memory at each replay, so one must be
    used, or added up, before the next: they must be set to None behind a step.

    Args:
        encoder: its parameters must stay where they are in memory.
        new_recorder: makes one for the encoder's device.
    """

    def __init__(self, encoder: Encoder, new_recorder: Callable[[], Recorder]) -> None:
        self._encoder = encoder
        self._new_recorder = new_recorder
        self.clear()
        self._parameters = [
            p for name, p in encoder.named_parameters() if p.requires_grad and not name.startswith("pooler.")
        ]
        self._gradients: list[Tensor] = []
        self._anchor = torch.zeros((), requires_grad=True)
        self._num_passes = 0

    def install(self) -> None:
        """From now on, calls of the encoder replay graphs."""
        self._encoder.forward = self._forward  # type: ignore[method-assign]

    @contextlib.contextmanager
    def replaying(self) -> Iterator[None]:
        """Within the block, calls of the encoder replay graphs."""
        self.install()
        try:
            yield
        finally:
            del self._encoder.forward

    def clear(self) -> None:
        """Frees the memory of all recordings."""
        self._recordings: dict[Any, _Recording] = {}
        self._recorder = self._new_recorder()

    def _forward(
        self, batch: Batch, *, rows: Tensor | None = None, output_hidden_states: bool = False
    ) -> EncoderOutput:
        encoder = self._encoder
        if (
            not isinstance(batch, PackedBatch)
            or output_hidden_states
            or _eighths(batch.num_tokens) > MOST_TOKENS
            or batch.max_seqlen > encoder.config.max_length
            or encoder.activation_checkpointing
        ):
            return Encoder.forward(encoder, batch, rows=rows, output_hidden_states=output_hidden_states)
        recording = self._recording(Bucket.of(batch, rows, encoder.config.max_length), batch.device)
        recording.fill(batch, rows)
        count = batch.num_tokens if rows is None else len(rows)
        if recording.backward is None:
            self.replay_forward(recording)
            last = recording.output[:count].clone()
        else:
            last = cast(Tensor, _Replay.apply(self._anchor, self, recording, count))
        pools = encoder.pooler is not None and rows is None
        return EncoderOutput(
            last_hidden_state=last, pooler_output=encoder.pool(last[batch.first_tokens]) if pools else None
        )

    def _recording(self, bucket: Bucket, device: torch.device) -> _Recording:
        trains, half = torch.is_grad_enabled(), torch.is_autocast_enabled(device.type)
        key = bucket, self._encoder.training, trains, half, torch.are_deterministic_algorithms_enabled()
        if key not in self._recordings:
            if len(self._recordings) == MOST_GRAPHS:
                self.clear()
            # Recording draws no random numbers, so that a run that is resumed draws the same.
            devices = [device] if device.type == "cuda" else []
            with (
                _RECORDING,
                torch.random.fork_rng(devices),
                torch.inference_mode(False),
                torch.set_grad_enabled(trains),
            ):
                try:
                    self._recordings[key] = self._record(bucket, device)
                except RuntimeError as error:
                    if is_out_of_memory(error):
                        raise
                    raise InputError(f"--cuda-graphs: recording failed ({shown(error)}); leave it out.") from error
        return self._recordings[key]

    def _record(self, bucket: Bucket, device: torch.device) -> _Recording:
        inputs, rows = _empty_inputs(bucket, device)

        def forward() -> Tensor:
            return self._encoder.run_layers(inputs, rows)[-1]

        gradient, replay_backward = None, None
        kept = [own.clone() for own in self._gradients]  # of earlier batches of the same step
        if torch.is_grad_enabled():
            self._gradients = self._gradients or [torch.zeros_like(parameter) for parameter in self._parameters]
            gradient = torch.zeros_like(forward())
            _warm_up(lambda: self._backward(forward(), gradient), device)
        else:
            _warm_up(forward, device)
        output, replay_forward = self._recorder.record(forward)
        if gradient is not None:
            _, replay_backward = self._recorder.record(lambda: self._backward(output, gradient))
        if kept:
            torch._foreach_copy_(self._gradients, kept)
        ends = torch.arange(1, bucket.num_sequences + 1, dtype=torch.int32, device=device) * bucket.max_seqlen
        return _Recording(
            inputs=inputs, filler_ends=ends, rows=rows, output=output.detach(), gradient=gradient,
            forward=replay_forward, backward=replay_backward,
        )  # fmt: skip

    def _backward(self, output: Tensor, gradient: Tensor) -> None:
        """Writes the gradients of the parameters."""
        with torch.autocast(output.device.type, enabled=False):  # as in the backward pass of a step
            found = torch.autograd.grad(output, self._parameters, gradient)

        torch._foreach_copy_(self._gradients, found)

    def replay_forward(self, recording: _Recording) -> int:
        """Returns the number of this pass."""
        recording.forward()
        self._num_passes += 1
        return self._num_passes

    def replay_backward(self, recording: _Recording, gradient: Tensor, of_pass: int) -> None:
        """Replays the backward pass for the gradient of the real rows, and adds its results to the parameters'."""
        if of_pass != self._num_passes:
            raise RuntimeError("another pass took the place in memory of what this backward pass needs")
        self._num_passes += 1
        assert recording.gradient is not None
        assert recording.backward is not None
        recording.gradient[: len(gradient)].copy_(gradient)
        recording.gradient[len(gradient) :].zero_()
        pairs = list(zip(self._parameters, self._gradients, strict=True))
        before = [(own, p.grad.clone() if p.grad is own else p.grad) for p, own in pairs if p.grad is not None]
        recording.backward()
        if before:
            torch._foreach_add_([own for own, _ in before], [earlier for _, earlier in before])
        for parameter, own in pairs:
            parameter.grad = own


class _Replay(torch.autograd.Function):
    """Replays a forward pass, and in the backward pass its counterpart. The parameters' gradients do not pass through
    autograd, which would copy each by itself; ``anchor`` makes it call :meth:`backward`."""

    @staticmethod
    def forward(ctx: Any, anchor: Tensor, graphs: EncoderGraphs, recording: _Recording, count: int) -> Tensor:
        ctx.of_pass = graphs.replay_forward(recording)
        ctx.graphs, ctx.recording = graphs, recording
        return recording.output[:count].detach()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, ...]:
        ctx.graphs.replay_backward(ctx.recording, gradient, ctx.of_pass)
        return (None,) * 4


def _empty_inputs(bucket: Bucket, device: torch.device) -> tuple[PackedBatch, Tensor | None]:
    """A batch, and the numbers of the wanted rows, to be filled."""

    def zeros(count: int, dtype: torch.dtype = torch.int64) -> Tensor:
        return torch.zeros(count, dtype=dtype, device=device)

    batch = PackedBatch(
        input_ids=zeros(bucket.num_tokens),
        position_ids=zeros(bucket.num_tokens),
        token_type_ids=zeros(bucket.num_tokens),
        cu_seqlens=zeros(bucket.num_sequences + 1, torch.int32),
        lengths=(bucket.max_seqlen,) * bucket.num_sequences,  # at most; the bounds say which
    )
    return batch, None if bucket.num_rows is None else zeros(bucket.num_rows)


def _warm_up(work: Callable[[], object], device: torch.device) -> None:
    """Does the work twice on another stream: what is set up at a first time cannot be recorded."""
    if device.type != "cuda":
        return
    stream = torch.cuda.Stream(device)
    stream.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(stream):
        for _ in range(2):
            work()
    torch.cuda.current_stream(device).wait_stream(stream)
