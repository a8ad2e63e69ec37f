"""Model folders, as server.py and trainer.py both see them: their digest, and whether they are usable. Loads no model, and
runs nothing that a folder brings along. storage/model-folder.ts implements the same; test/fixtures/model-folders.json
holds both implementations to one table."""

import hashlib
import json
import os
import re

# Formats that torch.load unpickles: to read one is to run whatever its author wrote. Where there are safetensors beside
# them, nothing reads them.
PICKLE = re.compile(r".*\.(bin|pt|pth|pkl|ckpt)", re.IGNORECASE | re.ASCII | re.DOTALL)
# State of a trainer, not weights.
NO_WEIGHTS = re.compile(r"training_args\.bin|optimizer\.(bin|pt)|scheduler\.pt|scaler\.pt|rng_state(_[0-9]+)?\.pth")

# The first line of what `git clone` leaves of a file where Git LFS is not installed.
LFS_POINTER = b"version https://git-lfs.github.com/spec/"
MAX_POINTER_BYTES = 1024

# What a trained model takes over from its base: tokenizer, chat templates, licence. Whole names, because "whatever begins
# with tokenizer" would publish files that merely lie beside the model.
COMPANION = re.compile(
    r"tokenizer\.json|tokenizer_config\.json|special_tokens_map\.json|added_tokens\.json|vocab\.(json|txt)|merges\.txt"
    r"|tokenizer\.model(\.v[0-9]+)?|spiece\.model|spm\.model|sentencepiece(\.bpe)?\.model|tekken\.json|(qwen|tokenizer)\.tiktoken"
    r"|chat_template\.(jinja|json)|additional_chat_templates/[A-Za-z0-9_-]+\.jinja"
    r"|(?i:licen[cs]e|notice)(\.txt|\.md)?")


class ModelProblem(ValueError):
    """`problem`: the part of the rule that does not hold."""

    def __init__(self, problem: str, message: str):
        super().__init__(message)
        self.problem = problem


def model_files(path: str) -> list[str]:
    """Relative POSIX paths of the folder's files in byte order; names that start with "." are skipped. A link counts as the
    file that it leads to, if that is a file of the model (see `_walk`)."""
    return _walk(path)[0]


def companions(path: str) -> list[str]:
    """The files that are copied, as they are, into a model that is trained from this one."""
    return [name for name in model_files(path) if COMPANION.fullmatch(name)]


def _walk(path: str) -> tuple[list[str], list[str]]:
    """The files, and the links that lead to something else: they are not followed, and make the folder unusable. A link
    may lead to a regular file below the folder, or below the blobs of the Hugging Face cache that the folder is part of
    (models--X/snapshots/REV -> models--X/blobs). Any other target may be a private file of whoever runs this."""
    real = os.path.realpath(path)
    insides = [f"{real}/"]
    repository, snapshots = os.path.split(os.path.dirname(real))
    if snapshots == "snapshots" and os.path.basename(repository).startswith("models--"):
        insides.append(f"{repository}/blobs/")  # not resolved: blobs may itself be a link to anywhere
    files, strays = [], []
    for folder, folders, names in os.walk(path, onerror=_raise):
        for name in [*folders, *names]:
            full = os.path.join(folder, name)
            if name.startswith(".") or not os.path.islink(full) and not os.path.isfile(full):
                continue
            relative = os.path.relpath(full, path).replace(os.sep, "/")
            target = os.path.realpath(full)
            if not os.path.islink(full) or target.startswith(tuple(insides)) and os.path.isfile(target):
                files.append(relative)
            else:
                strays.append(relative)
        folders[:] = [name for name in folders if not name.startswith(".")]
    return sorted(files, key=os.fsencode), sorted(strays, key=os.fsencode)


def _raise(problem: OSError):
    # A folder that cannot be read must not pass for an empty one.
    raise problem


def model_digest(path: str) -> str:
    """The sha256, in hex, of the lines "<sha256 of the file>  <relative path>\\n"."""
    whole = hashlib.sha256()
    for name in model_files(path):
        with open(os.path.join(path, name), "rb") as file:
            whole.update(f"{hashlib.file_digest(file, 'sha256').hexdigest()}  ".encode())
        whole.update(os.fsencode(name) + b"\n")
    return whole.hexdigest()


class DigestCache:
    """Computes the digest of a folder once for each state of its files, so that a model that is loaded again is not read
    twice. Not safe for threads; the server uses it while nobody else loads."""

    def __init__(self):
        self.known: dict[str, tuple[tuple, str]] = {}  # real path of the folder -> its state, its digest

    def digest(self, path: str) -> str:
        path = os.path.realpath(path)
        state = _state(path)  # before the files are read: one that changes meanwhile is read again the next time
        known = self.known.get(path)
        if known is None or known[0] != state:
            known = self.known[path] = state, model_digest(path)
        return known[1]


def _state(path: str) -> tuple:
    """Changes when a file of the folder is written, replaced, added or removed."""
    stats = [(name, os.stat(os.path.join(path, name))) for name in model_files(path)]
    return tuple((name, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino) for name, stat in stats)


def check_model_folder(path: str) -> None:
    """Raises ModelProblem unless the folder can be loaded without running code that came with it."""
    if not os.path.isdir(path):
        raise ModelProblem("folder", f"{path} is not a folder.")
    files, strays = _walk(path)
    if strays:
        raise ModelProblem("link", f"{path} holds {strays[0]}, a link to something that is not a file of the model; put a copy of the file in its place, or remove it.")
    # transformers would load the model that the adapter names, from anywhere, and the adapter's weights too.
    if "adapter_config.json" in files:
        raise ModelProblem("adapter", f"{path} holds a LoRA adapter (adapter_config.json), not a whole model; merge it into its model with peft's merge_and_unload(), and save that.")
    if pointer := next((name for name in files if "/" not in name and _is_lfs_pointer(f"{path}/{name}")), None):
        raise ModelProblem("lfs", f"{path} holds {pointer}, a Git LFS pointer, not the file itself; fetch it with `git lfs pull`, or download the model again.")
    if "config.json" not in files:
        raise ModelProblem("config", f"{path} has no config.json.")
    if _read_object(f"{path}/config.json") is None:
        raise ModelProblem("config", f"{path}/config.json is not a JSON object.")
    if not any(name.endswith(".safetensors") and "/" not in name for name in files):
        pickles = [name for name in files if PICKLE.fullmatch(name) and not NO_WEIGHTS.fullmatch(name.rsplit("/", 1)[-1])]
        if pickles:
            raise ModelProblem("pickle", f"{path} holds {pickles[0]}, a pickle, which can run code when it is loaded; only safetensors weights are read.")
        raise ModelProblem("weights", f"{path} has no *.safetensors weights.")
    if "tokenizer.json" not in files and "tokenizer.model" not in files and not {"vocab.json", "merges.txt"} <= set(files):
        raise ModelProblem("tokenizer", f"{path} has no tokenizer (tokenizer.json, tokenizer.model, or vocab.json with merges.txt).")
    config = _read_object(f"{path}/tokenizer_config.json") if "tokenizer_config.json" in files else {}
    if config is None:
        raise ModelProblem("tokenizer-config", f"{path}/tokenizer_config.json is not a JSON object.")
    template = config.get("chat_template")
    if "chat_template.jinja" not in files and not (isinstance(template, (str, list)) and template):
        raise ModelProblem("chat-template", f"{path} has no chat template (chat_template.jinja, or chat_template in tokenizer_config.json).")


def check_loaded(loaded: dict) -> None:
    """Raises ValueError if transformers has made up weights that the folder lacks. `loaded`: its output_loading_info."""
    if missing := sorted(loaded["missing_keys"]):
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise ValueError(f"its weights lack {missing[0]}{more}; download the model again.")


def _is_lfs_pointer(path: str) -> bool:
    if os.path.getsize(path) > MAX_POINTER_BYTES:
        return False
    with open(path, "rb") as file:
        return file.read(len(LFS_POINTER)) == LFS_POINTER


def _read_object(path: str) -> dict | None:
    """The JSON object in a file, or None. NaN and Infinity are no JSON, though Python's reader takes them."""
    try:
        with open(path, encoding="utf-8") as file:
            value = json.load(file, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _no_constant(name: str):
    raise ValueError(name)
