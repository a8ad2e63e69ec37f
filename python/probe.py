"""Tries a model folder out before a run depends on it: what it holds may be written by anybody, and can hang or fill the memory
of whatever evaluates it. So it is evaluated here first, in a process that may die.  Usage: python probe.py MODEL_DIR [MAX_LENGTH OVERLONG < ROWS]
Reads the headers of the weights, never the weights: the tensors must lie within their files, and config.json must not
describe a larger model. Loads the tokenizer, renders the chat template, encodes a text; each ends soon and yields a bounded result.
Prints {"doing": ...} before each part, {"warnings": [...], "takesSystem": ..., "keepsTurns": ...} of a model that works, and at the end
{"ok": true} or {"problem": one sentence}. Exit: 0 for both; a signal where a limit ended it, and the last part that was
printed is then what went wrong (processes/probe-model.ts).
With MAX_LENGTH and OVERLONG (of a training's spec), rows from the input, one list of messages a line, are encoded as the trainer
would: {"encoded": {...}} has lengths in tokens, what does not fit, and where the first row is cut into prompt and reply.
Does not import torch, which takes longer than all of this. Uses no network, and runs no code from the folder."""

import gc
import itertools
import json
import os
import resource
import sys

os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", TOKENIZERS_PARALLELISM="false", OPENBLAS_NUM_THREADS="1")
sys.modules["torch"] = None  # as where it is not installed: config, tokenizer and template work without
gc.disable()  # during the imports it finds nothing, and takes a sixth of their time

from transformers import AutoConfig, AutoTokenizer

from chat import BadTemplate, Chat
from folder import ModelProblem, check_model_folder, model_files
from weights import Unusable, check_architecture, check_kinds, check_names, check_shapes, check_sizes, check_type, embedding_rows, read_headers, unused_layers

gc.enable()

CPU_SECONDS = 20          # a tokenizer of 260,000 words takes 2 here
ROWS_CPU_SECONDS = 300    # besides, to encode rows
MEMORY_BYTES = 6 << 30    # address space, of which the imports take 1 GB
TEXT_CHARACTERS = 40_000  # a long prompt
MOST_TOKENS = 2           # per byte of text; a tokenizer of bytes makes 1
ROWS_AT_ONCE = 256
UNBOUNDED = 1 << 40
SHOWN_TOKENS = 24

parts = []


def doing(part: str):
    parts.append(part)
    print(json.dumps({"doing": part}), flush=True)


def limit_time(allowed: int):
    """Counts from here: the imports take longer than all else, and much longer from a cold disk."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    seconds = int(used.ru_utime + used.ru_stime) + allowed
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def limit_memory():
    """macOS does not have this limit; there the one of time must be enough."""
    if sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))


def sample_text() -> str:
    """Prose, code, numbers, other scripts, and the long runs at which a careless regular expression takes for ever."""
    runs = "".join(character * 1000 for character in "a 0!\n-")
    mixed = "Tom has 12 apples and buys 3,450 more; def f(x): return x**2  # naïve café, 漢字かな, Привет, 😀\n"
    return runs + mixed * ((TEXT_CHARACTERS - len(runs)) // len(mixed))


def probe(path: str, encodes: bool = False) -> Chat:
    limit_time(CPU_SECONDS + (ROWS_CPU_SECONDS if encodes else 0))
    doing("reading its files")
    check_model_folder(path)
    doing("reading the headers of its weights")
    tensors = read_headers(path, model_files(path))
    limit_memory()  # only now: opening the weights takes as much address space as the files are long
    doing("reading config.json")
    check_type(path)
    config = AutoConfig.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    text_config = config.get_text_config(decoder=True)
    # Names differ between architectures (n_layer, n_embd); attributes of transformers do not.
    named = {name: getattr(text_config, name, None) for name in ("num_hidden_layers", "hidden_size", "vocab_size", "tie_word_embeddings")}
    sizes = text_config.to_dict() | named
    check_sizes(sizes, tensors)
    check_architecture(config, text_config)
    check_names(tensors)
    check_kinds(getattr(config, "quantization_config", None), tensors)
    check_shapes(sizes, tensors)
    doing("loading its tokenizer")
    return try_texts(load_tokenizer(path), max(embedding_rows(tensors).values(), default=None), unused_layers(sizes["num_hidden_layers"], tensors))


def load_tokenizer(path: str):
    try:
        return AutoTokenizer.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    except (ImportError, ValueError) as problem:
        if "trust_remote_code" in str(problem):
            raise Unusable("its tokenizer is code that the folder brings along, which is not run; only tokenizers of transformers are read.") from None
        if os.path.isfile(f"{path}/tokenizer.json") or not any(name in str(problem).lower() for name in ("sentencepiece", "tiktoken", "protobuf")):
            raise
        raise Unusable("its tokenizer is in tokenizer.model alone; where sentencepiece is installed, AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)"
                       " writes the tokenizer.json that is read here.") from None


def try_texts(tokenizer, rows: int | None, warnings: list[str] = []) -> Chat:
    """`rows`: of the embeddings, if they are known."""
    doing("rendering its chat template")
    try:
        chat = Chat(tokenizer)
    except BadTemplate as problem:
        raise Unusable(f"its chat template {problem}") from None
    text = sample_text()
    for question in ("What is 2 + 3?", text):
        doing("rendering its chat template")
        prompt = chat.prompt([*chat.system, {"role": "user", "content": question}]) + chat.end
        if len(prompt) < len(question):
            raise Unusable(f"its chat template makes {len(prompt)} characters of a question of {len(question)}; it leaves out a part of it.")
        if len(prompt) > 2 * len(question) + 100_000:
            raise Unusable(f"its chat template makes {len(prompt)} characters of a question of {len(question)}.")
        doing("encoding a text with its tokenizer")
        ids = tokenizer(prompt, add_special_tokens=False, verbose=False).input_ids
        if len(ids) > MOST_TOKENS * len(prompt.encode()):
            raise Unusable(f"its tokenizer makes {len(ids)} tokens of {len(prompt)} characters.")
        if rows and max(ids) >= rows:
            raise Unusable(f"its tokenizer gives token {max(ids)} ({tokenizer.convert_ids_to_tokens(max(ids))}), and the embeddings have {rows} rows;"
                           " it is the tokenizer of another model, or tokens were added to it alone.")
    report(chat, rows, warnings)
    return chat


def report(chat: Chat, rows: int | None, warnings: list[str]):
    """What works, and what somebody should know."""
    warnings = [*warnings]
    if chat.opens_thought:
        warnings.append("its chat template opens a think block before each reply, and replies are written inside it; prompts.reply"
                        r' "{rationale}\n</think>\n\n{answer}" makes the rationale the thought, and closes it before the answer')
    if chat.adds_end:
        warnings.append(f"its chat template puts no end of turn after a reply; {chat.tokenizer.eos_token} is put there")
    if rows and (held := len(chat.tokenizer)) < 0.9 * rows:
        warnings.append(f"its tokenizer has {held} tokens, and the embeddings {rows} rows; it may be the tokenizer of another model")
    elif rows and held > rows:
        warnings.append(f"its tokenizer has {held} tokens, and the embeddings {rows} rows; a text with one of the others cannot be used")
    print(json.dumps({"warnings": warnings, "takesSystem": chat.takes_system, "keepsTurns": chat.keeps_turns}), flush=True)


def encode_rows(chat: Chat, lines, max_length: int, overlong: str) -> dict:
    """`lines`: a list of messages each, of which the last may be a reply."""
    doing("encoding the rows with its tokenizer")
    wholes, prompts, shown = [], [], None
    left_out = cut = 0
    while batch := [json.loads(line) for line in itertools.islice(lines, ROWS_AT_ONCE)]:
        rows = [row for row in batch if row[-1]["role"] == "assistant"]
        whole, *_ = chat.encode(rows, UNBOUNDED, overlong)
        wholes += [len(ids) for ids, _ in whole]
        prompts += [start for _, start in whole]
        questions = [row for row in batch if row[-1]["role"] != "assistant"]
        prompts += [len(chat.tokenizer(chat.prompt(row), add_special_tokens=False, verbose=False).input_ids) for row in questions]
        trained, more_left_out, more_cut = chat.encode(rows, max_length, overlong)
        left_out, cut = left_out + more_left_out, cut + more_cut
        shown = shown or next(iter(trained), None)
    return {"rows": len(wholes) or len(prompts), "prompt": lengths(prompts), "whole": lengths(wholes), "leftOut": left_out, "cut": cut,
            "first": parts_of(chat, *shown) if shown else None}


def lengths(numbers: list[int]) -> dict | None:
    numbers = sorted(numbers)
    return {"median": numbers[len(numbers) // 2], "most": numbers[len(numbers) * 95 // 100], "longest": numbers[-1]} if numbers else None


def parts_of(chat: Chat, ids: list[int], start: int) -> dict:
    """Around the places where the loss begins and ends."""
    text = lambda some: chat.tokenizer.decode(some, clean_up_tokenization_spaces=False)
    return {"tokens": len(ids), "promptTokens": start, "promptEnds": text(ids[max(0, start - SHOWN_TOKENS):start]),
            "replyBegins": text(ids[start:start + SHOWN_TOKENS]), "replyEnds": text(ids[max(start, len(ids) - SHOWN_TOKENS):])}


def main():
    if len(sys.argv) not in (2, 4):
        print(__doc__, file=sys.stderr)
        sys.exit(2)
    path, *settings = sys.argv[1:]
    try:
        chat = probe(path, encodes=bool(settings))
        if settings:
            encoded = encode_rows(chat, sys.stdin, int(settings[0]), settings[1])
            print(json.dumps({"encoded": encoded}), flush=True)
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
