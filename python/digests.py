"""Digests of model folders that are computed once for each state of their files, so that a model that is loaded again
is not read twice. Not safe for threads; the server uses it while nobody else loads."""

import os

from folder import model_digest, model_files


def folder_state(path: str) -> tuple:
    """Changes when a file of the folder is written, replaced, added or removed."""
    stats = [(name, os.stat(os.path.join(path, name))) for name in model_files(path)]
    return tuple((name, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino) for name, stat in stats)


class DigestCache:
    def __init__(self):
        self.known: dict[str, tuple[tuple, str]] = {}  # real path of the folder -> its state, its digest

    def digest(self, path: str) -> str:
        path = os.path.realpath(path)
        state = folder_state(path)  # before the files are read: one that changes meanwhile is read again the next time
        known = self.known.get(path)
        if known is None or known[0] != state:
            known = self.known[path] = state, model_digest(path)
        return known[1]
