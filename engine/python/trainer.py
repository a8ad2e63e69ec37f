"""Trainer: one fine-tuning job.  Usage: python trainer.py JOB_DIR   (many GPUs: accelerate launch ... trainer.py JOB_DIR)

Reads JOB_DIR/spec.json and the rows it names. Writes state.json, progress.json (by rename), steps.jsonl (a line a step),
checkpoints/, and at the end model/ and result.json: if they exist, they are complete. log.txt is the caller's redirect.
Started again in the same folder it goes on from the newest complete checkpoint; in deterministic mode the weights are then,
byte for byte, those of an undisturbed run. One trainer a folder, held by a lock on JOB_DIR/lock.
The loss is on the last message of a row and its end-of-turn, averaged over these tokens of the effective batch.
"tokens" counts the tokens of the rows, prompt and reply, without padding.
Exit: 0 done, 2 bad spec, data or model (do not retry), 3 locked, 4 out of memory, 75 stopped by SIGTERM or SIGINT (start
again; state.json still says running), 1 anything else. Under `accelerate launch` the launcher makes 1 of all of these:
then state.json tells. Knows nothing of Temporal, rounds or selectors. Never runs code that a model folder brings."""

import errno
import fcntl
import hashlib
import json
import math
import os
import random
import shutil
import signal
import socket
import sys
import time
import traceback
from datetime import datetime, timezone

from folder import check_model_folder, model_digest

STARTED = time.monotonic()
RANK, WORLD = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
# Beyond these the attention matrix that eager attention writes out costs more than its cheaper backward saves (CPU only).
EAGER_MAX_TOKENS = 512
# bf16 keeps 8 bits of a number: AdamW moves a weight by about the learning rate, and weights of a usual size (0.02 to 0.1)
# round a step of less than about 1e-4 away.
BF16_MIN_LEARNING_RATE = 1e-4
STOP_WITHIN_SECONDS = 20
COPIED = ("tokenizer", "special_tokens_map", "added_tokens", "chat_template", "vocab", "merges", "licen", "notice")


class Refused(Exception):
    """Something the caller must mend: (error type, sentence). A retry would fail in the same way."""


def say(text):
    if RANK == 0:
        print(text, flush=True)


def now():
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def sync_folder(path):
    handle = os.open(path, os.O_RDONLY)
    os.fsync(handle)
    os.close(handle)


def write_json(path, value):
    scratch = os.path.join(os.path.dirname(path), f".{os.path.basename(path)}.{os.getpid()}")
    with open(scratch, "w", encoding="utf-8") as file:
        file.write(json.dumps(value) + "\n")
        file.flush()
        os.fsync(file.fileno())
    os.rename(scratch, path)


def read_json(path):
    """The file's value, or None if it is not there or not JSON."""
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except (FileNotFoundError, ValueError):
        return None


# ---- spec and rows ------------------------------------------------------------------------------------------------


def number(low, high=math.inf, whole=False, null=False):
    kind = (int,) if whole else (int, float)
    return lambda v: (null and v is None) or (isinstance(v, kind) and not isinstance(v, bool) and low <= v <= high)


def among(*values):
    return lambda v: v in values


SPEC = {
    "baseModel": lambda v: isinstance(v, str) and os.path.isabs(v),
    "baseModelSha256": lambda v: isinstance(v, str) and len(v) == 64,
    "data": lambda v: isinstance(v, str) and not os.path.isabs(v) and ".." not in v.split("/"),
    "dataSha256": lambda v: isinstance(v, str) and len(v) == 64,
    "method": among("full", "lora"),
    "lora": lambda v: v is None or isinstance(v, dict),
    "epochs": lambda v: number(0)(v) and v > 0,
    "batchSize": number(1, whole=True),
    "microBatchSize": number(1, whole=True),
    "learningRate": number(0, 1),
    "schedule": among("linear", "cosine", "constant"),
    "warmupRatio": lambda v: number(0, 1)(v) and v < 1,
    "weightDecay": number(0, 1),
    "adamBetas": lambda v: isinstance(v, list) and len(v) == 2 and all(number(0, 1)(b) and b < 1 for b in v),
    "maxGradNorm": number(0),
    "maxLength": number(2, whole=True),
    "precision": among("auto", "bf16", "fp32", "bf16-autocast"),
    "gradientCheckpointing": among(True, False),
    "seed": number(0, 2**32 - 1, whole=True),
    "deterministic": among(True, False),
    "device": among("auto", "cpu", "cuda"),
    "threads": number(1, whole=True, null=True),
    "checkpoint": lambda v: isinstance(v, dict)
    and number(1, whole=True, null=True)(v.get("everySteps"))
    and number(0, null=True)(v.get("everyMinutes"))
    and number(1, whole=True)(v.get("keep")),
}
LORA = {
    "r": number(1, whole=True),
    "alpha": number(0),
    "dropout": number(0, 1),
    "targetModules": lambda v: v == "all-linear" or (isinstance(v, list) and v and all(isinstance(m, str) for m in v)),
}


def read_spec(job):
    spec = read_json(f"{job}/spec.json")
    if not isinstance(spec, dict) or spec.get("version") != 1:
        raise Refused("bad-spec", "spec.json is missing, not JSON, or not of version 1.")
    lora = spec.get("lora") if spec.get("method") == "lora" else None
    if spec.get("method") == "lora" and not isinstance(lora, dict):
        raise Refused("bad-spec", "spec.json lora: method lora needs r, alpha, dropout and targetModules.")
    for fields, values, prefix in ((SPEC, spec, ""), (LORA if lora else {}, lora or {}, "lora.")):
        for field, fits in fields.items():
            if field not in values or not fits(values[field]):
                raise Refused("bad-spec", f"spec.json {prefix}{field}: {json.dumps(values.get(field))} is not allowed.")
    if spec["batchSize"] % (spec["microBatchSize"] * WORLD):
        raise Refused("bad-spec", f"spec.json batchSize: {spec['batchSize']} is not a multiple of microBatchSize"
                      f" {spec['microBatchSize']} x {WORLD} processes.")
    return spec


def read_rows(job, spec):
    """The rows' conversations. Raises Refused at the first row that cannot be trained on."""
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
            messages = json.loads(text)["messages"]
            fits = messages[-1]["role"] == "assistant" and len(messages) > 1
            fits = fits and all(isinstance(m["content"], str) and isinstance(m["role"], str) for m in messages)
        except (ValueError, KeyError, TypeError, IndexError):
            fits = False
        if not fits:
            raise Refused("bad-data", f"{spec['data']}:{line}: expected messages of role and content, the last by the assistant.")
        rows.append([{"role": m["role"], "content": m["content"]} for m in messages])
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


def encode(rows, tokenizer, max_length):
    """[(token ids, where the reply begins)]. Prompt and reply are encoded apart, as they are when the model is sampled."""
    prompts, replies = [], []
    for messages in rows:
        prompt = tokenizer.apply_chat_template(messages[:-1], tokenize=False, add_generation_prompt=True)
        whole = tokenizer.apply_chat_template(messages, tokenize=False)
        if not whole.startswith(prompt):
            raise Refused("bad-model", "the chat template does not put the prompt for a reply before the reply.")
        prompts.append(prompt)
        replies.append(whole[len(prompt):].rstrip())  # what follows the end-of-turn is never sampled
    ids = lambda texts: tokenizer(texts, add_special_tokens=False)["input_ids"]
    examples, cut = [], 0
    for prompt, reply in zip(ids(prompts), ids(replies)):
        cut += len(prompt) + len(reply) > max_length
        reply = reply[: max_length - 1]
        prompt = prompt[-(max_length - len(reply)):]
        examples.append((prompt + reply, len(prompt)))
    if cut:
        say(f"{cut} of {len(rows)} rows are longer than {max_length} tokens: their prompts lost their beginnings.")
    return examples


def training_order(lengths, epochs, batch, seed):
    """Row numbers, epoch after epoch, so that each `batch` of them in a row are of similar length. It depends on the seed
    alone, and the trainer sees it as one long epoch: to resume is to skip."""
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


# ---- checkpoints --------------------------------------------------------------------------------------------------


def identity(spec):
    """Digest of what decides the weights. The rest may change between two starts, as after an out-of-memory."""
    free = ("microBatchSize", "gradientCheckpointing", "threads", "checkpoint")
    return hashlib.sha256(json.dumps({k: v for k, v in sorted(spec.items()) if k not in free}).encode()).hexdigest()


def file_sizes(folder):
    return {name: os.path.getsize(f"{folder}/{name}") for name in sorted(os.listdir(folder)) if name != "complete.json"}


def delete_checkpoint(path):
    # The marker goes first: half a checkpoint must not look like a whole one.
    if os.path.exists(f"{path}/complete.json"):
        os.remove(f"{path}/complete.json")
    shutil.rmtree(path)


def complete_checkpoints(job, spec, clean=False):
    """[(step, path, marker)], oldest first. With `clean`, deletes all others: cut off, truncated or of another spec."""
    found, root = [], f"{job}/checkpoints"
    for name in os.listdir(root) if os.path.isdir(root) else []:
        path = f"{root}/{name}"
        marker = read_json(f"{path}/complete.json")
        if marker and marker["identity"] == identity(spec) and marker["files"] == file_sizes(path):
            found.append((marker["step"], path, marker))
        elif clean:
            say(f"{name} is not complete and is deleted.")
            delete_checkpoint(path)
    return sorted(found)


# ---- the training itself ------------------------------------------------------------------------------------------


def choose_precision(spec, device, torch):
    """(precision, why). bf16: weights and all in bf16; bf16-autocast: weights in fp32, matrix products in bf16."""
    if spec["precision"] != "auto":
        return spec["precision"], "the spec asks for it"
    if device == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        able = torch.cpu.get_capabilities()
        fast = bool(able.get("avx512_bf16") or able.get("amx_bf16") or able.get("bf16"))
    if not fast:
        return "fp32", f"this {device} has no bf16 arithmetic"
    if spec["method"] == "lora":
        return "bf16", "the base is frozen and may be bf16; the adapter's own weights are fp32"
    rate = f"learning rate {spec['learningRate']:g}"
    if spec["learningRate"] >= BF16_MIN_LEARNING_RATE:
        return "bf16", f"{rate} is at least {BF16_MIN_LEARNING_RATE:g}, so bf16 weights keep its updates, and it is fastest"
    return "bf16-autocast", f"{rate} is small; weights kept only in bf16 lose small updates at small learning rates"


def train(job, spec, attempt, stop, set_state):
    """Trains, and leaves model/ and result.json. Returns False if it was stopped before the end."""
    rows = read_rows(job, spec)
    check_base(spec)
    if spec["threads"]:
        os.environ["OMP_NUM_THREADS"] = str(spec["threads"])

    import torch  # here, because a bad spec should be told at once, and the imports take seconds
    import transformers
    from transformers import AutoModelForCausalLM, AutoTokenizer, PrinterCallback, Trainer, TrainerCallback, TrainingArguments

    if spec["threads"]:
        torch.set_num_threads(spec["threads"])
    device = spec["device"] if spec["device"] != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise Refused("bad-spec", "spec.json device: cuda, but PyTorch sees no CUDA device here.")
    precision, why = choose_precision(spec, device, torch)

    base = spec["baseModel"]
    tokenizer = AutoTokenizer.from_pretrained(base, local_files_only=True)
    examples = encode(rows, tokenizer, spec["maxLength"])
    lengths = [len(ids) for ids, _ in examples]
    order = training_order(lengths, spec["epochs"], spec["batchSize"], spec["seed"])
    tokens_S = [sum(lengths[row] for row in order[at: at + spec["batchSize"]]) for at in range(0, len(order), spec["batchSize"])]
    attention = "eager" if device == "cpu" and max(lengths) <= EAGER_MAX_TOKENS else "sdpa"
    transformers.set_seed(spec["seed"])  # before the adapter draws its first weights
    model = AutoModelForCausalLM.from_pretrained(
        base, dtype=torch.bfloat16 if precision == "bf16" else torch.float32, attn_implementation=attention,
        use_safetensors=True, trust_remote_code=False, local_files_only=True)
    base_dtype = getattr(torch, str(read_json(f"{base}/config.json").get("dtype") or read_json(f"{base}/config.json").get("torch_dtype") or "float32").split(".")[-1])
    use_cache = model.config.use_cache  # Trainer turns it off; the model saved must not be slow to sample from
    if spec["method"] == "lora":
        from peft import LoraConfig, get_peft_model
        lora = spec["lora"]
        model = get_peft_model(model, LoraConfig(r=lora["r"], lora_alpha=lora["alpha"], lora_dropout=lora["dropout"],
                                                 target_modules=lora["targetModules"], task_type="CAUSAL_LM"))
    say(f"{len(rows)} rows, {len(tokens_S)} steps, {sum(tokens_S)} tokens; {device}, {torch.get_num_threads()} threads, {attention} attention")
    say(f"precision {precision}: {why}")

    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id or 0

    def collate(batch):
        width = max(len(ids) for ids, _ in batch)
        return {
            "input_ids": torch.tensor([ids + [pad] * (width - len(ids)) for ids, _ in batch]),
            "attention_mask": torch.tensor([[1] * len(ids) + [0] * (width - len(ids)) for ids, _ in batch]),
            "labels": torch.tensor([[-100] * start + ids[start:] + [-100] * (width - len(ids)) for ids, start in batch]),
        }

    class CompletionTrainer(Trainer):
        """transformers' Trainer; the output layer is applied where a reply is predicted, and nowhere else."""

        loss_is_scaled_for_ga = True
        wanted_BT = None

        def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
            labels_BT = inputs.pop("labels")[:, 1:]
            self.wanted_BT = labels_BT != -100
            logits_NV = model(**inputs, use_cache=False).logits
            total = torch.nn.functional.cross_entropy(logits_NV.float(), labels_BT[self.wanted_BT], reduction="sum")
            # num_items is the whole effective batch's, of all processes, whose gradients are then averaged.
            return total * WORLD / num_items_in_batch

        def only_wanted(self, layer, args):
            return (args[0][:, :-1][self.wanted_BT],)

        def _save_checkpoint(self, model, trial):
            super()._save_checkpoint(model, trial)
            self.accelerator.wait_for_everyone()  # each process writes its random state
            if RANK != 0:
                return
            step = self.state.global_step
            folder = f"{self.args.output_dir}/checkpoint-{step}"
            for name in os.listdir(folder):
                sync_folder(f"{folder}/{name}")
            write_json(f"{folder}/complete.json", {"step": step, "identity": identity(spec), "files": file_sizes(folder),
                                                   "seconds": round(spent(), 1)})
            sync_folder(folder)
            for _, old, _ in complete_checkpoints(job, spec)[: -spec["checkpoint"]["keep"]]:
                delete_checkpoint(old)
            say(f"checkpoint at step {step}")

    class Watch(TrainerCallback):
        """Writes steps and progress; decides, the same on all processes, when to save and when to stop."""

        def __init__(self):
            self.saved, self.begun, self.done, self.shown = time.monotonic(), None, 0, 0.0

        def on_train_begin(self, args, state, control, **_):
            self.begun = time.monotonic()
            stop["training"] = True

        def on_step_end(self, args, state, control, **_):
            every = spec["checkpoint"]
            due = every["everyMinutes"] is not None and time.monotonic() - self.saved >= 60 * every["everyMinutes"]
            ask = torch.tensor([float(stop["asked"]), float(due)], device=args.device)
            halt, due = (trainer.accelerator.reduce(ask, "sum") > 0).tolist() if WORLD > 1 else (stop["asked"], due)
            due = due or (every["everySteps"] and state.global_step % every["everySteps"] == 0)
            if state.global_step == len(tokens_S):  # the model itself comes next
                return control
            if halt or due:
                signal.alarm(0)
                control.should_save, self.saved = True, time.monotonic()
            control.should_training_stop = halt
            return control

        def on_log(self, args, state, control, logs=None, **_):
            if "loss" not in logs:
                return
            if not math.isfinite(logs["loss"]):
                raise RuntimeError(f"the loss is {logs['loss']} at step {state.global_step}; a lower learning rate may help")
            if RANK != 0:
                return
            step, tokens = state.global_step, tokens_S[state.global_step - 1]
            self.done += tokens
            speed = self.done / (time.monotonic() - self.begun)
            line = {"step": step, "attempt": attempt, "pid": os.getpid(), "loss": logs["loss"], "lr": logs["learning_rate"], "tokens": tokens}
            with open(f"{job}/steps.jsonl", "a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
            if time.monotonic() - self.shown < 0.5 and step < len(tokens_S):
                return  # a fast GPU does many steps a second, and each progress file is synced to the disk
            self.shown = time.monotonic()
            left = sum(tokens_S[step:]) / speed
            write_json(f"{job}/progress.json", {
                "step": step, "totalSteps": len(tokens_S), "epoch": round(step / len(tokens_S) * spec["epochs"], 3),
                "loss": logs["loss"], "tokensPerSecond": round(speed, 1), "secondsLeft": round(left, 1), "time": now()})
            say(f"step {step}/{len(tokens_S)}  loss {logs['loss']:.4f}  {speed:.0f} tokens/s  {left:.0f} s left")

    arguments = TrainingArguments(
        output_dir=f"{job}/checkpoints", num_train_epochs=1, train_sampling_strategy="sequential",
        per_device_train_batch_size=spec["microBatchSize"],
        gradient_accumulation_steps=spec["batchSize"] // (spec["microBatchSize"] * WORLD),
        learning_rate=spec["learningRate"], warmup_steps=spec["warmupRatio"], weight_decay=spec["weightDecay"],
        lr_scheduler_type="constant_with_warmup" if spec["schedule"] == "constant" else spec["schedule"],
        adam_beta1=spec["adamBetas"][0], adam_beta2=spec["adamBetas"][1], max_grad_norm=spec["maxGradNorm"],
        optim="adamw_torch_fused", bf16=precision == "bf16-autocast", use_cpu=device == "cpu",
        activation_checkpointing=spec["gradientCheckpointing"], seed=spec["seed"], full_determinism=spec["deterministic"],
        save_strategy="no", logging_strategy="steps", logging_steps=1, logging_nan_inf_filter=False, disable_tqdm=True,
        report_to="none", remove_unused_columns=False, dataloader_pin_memory=device == "cuda")
    arguments._n_gpu = min(arguments.n_gpu, 1)  # else Trainer spreads one process over all GPUs; that is accelerate's part
    trainer = CompletionTrainer(model=model, args=arguments, data_collator=collate, train_dataset=[examples[row] for row in order], callbacks=[Watch()])
    trainer.model_accepts_loss_kwargs = True  # makes Trainer count the effective batch's reply tokens
    trainer.remove_callback(PrinterCallback)
    model.get_output_embeddings().register_forward_pre_hook(trainer.only_wanted)

    checkpoints = complete_checkpoints(job, spec)
    step, checkpoint, marker = checkpoints[-1] if checkpoints else (None, None, {"seconds": 0})
    spent = lambda: marker["seconds"] + time.monotonic() - STARTED
    if checkpoint:
        say(f"goes on from the checkpoint at step {step}")
    set_state("running", resumedFromStep=step)
    trainer.train(resume_from_checkpoint=checkpoint)
    if trainer.state.global_step < len(tokens_S):
        return False

    # From here to the end takes seconds; a signal only stops it where nothing is half done.
    stop["training"] = False
    model = trainer.accelerator.unwrap_model(trainer.model_wrapped)
    state_dict = trainer.accelerator.get_state_dict(trainer.model_wrapped) if trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled else None
    if RANK != 0:
        return True
    if spec["method"] == "lora":
        model = model.merge_and_unload()
    if state_dict is None and model.dtype != base_dtype:
        say(f"trained in {str(model.dtype)[6:]}, saved in the base model's {str(base_dtype)[6:]}")
        model.to(base_dtype)
    model.config.use_cache = use_cache
    partial = f"{job}/.model.partial"
    shutil.rmtree(partial, ignore_errors=True)
    model.save_pretrained(partial, state_dict=state_dict)
    for name in os.listdir(base):  # the tokenizer's files as they are: what was not trained should not change
        if name.lower().startswith(COPIED) or name.endswith((".model", ".tiktoken")):
            shutil.copyfile(f"{base}/{name}", f"{partial}/{name}")
    for name in os.listdir(partial):
        sync_folder(f"{partial}/{name}")
    sync_folder(partial)
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    write_json(f"{job}/.result.json", {
        "sha256": model_digest(partial), "steps": len(tokens_S), "trainLoss": sum(losses) / len(losses), "tokens": sum(tokens_S),
        "seconds": round(spent(), 1), "precision": precision, "precisionWhy": why, "device": device})
    os.rename(partial, f"{job}/model")
    sync_folder(job)
    return True


# ---- the job: lock, state, exit codes -----------------------------------------------------------------------------


def classify(problem):
    """(exit code, error type, message) of whatever ended the job."""
    text = f"{type(problem).__name__}: {problem}"
    if isinstance(problem, Refused):
        return 2, problem.args[0], problem.args[1]
    if isinstance(problem, MemoryError) or any(s in text.lower() for s in ("out of memory", "can't allocate memory", "bad_alloc")):
        return 4, "out-of-memory", f"Out of memory; a smaller microBatchSize or gradientCheckpointing needs less. {text}"
    full = isinstance(problem, OSError) and problem.errno in (errno.ENOSPC, errno.EDQUOT)
    if full or "No space left" in text or "PytorchStreamWriter failed" in text:
        return 1, "disk-full", f"The disk is full. {text}"
    return 1, "other", text


def main():
    if len(sys.argv) != 2 or not os.path.isdir(sys.argv[1]):
        sys.exit(__doc__)
    job = os.path.abspath(sys.argv[1])
    stop = {"asked": False, "training": False}

    def on_signal(*_):
        stop["asked"] = True
        if not stop["training"]:
            os._exit(75)
        signal.alarm(STOP_WITHIN_SECONDS)  # a step may be too long for the caller's patience

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    signal.signal(signal.SIGALRM, lambda *_: os._exit(75))

    state = {}

    def set_state(name, error=None, **more):
        state.update(state=name, error=error, **more)
        if RANK == 0:
            write_json(f"{job}/state.json", state)

    if RANK == 0:
        lock = open(f"{job}/lock", "a")  # held open, and so locked, until the process ends
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"another trainer is at work in {job}.", file=sys.stderr)
            sys.exit(3)
    attempt = ((read_json(f"{job}/state.json") or {}).get("attempt") or 0) + 1
    state.update(pid=os.getpid(), host=socket.gethostname(), startedAt=now(), attempt=attempt, resumedFromStep=None)
    os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")  # a job never reaches for the network
    try:
        if not os.path.isdir(f"{job}/model"):
            set_state("starting")
            spec = read_spec(job)
            if RANK == 0:
                complete_checkpoints(job, spec, clean=True)
            if not train(job, spec, attempt, stop, set_state):
                say("stopped, with a checkpoint")
                os._exit(75)
        if RANK == 0 and os.path.exists(f"{job}/.result.json"):  # written before model/ came into view
            os.rename(f"{job}/.result.json", f"{job}/result.json")
            sync_folder(job)
            set_state("done")
            shutil.rmtree(f"{job}/checkpoints", ignore_errors=True)
    except Exception as problem:
        code, kind, message = classify(problem)
        if code != 2:
            traceback.print_exc()
        print(message, file=sys.stderr, flush=True)
        try:
            set_state("failed", {"type": kind, "message": message})
        except OSError:
            pass  # a full disk; the exit code still tells
        os._exit(code)
    sys.stdout.flush()
    os._exit(0)  # at once: tearing PyTorch down takes a second


if __name__ == "__main__":
    main()
