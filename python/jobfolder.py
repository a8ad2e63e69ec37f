"""The job folder of the trainer: the spec, the rows, the order in which they are trained on, checkpoints. Imports nothing
that is slow to import.

spec.json is checked by training-job.schema.json, which `npm run build` generates from contracts/training.ts.
A checkpoint is complete if it has complete.json, which is written last, and each file has the size recorded there; it is
intact if each file also has the digest recorded there.
Raises JobError for what the caller must fix: a bad spec, other rows or another model than the spec says."""

import hashlib
import json
import math
import os
import random
import shutil

from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

from folder import check_model_folder, model_digest

SCHEMA = os.path.join(os.path.dirname(os.path.abspath(__file__)), "training-job.schema.json")


class JobError(Exception):
    """(error type, sentence). A retry would fail in the same way."""


def sync(path):
    handle = os.open(path, os.O_RDONLY)
    os.fsync(handle)
    os.close(handle)


def sync_all(folder):
    for inside, _, names in os.walk(folder):
        for name in names:
            sync(f"{inside}/{name}")
        sync(inside)


def write_json(path, value):
    scratch = os.path.join(os.path.dirname(path), f".{os.path.basename(path)}.partial")  # one writer: the holder of the lock
    with open(scratch, "w", encoding="utf-8") as file:
        file.write(json.dumps(value) + "\n")
        file.flush()
        os.fsync(file.fileno())
    os.rename(scratch, path)


def write_sealed(path, value):
    """Writes a value with the digest of its text, so that a reader notices any change (readResult in training/job.ts)."""
    text = json.dumps(value)
    write_json(path, {"content": text, "sha256": hashlib.sha256(text.encode()).hexdigest()})


def read_sealed(path):
    """The value, or None if it is missing or not as it was written."""
    sealed = read_json(path)
    text = sealed.get("content") if isinstance(sealed, dict) else None
    if not isinstance(text, str) or hashlib.sha256(text.encode()).hexdigest() != sealed.get("sha256"):
        return None
    return json.loads(text)


def is_taken(job, pid, host):
    """Another trainer has written its name into state.json, so the lock has kept neither out: a file system may lock within
    one host only, while several share it. The one that wrote first must write no more."""
    state = read_json(f"{job}/state.json")
    return isinstance(state, dict) and (state.get("pid"), state.get("host")) != (pid, host)


def drop_cut_line(path):
    """Removes the last line of a file if its writer died before the end of that line."""
    if os.path.exists(path):
        with open(path, "rb+") as file:
            file.truncate(file.read().rfind(b"\n") + 1)


def read_json(path):
    """The value of the file, or None if it is missing or not JSON."""
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None


def check_spec(spec):
    """Checks types and bounds by the schema of contracts/training.ts, which is complete: no field has a default here."""
    with open(SCHEMA, encoding="utf-8") as file:
        problem = best_match(Draft202012Validator(json.load(file)).iter_errors(spec))
    if problem:
        field = ".".join(str(part) for part in problem.absolute_path)
        raise JobError("bad-spec", f"spec.json{field and f' {field}'}: {problem.message}.")


def read_spec(job, processes):
    """`processes`: how many were started. On a CPU accelerate may start fewer than the spec says, which does no harm."""
    spec = read_json(f"{job}/spec.json")
    if spec is None:
        raise JobError("bad-spec", "spec.json is missing or not JSON.")
    check_spec(spec)
    if spec["batchSize"] % (spec["microBatchSize"] * processes):
        raise JobError("bad-spec", f"spec.json batchSize: {spec['batchSize']} is not a multiple of microBatchSize"
                       f" {spec['microBatchSize']} x {processes} processes.")
    return spec


def read_rows(job, spec):
    """The conversation of each row. The digest shows that the rows are those that were checked when they were written."""
    try:
        with open(os.path.join(job, spec["data"]), "rb") as file:
            data = file.read()
    except OSError as problem:
        raise JobError("bad-data", f"{spec['data']} cannot be read: {problem.strerror}.") from None
    if (found := hashlib.sha256(data).hexdigest()) != spec["dataSha256"]:
        raise JobError("bad-data", f"{spec['data']} is not the expected file: sha256 {found}, not {spec['dataSha256']}.")
    rows = [json.loads(line)["messages"] for line in data.split(b"\n") if line]
    return [[{"role": turn["role"], "content": turn["content"]} for turn in messages] for messages in rows]


def check_base(spec):
    try:
        check_model_folder(spec["baseModel"])
    except ValueError as problem:
        raise JobError("bad-model", str(problem)) from None
    if (found := model_digest(spec["baseModel"])) != spec["baseModelSha256"]:
        raise JobError("bad-model", f"{spec['baseModel']} is not the expected model: digest {found}, not {spec['baseModelSha256']}.")


def training_order(lengths, epochs, batch, seed):
    """Row numbers, epoch after epoch, such that the rows of each `batch` are of similar length. Depends on nothing but its
    arguments, and the trainer treats it as one long epoch: resuming means skipping."""
    rng, order = random.Random(seed), []
    while len(order) < epochs * len(lengths):
        order += rng.sample(range(len(lengths)), len(lengths))
    order = order[: math.ceil(epochs * len(lengths))]
    batches = []
    for at in range(0, len(order), 4 * batch):
        # Sorted within four batches, not within all of them: batches should differ from epoch to epoch.
        pool = sorted(order[at: at + 4 * batch], key=lambda row: lengths[row], reverse=True)
        cuts = [pool[i: i + batch] for i in range(0, len(pool), batch)]
        short = [cuts.pop()] if len(cuts[-1]) < batch else []  # only the last batch of all may be short
        rng.shuffle(cuts)
        batches += cuts + short
    return [row for rows in batches for row in rows]


def identity(spec):
    """Digest of what decides the weights. The rest may change between two starts, for example after memory ran out."""
    free = ("baseModel", "microBatchSize", "gradientCheckpointing", "threads", "processes", "checkpoint")
    return hashlib.sha256(json.dumps({k: v for k, v in sorted(spec.items()) if k not in free}).encode()).hexdigest()


def file_sizes(folder):
    """By path in the folder: FSDP and DeepSpeed write folders into a checkpoint."""
    paths = sorted(f"{inside}/{name}" for inside, _, names in os.walk(folder) for name in names)
    return {path[len(folder) + 1:]: os.path.getsize(path) for path in paths if path != f"{folder}/complete.json"}


def file_digests(folder):
    digests = {}
    for name in file_sizes(folder):
        with open(f"{folder}/{name}", "rb") as file:
            digests[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return digests


def complete_checkpoint(folder, spec, step, seconds):
    """Marks the folder as complete, and deletes the oldest checkpoints beyond those to keep."""
    sync_all(folder)
    write_sealed(f"{folder}/complete.json", {"step": step, "identity": identity(spec), "seconds": seconds,
                                             "files": file_sizes(folder), "digests": file_digests(folder)})
    sync_all(folder)
    for _, old, _ in find_checkpoints(os.path.dirname(folder), spec)[: -spec["checkpoint"]["keep"]]:
        delete_checkpoint(old)


def delete_checkpoint(folder):
    # The marker is deleted first: half a checkpoint must not look complete.
    if os.path.exists(f"{folder}/complete.json"):
        os.remove(f"{folder}/complete.json")
    # What stays does no harm: a shared file system keeps a file that somebody has open, under another name.
    shutil.rmtree(folder, ignore_errors=True)


def find_checkpoints(root, spec, on_incomplete=lambda folder: None):
    """[(step, folder, marker)] of the complete ones, oldest first. The others are unfinished, truncated or of another spec."""
    found = []
    for name in os.listdir(root) if os.path.isdir(root) else []:
        if not os.path.isdir(f"{root}/{name}"):
            continue  # a file manager or a file system has put it there
        marker = read_sealed(f"{root}/{name}/complete.json")
        if marker and marker["identity"] == identity(spec) and marker["files"] == file_sizes(f"{root}/{name}"):
            found.append((marker["step"], f"{root}/{name}", marker))
        else:
            on_incomplete(f"{root}/{name}")
    return sorted(found, key=lambda entry: entry[0])


def newest_intact(root, spec, on_damaged):
    """(step, folder, marker) of the newest checkpoint whose files are all as they were written, or None."""
    for step, folder, marker in reversed(find_checkpoints(root, spec)):
        if file_digests(folder) == marker["digests"]:
            return step, folder, marker
        on_damaged(folder)
    return None
