"""An encoder with a head for each kind of task.

Labels and losses are the task's own; a head turns a batch into logits and no more.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minibert.activations import ACTIVATIONS
from minibert.checkpoint import Pretrained, PretrainedClassifier
from minibert.config import EncoderConfig
from minibert.crf import LinearChainCRF
from minibert.dropout import Dropout
from minibert.encoder import Encoder
from minibert.loading import initialise
from minibert.ngrams import NgramScores
from minibert.traced import Batch


class Fp32Linear(nn.Linear):
    """A linear map that computes in fp32 (or fp64, by its weights) also under autocast and behind a model in half
    precision: bf16 would have a number near 600 move in steps of 4."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x.to(self.weight.dtype))


class TokenClassifier(PretrainedClassifier):
    """A label for each token: dropout and one linear map over the last hidden state.

    ``forward(batch)`` returns logits ``(T, num_labels)``.
    """

    head = "ForTokenClassification"

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__(config)
        self.encoder = Encoder(config, add_pooling_layer=False)
        self.dropout = Dropout(config.dropout_of(TokenClassifier.head))
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        initialise(self.classifier, config)

    def forward(self, batch: Batch) -> Tensor:
        logits: Tensor = self.classifier(self.dropout(self.encoder(batch).last_hidden_state))
        return logits


class CrfTokenClassifier(TokenClassifier):
    """A :class:`TokenClassifier` whose logits are the emissions of a CRF, which scores a sentence's labels as a whole.

    ``forward(batch)`` returns the emissions ``(T, num_labels)``. Which of a pack's tokens carry a label is the task's
    to know: it gives those alone to ``self.crf``.
    """

    head = "CrfForTokenClassification"

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__(config)
        self.crf = LinearChainCRF(config.id2label)


class SequenceClassifier(PretrainedClassifier):
    """A label for each sequence: dropout and one linear map over the pooler's output.

    Where the family's head has a dense layer of its own (RoBERTa, ELECTRA, DistilBERT), it takes the pooler's place.
    With ``config.ngram_buckets`` the scores of n-grams are added (:class:`~minibert.ngrams.NgramScores`).
    ``forward(batch)`` returns logits ``(B, num_labels)``.
    """

    head = "ForSequenceClassification"

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__(config)
        self.summary = config.family.summaries.get(self.head)
        self.encoder = Encoder(config, add_pooling_layer=self.summary is None)
        self.dense = None if self.summary is None else nn.Linear(config.hidden_size, config.hidden_size)
        self.dropout = Dropout(config.dropout_of(self.head))
        self.classifier = Fp32Linear(config.hidden_size, config.num_labels)
        initialise(self.classifier, config)
        if self.dense is not None:
            initialise(self.dense, config)
        self.ngrams = _ngrams(config)

    def forward(self, batch: Batch) -> Tensor:
        first = self.encoder(batch, rows=batch.first_tokens).last_hidden_state  # (B, C)
        if self.summary is None or self.dense is None:
            x = self.encoder.pool(first)
        else:
            x = self.dense(self.dropout(first) if self.summary.dropout_before else first)
            x = ACTIVATIONS[self.summary.activation](x)
        logits: Tensor = self.classifier(self.dropout(x))
        return logits if self.ngrams is None else self.ngrams(logits, batch)


class MeanSequenceClassifier(PretrainedClassifier):
    """A label for each sequence: dropout and one linear map over the mean of its last hidden states, special tokens
    included (the mean of Reimers & Gurevych 2019, section 3).

    There is no dense layer between. N-grams are added as there. ``forward(batch)`` returns logits ``(B, num_labels)``.
    """

    head = "MeanForSequenceClassification"

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__(config)
        self.encoder = Encoder(config, add_pooling_layer=False)
        self.dropout = Dropout(config.dropout_of(self.head))
        self.classifier = Fp32Linear(config.hidden_size, config.num_labels)
        initialise(self.classifier, config)
        self.ngrams = _ngrams(config)

    def forward(self, batch: Batch) -> Tensor:
        mean = batch.mean(self.encoder(batch).last_hidden_state)
        logits: Tensor = self.classifier(self.dropout(mean))
        return logits if self.ngrams is None else self.ngrams(logits, batch)


def _ngrams(config: EncoderConfig) -> NgramScores | None:
    return NgramScores(config.ngram_buckets, config.num_labels) if config.ngram_buckets else None


class MultipleChoiceClassifier(SequenceClassifier):
    """A score for each sequence, which is a question with one of its choices; the largest score is the answer.

    ``forward(batch)`` returns scores ``(B,)``. Choices of one question follow each other in the batch and need not have
    the same length.
    """

    head = "ForMultipleChoice"

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__(config.with_labels({0: "LABEL_0"}).with_ngrams(0))

    def forward(self, batch: Batch) -> Tensor:
        return super().forward(batch).squeeze(-1)


class SpanClassifier(Pretrained):
    """Where an answer starts and ends: one linear map over the last hidden state (DistilBERT: behind dropout).

    ``forward(batch)`` returns logits ``(T, 2)``, for the start in column 0 and for the end in column 1.
    """

    head = "ForQuestionAnswering"

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__(config.with_labels({0: "LABEL_0", 1: "LABEL_1"}))
        self.encoder = Encoder(config, add_pooling_layer=False)
        self.dropout = Dropout(config.dropout_of(self.head))
        self.classifier = nn.Linear(config.hidden_size, 2)
        initialise(self.classifier, config)

    def forward(self, batch: Batch) -> Tensor:
        logits: Tensor = self.classifier(self.dropout(self.encoder(batch).last_hidden_state))
        return logits


class MaskedLanguageHead(nn.Module):
    """Scores of every word: ``(N, C)`` -> ``(N, V)``. The decoder is the word embedding, so it has no weight here."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.embedding_size)
        self.activation = ACTIVATIONS[config.family.language_head_activation or config.hidden_act]
        self.norm = nn.LayerNorm(config.embedding_size, eps=config.layer_norm_eps)
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))

    def forward(self, x: Tensor, word_embeddings: Tensor) -> Tensor:
        return F.linear(self.norm(self.activation(self.dense(x))), word_embeddings, self.bias)


class PretrainingModel(Pretrained):
    """The objectives of pre-training: masked words, and where the family has one the relation of a pair of segments.

    ``forward(batch, positions=None)`` returns the words' logits ``(N, V)`` at ``positions (N,)`` of the pack (all T
    where absent) and the pair's logits ``(B, 2)``: BERT's next sentence, ALBERT's sentence order; else None.
    """

    head = "ForPreTraining"

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__(config)
        has_pair = config.family.pair_objective is not None
        self.encoder = Encoder(config, add_pooling_layer=has_pair)
        self.mlm = MaskedLanguageHead(config)
        self.pair_dropout = Dropout(config.dropout_of(self.head)) if config.family.pair_dropout else nn.Identity()
        self.pair = nn.Linear(config.hidden_size, 2) if has_pair else None
        initialise(self.mlm, config)
        if self.pair is not None:
            initialise(self.pair, config)

    def forward(self, batch: Batch, positions: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        firsts = batch.first_tokens
        rows = None if positions is None else torch.cat([positions, firsts])
        x = self.encoder(batch, rows=rows).last_hidden_state
        x, first = (x, x[firsts]) if positions is None else (x[: positions.shape[0]], x[positions.shape[0] :])
        return self.scores(x, first)

    def scores(self, x: Tensor, first: Tensor) -> tuple[Tensor, Tensor | None]:
        """The words' logits from states ``(N, C)``, and the pair's from those of the first tokens ``(B, C)``."""
        return self.words(x), None if self.pair is None else self.pair(self.pair_dropout(self.encoder.pool(first)))

    def words(self, x: Tensor) -> Tensor:
        """The words' logits ``(N, V)`` from states ``(N, C)``."""
        logits: Tensor = self.mlm(x, self.encoder.embeddings.word_embeddings.weight)
        return logits


class WordsModel(PretrainingModel):
    """A :class:`PretrainingModel` that learns masked words alone, and returns None for the pair's logits.

    The head for pairs and the pooler below it are saved with the model, but not trained.
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__(config)
        for unused in (self.pair, self.encoder.pooler):
            if unused is not None:
                unused.requires_grad_(False)

    def forward(self, batch: Batch, positions: Tensor | None = None) -> tuple[Tensor, None]:
        return self.words(self.encoder(batch, rows=positions).last_hidden_state), None

    def scores(self, x: Tensor, first: Tensor) -> tuple[Tensor, None]:
        return self.words(x), None


class ReplacedTokenDetector(Pretrained):
    """Which tokens a generator has put in place of others: ELECTRA's discriminator (Clark et al. 2020, section 2).

    ``forward(batch)`` returns logits ``(T,)``, above 0 where a token was replaced.
    """

    head = "ForReplacedTokenDetection"

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__(config)
        self.encoder = Encoder(config, add_pooling_layer=False)
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.activation = ACTIVATIONS[config.hidden_act]
        self.classifier = nn.Linear(config.hidden_size, 1)
        initialise(self.dense, config)
        initialise(self.classifier, config)

    def forward(self, batch: Batch) -> Tensor:
        x = self.activation(self.dense(self.encoder(batch).last_hidden_state))
        logits: Tensor = self.classifier(x).squeeze(-1)
        return logits
