"""Tries a model folder out before a run depends on it: what it holds may be written by anybody, and can hang or fill the memory
of whatever evaluates it. So it is evaluated here first, in a process that may die.  Usage: python probe.py MODEL_DIR
Reads the headers of the weights, never the weights: the tensors must lie within their files, and config.json must not
describe a larger model. Loads the tokenizer, renders the chat template, encodes a text; each ends soon and yields a bounded result.
Prints {"doing": ...} before each part, and at the end {"ok": true} or {"problem": one sentence}. Exit: 0 for both; a signal
where a limit ended it, and the last part that was printed is then what went wrong (processes/probe-model.ts).
Does not import torch, which takes longer than all of this. Uses no network, and runs no code from the folder."""

import gc
import json
import os
import re
import resource
import sys

os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", TOKENIZERS_PARALLELISM="false", OPENBLAS_NUM_THREADS="1")
sys.modules["torch"] = None  # as where it is not installed: config, tokenizer and template work without
gc.disable()  # during the imports it finds nothing, and takes a sixth of their time

from safetensors import SafetensorError, safe_open
from transformers import AutoConfig, AutoTokenizer

from folder import ModelProblem, check_model_folder, model_files

gc.enable()

CPU_SECONDS = 20          # a tokenizer of 260,000 words takes 2 here
MEMORY_BYTES = 6 << 30    # address space, of which the imports take 1 GB
TEXT_CHARACTERS = 40_000  # a long prompt
MOST_TOKENS = 2           # per byte of text; a tokenizer of bytes makes 1
# A number in config.json with one of these names counts rows or columns of some matrix.
SIZES = re.compile(r"(?!.*(window|chunk|block))((n|num)_\w+|\w+_(size|dim))")


class Unusable(Exception):
    """One sentence, which begins with what is wrong."""


parts = []


def doing(part: str):
    parts.append(part)
    print(json.dumps({"doing": part}), flush=True)


def limit_time():
    """Counts from here: the imports take longer than all else, and much longer from a cold disk."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    seconds = int(used.ru_utime + used.ru_stime) + CPU_SECONDS
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def limit_memory():
    """macOS does not have this limit; there the one of time must be enough."""
    if sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))


def read_headers(path: str) -> dict[str, tuple[str, list[int]]]:
    """Type and shape of each tensor. safetensors checks that each header fits its file, without reading further."""
    files = [name for name in model_files(path) if name.endswith(".safetensors") and "/" not in name]
    tensors = {}
    for name in files:
        try:
            with safe_open(f"{path}/{name}", framework="numpy") as file:
                for key in file.keys():
                    part = file.get_slice(key)
                    tensors[key] = part.get_dtype(), part.get_shape()
        except SafetensorError as problem:
            raise Unusable(f"{name} is damaged: {problem}.") from None
    index = f"{path}/model.safetensors.index.json"
    if os.path.isfile(index) and "model.safetensors" not in files:
        with open(index, encoding="utf-8") as file:
            shards = set(json.load(file)["weight_map"].values())
        if strange := sorted(shards - set(files), key=str):
            raise Unusable(f"model.safetensors.index.json names {strange[0]!r}, which is not a file of weights in the folder.")
    return tensors


def check_sizes(config: dict, tensors: dict[str, tuple[str, list[int]]]):
    """A model that is larger than its weights is made up of random numbers, or does not fit the memory of any machine."""
    # A tensor of whole numbers is quantized: each byte may hold four parameters.
    width = {"I64": 32, "U64": 32, "I32": 16, "U32": 16, "I16": 8, "U16": 8, "I8": 4, "U8": 4}
    held = 0
    for kind, shape in tensors.values():
        count = width.get(kind, 1)
        for side in shape:
            count *= side
        held += count
    # The layers are the first number in the names of tensors: model.layers.29.mlp.up_proj.weight.
    numbers = [int(found[1]) for name in tensors if (found := re.search(r"\.([0-9]{1,9})\.", name))]
    layers, hidden = config.get("num_hidden_layers"), config.get("hidden_size")
    for name, value in (("num_hidden_layers", layers), ("hidden_size", hidden)):
        if type(value) is not int or value < 1:
            raise Unusable(f"config.json: {name} is {value!r}, not a number of at least 1.")
    if numbers and layers > max(numbers) + 1:
        raise Unusable(f"config.json: num_hidden_layers is {layers}, and the weights have {max(numbers) + 1} layers.")
    for name, value in config.items():
        if not SIZES.fullmatch(name) or type(value) is not int:
            continue
        if value < 0:
            raise Unusable(f"config.json: {name} is {value}, which is negative.")
        # An intermediate layer is in every layer; all else, in at least one.
        if value * hidden * (layers if name == "intermediate_size" else 1) > held:
            raise Unusable(f"config.json: {name} is {value}, which is more than the {held} numbers of the weights allow.")


def sample_text() -> str:
    """Prose, code, numbers, other scripts, and the long runs at which a careless regular expression takes for ever."""
    runs = "".join(character * 1000 for character in "a 0!\n-")
    mixed = "Tom has 12 apples and buys 3,450 more; def f(x): return x**2  # naïve café, 漢字かな, Привет, 😀\n"
    return runs + mixed * ((TEXT_CHARACTERS - len(runs)) // len(mixed))


def render(tokenizer, question: str) -> str:
    messages = [{"role": "user", "content": question}]
    try:
        return tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    except MemoryError:
        raise
    except Exception:  # a template may demand a system message; if that is not it, its own words say what is
        messages = [{"role": "system", "content": "Answer."}, *messages]
        return tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)


def probe(path: str):
    limit_time()
    doing("reading its files")
    check_model_folder(path)
    doing("reading the headers of its weights")
    tensors = read_headers(path)
    limit_memory()  # only now: opening the weights takes as much address space as the files are long
    doing("reading config.json")
    config = AutoConfig.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    text_config = config.get_text_config(decoder=True)
    # Names differ between architectures (n_layer, n_embd); attributes of transformers do not.
    known = {name: getattr(text_config, name, None) for name in ("num_hidden_layers", "hidden_size")}
    check_sizes(text_config.to_dict() | known, tensors)
    doing("loading its tokenizer")
    tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    text = sample_text()
    for question in ("What is 2 + 3?", text):
        doing("rendering its chat template")
        prompt = render(tokenizer, question)
        if len(prompt) > 2 * len(question) + 100_000:
            raise Unusable(f"its chat template makes {len(prompt)} characters of a question of {len(question)}.")
        doing("encoding a text with its tokenizer")
        tokens = len(tokenizer(prompt, add_special_tokens=False, verbose=False).input_ids)
        if tokens > MOST_TOKENS * len(prompt.encode()):
            raise Unusable(f"its tokenizer makes {tokens} tokens of {len(prompt)} characters.")


def main():
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        sys.exit(2)
    try:
        probe(sys.argv[1])
        said = {"ok": True}
    except MemoryError:
        os.abort()  # as where a library ends the process for want of memory
    except (Unusable, ModelProblem) as problem:
        said = {"problem": str(problem)}
    except Exception as problem:  # transformers raises any exception for broken folders
        said = {"problem": f"{parts[-1]} fails: {type(problem).__name__}: {problem}"}
    print(json.dumps(said), flush=True)


if __name__ == "__main__":
    main()
