import logging

import pytest
import torch

from recurra.errors import RunError
from recurra.training import TrainingConfig
from recurra.training.machine import build_fabric, repeatable


def test_a_device_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(
        RunError, match="device: expected a device that this machine has, got 'cuda'"
    ):
        build_fabric(TrainingConfig(device="cuda"))
    assert build_fabric(TrainingConfig(device="auto")).device.type == "cpu"


def test_an_unknown_device_is_named() -> None:
    with pytest.raises(RunError, match="device: expected auto, cpu or cuda, got 'tpu'"):
        build_fabric(TrainingConfig(device="tpu"))


def test_fabric_keeps_its_news_to_itself(capfd: pytest.CaptureFixture[str]) -> None:
    level = logging.getLogger("lightning_fabric").level
    build_fabric(TrainingConfig(device="cpu", precision="bf16-mixed"))
    assert capfd.readouterr() == ("", "")
    assert logging.getLogger("lightning_fabric").level == level


def test_repeatable_leaves_torch_as_it_was() -> None:
    torch.use_deterministic_algorithms(False)
    with repeatable(torch.device("cpu")):
        assert torch.are_deterministic_algorithms_enabled()
    assert not torch.are_deterministic_algorithms_enabled()
