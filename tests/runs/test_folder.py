import json
from pathlib import Path

import pytest

from recurra.errors import RunError
from recurra.runs.folder import settings_of
from recurra.tasks import LanguageTask
from recurra.tasks.options import LanguageTraining


def test_settings_survive_a_file() -> None:
    config = LanguageTraining(epochs=3, clip_norm=None, prime="x")
    saved = {"data": {}, "model": {}, "training": json.loads(json.dumps(config.to_dict()))}
    assert settings_of(Path("run"), LanguageTask, saved).training == config


def test_a_setting_of_another_version_is_named() -> None:
    saved = {"data": {}, "model": {}, "training": {"warp_speed": 9}}
    with pytest.raises(RunError, match="got also warp_speed"):
        settings_of(Path("run"), LanguageTask, saved)
