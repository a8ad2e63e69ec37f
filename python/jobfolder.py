"""The trainer's job folder: spec, rows, the order they are trained in, checkpoints. Imports nothing heavy.

A checkpoint is complete if it has complete.json, written last, and each file has the size noted there.
Raises Refused for what the caller must mend: a bad spec, bad rows, a wrong model."""

import hashlib
import json
import math
import os
import random
import shutil

from folder import check_model_folder, model_digest


class Refused(Exception):
    """(error type, sentence). A retry would fail in the same way."""


def sync(path):
    handle = os.open(path, os.O_RDONLY)
    os.fsync(handle)
    os.close(handle)


def sync_all(folder):
    for name in os.listdir(folder):
        sync(f"{folder}/{name}")
    sync(folder)


def write_json(path, value):
    scratch = os.path.join(os.path.dirname(path), f".{os.path.basename(path)}.partial")  # one writer: the lock's holder
    with open(scratch, "w", encoding="utf-8") as file:
        file.write(json.dumps(value) + "\n")
        file.flush()
        os.fsync(file.fileno())
    os.rename(scratch, path)


def drop_cut_line(path):
    """Takes away the end of a file of lines whose writer died in the middle of one."""
    if os.path.exists(path):
        with open(path, "rb+") as file:
            file.truncate(file.read().rfind(b"\n") + 1)


def read_json(path):
    """The file's value, or None if it is not there or not JSON."""
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None


def number(low, high=math.inf, whole=False, null=False):
    kind = int if whole else (int, float)
    return lambda v: (null and v is None) or (isinstance(v, kind) and not isinstance(v, bool) and low <= v <= high)


def sha256(v):
    return isinstance(v, str) and len(v) == 64


SPEC = {
    "version": lambda v: v == 1,
    "baseModel": lambda v: isinstance(v, str) and os.path.isabs(v),
    "baseModelSha256": sha256,
    "data": lambda v: isinstance(v, str) and not os.path.isabs(v) and ".." not in v.split("/"),
    "dataSha256": sha256,
    "method": lambda v: v in ("full", "lora"),
    "epochs": lambda v: number(0)(v) and v > 0,
    "batchSize": number(1, whole=True),
    "microBatchSize": number(1, whole=True),
    "learningRate": number(0, 1),
    "schedule": lambda v: v in ("linear", "cosine", "constant"),
    "warmupRatio": lambda v: number(0, 1)(v) and v < 1,
    "weightDecay": number(0, 1),
    "adamBetas": lambda v: isinstance(v, list) and len(v) == 2 and all(number(0, 1)(beta) and beta < 1 for beta in v),
    "maxGradNorm": number(0),
    "maxLength": number(2, whole=True),
    "precision": lambda v: v in ("auto", "bf16", "fp32", "bf16-autocast"),
    "gradientCheckpointing": lambda v: isinstance(v, bool),
    "seed": number(0, 2**32 - 1, whole=True),
    "deterministic": lambda v: isinstance(v, bool),
    "device": lambda v: v in ("auto", "cpu", "cuda"),
    "threads": number(1, whole=True, null=True),
    "checkpoint": lambda v: isinstance(v, dict) and number(1, whole=True, null=True)(v.get("everySteps"))
    and number(0, null=True)(v.get("everyMinutes")) and number(1, whole=True)(v.get("keep")),
}
LORA = {
    "r": number(1, whole=True),
    "alpha": number(0),
    "dropout": number(0, 1),
    "targetModules": lambda v: v == "all-linear" or (isinstance(v, list) and v and all(isinstance(name, str) for name in v)),
}


def check_fields(fields, values, where):
    if not isinstance(values, dict):
        raise Refused("bad-spec", f"{where}is missing or not a JSON object.")
    for field, fits in fields.items():
        if not fits(values.get(field)):
            raise Refused("bad-spec", f"{where}{field}: {json.dumps(values.get(field))} is not allowed.")


def read_spec(job, processes):
    spec = read_json(f"{job}/spec.json")
    check_fields(SPEC, spec, "spec.json ")
    if spec["method"] == "lora":
        check_fields(LORA, spec.get("lora"), "spec.json lora ")
    if spec["batchSize"] % (spec["microBatchSize"] * processes):
        raise Refused("bad-spec", f"spec.json batchSize: {spec['batchSize']} is not a multiple of microBatchSize"
                      f" {spec['microBatchSize']} x {processes} processes.")
    return spec


def read_rows(job, spec):
    """The rows' conversations."""
    try:
        with open(os.path.join(job, spec["data"]), "rb") as file:
            data = file.read()
    except OSError as problem:
        raise Refused("bad-data", f"{spec['data']} cannot be read: {problem.strerror}.") from None
    if (found := hashlib.sha256(data).hexdigest()) != spec["dataSha256"]:
        raise Refused("bad-data", f"{spec['data']} is not the file expected: sha256 {found}, not {spec['dataSha256']}.")
    rows = []
    for line, text in enumerate(data.split(b"\n"), 1):
        if not text.strip():
            continue
        try:
            messages = [{"role": m["role"], "content": m["content"]} for m in json.loads(text)["messages"]]
            fits = len(messages) > 1 and messages[-1]["role"] == "assistant"
            fits = fits and all(isinstance(value, str) for m in messages for value in m.values())
        except (ValueError, KeyError, TypeError):
            fits = False
        if not fits:
            raise Refused("bad-data", f"{spec['data']}:{line}: expected messages of role and content, the last by the assistant.")
        rows.append(messages)
    if not rows:
        raise Refused("bad-data", f"{spec['data']} has no rows.")
    return rows


def check_base(spec):
    try:
        check_model_folder(spec["baseModel"])
    except ValueError as problem:
        raise Refused("bad-model", str(problem)) from None
    if (found := model_digest(spec["baseModel"])) != spec["baseModelSha256"]:
        raise Refused("bad-model", f"{spec['baseModel']} is not the model expected: digest {found}, not {spec['baseModelSha256']}.")


def training_order(lengths, epochs, batch, seed):
    """Row numbers, epoch after epoch, so that each `batch` of them is of similar length. It depends on the seed alone, and
    the trainer sees it as one long epoch: to resume is to skip."""
    rng, order = random.Random(seed), []
    while len(order) < epochs * len(lengths):
        order += rng.sample(range(len(lengths)), len(lengths))
    order = order[: math.ceil(epochs * len(lengths))]
    batches = []
    for at in range(0, len(order), 4 * batch):
        # Sorted within four batches, not within all: the batches should differ from epoch to epoch.
        pool = sorted(order[at: at + 4 * batch], key=lambda row: lengths[row], reverse=True)
        cuts = [pool[i: i + batch] for i in range(0, len(pool), batch)]
        short = [cuts.pop()] if len(cuts[-1]) < batch else []  # only the very last batch may be short
        rng.shuffle(cuts)
        batches += cuts + short
    return [row for rows in batches for row in rows]


def identity(spec):
    """Digest of what decides the weights. The rest may change between two starts, as after an out-of-memory."""
    free = ("microBatchSize", "gradientCheckpointing", "threads", "checkpoint")
    return hashlib.sha256(json.dumps({k: v for k, v in sorted(spec.items()) if k not in free}).encode()).hexdigest()


def file_sizes(folder):
    return {name: os.path.getsize(f"{folder}/{name}") for name in sorted(os.listdir(folder)) if name != "complete.json"}


def complete_checkpoint(folder, spec, step, seconds):
    """Marks the folder complete, and deletes the oldest checkpoints beyond those to keep."""
    sync_all(folder)
    write_json(f"{folder}/complete.json", {"step": step, "identity": identity(spec), "seconds": seconds, "files": file_sizes(folder)})
    sync_all(folder)
    for _, old, _ in find_checkpoints(os.path.dirname(folder), spec)[: -spec["checkpoint"]["keep"]]:
        delete_checkpoint(old)


def delete_checkpoint(folder):
    # The marker goes first: half a checkpoint must not look like a whole one.
    if os.path.exists(f"{folder}/complete.json"):
        os.remove(f"{folder}/complete.json")
    shutil.rmtree(folder)


def find_checkpoints(root, spec, on_incomplete=lambda folder: None):
    """[(step, folder, marker)] of the complete ones, oldest first. The others are cut off, truncated or of another spec."""
    found = []
    for name in os.listdir(root) if os.path.isdir(root) else []:
        marker = read_json(f"{root}/{name}/complete.json")
        if marker and marker["identity"] == identity(spec) and marker["files"] == file_sizes(f"{root}/{name}"):
            found.append((marker["step"], f"{root}/{name}", marker))
        else:
            on_incomplete(f"{root}/{name}")
    return sorted(found, key=lambda entry: entry[0])
