"""Where artefacts lie when they lie elsewhere: objects by key, each there whole or not at all."""

from everloop.storage.folder import FolderStorage, folder_bytes
from everloop.storage.memory import MemoryStorage
from everloop.storage.opening import GROUP, StorageKind, artifacts_of, is_address, open_storage
from everloop.storage.storage import Entry, Storage, check_key

__all__ = [
    "GROUP",
    "Entry",
    "FolderStorage",
    "MemoryStorage",
    "Storage",
    "StorageKind",
    "artifacts_of",
    "check_key",
    "folder_bytes",
    "is_address",
    "open_storage",
]
