"""The files that the model server writes without end, and their bounds. Used by server.py."""

import asyncio
import os
import shutil
import sys

FILE_BYTES = 50_000_000  # the largest requests.jsonl or log.txt


class Log:
    """A stream whose text is dropped where it cannot be written: a full disk must not fail the request that is reported."""

    def __init__(self, stream):
        self.stream = stream

    def __getattr__(self, name):
        return getattr(self.stream, name)

    def write(self, text):
        try:
            return self.stream.write(text)
        except OSError:
            return len(text)

    def flush(self):
        try:
            self.stream.flush()
        except OSError:
            pass


async def bound_files(folder: str):
    """Keeps requests.jsonl and log.txt from filling the disk."""
    requests, log = os.path.join(folder, "requests.jsonl"), os.path.join(folder, "log.txt")
    while True:
        try:
            if os.path.exists(requests) and os.path.getsize(requests) > FILE_BYTES:
                os.replace(requests, requests + ".1")
            # Its own output stays open, so this file is copied and emptied. The supervisor opened it to append.
            if os.path.exists(log) and os.path.getsize(log) > FILE_BYTES and os.path.samestat(os.stat(log), os.fstat(sys.stderr.fileno())):
                shutil.copyfile(log, log + ".1")
                os.truncate(log, 0)
        except OSError as problem:  # a disk that is full already; the next attempt may find room
            print(f"log files: {problem}", file=sys.stderr, flush=True)
        await asyncio.sleep(60)
