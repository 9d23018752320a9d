"""Vectors of words from how they are spelled: a small recurrence over characters, or n-grams.

Letters: N words, C pieces of the longest, S features of a word, Q features of a piece.
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from recurra.nn import checks
from recurra.nn.recurrent import Recurrent

KINDS = ("characters", "ngrams")


class SubwordVectors(nn.Module):
    """The pieces of each word [N, C] become a vector [N, S].

    "characters": a bidirectional GRU reads the characters' vectors, and its two last states are
    joined. "ngrams": the mean of the n-grams' vectors. A word of no pieces has zeros.

    Args:
        kind: "characters" or "ngrams".
        num_pieces: how many pieces there are.
        size: S; even for characters.
        piece_size: Q, of characters; n-grams have S.
        backend: what runs the recurrence.

    Raises:
        ValueError: when the kind is unknown, or a size is wrong.

    Source: characters as Ling, Luis, Marujo, Astudillo, Amir, Dyer, Black, Trancoso (2015),
    "Finding Function in Form", EMNLP, arXiv:1508.02096, section 3, there an LSTM; n-grams as
    Bojanowski, Grave, Joulin, Mikolov (2017), TACL, arXiv:1607.04606, section 3.2, there a sum.
    """

    def __init__(
        self,
        kind: str,
        num_pieces: int,
        size: int,
        *,
        piece_size: int = 24,
        backend: str = "auto",
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        if kind not in KINDS:
            raise ValueError(
                f"subwords: expected one of {', '.join(KINDS)}, got {kind!r}. "
                f"Use ngrams when in doubt."
            )
        checks.check_sizes("SubwordVectors", num_pieces=num_pieces, size=size)
        self.kind, self.num_pieces, self.size = kind, num_pieces, size
        self.recurrent: Recurrent | None = None
        if kind == "ngrams":
            # row 0 stands past the end of a word
            self.pieces: nn.Embedding | nn.EmbeddingBag = nn.EmbeddingBag(
                num_pieces + 1, size, mode="mean", padding_idx=0, dtype=dtype, device=device
            )
        else:
            if size % 2:
                raise ValueError(
                    f"SubwordVectors: expected an even size, half of it for each direction in "
                    f"which characters are read, got {size}. Use {size + 1}."
                )
            checks.check_sizes("SubwordVectors", piece_size=piece_size)
            self.pieces = nn.Embedding(num_pieces, piece_size, dtype=dtype, device=device)
            self.recurrent = Recurrent(
                "gru",
                piece_size,
                size // 2,
                bidirectional=True,
                backend=backend,
                dtype=dtype,
                device=device,
            )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw all parameters anew."""
        nn.init.normal_(self.pieces.weight, std=0.1)
        if self.recurrent is not None:
            nn.init.normal_(self.pieces.weight, std=0.5)
            self.recurrent.reset_parameters()
        else:
            with torch.no_grad():
                self.pieces.weight[0].zero_()

    def forward(self, pieces: Int64[Tensor, "words pieces"]) -> Float[Tensor, "words size"]:
        """The vector of each word.

        Args:
            pieces: [N, C] int64 in 0..num_pieces-1, -1 past the end of a word, as
                `recurra.text.Spelling.encode` gives them.

        Returns:
            vectors: [N, S].

        Raises:
            ValueError: when a piece is out of range.
        """
        if not torch.compiler.is_compiling() and pieces.numel():
            least, most = (int(value) for value in torch.aminmax(pieces))
            if least < -1 or most >= self.num_pieces:
                raise ValueError(
                    f"SubwordVectors: expected pieces in 0..{self.num_pieces - 1}, and -1 past a "
                    f"word's end, got {least if least < -1 else most}. Use the spelling that the "
                    f"model was made for."
                )
        if self.recurrent is None:
            return self.pieces(pieces + 1)
        lengths = (pieces >= 0).sum(dim=1)
        _, state = self.recurrent(self.pieces(pieces.clamp(min=0).t()), lengths=lengths)
        return state.transpose(0, 1).flatten(1)  # [2, N, S/2]
