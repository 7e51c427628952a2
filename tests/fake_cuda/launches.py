"""How many kernels an operator launches on CUDA: an estimate, from reading PyTorch's sources."""

import math
from collections.abc import Iterable
from typing import Any

from torch import Tensor
from torch.utils import _pytree as pytree

# Besides views.
_NO_KERNEL = {
    "_unsafe_view", "_reshape_alias", "empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided",
    "lift_fresh", "is_same_size", "is_pinned", "_pin_memory", "record_stream", "resize_", "set_",
}  # fmt: skip
_SEVERAL = {
    "native_layer_norm_backward": 3,  # the input's gradient, and partial sums of weight's and bias's, then their sum
    "_flash_attention_backward": 3,  # the dot products of output and gradient, the kernel, the query's gradient
    "_scaled_dot_product_efficient_attention_backward": 2,
    "slice_backward": 2,  # zeros, and a copy into them
    "select_backward": 2,
    "nll_loss_backward": 2,
    "logsumexp": 9,  # made of others
    "index_put": 8, "index_put_": 8, "_index_put_impl_": 8,  # sorts the indices to add up repeated ones
}  # fmt: skip
_CHUNK, _MOST_BLOCKS = 65_536, 320  # of multi_tensor_apply
_MOST_TENSORS = {1: 110, 2: 64, 3: 48, 4: 36, 5: 30}  # of one launch, by the number of lists of tensors
_MOST_SORTED_BY_ONE_KERNEL = 3072  # tokens, in the gradient of an embedding table


def launches_of(func: Any, name: str, args: Any, out: Any) -> int:
    """Of an operator with these arguments and this result; ``name`` is that of ``func`` without its overload."""
    if func.is_view or name in _NO_KERNEL:
        return 0
    if name == "embedding_dense_backward":
        return 1 if args[1].numel() <= _MOST_SORTED_BY_ONE_KERNEL else 8
    if name.startswith("_foreach_") or name in ("_fused_adamw_", "_amp_foreach_non_finite_check_and_unscale_"):
        lists = [argument for argument in args if isinstance(argument, (list, tuple)) and _is_tensors(argument)]
        # The norm of a list is reduced once more; the step counts of AdamW are no list of the kernel.
        depth = len(lists) - 1 if name == "_fused_adamw_" else len(lists)
        return _of_lists((tensor.numel() for tensor in lists[0]), depth) + (name == "_foreach_norm")
    return _SEVERAL.get(name, 1)


def _is_tensors(argument: Any) -> bool:
    leaves = pytree.tree_leaves(argument)
    return bool(leaves) and all(isinstance(leaf, Tensor) for leaf in leaves)


def _of_lists(sizes: Iterable[int], depth: int) -> int:
    """Launches of multi_tensor_apply over ``depth`` lists of tensors of these sizes."""
    launches = tensors = blocks = 0
    for size in sizes:
        tensors += 1
        left = math.ceil(size / _CHUNK)
        while left:
            taken = min(left, _MOST_BLOCKS - blocks)
            blocks, left = blocks + taken, left - taken
            if blocks == _MOST_BLOCKS or (not left and tensors == _MOST_TENSORS[depth]):
                launches += 1
                blocks, tensors = 0, 1 if left else 0
    return launches + (blocks > 0)
