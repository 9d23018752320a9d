"""What the settings share of tasks whose models read sequences: files, words, and the reading half
of the model."""

from dataclasses import dataclass

from recurra.errors import argument
from recurra.settings import MAX_SIZE, Settings, declared_as, encoding, fraction, setting
from recurra.tasks.options.common import EXAMPLES, MODEL, PATHS, RecurrentSettings

WORDS = "Words"
MAX_NGRAM = 100  # characters; few words have more


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSettings(Settings):
    """Which files examples are read from; each task says of its own what `data` may be."""

    data: str | tuple[str, ...] | None = setting(
        None, "The examples.", EXAMPLES, unset="none: it must be given", **PATHS
    )
    val_data: str | tuple[str, ...] | None = setting(
        None, "Validate on this file instead.", EXAMPLES, unset="10 % of the data", **PATHS
    )
    test_data: str | tuple[str, ...] | None = setting(
        None, "Test on this file instead.", EXAMPLES, unset="10 % of the data", **PATHS
    )
    encoding: str | None = setting(
        None,
        "Of text files, such as latin-1 or cp1251; what their first bytes say counts more.",
        EXAMPLES,
        unset="utf-8",
        check=encoding,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class WordSettings(FileSettings):
    """How words are read, where examples have some."""

    lower: bool = setting(
        True,
        "Take words in lower case; their spelling keeps it.",
        WORDS,
        flags="--lower/--cased",
    )
    vocab_size: int | None = setting(
        None, "Largest number of words.", WORDS, most=MAX_SIZE, unset="50000"
    )
    min_count: int = setting(2, "Words seen fewer times in training are taken as unknown.", WORDS)
    spelling: str = setting(
        "characters",
        "What of a word's spelling is read beside it: its characters, or hashed n-grams.",
        WORDS,
        choices=("none", "characters", "ngrams"),
    )
    shortest_ngram: int = setting(
        3,
        "Characters of the shortest n-grams of a word, which stands between < and >.",
        WORDS,
        most=MAX_NGRAM,
    )
    longest_ngram: int = setting(5, "Characters of the longest.", WORDS, most=MAX_NGRAM)
    ngram_buckets: int = setting(
        20_000, "Vectors that n-grams share by their hash.", WORDS, most=MAX_SIZE
    )
    vectors: str | None = setting(
        None,
        "Vectors of words to start from: a text file of GloVe or word2vec.",
        WORDS,
        unset="none",
        is_path=True,
    )

    def check(self) -> None:
        """Lengths of n-grams are a range."""
        if self.shortest_ngram > self.longest_ngram:
            raise ValueError(
                f"longest_ngram: expected at least {argument('shortest_ngram')}, "
                f"{self.shortest_ngram}, got {self.longest_ngram}. Give a larger one."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class ReaderSettings(RecurrentSettings):
    """The sizes of the half of a model that reads, as `Reader` takes them."""

    hidden_size: int = setting(128, "Units of each layer and direction.", MODEL, most=MAX_SIZE)
    dropout: float = declared_as(RecurrentSettings, "dropout", default=0.5)
    bidirectional: bool = setting(
        True,
        "Read each sequence from its end as well; one way, what is said of it can be streamed.",
        MODEL,
        flags="--bidirectional/--one-way",
    )
    embedding_size: int | None = setting(
        None,
        "Features of a word's vector.",
        MODEL,
        most=MAX_SIZE,
        unset="100, or those of the vectors that are given",
    )
    subword_size: int = setting(
        100, "Features of what a word's spelling says.", MODEL, most=MAX_SIZE
    )
    input_dropout: float = setting(
        0.0,
        "Share of each word's vector, or of each step, dropped in training.",
        MODEL,
        check=fraction,
    )
    word_dropout: float = setting(0.0, "Share of words dropped in training.", MODEL, check=fraction)
