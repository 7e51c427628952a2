"""The Transformer encoder of BERT and its relatives, in reading order.

One class without subclasses: what differs is read from the :class:`~minibert.config.EncoderConfig`.

    ids -> Embeddings -> Layer x L -> last_hidden_state (T, C) -> pooler -> pooler_output (B, C)

Sources: Devlin et al. 2019 (BERT), Lan et al. 2020 (ALBERT), Liu et al. 2019 (RoBERTa), Clark et al. 2020 (ELECTRA),
Sanh et al. 2019 (DistilBERT), Sun et al. 2019 (ERNIE). Every norm follows its residual sum ("post-norm"), as in all of
them.
"""

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from minibert.activations import ACTIVATIONS
from minibert.add_norm import AddNorm, HiddenStates
from minibert.attention import attend
from minibert.checkpoint import Pretrained
from minibert.config import EncoderConfig
from minibert.dropout import Dropout
from minibert.linear import Linear
from minibert.loading import initialise
from minibert.traced import Batch


def chosen_rows(x: Tensor, rows: Tensor | None) -> Tensor:
    """The rows of ``x`` with these numbers ``(N,)``; None chooses all of them, at no cost."""
    return x if rows is None else x[rows]


class Embeddings(nn.Module):
    """Word + position + token type, normalised: ``(T,)`` ids -> ``(T, C)``.

    ALBERT's and small ELECTRA's tables are narrower than their hidden states (section 3.1 of ALBERT's paper), and a
    projection widens them. DistilBERT has no token types. ERNIE adds a task type, which is always the first one here.
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        width = config.embedding_size
        self.word_embeddings = nn.Embedding(config.vocab_size, width)
        self.position_embeddings = nn.Embedding(config.max_position_embeddings, width)
        self.token_type_embeddings = nn.Embedding(config.type_vocab_size, width) if config.type_vocab_size else None
        self.task_type_embeddings = nn.Embedding(config.task_type_vocab_size, width) if config.use_task_id else None
        self.norm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.dropout = Dropout(config.hidden_dropout_prob)
        self.projection = Linear(width, config.hidden_size) if config.has_projection else nn.Identity()
        self.position_offset = config.position_offset

    def forward(self, batch: Batch) -> Tensor:
        x = self.word_embeddings(batch.input_ids)  # (T, E)
        if self.token_type_embeddings is not None:
            types = batch.token_type_ids
            if self.token_type_embeddings.num_embeddings == 1:  # RoBERTa: every segment is of type 0
                types = torch.zeros_like(types)
            x = x + self.token_type_embeddings(types)
        x = x + self.position_embeddings(batch.position_ids + self.position_offset)
        if self.task_type_embeddings is not None:
            x = x + self.task_type_embeddings.weight[0]
        return self.projection(self.dropout(self.norm(x)))  # (T, C)


class SelfAttention(nn.Module):
    """Multi-head attention within each sequence: ``(T, C)`` -> ``(N, C)``, the outputs of N rows."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.num_heads = config.num_attention_heads
        self.probs_dropout = config.attention_probs_dropout_prob
        self.qkv = Linear(config.hidden_size, 3 * config.hidden_size)  # query, key and value, one above the other
        self.output = Linear(config.hidden_size, config.hidden_size)

    def forward(self, x: Tensor, batch: Batch, rows: Tensor | None = None) -> Tensor:
        qkv = self.qkv(x).view(x.shape[0], 3, self.num_heads, -1)  # (T, 3, H, D)
        mixed = attend(qkv, batch, self.probs_dropout if self.training else 0.0)  # (T, H, D)
        return self.output(chosen_rows(mixed.reshape(x.shape), rows))


class FeedForward(nn.Module):
    """Two linear maps with the activation between: ``(T, C)`` -> ``(T, C)``."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.intermediate = Linear(config.hidden_size, config.intermediate_size)
        self.activation = ACTIVATIONS[config.hidden_act]
        self.output = Linear(config.intermediate_size, config.hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        return self.output(self.activation(self.intermediate(x)))


class Layer(nn.Module):
    """Attention, then feed-forward, each added to its input and normalised: ``(T, C)`` -> ``(N, C)``.

    What only other rows' outputs need is not computed; the N rows see all tokens of their sequences.
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        width, eps, dropout = config.hidden_size, config.layer_norm_eps, config.hidden_dropout_prob
        self.attention = SelfAttention(config)
        self.attention_norm = AddNorm(
            width, eps=eps, dropout=dropout if config.family.attention_output_dropout else 0.0
        )
        self.feed_forward = FeedForward(config)
        self.feed_forward_norm = AddNorm(width, eps=eps, dropout=dropout)

    def forward(self, x: HiddenStates, batch: Batch, rows: Tensor | None = None) -> HiddenStates:
        x = self.attention_norm.add(self.attention(x.rounded, batch, rows), residual=chosen_rows(x.full, rows))
        return self.feed_forward_norm.add(self.feed_forward(x.rounded), residual=x.full)


@dataclass(frozen=True, kw_only=True)
class EncoderOutput:
    """What an encoder returns.

    Attributes:
        last_hidden_state: ``(T, C)``, or ``(N, C)`` where N rows were asked for.
        pooler_output: ``(B, C)``, or None where there is no pooler or rows were asked for.
        hidden_states: the embeddings' output, then each layer's, ``(T, C)`` each, where asked for. ALBERT with
            ``inner_group_num`` above 1 counts every inner layer.
    """

    last_hidden_state: Tensor
    pooler_output: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None


class Encoder(Pretrained):
    """An encoder of any family, without a head.

    Layers are held as ``groups[g][k]``: BERT and RoBERTa have a group for each layer; ALBERT has few (often one), used
    again and again, with ``inner_group_num`` layers in each.

    Args:
        config: the shape.
        add_pooling_layer: whether to build the pooler, a dense layer with tanh over each first token, where the family
            has one. Token and span heads do without, so that no parameter goes untrained.

    Attributes:
        activation_checkpointing: in training, keep each layer's input alone and compute its inside again for the
            backward pass: a fraction of the memory for a third more operations.
    """

    head = "Model"
    activation_checkpointing = False

    def __init__(self, config: EncoderConfig, *, add_pooling_layer: bool = True) -> None:
        super().__init__(config)
        self.embeddings = Embeddings(config)
        self.groups = nn.ModuleList(
            nn.ModuleList(Layer(config) for _ in range(config.inner_group_num)) for _ in range(config.num_hidden_groups)
        )
        pools = add_pooling_layer and config.family.has_pooler
        self.pooler = Linear(config.hidden_size, config.hidden_size) if pools else None
        initialise(self, config)

    def layers(self) -> list[Layer]:
        """The layers in the order in which they are applied; a shared one stands there several times."""
        groups = cast("list[list[Layer]]", self.groups)
        count = self.config.num_hidden_layers
        return [layer for index in range(count) for layer in groups[self.config.group_of_layer(index)]]

    def pool(self, first: Tensor) -> Tensor:
        """The pooler's output for the last hidden states of first tokens: ``(B, C)`` -> ``(B, C)``."""
        assert self.pooler is not None, "this encoder was built without a pooler"
        pooled: Tensor = self.pooler(first).tanh()
        return pooled

    def forward(self, batch: Batch, *, rows: Tensor | None = None, output_hidden_states: bool = False) -> EncoderOutput:
        """Encodes a packed batch.

        Args:
            batch: B sequences of T tokens.
            rows: ``(N,)`` int, the tokens of the pack whose last hidden state is wanted; all where absent. The last
                layer leaves out what only the others need.
            output_hidden_states: whether to keep every layer's output; with ``rows``, the last one has N rows.

        Raises:
            ValueError: a sequence is longer than the position table allows.
        """
        if batch.max_seqlen > self.config.max_length:
            raise ValueError(
                f"a sequence of {batch.max_seqlen} tokens does not fit: this encoder has positions for "
                f"{self.config.max_length} tokens. Cut the text into windows first."
            )
        states = self.run_layers(batch, rows, keep_all=output_hidden_states)
        last = states[-1]
        return EncoderOutput(
            last_hidden_state=last,
            pooler_output=self.pool(last[batch.first_tokens]) if self.pooler is not None and rows is None else None,
            hidden_states=tuple(states) if output_hidden_states else None,
        )

    def run_layers(self, batch: Batch, rows: Tensor | None, *, keep_all: bool = False) -> list[Tensor]:
        """The last hidden state, ``(T, C)`` or of N rows; with ``keep_all`` the embeddings' and each layer's output."""
        embedded = self.embeddings(batch)
        x = HiddenStates(embedded, embedded)
        states = [embedded]
        layers = self.layers()
        for number, layer in enumerate(layers, start=1):
            wanted = rows if number == len(layers) else None
            if self.activation_checkpointing and self.training:
                x = checkpoint(layer, x, batch, wanted, use_reentrant=False)
            else:
                x = layer(x, batch, wanted)
            states = [*states, x.full] if keep_all else [x.full]
        return states
