"""Files, wherever recurra writes or reads one: whole or not at all, and nothing trusted unread."""

from recurra.files.growing import AppendLog
from recurra.files.locking import FolderLock
from recurra.files.preparing import NewFolder, new_folder
from recurra.files.reading import opened, read_bytes, read_json
from recurra.files.tensors import read_header, read_tensors, tensor_bytes
from recurra.files.writing import remove_parts, replacing, write_atomically

__all__ = [
    "AppendLog",
    "FolderLock",
    "NewFolder",
    "new_folder",
    "opened",
    "read_bytes",
    "read_header",
    "read_json",
    "read_tensors",
    "remove_parts",
    "replacing",
    "tensor_bytes",
    "write_atomically",
]
