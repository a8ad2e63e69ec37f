"""Tiny random models of common families, with tokenizers and chat templates of different kinds, all made here.  Usage:
    python zoo.py list | try DIR NAMES

list: names, tokenizers and templates. try: makes a model folder each, and does the steps of a round with it, by the programs that
do them (trainer.py, and compute.py of the server): trains on 8 rows, loads what it has trained, samples, and compares texts and
log-probabilities with those of a plain forward pass. Prints a JSON line a model: {"name", "folder", "outcome": "ok" or one
sentence}. What probe.py says of a folder is not asked here: it works without torch (zoo.ts). Each model has a process of its
own, so that the imports are paid for once."""

import asyncio
import hashlib
import json
import os
import sys
import traceback

os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", TOKENIZERS_PARALLELISM="false", OMP_NUM_THREADS="1")
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../python"))

SPECIAL = ["<pad>", "<unk>", "<s>", "</s>", "<|im_start|>", "<|im_end|>", "<start_of_turn>", "<end_of_turn>"]
CORPUS = [f"What is {a} + {b}? Add {a} and {b}. Answer: {a + b}\n user assistant system model Question Instruct" for a in range(40) for b in range(10)]

TURN = "{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>\\n' }}"
ASK = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
EMPTY = "{{ '<think>\\n\\n</think>\\n\\n' }}"
TEMPLATES = {
    "ChatML": f"{{% for m in messages %}}{TURN}{{% endfor %}}{ASK}",
    "[INST]": "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}{{ '[INST] ' + m['content'] + ' [/INST]' }}{% elif m['role'] == 'system' %}"
              "{{ raise_exception('Only user and assistant roles are supported!') }}{% else %}{{ ' ' + m['content'] + eos_token }}{% endif %}{% endfor %}",
    "Gemma": "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
             "{{ '<start_of_turn>' + ('model' if m['role'] == 'assistant' else m['role']) + '\\n' + m['content'] | trim + '<end_of_turn>\\n' }}{% endfor %}"
             "{% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}",
    "Qwen3": "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' }}{% if m['role'] == 'assistant' and loop.last %}" + EMPTY + "{% endif %}"
             "{{ m['content'] + '<|im_end|>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}"
             "{% if enable_thinking is defined and enable_thinking is false %}" + EMPTY + "{% endif %}{% endif %}",
    "R1": "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'].split('</think>')[-1] + '<|im_end|>\\n' }}{% endfor %}"
          "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n<think>\\n' }}{% endif %}",
    "no end": "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\\n' }}{% endfor %}{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}",
}
TINY = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512}
LINEAR = {"linear_num_key_heads": 2, "linear_num_value_heads": 2, "linear_key_head_dim": 8, "linear_value_head_dim": 8}
MOE = {"moe_intermediate_size": 16, "num_experts": 4, "num_experts_per_tok": 2}
# name: (model type, settings besides TINY, tokenizer, template)
FAMILIES = {
    "Llama 3": ("llama", {}, "byte BPE", "ChatML"),
    "Llama 2": ("llama", {}, "BPE with byte fallback", "[INST]"),
    "Mistral": ("mistral", {"sliding_window": 16, "head_dim": 8}, "BPE with byte fallback", "[INST]"),
    "Mixtral": ("mixtral", {"num_local_experts": 4}, "BPE with byte fallback", "[INST]"),
    "Qwen2": ("qwen2", {}, "byte BPE", "ChatML"),
    "Qwen3": ("qwen3", {"head_dim": 8}, "byte BPE", "Qwen3"),
    "Qwen3 MoE": ("qwen3_moe", {"head_dim": 8, **MOE}, "byte BPE", "Qwen3"),
    "DeepSeek-R1 distillation": ("qwen2", {}, "byte BPE", "R1"),
    "Gemma 2": ("gemma2", {"head_dim": 8, "sliding_window": 16}, "Unigram", "Gemma"),
    "Gemma 3": ("gemma3_text", {"head_dim": 8, "sliding_window": 16}, "Unigram", "Gemma"),
    "Phi-3": ("phi3", {}, "BPE with byte fallback", "ChatML"),
    "Granite": ("granite", {}, "byte BPE", "ChatML"),
    "OLMo 2": ("olmo2", {}, "byte BPE", "ChatML"),
    "SmolLM3": ("smollm3", {}, "byte BPE", "Qwen3"),
    "StableLM": ("stablelm", {}, "byte BPE", "ChatML"),
    "StarCoder2": ("starcoder2", {}, "byte BPE", "no end"),
    "GPT-2": ("gpt2", {}, "byte BPE", "no end"),
    "GPT-NeoX (Pythia)": ("gpt_neox", {}, "byte BPE", "ChatML"),
    "Falcon": ("falcon", {"new_decoder_architecture": False}, "byte BPE", "ChatML"),
    "OPT": ("opt", {"ffn_dim": 64, "word_embed_proj_dim": 32}, "byte BPE", "ChatML"),
    "BERT-like tokenizer": ("llama", {}, "WordPiece", "ChatML"),
    "Qwen3-Next": ("qwen3_next", {"head_dim": 8, "layer_types": ["linear_attention", "full_attention"], **LINEAR, **MOE}, "byte BPE", "Qwen3"),
    "LFM2": ("lfm2", {"layer_types": ["conv", "full_attention"]}, "byte BPE", "ChatML"),
    "Falcon-H1": ("falcon_h1", {"mamba_d_ssm": 32, "mamba_n_heads": 4, "mamba_d_head": 8, "mamba_d_state": 8, "head_dim": 8}, "byte BPE", "ChatML"),
    "Mamba": ("mamba", {"state_size": 4}, "byte BPE", "ChatML"),
}
LAYERED = {"gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 512}}


def tokenizer(kind, path):
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
    options = {"special_tokens": SPECIAL, "show_progress": False}
    if kind == "byte BPE":
        made = Tokenizer(models.BPE())
        made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
        trainer = trainers.BpeTrainer(vocab_size=400, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), **options)
    elif kind == "BPE with byte fallback":
        made = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
        made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
        made.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
        options["special_tokens"] = SPECIAL + [f"<0x{byte:02X}>" for byte in range(256)]
        trainer = trainers.BpeTrainer(vocab_size=500, **options)
    elif kind == "Unigram":
        made = Tokenizer(models.Unigram(byte_fallback=True))
        made.normalizer = normalizers.Replace(" ", "▁")
        made.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
        options["special_tokens"] = SPECIAL + [f"<0x{byte:02X}>" for byte in range(256)]
        trainer = trainers.UnigramTrainer(vocab_size=500, unk_token="<unk>", **options)
    else:
        made = Tokenizer(models.WordPiece(unk_token="<unk>"))
        made.pre_tokenizer, made.decoder = pre_tokenizers.Whitespace(), decoders.WordPiece()
        trainer = trainers.WordPieceTrainer(vocab_size=400, **options)
    made.train_from_iterator(CORPUS, trainer)
    data = json.loads(made.to_str())
    # A trained byte is a token like others; only the first ones are special.
    data["added_tokens"] = [token for token in data["added_tokens"] if token["content"] in SPECIAL]
    with open(f"{path}/tokenizer.json", "w", encoding="utf-8") as file:
        json.dump(data, file)
    return Tokenizer.from_str(json.dumps(data)).get_vocab_size()


def make(path, kind, settings, tokens, template):
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM
    os.makedirs(path)
    vocabulary = tokenizer(tokens, path)
    end = "<end_of_turn>" if template == "Gemma" else "<|im_end|>" if "im_end" in TEMPLATES[template] else "</s>"
    ids = {name: SPECIAL.index(token) for name, token in (("pad_token_id", "<pad>"), ("bos_token_id", "<s>"), ("eos_token_id", end))}
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, vocab_size=vocabulary, **(LAYERED.get(kind) or TINY), **settings, **ids)
    AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(path)
    names = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": end, "pad_token": "<pad>", "unk_token": "<unk>",
             "model_max_length": 512, "chat_template": TEMPLATES[template], "clean_up_tokenization_spaces": False}
    with open(f"{path}/tokenizer_config.json", "w", encoding="utf-8") as file:
        json.dump(names, file)


def train(path, job):
    import trainer
    from folder import model_digest
    os.makedirs(job)
    data = "".join(json.dumps({"messages": [{"role": "user", "content": f"What is {n} + 1?"}, {"role": "assistant", "content": f"Add {n} and 1. Answer: {n + 1}"}]}) + "\n"
                   for n in range(8)).encode()
    spec = {"version": 2, "key": "0" * 64, "baseModel": path, "baseModelSha256": model_digest(path), "data": "train.jsonl", "dataSha256": hashlib.sha256(data).hexdigest(),
            "method": "full", "lora": None, "epochs": 2, "batchSize": 4, "microBatchSize": 4, "learningRate": 1e-3, "schedule": "linear", "warmupRatio": 0.1,
            "weightDecay": 0, "adamBetas": [0.9, 0.999], "maxGradNorm": 1, "maxLength": 512, "overlong": "leave-out", "precision": "fp32", "gradientCheckpointing": False,
            "seed": 0, "deterministic": False, "device": "cpu", "threads": 1, "processes": 1, "checkpoint": {"everySteps": None, "everyMinutes": 10_000, "keep": 1}}
    for name, content in (("train.jsonl", data), ("spec.json", json.dumps(spec).encode())):
        with open(f"{job}/{name}", "wb") as file:
            file.write(content)
    child = os.fork()
    if child == 0:
        with open(f"{job}/log.txt", "w") as log:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
        sys.argv[1:] = [job]
        trainer.main()  # ends the process
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0:
        with open(f"{job}/log.txt", encoding="utf-8") as log:
            raise RuntimeError("training fails: " + log.read().strip().splitlines()[-1])


def check_answers(path):
    """What the server samples with the trained model ends, and what it scores is what a plain forward pass gives."""
    import torch
    from compute import Engine, Job, Sample, ScoredText
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from chat import Chat
    chat = Chat(AutoTokenizer.from_pretrained(path))
    ids, start = chat.encode([[{"role": "user", "content": "What is 2 + 1?"}, {"role": "assistant", "content": "Add 2 and 1. Answer: 3"}]], 512, "leave-out")[0][0]
    engine = Engine("cpu", torch.float32, 1, 8, True)

    async def ask(**what):
        job = Job(asyncio.get_running_loop(), **what)
        engine.inbox.put(job)
        return await job.future

    async def all_of_it():
        await ask(call=lambda: engine.load(path, "x"))
        sample, text = Sample(ids[:start], 40, 0.0, 0, 1.0, [], 0), ScoredText(ids, start)
        await ask(samples=[sample])
        await ask(texts=[text])
        return sample.out, text.logprobs

    out, logprobs = asyncio.run(all_of_it())
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
    with torch.no_grad():
        plain = model(torch.tensor([ids])).logits[0, start - 1:-1].log_softmax(-1)
        greedy, text = [], ids[:start]
        for _ in range(len(out)):
            greedy.append(int(model(torch.tensor([text + greedy])).logits[0, -1].argmax()))
    wanted = plain[range(len(ids) - start), ids[start:]]
    if (worst := float((wanted - torch.tensor(logprobs)).abs().max())) > 1e-3:
        raise RuntimeError(f"scores are off by up to {worst:.4f} nats.")
    if greedy != out:
        raise RuntimeError(f"samples differ from those of a plain forward pass, at token {next(i for i, pair in enumerate(zip(greedy, out)) if pair[0] != pair[1])}.")


def in_child(work):
    """Its outcome: ok, or one sentence."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        try:
            work()
            said = "ok"
        except Exception as problem:
            traceback.print_exc()
            said = f"{type(problem).__name__}: {problem}" if type(problem) is not RuntimeError else str(problem)
        os.write(write, said.encode()[:1000])
        os._exit(0)
    os.close(write)
    said = os.fdopen(read).read()
    os.waitpid(child, 0)
    return " ".join(said.split()) or "it ended without a word."


def main():
    command, *args = sys.argv[1:]
    if command != "try":
        print(json.dumps([{"name": name, "tokenizer": tokens, "template": template} for name, (_, _, tokens, template) in FAMILIES.items()]))
        return
    import torch
    import trainer  # noqa: F401 imports for all children
    import transformers
    from transformers import Trainer  # noqa: F401
    torch.set_num_threads(1)
    transformers.utils.logging.disable_progress_bar()
    folder, *names = args
    for name in names or FAMILIES:
        path = os.path.join(folder, folder_name(name))
        outcome = in_child(lambda: (make(path, *FAMILIES[name]), train(path, f"{path}.job"), check_answers(f"{path}.job/model")))
        print(json.dumps({"name": name, "folder": path, "outcome": outcome}), flush=True)


def folder_name(name):
    return "".join(character if character.isalnum() else "-" for character in name.lower())


if __name__ == "__main__":
    main()
