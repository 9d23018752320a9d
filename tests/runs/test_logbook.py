from pathlib import Path

import numpy as np

from recurra.files import FolderLock
from recurra.models import LanguageModel
from recurra.runs.logbook import LOGS, FolderLogbook
from recurra.tasks import LanguageTask
from recurra.tasks.options import LanguageTraining
from recurra.text import Vocabulary
from recurra.training import Trainer
from recurra.views import Sample


def test_a_sample_says_when_it_was_taken(
    tmp_path: Path, model: LanguageModel, vocabulary: Vocabulary, tokens: np.ndarray
) -> None:
    task = LanguageTask(vocabulary, {"train": tokens, "val": tokens})
    trainer = Trainer(task, model, LanguageTraining(device="cpu"))
    marks = dict.fromkeys(LOGS, 0)
    with FolderLock(tmp_path) as lock, FolderLogbook(tmp_path, trainer, lock, marks) as book:
        book.sample(Sample(fraction=0.1, step=12, epoch=0.25, about="temperature 0.8", text="abc"))
        book.sample(Sample(fraction=1.0, step=99, epoch=2.0, about="temperature 0.8", text="é"))
    assert (tmp_path / "samples.txt").read_text(encoding="utf-8") == (
        "=== 10%: step 12, epoch 0.25, temperature 0.8 ===\nabc\n\n"
        "=== end: step 99, epoch 2.00, temperature 0.8 ===\né\n\n"
    )
