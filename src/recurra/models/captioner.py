"""The captioner: an image in, a sentence of any length out.

    image -> encoder -> v
    words so far -> embedding -> recurrent layers, which v reaches by `inject` -> logits

Letters: N images, M captions of them, T tokens of a caption, V tokens of the vocabulary,
E embedding, H hidden, D vector of an image, P positions of its grid, F the vector that the
recurrence is given.
Sources: Karpathy, Fei-Fei (2015), "Deep Visual-Semantic Alignments for Generating Image
Descriptions", CVPR, arXiv:1412.2306, section 3.2; Vinyals, Toshev, Bengio, Erhan (2015), "Show and
Tell", CVPR, arXiv:1411.4555; Donahue et al. (2015), "Long-term Recurrent Convolutional Networks",
CVPR, arXiv:1411.4389; Mao et al. (2015), "Deep Captioning with Multimodal Recurrent Neural
Networks", ICLR, arXiv:1412.6632; Chen, Zitnick (2015), "Mind's Eye", CVPR, arXiv:1411.5654;
Xu et al. (2015), "Show, Attend and Tell", ICML, arXiv:1502.03044.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from recurra import compose
from recurra.compose.spelling import resolved
from recurra.errors import argument
from recurra.lang import Cell
from recurra.models.captioning import write
from recurra.models.captions import Caption, CaptionWriting
from recurra.models.cell_entries import cell_config
from recurra.models.checks import (
    check_captions,
    check_reduction,
    check_share,
    check_token_table,
    check_which,
    counts_of,
)
from recurra.models.decoders import first_state, looking_cell, start_sizes
from recurra.models.saving import layer_options
from recurra.models.seeing import (
    COORDINATES,
    SeeingWords,
    as_read,
    coordinates,
    made,
    size_of_images,
)
from recurra.nn import Recurrent
from recurra.nn.checks import check_dropout, check_reads_x_alone, check_sizes, check_token_ids
from recurra.nn.dropout import dropout
from recurra.nn.stack import one_or_all
from recurra.text import Vocabulary
from recurra.vision import Encoder, Preprocessing

INJECTIONS = ("first", "input", "every", "merge", "memory", "attend", "none")
SCORES = ("additive", "dot", "general", "scaled_dot")
STARTS = ("mean", "max")
_SCALE = 0.1  # of vectors of tokens that start from nothing

Lengths = Tensor | Sequence[int] | None


class Captioner(SeeingWords):
    """Recurrent layers of any cell that write a sentence about an image.

    START and END are one mark, whose id is V: the layers read it first, and say it when they are
    done. An image is a vector v [D], or for attention a grid of vectors [P, D]: what the encoder
    makes of pixels, or what was computed elsewhere.

    Args:
        vocab_size: V; None takes that of the vocabulary.
        vocabulary: saved with the model; what writes text needs it. It may be given later.
        encoder: of images, or its name, or its `config`; None where vectors are given.
        preprocessing: what makes numbers of pictures for the encoder, saved with the model.
        image_size: D, of an image's vector, or of each vector of its grid for "attend"; None: as
            the encoder says.
        inject: how the image reaches the recurrence:
            "first": beside the mark, at the first step alone, h = tanh(W_xh x + W_hh h + W_ih v),
            and likewise in each gate of another cell (Karpathy, Fei-Fei);
            "input": as the input of a step before the mark (Vinyals et al.);
            "every": beside the word at every step (Donahue et al.);
            "merge": not at all, but behind it, where words are chosen (Mao et al.);
            "memory": at every step, beside a second recurrence that reads words alone and says v
            back from them, so that sentences find images (Chen, Zitnick);
            "attend": by attention over the grid, which also says what to start from (Xu et al.);
            "none": not at all: a language model, the floor of all others.
        cell: a cell, or its spelling.
        attention: how "attend" scores a position, as `compose.attend` does.
        start: what of the grid the state of "attend" starts from: the "mean" over its positions, as
            in Xu et al., or the "max". While attention looks everywhere alike, what is small in a
            picture is a small part of every mean; the max has it whole, so that an encoder that
            learns from nothing is told of it from the first step on.
        hidden_size: H.
        num_layers: of the recurrence.
        embedding_size: E.
        image_features: F, of a linear layer over v; None: E, with "attend" H. 0: no layer, F is D.
            With "attend" the layer reads where a position is too (`seeing.coordinates`), as that of
            Liu et al. (2018), arXiv:1807.03247: a convolution by itself does not know it.
        dropout: probability of dropping a feature of what logits are made of, in training.
        input_dropout: likewise of a word's vector and of what the image becomes.
        memory, backend: of the recurrent layers; see `Recurrent`.

    Raises:
        ValueError: when arguments do not go together, or one is wrong.
    """

    def __init__(
        self,
        vocab_size: int | None = None,
        *,
        vocabulary: Vocabulary | None = None,
        encoder: Encoder | Mapping[str, Any] | str | None = None,
        preprocessing: Preprocessing | None = None,
        image_size: int | None = None,
        inject: str = "first",
        cell: Cell | str = "lstm",
        attention: str = "additive",
        start: str = "mean",
        hidden_size: int = 256,
        num_layers: int = 1,
        embedding_size: int = 256,
        image_features: int | None = None,
        dropout: float = 0.0,
        input_dropout: float = 0.0,
        memory: str = "normal",
        backend: str = "auto",
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        where = type(self).__name__
        if vocab_size is None and vocabulary is not None:
            vocab_size = len(vocabulary)
        if vocab_size is None:
            raise ValueError(
                f"{where}: expected vocab_size, or a vocabulary, got neither. Give what it writes."
            )
        _check_choice(where, "inject", inject, INJECTIONS)
        _check_choice(where, "attention", attention, SCORES)
        _check_choice(where, "start", start, STARTS)
        place: dict[str, Any] = {"dtype": dtype, "device": device}
        encoder = made(encoder, **place)
        image_size = size_of_images(where, encoder, image_size, grid=inject == "attend")
        check_sizes(where, vocab_size=vocab_size, embedding_size=embedding_size)
        check_sizes(where, image_size=image_size, hidden_size=hidden_size)
        for name, rate in (("dropout", dropout), ("input_dropout", input_dropout)):
            check_dropout(where, name, rate)
        cell = resolved(where, cell)
        check_reads_x_alone(where, cell)
        self.vocab_size, self.image_size = vocab_size, image_size
        self.inject, self.attention, self.start_from = inject, attention, start
        self.dropout, self.input_dropout = dropout, input_dropout
        self.cell = cell
        self._image_features = image_features
        E, H = embedding_size, hidden_size
        F = self._features(where, E, H)
        layers: dict[str, Any] = {"memory": memory, "backend": backend, **place}
        self.encoder = encoder
        self.embedding = nn.Embedding(vocab_size + 1, E, dtype=dtype, device=device)
        self.image = None
        if image_features != 0 and inject != "none":
            read = image_size + (COORDINATES if inject == "attend" else 0)
            self.image = nn.Linear(read, F, dtype=dtype, device=device)
        self.visual = self.imagine = None
        if inject == "memory":
            self.visual = Recurrent(cell, E, H, **layers)
            size = self.visual.output_size
            self.imagine = nn.Linear(size, image_size, dtype=dtype, device=device)
        size = E + (F if inject in ("first", "every", "memory") else 0)
        if self.visual is not None:
            size += self.visual.output_size
        reading, sizes = cell, {}
        if inject == "attend":
            reading = compose.deep_output(compose.attend(cell, attention))
            sizes = {"K": F} if "K" in reading.size_names else {}
            sizes["O"] = H
        self.decoder = Recurrent(
            reading,
            size,
            H,
            num_layers,
            sizes=sizes or None,
            dropout=dropout if num_layers > 1 else 0.0,
            **layers,
        )
        said = self.decoder.output_size
        self.start = self.merged = None
        if inject == "attend" and (numbers := sum(start_sizes(self.decoder))):
            self.start = nn.Linear(F, numbers, dtype=dtype, device=device)
        if inject == "merge":
            self.merged = nn.Linear(said + E + F, H, dtype=dtype, device=device)
            said = H
        self.output = nn.Linear(said, vocab_size + 1, dtype=dtype, device=device)
        self.vocabulary, self.preprocessing = vocabulary, preprocessing
        self._reset_own_parameters()

    def _features(self, where: str, E: int, H: int) -> int:
        """F, the features that the recurrence is given of an image."""
        asked = self._image_features
        if asked is not None:
            check_sizes(where, least=0, image_features=asked)
        if self.inject == "none":
            return 0
        usual = H if self.inject == "attend" else E
        F = self.image_size if asked == 0 else usual if asked is None else asked
        dots = self.inject == "attend" and self.attention in ("dot", "scaled_dot")
        needed = E if self.inject == "input" else H if dots else F
        if needed != F:
            what = "embedding_size" if self.inject == "input" else "hidden_size"
            raise ValueError(
                f"{where}: expected {argument(f'image_features={needed}')}, as many as "
                f"{what}, for inject={self.inject!r}{f' by {self.attention}' if dots else ''}, got "
                f"{F}. Give as many, or leave it out."
            )
        return F

    @property
    def mark(self) -> int:
        """The id that stands at both ends of a caption: V."""
        return self.vocab_size

    def reset_parameters(self) -> None:
        """Draw all parameters anew; the first predictions are close to uniform."""
        parts = (self.image, self.visual, self.imagine, self.decoder, self.start, self.merged)
        for part in (*parts, self.output, self.encoder):
            if part is not None:
                part.reset_parameters()
        self._reset_own_parameters()

    def _reset_own_parameters(self) -> None:
        nn.init.normal_(self.embedding.weight, std=_SCALE)
        nn.init.zeros_(self.output.bias)

    # ---- images

    def features(self, images: Tensor) -> Tensor:
        """The vectors [N, D] of images, or their grids [N, P, D] for "attend".

        Args:
            images: pixels [N, C, Y, X] as the encoder reads them, or else the result itself.
        """
        where, is_grid = type(self).__name__, self.inject == "attend"
        images = as_read(where, images, self.output.weight)
        if images.dim() == 4 and self.encoder is not None:
            if self.inject == "none":
                return images.new_zeros(len(images), self.image_size)
            return self.encoder.grid(images) if is_grid else self.encoder(images)
        rank = 3 if is_grid else 2
        if images.dim() != rank or images.shape[-1] != self.image_size:
            form = "grids [images, positions, " if is_grid else "vectors [images, "
            raise ValueError(
                f"{where}: expected {form}{self.image_size}], got shape {tuple(images.shape)}. "
                f"Give what the model was made for: inject={self.inject!r}."
            )
        return images

    def seen(self, features: Tensor) -> Tensor:
        """What the recurrence is given of images: [N, F], or [N, P, F] for "attend".

        Args:
            features: of `features`.
        """
        if self.inject == "none":
            return features.new_zeros(len(features), 0)
        if self.image is None:
            return self._dropped(features, self.input_dropout)
        if self.inject == "attend":
            where = coordinates(*self.grid_shape(features.shape[1]), features)
            features = torch.cat([features, where.expand(len(features), *where.shape)], dim=2)
        return self._dropped(self.image(features), self.input_dropout)

    def _dropped(self, x: Tensor, rate: float) -> Tensor:
        return dropout(x, rate) if self.training and rate > 0 else x

    # ---- the recurrence

    def first_state(self, seen: Tensor) -> tuple[Tensor, ...]:
        """The state that the decoder starts from, [L, M, H] each; of "attend" made of the grid.

        Args:
            seen: [M, F] or [M, P, F], of each caption.
        """
        positions = seen.shape[1] if self.inject == "attend" else 0
        made = None
        if self.start is not None:
            whole = seen.amax(1) if self.start_from == "max" else seen.mean(1)
            made = torch.tanh(self.start(whole))
        if self.inject == "attend":
            return first_state(self.decoder, made, len(seen), positions, seen)
        return self.decoder.first_states(len(seen), 0)

    def read_with(self, x: Tensor, seen: Tensor, words: Tensor | None, *, is_first: bool) -> Tensor:
        """What the decoder reads at some steps.

        Args:
            x: [T, M, E], vectors of words.
            seen: [M, F].
            words: [T, M, H], of the second recurrence of "memory".
            is_first: whether the first of these steps is that of the mark.
        """
        if self.inject not in ("first", "every", "memory"):
            return x
        v = seen.expand(len(x), *seen.shape)
        if self.inject == "first":
            there = v[:1] if is_first else v[:0]
            v = torch.cat([there, torch.zeros_like(v[len(there) :])])
        return torch.cat([x, v] if words is None else [x, v, words], dim=2)

    def logits(self, y: Tensor, x: Tensor, seen: Tensor) -> Tensor:
        """The logits of some steps.

        Args:
            y: [T, M, H], what the decoder says.
            x: [T, M, E], the words that it read.
            seen: [M, F].
        """
        if self.merged is not None:
            y = torch.tanh(self.merged(torch.cat([y, x, seen.expand(len(x), *seen.shape)], dim=2)))
        return self.output(self._dropped(y, self.dropout))

    # ---- training

    def forward(
        self,
        images: Tensor,
        captions: Int[Tensor, "steps captions"],
        lengths: Lengths = None,
        *,
        which: Tensor | None = None,
        read: Tensor | None = None,
        packed: bool = False,
        imagined: bool = False,
    ) -> Any:
        """The logits of each token of the captions, and of the mark, given those before.

        Args:
            images: [N, C, Y, X] pixels for the encoder; or vectors [N, D], grids [N, P, D] for
                "attend".
            captions: [T, M] int64 token ids, without the mark.
            lengths: [M] integers in 0..T; None means all T.
            which: [M] int64, the image that each caption is of; None: one for each.
            read: [T + 1, M] int64, what is read in place of the mark and the captions.
            packed: whether only the logits of true steps are given, [steps, V + 1], those of the
                first step of all captions first.
            imagined: whether the images are given that "memory" says back, and the true ones.
        Returns:
            logits: [T + 1, M, V + 1]; past the lengths what the output layer makes of zeros.
            With `imagined`: the logits, [T + 1, M, D] that are imagined, and [M, D] of the images,
            which learn nothing by it.
        """
        where = type(self).__name__
        counts = self._counts(lengths, captions)
        T, M = captions.shape
        check_captions(where, captions, self.vocab_size, counts)
        if read is None:
            read = torch.cat([captions.new_full((1, M), self.mark), captions])
        elif read.shape != (T + 1, M):
            raise ValueError(
                f"{where}: expected read of shape {(T + 1, M)}, the mark and a token for each of "
                f"the caption, got {tuple(read.shape)}. Put the mark in front."
            )
        steps = torch.arange(T + 1, dtype=torch.int64, device=captions.device)
        within = steps[:, None] <= counts
        read = read.where(within, self.mark)
        check_token_ids(where, read, self.vocab_size + 1)
        features = self.features(images)
        check_which(where, which, len(features), M)
        seen = self.seen(features)
        seen = seen if which is None else seen[which]
        x = self._dropped(self.embedding(read), self.input_dropout)
        y, words = self._run(x, seen, counts)
        logits = self.logits(y, x, seen)
        logits = logits[within] if packed else logits
        if not imagined:
            return logits
        if self.imagine is None or words is None:
            raise ValueError(
                f"{type(self).__name__}: expected inject='memory' to imagine images, got "
                f"{self.inject!r}. Make the model with it."
            )
        images_of = features if which is None else features[which]
        return logits, self.imagine(words), images_of.detach()

    def _run(self, x: Tensor, seen: Tensor, counts: Tensor) -> tuple[Tensor, Tensor | None]:
        """What the decoder says at each step, and the second recurrence of "memory"."""
        words = None
        if self.visual is not None:
            words, _ = self.visual(x, lengths=counts + 1)
        if self.inject == "input":
            y, _ = self.decoder(torch.cat([seen[None], x]), lengths=counts + 2)
            return y[1:], None
        options = {}
        if self.inject == "attend":
            state = one_or_all(self.first_state(seen))
            options = {"memory": seen.transpose(0, 1), "state": state}
        read = self.read_with(x, seen, words, is_first=True)
        y, _ = self.decoder(read, lengths=counts + 1, **options)
        return y, words

    def loss(
        self,
        images: Tensor,
        captions: Tensor,
        lengths: Lengths = None,
        *,
        which: Tensor | None = None,
        label_smoothing: float = 0.0,
        reconstruction: float = 1.0,
        reduction: str = "mean",
    ) -> Tensor:
        """The loss of each token of the captions and of their marks, in nats.

        Args:
            images, captions, lengths, which: as for a call.
            label_smoothing: probability that is spread evenly over all tokens.
            reconstruction: with "memory", how much it counts what the words say of the image, by
                `reconstruction_loss` of each step.
            reduction: "mean" or "sum".
        """
        where = type(self).__name__
        check_reduction(where, reduction)
        check_share(where, label_smoothing=label_smoothing)
        wanted = self.wanted(captions, lengths)
        smoothing = {"label_smoothing": label_smoothing, "reduction": reduction}
        if self.inject != "memory" or not reconstruction:
            logits = self(images, captions, lengths, which=which, packed=True)
            return functional.cross_entropy(logits, wanted, **smoothing)
        logits, said, true = self(
            images, captions, lengths, which=which, packed=True, imagined=True
        )
        lost = self.reconstruction_loss(said, true, captions, lengths)
        lost = lost.mean() if reduction == "mean" else lost.sum()
        return functional.cross_entropy(logits, wanted, **smoothing) + reconstruction * lost

    def reconstruction_loss(
        self, said: Tensor, true: Tensor, captions: Tensor, lengths: Lengths = None
    ) -> Tensor:
        """1 - cos(said, true) of each true step, [steps]; of those behind a word.

        Chen and Zitnick take squared distances to vectors of a fixed network; angles have one scale
        whatever the network, and hold for one that is still learning.

        Args:
            said: [T + 1, M, D], and true: [M, D], of a call with `imagined`.
        """
        counts = self._counts(lengths, captions)
        steps = torch.arange(len(said), dtype=torch.int64, device=captions.device)[:, None]
        alike = functional.cosine_similarity(said, true.expand_as(said), dim=2)
        return 1 - alike[steps <= counts]

    def wanted(self, captions: Tensor, lengths: Lengths = None) -> Tensor:
        """What packed logits should say: the tokens and, behind each caption, the mark, [steps]."""
        counts = self._counts(lengths, captions)
        T, M = captions.shape
        last = captions.new_full((1, M), self.mark)
        steps = torch.arange(T + 1, dtype=torch.int64, device=captions.device)[:, None]
        padded = torch.cat([captions, last]).where(steps < counts, self.mark)
        return padded[steps <= counts]

    def log_probabilities(
        self,
        images: Tensor,
        captions: Tensor,
        lengths: Lengths = None,
        *,
        which: Tensor | None = None,
    ) -> Float[Tensor, " captions"]:
        """The log-probability of each caption and of its end, in nats."""
        counts = self._counts(lengths, captions)
        T, M = captions.shape
        logits = self(images, captions, lengths, which=which).float()
        steps = torch.arange(T + 1, dtype=torch.int64, device=captions.device)[:, None]
        last = captions.new_full((1, M), self.mark)
        said = torch.cat([captions, last]).where(steps < counts, self.mark)
        nll = functional.cross_entropy(logits.flatten(0, 1), said.flatten(), reduction="none")
        return -(nll.view(T + 1, M) * (steps <= counts)).sum(0)

    def imagined(self, captions: Tensor, lengths: Lengths = None) -> Tensor:
        """The image that each caption speaks of, of "memory": [M, D], at its last word.

        Raises:
            ValueError: when the model has no such memory.
        """
        if self.imagine is None or self.visual is None:
            raise ValueError(
                f"{type(self).__name__}: expected inject='memory' to imagine images, got "
                f"{self.inject!r}. Make the model with it."
            )
        counts = self._counts(lengths, captions)
        T, M = captions.shape
        read = torch.cat([captions.new_full((1, M), self.mark), captions])
        steps = torch.arange(T + 1, dtype=torch.int64, device=captions.device)[:, None]
        words, _ = self.visual(
            self.embedding(read.where(steps <= counts, self.mark)), lengths=counts + 1
        )
        last = counts.view(1, M, 1).expand(1, M, words.shape[2])
        return self.imagine(words.gather(0, last)[0])

    def _counts(self, lengths: Lengths, captions: Tensor) -> Tensor:
        """[M] int64: the lengths of captions [T, M], checked."""
        where = type(self).__name__
        check_token_table(where, "captions", captions)
        T, M = captions.shape
        return counts_of(where, "lengths of captions", lengths, T, M, captions.device)

    # ---- what users have

    def predict(self, inputs: Any, **writing: Any) -> list[Caption]:
        """The caption of each image.

        Args:
            inputs: pictures: paths, images of Pillow, uint8 arrays [Y, X, 3]; or a tensor of pixels
                [N, C, Y, X], vectors or grids as a call takes them.
            writing: fields of `CaptionWriting`: beam_size, length_penalty, num_best, temperature...
        Raises:
            ValueError: when the model lacks a vocabulary, or an option is wrong.
            DataError: when a picture cannot be read.
        """
        return write(self, inputs, CaptionWriting(**writing), f"{type(self).__name__}.predict")

    def attention_cell(self) -> Cell | None:
        """The decoder's cell with the weights of its attention as output; None without attention.

        Its parameters have the names of the decoder's own.
        """
        return looking_cell(self.decoder)

    @property
    def config(self) -> dict[str, Any]:
        """The arguments that rebuild this model, the cell as `cell_config` writes it."""
        features = self._image_features
        return {
            "vocab_size": self.vocab_size,
            **({} if self.encoder is None else {"encoder": self.encoder.config}),
            "image_size": self.image_size,
            "inject": self.inject,
            **cell_config(self.cell),
            "attention": self.attention,
            **({} if self.start_from == "mean" else {"start": self.start_from}),
            "hidden_size": self.decoder.hidden_size,
            "num_layers": self.decoder.num_layers,
            "embedding_size": self.embedding.embedding_dim,
            **({} if features is None else {"image_features": features}),
            "dropout": self.dropout,
            "input_dropout": self.input_dropout,
            **layer_options(self.decoder),
            "dtype": str(self.output.weight.dtype).removeprefix("torch."),
        }


def _check_choice(where: str, name: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise ValueError(
            f"{where}: expected {name} to be one of {', '.join(choices)}, got {value!r}. "
            f"Choose one."
        )
