"""Data to train on: token files and labelled examples larger than memory, and their batches."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from recurra.data.curriculum import Curriculum
from recurra.data.describe import DataDescription, PartDescription
from recurra.data.labelled import LabelledBatch, LabelledExamples
from recurra.data.prepare import (
    build_vocabulary,
    fingerprint,
    prepare_tokens,
    unchanged_pieces,
)
from recurra.data.scaling import measure_scaling
from recurra.data.source import Buckets, Examples, Sequential, Source
from recurra.data.splits import LabelledData, LabelledPart, read_labelled, read_part
from recurra.data.stdlib import StdlibSource, stdlib_source
from recurra.data.store import ExampleFile, open_examples, read_example_file, write_examples
from recurra.data.streams import TokenStreams, split_by_position
from recurra.data.tokens import (
    TokenFile,
    check_ids,
    check_whole,
    open_tokens,
    read_token_file,
    write_tokens,
)
from recurra.text import (
    BPEVocabulary,
    ByteVocabulary,
    CharacterVocabulary,
    TokenDecoder,
    Vocabulary,
    WhitespaceVocabulary,
    WordVocabulary,
    check_source,
    read_pieces,
    read_text,
)

__all__ = [
    "BPEVocabulary",
    "Buckets",
    "ByteVocabulary",
    "CharacterVocabulary",
    "Curriculum",
    "DataDescription",
    "ExampleFile",
    "Examples",
    "LabelledBatch",
    "LabelledData",
    "LabelledExamples",
    "LabelledPart",
    "PartDescription",
    "Sequential",
    "Source",
    "StdlibSource",
    "TokenDecoder",
    "TokenFile",
    "TokenStreams",
    "Vocabulary",
    "WhitespaceVocabulary",
    "WordVocabulary",
    "build_vocabulary",
    "check_ids",
    "check_source",
    "check_whole",
    "fingerprint",
    "measure_scaling",
    "open_examples",
    "open_tokens",
    "prepare_tokens",
    "read_example_file",
    "read_labelled",
    "read_part",
    "read_pieces",
    "read_text",
    "read_token_file",
    "split_by_position",
    "stdlib_source",
    "unchanged_pieces",
    "write_examples",
    "write_tokens",
]

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """`make_task` of version 0.1, which stands higher up since problems are tasks."""
        if name != "make_task":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        former = ".".join(("recurra", "comparison", "former"))
        return getattr(import_module(former), name)
