"""torch's process group: where its processes find each other, how it is made and left."""

import os
import socket
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import torch
from torch import distributed

MEETING = timedelta(minutes=1)  # for processes that are all there
HOST = "127.0.0.1"


def store(port: int, world_size: int) -> Any:
    """Where processes of this machine find each other: made at a free port for 0, else joined."""
    return distributed.TCPStore(  # pyright: ignore[reportPrivateImportUsage]
        HOST,
        port,
        world_size,
        is_master=port == 0,
        wait_for_workers=False,
        timeout=MEETING,
    )


def meet(arguments: Mapping[str, Any], host: str | None = None) -> None:
    """Make torch's process group; on this machine alone over its own loopback interface."""
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    name, before = "GLOO_SOCKET_IFNAME", os.environ.get("GLOO_SOCKET_IFNAME")
    loopback = [each for _, each in socket.if_nameindex() if each.startswith("lo")]
    if host == HOST and before is None and loopback:
        os.environ[name] = loopback[0]  # the host's name may lead to one that a firewall closes
    try:
        distributed.init_process_group(backend, timeout=MEETING, **arguments)
    finally:
        if before is None:
            os.environ.pop(name, None)


def leave() -> None:
    """Leave it, where there is one."""
    if distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()
