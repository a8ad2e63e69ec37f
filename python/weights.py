"""The headers of a model's weights, and whether they are those of the model that its config describes. Reads no weights
and needs no torch, so it knows names and shapes only; that nothing at all is missing shows when the model is loaded
(check_loaded in folder.py). Raises Unusable."""

import json
import os
import re
from collections import Counter, defaultdict

from safetensors import SafetensorError, safe_open

INDEX = "model.safetensors.index.json"
# A number in config.json with one of these names counts rows or columns of some matrix.
SIZES = re.compile(r"(?!.*(window|chunk|block))((n|num)_\w+|\w+_(size|dim))")
EMBEDDINGS = re.compile(r"(.*\.)?(embed_tokens|wte|word_embeddings|embed_in|tok_embeddings)\.weight")
OUTPUT = re.compile(r"(.*\.)?(lm_head|embed_out|output|output_layer)\.weight")
# model.layers.29.mlp.up_proj.weight, transformer.h.11.attn.c_attn.weight
LAYER = re.compile(r"(.*?\.)([0-9]{1,9})\.(.*)")
# A tensor of whole numbers is quantized: each byte may hold four parameters.
WIDTH = {"I64": 32, "U64": 32, "I32": 16, "U32": 16, "I16": 8, "U16": 8, "I8": 4, "U8": 4}
# What this server keeps of a text between two tokens: keys and values, of all tokens or of the last ones. Layers of other
# kinds (a recurrent state, a convolution) keep something else.
LAYER_TYPES = {"full_attention", "sliding_attention", "chunked_attention"}

Tensors = dict[str, tuple[str, list[int]]]


class Unusable(Exception):
    """One sentence, which begins with what is wrong."""


def read_headers(path: str, files: list[str]) -> Tensors:
    """Type and shape of each tensor that transformers reads."""
    weights = [name for name in files if name.endswith(".safetensors") and "/" not in name]
    index = {} if "model.safetensors" in weights else read_index(path, weights)
    tensors: Tensors = {}
    for name in sorted(set(index.values())) or ["model.safetensors"]:
        found = read_header(path, name)
        if absent := sorted(tensor for tensor, place in index.items() if place == name and tensor not in found):
            raise Unusable(f"{INDEX} says that {name} holds {absent[0]}, and it does not.")
        tensors |= found
    return tensors


def read_index(path: str, weights: list[str]) -> dict[str, str]:
    """The file of each tensor."""
    if not os.path.isfile(f"{path}/{INDEX}"):
        raise Unusable(f"{weights[0]} is not read: the weights must be in model.safetensors, or {INDEX} must name their files.")
    try:
        with open(f"{path}/{INDEX}", encoding="utf-8") as file:
            index = json.load(file)["weight_map"]
        strange = sorted(set(index.values()) - set(weights), key=str)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise Unusable(f"{INDEX} is not an index of weights (weight_map).") from None
    if strange:
        raise Unusable(f"{INDEX} names {strange[0]!r}, which is not a file of weights in the folder.")
    if not index:
        raise Unusable(f"{INDEX} names no weights.")
    return index


def read_header(path: str, name: str) -> Tensors:
    """safetensors checks that the header fits its file, without reading further."""
    try:
        with safe_open(f"{path}/{name}", framework="numpy") as file:
            parts = {key: file.get_slice(key) for key in file.keys()}
            return {key: (part.get_dtype(), part.get_shape()) for key, part in parts.items()}
    except SafetensorError as problem:
        size, described = os.path.getsize(f"{path}/{name}"), described_bytes(f"{path}/{name}")
        if described is not None and described > size:
            raise Unusable(f"{name} is damaged: it has {size} bytes, and its header describes {described}; download it again.") from None
        raise Unusable(f"{name} is damaged: {problem}.") from None


def described_bytes(file: str) -> int | None:
    """The length of the file, by its header; None where it has no header."""
    try:
        with open(file, "rb") as opened:
            length = int.from_bytes(opened.read(8), "little")
            if length > 100_000_000:
                return None
            header = json.loads(opened.read(length))
        return 8 + length + max(part["data_offsets"][1] for name, part in header.items() if name != "__metadata__")
    except (ValueError, KeyError, TypeError, IndexError, RecursionError):
        return None


def check_sizes(config: dict, tensors: Tensors):
    """A model that is larger than its weights is made up of random numbers, or does not fit the memory of any machine."""
    held = 0
    for kind, shape in tensors.values():
        count = WIDTH.get(kind, 1)
        for side in shape:
            count *= side
        held += count
    numbers = {int(found[2]) for name in tensors if (found := LAYER.fullmatch(name))}
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


def check_type(path: str):
    """Whether transformers knows the architecture without code of the folder."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES
    with open(f"{path}/config.json", encoding="utf-8") as file:
        config = json.load(file)
    kind = config.get("model_type")
    if not isinstance(kind, str):
        raise Unusable("config.json: it names no model_type.")
    if kind not in CONFIG_MAPPING_NAMES:
        brought = ", and the code that the folder brings along (auto_map) is not run" if "auto_map" in config else ""
        raise Unusable(f"config.json: this version of transformers has no models of the type {kind}{brought}.")


def check_names(tensors: Tensors):
    """A wrapper that was saved together with its model is in all names, and none of them is found."""
    first = next(iter(tensors), "")
    if wrapped := re.match(r"(_orig_mod|module|base_model\.model|_fsdp_wrapped_module)\.", first):
        raise Unusable(f"its weights have names that begin with {wrapped[0]}, such as {first}; save the model without what wraps it.")


def check_kinds(quantization, tensors: Tensors):
    """Quantized weights are numbers of another kind than what is trained. gpt-oss has its own, which transformers unpacks."""
    method = (quantization or {}).get("quant_method") if isinstance(quantization, dict) else getattr(quantization, "quant_method", None)
    method = getattr(method, "value", method)
    if quantization and method != "mxfp4":
        raise Unusable(f"config.json: the weights are quantized ({method}); download the model as it was before, in bf16, fp16 or fp32.")
    for name, (kind, shape) in tensors.items():
        if not quantization and EMBEDDINGS.fullmatch(name) is None and len(shape) == 2 and LAYER.fullmatch(name) and kind not in ("BF16", "F16", "F32", "F64"):
            raise Unusable(f"its weights are quantized ({name} is {kind}); download the model as it was before, in bf16, fp16 or fp32.")


def unused_layers(layers: int, tensors: Tensors) -> list[str]:
    """transformers ignores layers beyond those of config.json: of a cut model, or of one that predicts several tokens."""
    numbers = {int(found[1]) for name in tensors if (found := re.match(r"(?:model\.|transformer\.|gpt_neox\.)?(?:layers|h)\.([0-9]{1,9})\.", name))}
    if not numbers or max(numbers) < layers:
        return []
    return [f"its weights have {max(numbers) + 1} layers, and config.json has num_hidden_layers {layers}; the others are not used"]


def check_shapes(config: dict, tensors: Tensors):
    """What config.json says of the embeddings, the output and the layers."""
    sides = {side for _, shape in tensors.values() for side in shape}
    if config["hidden_size"] not in sides:
        raise Unusable(f"config.json: hidden_size is {config['hidden_size']}, and no tensor of the weights has that size.")
    rows, vocabulary = embedding_rows(tensors), config.get("vocab_size")
    if rows and type(vocabulary) is int and vocabulary not in rows.values():
        name, count = next(iter(rows.items()))
        raise Unusable(f"config.json: vocab_size is {vocabulary}, and {name} has {count} rows.")
    for name, (_, shape) in tensors.items():
        if EMBEDDINGS.fullmatch(name) and len(shape) == 2 and shape[1] != config["hidden_size"] and shape[1] not in config.values():
            raise Unusable(f"config.json: hidden_size is {config['hidden_size']}, and {name} has {shape[1]} columns.")
        if rows and OUTPUT.fullmatch(name) and len(shape) == 2 and not LAYER.fullmatch(name) and shape[0] not in rows.values():
            raise Unusable(f"config.json: vocab_size is {vocabulary}, and {name} has {shape[0]} rows.")
    if rows and config.get("tie_word_embeddings") is False and not any(OUTPUT.fullmatch(name) for name in tensors):
        raise Unusable("config.json: tie_word_embeddings is false, and the weights have no output layer (lm_head.weight).")
    check_layers(config["num_hidden_layers"], tensors)


def embedding_rows(tensors: Tensors) -> dict[str, int]:
    return {name: shape[0] for name, (_, shape) in tensors.items() if EMBEDDINGS.fullmatch(name) and len(shape) == 2}


def check_layers(layers: int, tensors: Tensors):
    """Each layer is there, and none lacks a part that most have."""
    parts_L = defaultdict(lambda: defaultdict(set))  # beginning of the names -> layer -> parts
    for name in tensors:
        if found := LAYER.fullmatch(name):
            parts_L[found[1]][int(found[2])].add(found[3])
    for beginning, layer_parts in parts_L.items():
        if max(layer_parts) + 1 < layers:
            continue  # not the layers that config.json counts
        usual = set(Counter(frozenset(parts) for parts in layer_parts.values()).most_common(1)[0][0])
        for layer in range(layers):
            if layer not in layer_parts:
                raise Unusable(f"its weights lack layer {layer} of {layers}.")
            if layer_parts[layer] < usual:
                raise Unusable(f"its weights lack {beginning}{layer}.{min(usual - layer_parts[layer])}.")


def check_architecture(config, text_config):
    """The built-in server continues a text from keys and values. `config`: of transformers."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    kind = config.model_type
    if kind not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        raise Unusable(f"config.json: transformers has no causal language model of the type {kind}.")
    types = getattr(text_config, "layer_types", None)
    if types is not None and (others := sorted(set(types) - LAYER_TYPES)):
        raise Unusable(f"config.json: {kind} models have layers ({', '.join(others)}) that keep more than keys and values of a text; the built-in server and trainer cannot run them.")
    if types is None and is_stateful(kind):
        raise Unusable(f"config.json: {kind} models keep a recurrent state; the built-in server and trainer cannot run them.")


def is_stateful(kind: str) -> bool:
    """Whether transformers marks the models of this type as such. Read from its source, since importing it needs torch."""
    from transformers.models.auto.configuration_auto import model_type_to_module_name
    import transformers
    folder = f"{os.path.dirname(transformers.__file__)}/models/{model_type_to_module_name(kind)}"
    sources = [name for name in os.listdir(folder) if name.startswith("modeling_")]
    return any("_is_stateful = True" in open(f"{folder}/{name}", encoding="utf-8").read() for name in sources)
