"""The aligner: regions of images and words of sentences in one space, so that each finds the other.

    image -> encoder -> regions -> linear -> v_i
    words -> embedding -> recurrent layers in both directions -> linear -> ReLU -> s_t
    S(image, sentence) = sum over t of max over i of v_i . s_t

Letters: N images, M sentences, T words of a sentence, V tokens of the vocabulary, E embedding,
H hidden, D features of a position of the grid, P positions of it, K boxes of an image, R regions,
J features of the space that they share.

Source: Karpathy, Fei-Fei (2015), "Deep Visual-Semantic Alignments for Generating Image
Descriptions", CVPR, arXiv:1412.2306, section 3.1.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from recurra.compose.spelling import resolved
from recurra.lang import Cell
from recurra.models.aligned import Alignment, smoothed
from recurra.models.captioning import side_by_side
from recurra.models.captions import plain
from recurra.models.cell_entries import cell_config
from recurra.models.checks import check_reduction, check_token_table, check_which, counts_of
from recurra.models.ranking import NEGATIVES, image_sentence_scores, max_margin
from recurra.models.regions import WHOLE, cells, checked_boxes, geometry, shares
from recurra.models.saving import layer_options
from recurra.models.seeing import SeeingWords, as_read, made, size_of_images
from recurra.models.translator import encoded
from recurra.models.writing import source_tokens
from recurra.nn import Recurrent
from recurra.nn.checks import check_dropout, check_reads_x_alone, check_sizes, check_token_ids
from recurra.nn.dropout import dropout
from recurra.nn.plain import evaluating
from recurra.text import Vocabulary
from recurra.vision import Encoder, Preprocessing

REGIONS = ("grid", "boxes")
_GEOMETRY = 4  # numbers that say where a region is
_SCALE = 0.1  # of vectors of tokens that start from nothing
_BATCH = 64  # images, or sentences, that are read side by side where nothing is learned

Lengths = Tensor | Sequence[int] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Regions:
    """The regions of images.

    Attributes:
        vectors: [N, R, J].
        boxes: [N, R, 4], see `recurra.models.regions`.
        there: [N, R], which of them there are; None: all.
    """

    vectors: Tensor
    boxes: Tensor
    there: Tensor | None = None


class Aligner(SeeingWords):
    """Regions of images and words of sentences in one space of J features.

    A sentence and an image belong together as far as its words find regions that are alike to them.
    Nothing says in training which word is of which region: that comes of telling sentences of an
    image from those of others.

    Args:
        vocab_size: V; None takes that of the vocabulary.
        vocabulary: saved with the model; what reads text needs it. It may be given later.
        encoder: of images, or its name, or its `config`; None where grids or vectors of regions are
            given.
        preprocessing: what makes numbers of pictures for the encoder, saved with the model.
        image_size: D; None: as the encoder says.
        regions: "grid": each position of the encoder's grid; "boxes": those that are given with an
            image, each the mean of the grid in it; or, without an encoder, vectors of their own.
        whole_image: whether the image as a whole is one more region, as in the paper.
        cell: a cell, or its spelling.
        hidden_size: H, of each direction.
        num_layers: of the recurrence.
        embedding_size: E.
        joint_size: J.
        dropout: probability of dropping a feature of what both linear layers read, in training.
        input_dropout: likewise of a word's vector.
        lower: whether sentences are taken in lower case.
        punctuation: whether their marks are taken.
        memory, backend: of the recurrent layers; see `Recurrent`.

    Differences from the paper: words have one linear layer over both directions side by side, in
    place of one over their sum; regions know where they are and how large; encoder and words'
    vectors may learn.

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
        regions: str = "grid",
        whole_image: bool = False,
        cell: Cell | str = "lstm",
        hidden_size: int = 256,
        num_layers: int = 1,
        embedding_size: int = 128,
        joint_size: int = 256,
        dropout: float = 0.0,
        input_dropout: float = 0.0,
        lower: bool = True,
        punctuation: bool = False,
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
                f"{where}: expected vocab_size, or a vocabulary, got neither. Give what it reads."
            )
        _check_choice(where, "regions", regions, REGIONS)
        place: dict[str, Any] = {"dtype": dtype, "device": device}
        encoder = made(encoder, **place)
        image_size = size_of_images(where, encoder, image_size, grid=True)
        check_sizes(where, vocab_size=vocab_size, embedding_size=embedding_size)
        check_sizes(where, image_size=image_size, hidden_size=hidden_size, joint_size=joint_size)
        for name, rate in (("dropout", dropout), ("input_dropout", input_dropout)):
            check_dropout(where, name, rate)
        cell = resolved(where, cell)
        check_reads_x_alone(where, cell)
        self.vocab_size, self.image_size, self.joint_size = vocab_size, image_size, joint_size
        self.kind, self.whole_image = regions, whole_image
        self.dropout, self.input_dropout = dropout, input_dropout
        self.lower, self.punctuation = lower, punctuation
        self.cell = cell
        self.encoder = encoder
        self.embedding = nn.Embedding(vocab_size, embedding_size, dtype=dtype, device=device)
        self.recurrent = Recurrent(
            cell,
            embedding_size,
            hidden_size,
            num_layers,
            bidirectional=True,
            dropout=dropout if num_layers > 1 else 0.0,
            memory=memory,
            backend=backend,
            **place,
        )
        self.word = nn.Linear(self.recurrent.output_size, joint_size, dtype=dtype, device=device)
        self.image = nn.Linear(image_size + _GEOMETRY, joint_size, dtype=dtype, device=device)
        self.vocabulary, self.preprocessing = vocabulary, preprocessing
        self._reset_own_parameters()

    def reset_parameters(self) -> None:
        """Draw all parameters anew."""
        for part in (self.recurrent, self.word, self.image, self.encoder):
            if part is not None:
                part.reset_parameters()
        self._reset_own_parameters()

    def _reset_own_parameters(self) -> None:
        nn.init.normal_(self.embedding.weight, std=_SCALE)

    # ---- images

    def features(self, images: Tensor) -> Tensor:
        """The grids [N, P, D] of images, or what was given in their place.

        Args:
            images: pixels [N, C, Y, X] as the encoder reads them, or else the result itself.
        """
        images = as_read(type(self).__name__, images, self.image.weight)
        if images.dim() == 4 and self.encoder is not None:
            return self.encoder.grid(images)
        if images.dim() != 3 or images.shape[2] != self.image_size:
            raise ValueError(
                f"{type(self).__name__}: expected grids [images, positions, {self.image_size}], "
                f"got shape {tuple(images.shape)}. Give what the model was made for."
            )
        return images

    def regions(
        self, images: Tensor, boxes: Tensor | None = None, box_counts: Lengths = None
    ) -> Regions:
        """The regions of images, v_i.

        Args:
            images: [N, C, Y, X] pixels for the encoder, or grids [N, P, D]; of a model of boxes
                without an encoder, the vector of each box, [N, K, D].
            boxes: [N, K, 4], of a model of boxes: left, top, right and bottom in shares of the
                picture. An image without one has itself.
            box_counts: [N] integers in 0..K; None means all K.
        Raises:
            ValueError: when they are of other shapes, or boxes are missing or too many.
        """
        where = type(self).__name__
        features = self.features(images)
        N, P, _ = features.shape
        if (boxes is None) == (self.kind == "boxes"):
            raise ValueError(
                f"{where}: expected boxes for regions='boxes' alone, got regions={self.kind!r} "
                f"and {'none' if boxes is None else 'some'}. Give what the model was made for."
            )
        there = None
        if boxes is None:
            boxes = cells(*self.grid_shape(P), features).repeat(N, 1, 1)  # each image has its own
            vectors = features
        else:
            boxes = checked_boxes(where, boxes.to(features), N)
            K = boxes.shape[1]
            counts = counts_of(where, "box_counts", box_counts, K, N, features.device)
            empty = counts == 0
            whole = boxes.new_tensor(WHOLE)
            first = torch.where(empty[:, None], whole, boxes[:, 0])
            boxes = torch.cat([first[:, None], boxes[:, 1:]], dim=1)
            numbers = torch.arange(K, dtype=torch.int64, device=features.device)
            there = numbers < counts.clamp(min=1)[:, None]
            if self.encoder is None and P != K:
                raise ValueError(
                    f"{where}: expected a vector for each of {K} boxes, got {P}. Give as many."
                )
            vectors = features
            if self.encoder is not None:
                vectors = shares(boxes, *self.grid_shape(P)) @ features
        if self.whole_image:
            vectors = torch.cat([vectors, features.mean(1, keepdim=True)], dim=1)
            boxes = torch.cat([boxes, boxes.new_tensor(WHOLE).expand(N, 1, 4)], dim=1)
            if there is not None:
                there = torch.cat([there, there.new_ones(N, 1)], dim=1)
        read = torch.cat([vectors, geometry(boxes)], dim=2)
        return Regions(
            vectors=self.image(self._dropped(read, self.dropout)), boxes=boxes, there=there
        )

    def _dropped(self, x: Tensor, rate: float) -> Tensor:
        return dropout(x, rate) if self.training and rate > 0 else x

    # ---- sentences

    def words(
        self, captions: Int[Tensor, "steps captions"], lengths: Lengths = None
    ) -> Float[Tensor, "steps captions joint"]:
        """The words of sentences, s_t: [T, M, J]; past the lengths what the linear layer makes of
        zeros.

        Args:
            captions: [T, M] int64 token ids.
            lengths: [M] integers in 0..T; None means all T.
        """
        counts = self._counts(lengths, captions)
        read = captions.where(self._within(captions, counts), 0)
        check_token_ids(type(self).__name__, read, self.vocab_size)
        x = self._dropped(self.embedding(read), self.input_dropout)
        y, _ = self.recurrent(x, lengths=counts)
        return torch.relu(self.word(self._dropped(y, self.dropout)))

    def _counts(self, lengths: Lengths, captions: Tensor) -> Tensor:
        """[M] int64: the lengths of captions [T, M], checked."""
        where = type(self).__name__
        check_token_table(where, "sentences", captions)
        T, M = captions.shape
        return counts_of(where, "lengths of sentences", lengths, T, M, captions.device)

    def _within(self, captions: Tensor, counts: Tensor) -> Tensor:
        """[T, M], which tokens are of a sentence."""
        steps = torch.arange(len(captions), dtype=torch.int64, device=captions.device)
        return steps[:, None] < counts

    # ---- scores

    def forward(
        self,
        images: Tensor,
        captions: Int[Tensor, "steps captions"],
        lengths: Lengths = None,
        *,
        boxes: Tensor | None = None,
        box_counts: Lengths = None,
    ) -> Float[Tensor, "images captions"]:
        """The score [N, M] of each image with each sentence.

        Args:
            images, boxes, box_counts: as of `regions`.
            captions, lengths: as of `words`.
        """
        regions = self.regions(images, boxes, box_counts)
        return self.scores_of(regions, self.words(captions, lengths), captions, lengths)

    def scores_of(
        self, regions: Regions, words: Tensor, captions: Tensor, lengths: Lengths = None
    ) -> Float[Tensor, "images captions"]:
        """The scores [N, M] of regions with words [T, M, J], those of these captions."""
        M = captions.shape[1]
        within = self._within(captions, self._counts(lengths, captions))
        of = torch.arange(M, dtype=torch.int64, device=captions.device).expand_as(within)[within]
        return image_sentence_scores(regions.vectors, words[within], of, M, regions.there)

    def loss(
        self,
        images: Tensor,
        captions: Tensor,
        lengths: Lengths = None,
        *,
        which: Tensor | None = None,
        boxes: Tensor | None = None,
        box_counts: Lengths = None,
        margin: float = 1.0,
        negatives: str = "all",
        reduction: str = "mean",
    ) -> Tensor:
        """How far sentences and images are from being told from others; see `ranking.max_margin`.

        Args:
            images, captions, lengths, boxes, box_counts: as for a call.
            which: [M] int64, the image that each sentence is of; None: one for each.
            margin: by which the right one is to be ahead.
            negatives: "all" or "hardest".
            reduction: "mean" or "sum", over sentences.
        """
        where = type(self).__name__
        _check_choice(where, "negatives", negatives, NEGATIVES)
        check_reduction(where, reduction)
        if not 0 <= margin < math.inf:
            raise ValueError(
                f"{where}: expected a margin of 0 or more, got {margin}. Choose 1 when in doubt."
            )
        scores = self(images, captions, lengths, boxes=boxes, box_counts=box_counts)
        M = captions.shape[1]
        check_which(where, which, len(scores), M, "sentences")
        if which is None:
            which = torch.arange(M, dtype=torch.int64, device=captions.device)
        lost = max_margin(scores, which, margin=margin, negatives=negatives)
        return lost.mean() if reduction == "mean" else lost.sum()

    def looked_at(
        self,
        images: Tensor,
        captions: Tensor,
        lengths: Lengths = None,
        *,
        which: Tensor | None = None,
        boxes: Tensor | None = None,
        box_counts: Lengths = None,
    ) -> tuple[Float[Tensor, "steps captions regions"], Regions]:
        """How alike each word of each sentence is to each region of its own image, [T, M, R], -inf
        for regions that are not there; and the regions of the images."""
        regions = self.regions(images, boxes, box_counts)
        words = self.words(captions, lengths)
        N, M = len(regions.vectors), captions.shape[1]
        check_which(type(self).__name__, which, N, M, "sentences")
        own = regions.vectors if which is None else regions.vectors[which]
        scores = torch.einsum("tmj,mrj->tmr", words, own)
        if regions.there is not None:
            there = regions.there if which is None else regions.there[which]
            scores = scores.masked_fill(~there, -torch.inf)
        return scores, regions

    # ---- what users have

    def read(self, sentences: Sequence[str]) -> tuple[Tensor, list[int], list[tuple[str, ...]]]:
        """Token ids [T, M] of sentences, their lengths, and the words as they are written.

        Raises:
            ValueError: when the model lacks a vocabulary, or sentences are no list of texts.
        """
        where = type(self).__name__
        vocabulary: Vocabulary = self.needed("vocabulary", where)
        is_list = not isinstance(sentences, str) and len(sentences) > 0
        if not is_list or not all(isinstance(each, str) for each in sentences):
            raise ValueError(
                f"{where}: expected a list of sentences, got {sentences!r:.60}. Give one or more: "
                f"['a red dog']."
            )
        how = {"lower": self.lower, "punctuation": self.punctuation}
        texts = [plain(each, **how) for each in sentences]
        ids = [
            torch.as_tensor(encoded(vocabulary, text, lower=False), device="cpu") for text in texts
        ]
        words = [
            source_tokens(vocabulary, text, each, False)
            for text, each in zip(texts, ids, strict=True)
        ]
        device = self.embedding.weight.device
        captions, lengths = side_by_side([each.tolist() for each in ids], device)
        return captions, lengths, words

    def unseen(self, sentence: str) -> tuple[list[str], int]:
        """The words of a sentence that the model has no id for, and how many it has.

        Raises:
            ValueError: when the model lacks a vocabulary.
        """
        vocabulary: Vocabulary = self.needed("vocabulary", f"{type(self).__name__}.unseen")
        return vocabulary.unseen(plain(sentence, lower=self.lower, punctuation=self.punctuation))

    def scores(
        self, pictures: Any, sentences: Sequence[str], *, boxes: Sequence[Any] | None = None
    ) -> Float[Tensor, "images captions"]:
        """The score [N, M] float32 of each picture with each sentence; the larger, the more alike.

        Args:
            pictures: paths, images of Pillow, uint8 arrays [Y, X, 3]; or a tensor of pixels or
                grids, as a call takes them.
            sentences: texts.
            boxes: of a model of boxes, those of each picture, [K, 4] in shares of the picture as
                the model sees it.
        Raises:
            ValueError: when the model lacks a vocabulary or boxes.
            DataError: when a picture cannot be read.
        """
        captions, lengths, _ = self.read(sentences)
        found = []
        with evaluating(self), torch.no_grad():
            read = [
                (some, counts, self.words(some, counts))
                for some, counts in _in_batches(captions, lengths)
            ]
            for first in range(0, len(pictures), _BATCH):
                regions = self._regions_of(pictures, boxes, first, _BATCH)
                rows = [self.scores_of(regions, w, some, counts) for some, counts, w in read]
                found.append(torch.cat(rows, dim=1))
        if not found:  # no picture
            return torch.zeros((0, len(sentences)), dtype=torch.float32, device="cpu")
        return torch.cat(found).float().cpu()

    def _regions_of(
        self, pictures: Any, boxes: Sequence[Any] | None, first: int, count: int
    ) -> Regions:
        some = pictures[first : first + count]
        given = some if isinstance(some, Tensor) else self.pixels(some)
        if boxes is None:
            return self.regions(given)
        padded, counts = boxes_side_by_side(boxes[first : first + count])
        return self.regions(given, padded, counts)

    def predict(
        self,
        inputs: Sequence[tuple[Any, str]],
        *,
        smoothness: float = 0.0,
        boxes: Sequence[Any] | None = None,
    ) -> list[Alignment]:
        """Which region of its picture each word of a sentence looks at.

        Args:
            inputs: pairs of a picture, as of `scores` (or one tensor of pixels or a grid), and a
                sentence.
            smoothness: how much neighbouring words are drawn to one region; see
                `aligned.smoothed`.
            boxes: of a model of boxes, those of each picture, [K, 4] each.
        Raises:
            ValueError: when the model lacks a vocabulary or boxes, or an option is wrong.
            DataError: when a picture cannot be read.
        """
        where = f"{type(self).__name__}.predict"
        if not smoothness >= 0:
            raise ValueError(
                f"{where}: expected smoothness of 0 or more, got {smoothness}. 0 smooths nothing."
            )
        found: list[Alignment] = []
        if not hasattr(inputs, "__len__") or not all(map(_is_pair, inputs)):
            raise ValueError(
                f"{where}: expected a list of pairs of a picture and a sentence, got "
                f"{inputs!r:.60}. Give such: [(picture, 'a red dog')]."
            )
        with evaluating(self), torch.no_grad():
            for first in range(0, len(inputs), _BATCH):
                some = inputs[first : first + _BATCH]
                given = None if boxes is None else boxes[first : first + _BATCH]
                found += self._aligned(some, given, smoothness)
        return found

    def _aligned(
        self, pairs: Sequence[tuple[Any, str]], boxes: Sequence[Any] | None, smoothness: float
    ) -> list[Alignment]:
        captions, lengths, words = self.read([text for _, text in pairs])
        given = [picture for picture, _ in pairs]
        images = torch.stack(given) if isinstance(given[0], Tensor) else self.pixels(given)
        padded, counts = (None, None) if boxes is None else boxes_side_by_side(boxes)
        scores, regions = self.looked_at(images, captions, lengths, boxes=padded, box_counts=counts)
        scores = scores.float().cpu()
        path = smoothed(scores, torch.tensor(lengths, dtype=torch.int64, device="cpu"), smoothness)
        grid = None if self.kind == "boxes" else self.grid_shape(self._positions(scores))
        found = []
        for m, (length, each) in enumerate(zip(lengths, words, strict=True)):
            is_there = slice(None) if regions.there is None else regions.there[m].cpu()
            own = scores[:length, m]
            kept = own[:, is_there]
            number = torch.arange(own.shape[1], dtype=torch.int64, device="cpu")[is_there]
            place = {n: i for i, n in enumerate(number.tolist())}
            found.append(
                Alignment(
                    score=float(own.max(1).values.sum()) if length else 0.0,
                    words=each,
                    regions=tuple(place[n] for n in path[:length, m].tolist()),
                    scores=kept,
                    boxes=regions.boxes[m].float().cpu()[is_there],
                    grid=grid,
                )
            )
        return found

    def _positions(self, scores: Tensor) -> int:
        """P of the grid, of scores [T, M, R]."""
        return scores.shape[2] - int(self.whole_image)

    @property
    def config(self) -> dict[str, Any]:
        """The arguments that rebuild this model, the cell as `cell_config` writes it."""
        return {
            "vocab_size": self.vocab_size,
            **({} if self.encoder is None else {"encoder": self.encoder.config}),
            "image_size": self.image_size,
            "regions": self.kind,
            "whole_image": self.whole_image,
            **cell_config(self.cell),
            "hidden_size": self.recurrent.hidden_size,
            "num_layers": self.recurrent.num_layers,
            "embedding_size": self.embedding.embedding_dim,
            "joint_size": self.joint_size,
            "dropout": self.dropout,
            "input_dropout": self.input_dropout,
            "lower": self.lower,
            "punctuation": self.punctuation,
            **layer_options(self.recurrent),
            "dtype": str(self.word.weight.dtype).removeprefix("torch."),
        }


def _is_pair(given: Any) -> bool:
    return isinstance(given, tuple | list) and len(given) == 2 and isinstance(given[1], str)


def boxes_side_by_side(boxes: Sequence[Any]) -> tuple[Tensor, list[int]]:
    """Boxes [N, K, 4] of images that have as many as they have, zeros past those, and how many."""
    each = [torch.as_tensor(b, dtype=torch.float32, device="cpu").reshape(-1, 4) for b in boxes]
    counts = [len(b) for b in each]
    padded = torch.zeros(len(each), max([1, *counts]), 4, dtype=torch.float32, device="cpu")
    for n, own in enumerate(each):
        padded[n, : len(own)] = own
    return padded, counts


def _in_batches(captions: Tensor, lengths: Sequence[int]) -> list[tuple[Tensor, list[int]]]:
    """Captions [T, M] some at a time, no longer than the longest of each, with their lengths."""
    found = []
    for first in range(0, len(lengths), _BATCH):
        counts = list(lengths[first : first + _BATCH])
        found.append((captions[: max(counts), first : first + _BATCH], counts))
    return found


def _check_choice(where: str, name: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise ValueError(
            f"{where}: expected {name} to be one of {', '.join(choices)}, got {value!r}. "
            f"Choose one."
        )
