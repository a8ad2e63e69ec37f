"""Model folders, as server.py and trainer.py both see them.
Gives model_digest(path): the sha256 that names a folder's content, the same in Python and TypeScript;
and check_model_folder(path): raises ValueError, one sentence saying what is missing or not allowed.
Loads no model, and runs nothing that a folder brings along."""

import hashlib
import json
import os

# Formats that torch.load unpickles: to read one is to run whatever its author wrote.
PICKLES = (".bin", ".pt", ".pth", ".pkl", ".ckpt")


def model_files(path: str) -> list[str]:
    """Relative POSIX paths of the folder's files in byte order; names that start with "." are skipped.
    A link to a file counts as the file (Hugging Face's cache is made of links); linked folders are not entered."""
    found = []
    for folder, folders, names in os.walk(path):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            full = os.path.join(folder, name)
            if not name.startswith(".") and os.path.isfile(full):
                found.append(os.path.relpath(full, path).replace(os.sep, "/"))
    return sorted(found, key=os.fsencode)


def model_digest(path: str) -> str:
    """sha256 over the lines "<sha256 of the file>  <relative path>\\n", hex."""
    whole = hashlib.sha256()
    for name in model_files(path):
        with open(os.path.join(path, name), "rb") as file:
            whole.update(f"{hashlib.file_digest(file, 'sha256').hexdigest()}  ".encode())
        whole.update(os.fsencode(name) + b"\n")
    return whole.hexdigest()


def check_model_folder(path: str) -> None:
    """Raises ValueError unless the folder can be loaded without running code that came with it."""
    if not os.path.isdir(path):
        raise ValueError(f"{path} is not a folder.")
    files = model_files(path)
    pickles = [name for name in files if name.lower().endswith(PICKLES)]
    if pickles:
        raise ValueError(f"{path} holds {pickles[0]}, a pickle, which can run code when it is loaded; keep only safetensors weights.")
    if "config.json" not in files:
        raise ValueError(f"{path} has no config.json.")
    if not any(name.endswith(".safetensors") for name in files):
        raise ValueError(f"{path} has no *.safetensors weights.")
    if not any(name in files for name in ("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "vocab.json")):
        raise ValueError(f"{path} has no tokenizer.")
    if "chat_template.jinja" not in files and not _template_in_config(path):
        raise ValueError(f"{path} has no chat template (chat_template.jinja, or chat_template in tokenizer_config.json).")


def _template_in_config(path: str) -> bool:
    try:
        with open(os.path.join(path, "tokenizer_config.json"), encoding="utf-8") as file:
            return bool(json.load(file).get("chat_template"))
    except FileNotFoundError:
        return False
    except (ValueError, AttributeError) as problem:
        raise ValueError(f"{path}/tokenizer_config.json is not a JSON object: {problem}.") from None
