"""Creates a tiny random Llama model for tests.  Usage: python tiny_model.py OUT_DIR [--seed N]

2 layers of width 64, fp32, context 4096; a tokenizer of all 256 bytes without merges, so that decoding returns any text
unchanged; ChatML with <|im_start|> and <|im_end|>. It is not trained: its replies are noise, but always the same noise.
The same seed gives the same bytes on every machine. If OUT_DIR exists, it is complete, and nothing is done."""

import argparse
import json
import os
import shutil

import numpy
from safetensors.numpy import save_file

TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
LAYERS, HIDDEN, MLP, HEADS, VOCAB = 2, 64, 176, 4, len(SPECIAL) + 256

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("out")
parser.add_argument("--seed", type=int, default=0)


def weights(seed):
    # With numpy and safetensors only: importing torch would take longer than everything else.
    rng = numpy.random.Generator(numpy.random.PCG64(seed))
    draw = lambda *shape: (rng.standard_normal(shape) * 0.05).astype(numpy.float32)
    ones = lambda: numpy.ones(HIDDEN, numpy.float32)
    tensors = {"model.embed_tokens.weight": draw(VOCAB, HIDDEN), "model.norm.weight": ones()}
    for n in range(LAYERS):
        at = f"model.layers.{n}"
        for name in ("q", "k", "v", "o"):
            tensors[f"{at}.self_attn.{name}_proj.weight"] = draw(HIDDEN, HIDDEN)
        tensors[f"{at}.mlp.gate_proj.weight"] = draw(MLP, HIDDEN)
        tensors[f"{at}.mlp.up_proj.weight"] = draw(MLP, HIDDEN)
        tensors[f"{at}.mlp.down_proj.weight"] = draw(HIDDEN, MLP)
        tensors[f"{at}.input_layernorm.weight"] = ones()
        tensors[f"{at}.post_attention_layernorm.weight"] = ones()
    return tensors


def tokenizer(path):
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())  # the 256 characters that represent the bytes
    vocab = {token: n for n, token in enumerate(SPECIAL + alphabet)}
    made = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    made.save(f"{path}/tokenizer.json")


def main():
    args = parser.parse_args()
    if os.path.exists(args.out):
        return
    scratch = f"{os.path.abspath(args.out)}.{os.getpid()}.partial"
    os.makedirs(scratch)
    try:
        config = {
            "architectures": ["LlamaForCausalLM"], "model_type": "llama", "dtype": "float32", "hidden_act": "silu",
            "hidden_size": HIDDEN, "intermediate_size": MLP, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
            "num_key_value_heads": HEADS, "vocab_size": VOCAB, "max_position_embeddings": 4096, "rms_norm_eps": 1e-5,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}, "tie_word_embeddings": True,
            "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2, "use_cache": True,
        }
        generation = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2}
        names = {
            "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": SPECIAL[1], "eos_token": SPECIAL[2],
            "pad_token": SPECIAL[2], "unk_token": SPECIAL[0], "model_max_length": 4096, "clean_up_tokenization_spaces": False,
        }
        for name, value in (("config", config), ("generation_config", generation), ("tokenizer_config", names)):
            with open(f"{scratch}/{name}.json", "w", encoding="utf-8") as file:
                file.write(json.dumps(value, indent=2) + "\n")
        with open(f"{scratch}/chat_template.jinja", "w", encoding="utf-8") as file:
            file.write(TEMPLATE)
        tokenizer(scratch)
        save_file(weights(args.seed), f"{scratch}/model.safetensors", metadata={"format": "pt"})
        os.rename(scratch, args.out)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


if __name__ == "__main__":
    main()
