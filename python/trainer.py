"""Trainer: one fine-tuning job.  Usage: python trainer.py JOB_DIR   (many GPUs: accelerate launch ... trainer.py JOB_DIR)

Reads JOB_DIR/spec.json and the rows that it names. Writes state.json and progress.json (by rename), steps.jsonl (a line per
step), pulse (changes while there is progress), checkpoints/, and at the end model/ and result.json: if they exist, they are
complete. The caller redirects the output to log.txt. Started again in the same folder, it resumes from the newest complete checkpoint; in deterministic mode the weights
are then, byte for byte, those of an undisturbed run. One trainer per folder, ensured by a lock on JOB_DIR/lock,
and where a file system's locks do not reach other hosts by state.json: who finds another trainer's name there stops.
The loss is on the last message of a row and its end-of-turn, averaged over these tokens of the effective batch.
"tokens" counts the tokens of the rows, prompt and reply, without padding; leftOut and cut, the rows that maxLength affected.
chat.py says in which form a row is trained on; optimizer.py is used for weights in bf16.
Exit: 0 done, 2 bad spec, data or model (do not retry), 3 locked, 4 out of memory, 5 disk full, 6 the file system has no locks,
7 disk read-only, 75 stopped by SIGTERM or SIGINT (start again; state.json still says running), 1 anything else. `accelerate
launch` turns all of these into 1: then state.json has the reason. Knows nothing of Temporal, rounds or selectors. Never runs
code from a model folder."""

import errno
import fcntl
import gc
import json
import math
import os
import shutil
import signal
import socket
import sys
import threading
import time
import traceback

# Set before anything of Hugging Face is imported: a job uses no network, whatever a model folder names.
os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", TOKENIZERS_PARALLELISM="false")

import jobfolder
from chat import BadTemplate, Chat
from folder import check_loaded, companions, model_digest, model_files
from jobfolder import JobError, read_json, sync, sync_all, write_json

STARTED = time.monotonic()
HOST = os.environ.get("SRLM_HOST") or socket.gethostname()
RANK, WORLD = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
# For longer rows, writing out eager attention's matrix costs more than its faster backward pass saves (CPU).
EAGER_MAX_TOKENS = 512
STOP_WITHIN_SECONDS = 20
PULSE_SECONDS = 5


class Pulse:
    """Changes JOB_DIR/pulse while the trainer makes progress: each part of a micro-batch, and each second of processor time
    while it reads, encodes, loads or saves. Within the steps processor time counts on a CPU only: a thread that waits for a
    GPU, or for another process, may keep a core busy for ever."""

    def __init__(self, job):
        self.path, self.parts, self.timed = f"{job}/pulse", 0, True

    def start(self):
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        written = None
        while True:
            mark = f"{self.parts} {int(time.process_time()) if self.timed else 0}"
            if mark != written:
                try:
                    with open(self.path, "w", encoding="utf-8") as file:
                        file.write(mark)
                    written = mark
                except OSError:  # a full disk, which stops the training where it matters
                    pass
            time.sleep(PULSE_SECONDS)


def say(text):
    if RANK == 0:
        print(text, flush=True)


def encode(rows, tokenizer, spec):
    """(examples, rows left out, rows cut)"""
    try:
        examples, left_out, cut = Chat(tokenizer).encode(rows, spec["maxLength"], spec["overlong"])
    except BadTemplate as problem:
        raise JobError("bad-model", f"{spec['baseModel']}: its chat template {problem}") from None
    if left_out:
        say(f"{left_out} of {len(rows)} rows are left out: their replies do not fit maxLength {spec['maxLength']}.")
    if cut:
        say(f"{cut} of {len(rows)} rows were cut at the beginning: they are longer than maxLength {spec['maxLength']}.")
    if not examples:
        raise JobError("bad-data", f"no reply of the {len(rows)} rows fits maxLength {spec['maxLength']}; raise it, or set training.overlong to keep-end.")
    return examples, left_out, cut


def choose_precision(spec, device, torch):
    """(precision, why). bf16: model in bf16, optimizer in fp32; bf16-autocast: weights in fp32, matrix products in bf16."""
    if spec["precision"] != "auto":
        return spec["precision"], "set in the spec"
    if device == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        able = torch.cpu.get_capabilities()
        fast = bool(able.get("avx512_bf16") or able.get("amx_bf16") or able.get("bf16"))
    if not fast:
        return "fp32", f"this {device} has no bf16 arithmetic"
    if spec["method"] == "lora":
        return "bf16", "the base is frozen and may be bf16; the adapter's own weights are fp32"
    return "bf16", "weights and gradients are bf16, the optimizer's master weights and moments fp32"


def load_model(spec, precision, attention, torch):
    """(model, its dtype on disk)"""
    from transformers import AutoConfig, AutoModelForCausalLM
    try:
        config = AutoConfig.from_pretrained(spec["baseModel"], trust_remote_code=False, local_files_only=True)
        config._attn_implementation = attention  # set here, because as an argument it yields to the folder's choice, which may be code of the hub
        model, loaded = AutoModelForCausalLM.from_pretrained(spec["baseModel"], config=config, dtype="auto", use_safetensors=True,
                                                             trust_remote_code=False, local_files_only=True, output_loading_info=True)
        check_loaded(loaded)
    except (ValueError, KeyError, ImportError) as problem:
        raise JobError("bad-model", f"{spec['baseModel']} cannot be loaded: {problem}") from None
    base_dtype = model.dtype
    model.to(torch.bfloat16 if precision == "bf16" else torch.float32)
    if spec["method"] == "lora":
        from peft import LoraConfig, get_peft_model
        lora = spec["lora"]
        try:
            model = get_peft_model(model, LoraConfig(r=lora["r"], lora_alpha=lora["alpha"], lora_dropout=lora["dropout"],
                                                     target_modules=lora["targetModules"], task_type="CAUSAL_LM"))
        except ValueError as problem:
            raise JobError("bad-spec", f"spec.json lora: {problem}") from None
    return model, base_dtype


def stop_if_taken(job):
    if RANK == 0 and jobfolder.is_taken(job, os.getpid(), HOST):
        print(f"Another trainer has taken over {job}, although this one has its lock.", file=sys.stderr, flush=True)
        os._exit(3)


def train(job, spec, attempt, stop, set_state, pulse):
    """Trains, and writes model/ and .result.json. Returns False if it was stopped before the end."""
    rows = jobfolder.read_rows(job, spec)
    jobfolder.check_base(spec)
    if spec["threads"]:
        os.environ["OMP_NUM_THREADS"] = str(spec["threads"])

    gc.disable()  # during the imports it finds nothing, and takes a sixth of their time
    import torch  # not at the top: these imports take seconds, and a bad spec should be reported at once
    import transformers
    from transformers import AutoTokenizer, PrinterCallback, Trainer, TrainerCallback, TrainingArguments

    from optimizer import MasterAdamW
    gc.enable()

    transformers.utils.logging.disable_progress_bar()
    if spec["threads"]:
        torch.set_num_threads(spec["threads"])
    device = spec["device"] if spec["device"] != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise JobError("bad-spec", "spec.json device: cuda, but PyTorch sees no CUDA device here.")
    precision, why = choose_precision(spec, device, torch)

    tokenizer = AutoTokenizer.from_pretrained(spec["baseModel"], local_files_only=True, trust_remote_code=False)
    examples, left_out, cut = encode(rows, tokenizer, spec)
    lengths = [len(ids) for ids, _ in examples]
    order = jobfolder.training_order(lengths, spec["epochs"], spec["batchSize"], spec["seed"])
    tokens_S = [sum(lengths[row] for row in order[at: at + spec["batchSize"]]) for at in range(0, len(order), spec["batchSize"])]
    attention = "eager" if device == "cpu" and max(lengths) <= EAGER_MAX_TOKENS else "sdpa"
    transformers.set_seed(spec["seed"])  # before an adapter draws its initial weights
    model, base_dtype = load_model(spec, precision, attention, torch)
    use_cache = model.config.use_cache  # Trainer disables it, which would make the saved model slow to sample from
    say(f"{len(examples)} rows, {len(tokens_S)} steps, {sum(tokens_S)} tokens; {device}, {torch.get_num_threads()} threads, {attention} attention")
    say(f"precision {precision}: {why}")
    if (largest := max(max(ids) for ids, _ in examples)) >= (vocabulary := model.get_input_embeddings().num_embeddings):
        raise JobError("bad-model", f"the tokenizer gives token {largest}, and the model has {vocabulary}.")

    def collate(batch):
        width = max(len(ids) for ids, _ in batch)
        return {
            "input_ids": torch.tensor([ids + [0] * (width - len(ids)) for ids, _ in batch]),  # a tokenizer's pad token may be unknown to the model
            "attention_mask": torch.tensor([[1] * len(ids) + [0] * (width - len(ids)) for ids, _ in batch]),
            "labels": torch.tensor([[-100] * start + ids[start:] + [-100] * (width - len(ids)) for ids, start in batch]),
        }

    class CompletionTrainer(Trainer):
        """transformers' Trainer, with the output layer applied only at the positions that predict a reply. A hook on that
        layer does this, so that the model's own forward runs, within whatever accelerate has wrapped around it."""

        loss_is_scaled_for_ga = True
        wanted_BT = None

        def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
            pulse.parts += 1
            labels_BT = inputs.pop("labels")[:, 1:]
            self.wanted_BT = labels_BT != -100
            logits_NV = model(**inputs, use_cache=False).logits
            total = torch.nn.functional.cross_entropy(logits_NV.float(), labels_BT[self.wanted_BT], reduction="sum")
            # num_items counts the whole effective batch of all processes, whose gradients are then averaged.
            return total * WORLD / num_items_in_batch

        def only_wanted(self, layer, args):
            pulse.parts += 1
            return (args[0][:, :-1][self.wanted_BT],)

        def _save_checkpoint(self, model, trial):
            pulse.timed = True
            stop_if_taken(job)
            super()._save_checkpoint(model, trial)
            self.accelerator.wait_for_everyone()  # each process writes its random state
            stop_if_taken(job)
            if RANK == 0:
                step = self.state.global_step
                jobfolder.complete_checkpoint(f"{job}/checkpoints/checkpoint-{step}", spec, step, round(spent(), 1))
                say(f"checkpoint at step {step}")
            pulse.timed = device == "cpu"

    class Watch(TrainerCallback):
        """Writes steps and progress; decides, identically on all processes, when to save and when to stop."""

        saved = begun = shown = done = 0

        def on_train_begin(self, args, state, control, **_):
            self.saved = self.begun = time.monotonic()
            stop["soon"] = True
            pulse.timed = device == "cpu"

        def on_step_end(self, args, state, control, **_):
            pulse.parts += 1
            step, every = state.global_step, spec["checkpoint"]
            late = time.monotonic() - self.saved >= 60 * every["everyMinutes"]
            halt = stop["asked"]
            if WORLD > 1:  # only some of them may have received the signal, and clocks differ
                halt, late = (trainer.accelerator.reduce(torch.tensor([float(halt), float(late)], device=args.device)) > 0).tolist()
            if step == len(tokens_S):
                return  # the model itself is saved next
            if halt or late or (every["everySteps"] and step % every["everySteps"] == 0):
                signal.alarm(0)
                control.should_save, self.saved = True, time.monotonic()
            control.should_training_stop = halt

        def on_log(self, args, state, control, logs=None, **_):
            if "loss" not in logs:
                return
            step, loss = state.global_step, logs["loss"]
            if not math.isfinite(loss):
                raise RuntimeError(f"the loss is {loss} at step {step}; a lower learning rate may help.")
            if RANK != 0:
                return
            with open(f"{job}/steps.jsonl", "a", encoding="utf-8") as file:
                file.write(json.dumps({"step": step, "attempt": attempt, "pid": os.getpid(), "loss": loss,
                                       "lr": logs["learning_rate"], "tokens": tokens_S[step - 1]}) + "\n")
            self.done += tokens_S[step - 1]
            if time.monotonic() - self.shown < 0.5 and step < len(tokens_S):
                return  # a GPU may do many steps a second, and writing a progress file waits for the disk
            self.shown = time.monotonic()
            speed = self.done / (self.shown - self.begun)
            left = sum(tokens_S[step:]) / speed
            write_json(f"{job}/progress.json", {
                "step": step, "totalSteps": len(tokens_S), "loss": loss, "tokens": sum(tokens_S[:step]), "seconds": round(spent(), 1)})
            say(f"step {step}/{len(tokens_S)}  loss {loss:.4f}  {speed:.0f} tokens/s  {left:.0f} s left")

    # transformers rounds up, and the first step of a warm-up has a rate of 0: a job of one or two steps would learn nothing.
    warmup = spec["warmupRatio"] if len(tokens_S) * spec["warmupRatio"] >= 1 else 0
    arguments = TrainingArguments(
        output_dir=f"{job}/checkpoints", num_train_epochs=1, train_sampling_strategy="sequential",
        per_device_train_batch_size=spec["microBatchSize"],
        gradient_accumulation_steps=spec["batchSize"] // (spec["microBatchSize"] * WORLD),
        learning_rate=spec["learningRate"], warmup_steps=warmup, weight_decay=spec["weightDecay"],
        lr_scheduler_type="constant_with_warmup" if spec["schedule"] == "constant" else spec["schedule"],
        adam_beta1=spec["adamBetas"][0], adam_beta2=spec["adamBetas"][1], max_grad_norm=spec["maxGradNorm"],
        optim="adamw_torch_fused", bf16=precision == "bf16-autocast", use_cpu=device == "cpu",
        activation_checkpointing=spec["gradientCheckpointing"], seed=spec["seed"], full_determinism=spec["deterministic"],
        save_strategy="no", logging_strategy="steps", logging_steps=1, logging_nan_inf_filter=False, disable_tqdm=True,
        report_to="none", remove_unused_columns=False, dataloader_pin_memory=device == "cuda")
    # DeepSpeed keeps master weights of its own.
    has_master = precision == "bf16" and spec["method"] == "full" and os.environ.get("ACCELERATE_USE_DEEPSPEED") != "true"
    master = {"lr": spec["learningRate"], "betas": tuple(spec["adamBetas"]), "eps": arguments.adam_epsilon}
    arguments._n_gpu = min(arguments.n_gpu, 1)  # otherwise Trainer spreads one process over all GPUs, which is accelerate's job
    trainer = CompletionTrainer(model=model, args=arguments, data_collator=collate,
                                train_dataset=[examples[row] for row in order], callbacks=[Watch()],
                                optimizer_cls_and_kwargs=(MasterAdamW, master) if has_master else None)
    trainer.model_accepts_loss_kwargs = True  # makes Trainer count the reply tokens of the effective batch
    trainer.remove_callback(PrinterCallback)
    model.get_output_embeddings().register_forward_pre_hook(trainer.only_wanted)

    def damaged(folder):
        say(f"{os.path.basename(folder)} is damaged and is not used.")
    step, checkpoint, marker = jobfolder.newest_intact(f"{job}/checkpoints", spec, damaged) or (None, None, {"seconds": 0})
    # Includes the work after the checkpoint, which is repeated: its time was spent.
    earlier = max(marker["seconds"], (read_json(f"{job}/progress.json") or {}).get("seconds", 0))
    spent = lambda: earlier + time.monotonic() - STARTED
    if checkpoint:
        say(f"resuming from the checkpoint at step {step}")
    set_state("running")
    trainer.train(resume_from_checkpoint=checkpoint)
    pulse.timed = True
    if trainer.state.global_step < len(tokens_S):
        return False

    sharded = trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled
    weights = trainer.accelerator.get_state_dict(trainer.model_wrapped) if sharded else None  # all processes take part
    if RANK != 0:
        return True
    model = trainer.accelerator.unwrap_model(trainer.model_wrapped)
    if spec["method"] == "lora":
        model = model.merge_and_unload()
    if not sharded and model.dtype != base_dtype:
        say(f"trained in {str(model.dtype)[6:]}, saved in the base model's {str(base_dtype)[6:]}")
        model.to(base_dtype)
    model.config.use_cache = use_cache
    stop_if_taken(job)
    partial = f"{job}/.model.partial"
    shutil.rmtree(partial, ignore_errors=True)
    model.save_pretrained(partial, state_dict=weights)
    for name in companions(spec["baseModel"]):  # copied: files that training does not change must stay the same
        os.makedirs(os.path.dirname(f"{partial}/{name}"), exist_ok=True)
        shutil.copyfile(f"{spec['baseModel']}/{name}", f"{partial}/{name}")
    sync_all(partial)
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    stop_if_taken(job)
    jobfolder.write_sealed(f"{job}/.result.json", {
        "key": spec["key"], "sha256": model_digest(partial), "bytes": sum(os.path.getsize(f"{partial}/{name}") for name in model_files(partial)),
        "steps": len(tokens_S), "trainLoss": sum(losses) / len(losses), "tokens": sum(tokens_S),
        "seconds": round(spent(), 1), "precision": f"{precision}, optimizer fp32" if has_master else precision,
        "leftOut": left_out, "cut": cut})
    os.rename(partial, f"{job}/model")
    sync(job)
    return True


def classify(problem):
    """(exit code, error type, message) of whatever ended the job."""
    text = f"{type(problem).__name__}: {problem}"
    if isinstance(problem, JobError):
        return 2, *problem.args
    if isinstance(problem, MemoryError) or any(sign in text.lower() for sign in ("out of memory", "can't allocate memory", "bad_alloc", "status_alloc_failed")):
        return 4, "out-of-memory", f"Out of memory; a smaller microBatchSize or maxLength, or gradientCheckpointing, needs less. {text}"
    full = isinstance(problem, OSError) and problem.errno in (errno.ENOSPC, errno.EDQUOT)
    if full or any(sign in text for sign in ("No space left", "PytorchStreamWriter", "inline_container")):
        return 5, "disk-full", f"The disk is full. {text}"
    if isinstance(problem, OSError) and problem.errno == errno.EROFS:
        return 7, "disk-read-only", f"The disk is read-only. {text}"
    return 1, "other", text


def main():
    if len(sys.argv) != 2 or not os.path.isdir(sys.argv[1]):
        print(__doc__, file=sys.stderr)
        sys.exit(2)
    job = os.path.abspath(sys.argv[1])
    stop = {"asked": False, "soon": False}  # soon: at the end of the step, with a checkpoint; otherwise at once

    def on_signal(*_):
        stop["asked"] = True
        if not stop["soon"]:
            os._exit(75)
        signal.alarm(STOP_WITHIN_SECONDS)  # a step may take longer than the caller waits

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    signal.signal(signal.SIGALRM, lambda *_: os._exit(75))

    if RANK == 0:
        lock = open(f"{job}/lock", "a")  # held open, and so locked, until the process ends
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"Another trainer is running in {job}.", file=sys.stderr)
            sys.exit(3)
        except OSError as problem:  # nothing else is written: another trainer may be at work
            print(f"{job} cannot be locked: {problem.strerror}.", file=sys.stderr)
            sys.exit(6)
    pulse = Pulse(job)
    if RANK == 0:
        pulse.start()
    before = read_json(f"{job}/state.json")
    before = before if isinstance(before, dict) else {}
    attempt = before.get("attempt", 0) + 1
    state = {"state": "starting", "pid": os.getpid(), "host": HOST, "attempt": attempt, "error": None}

    def set_state(name, **more):
        state.update(state=name, **more)
        if RANK == 0:
            write_json(f"{job}/state.json", state)

    # Waiting threads should sleep: spinning halves the speed as soon as another program needs a core.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    spec = None
    try:
        if not os.path.isdir(f"{job}/model"):
            set_state("starting")
            jobfolder.drop_cut_line(f"{job}/steps.jsonl")
            spec = jobfolder.read_spec(job, WORLD)
            if RANK == 0:
                def drop(folder):
                    say(f"{os.path.basename(folder)} is incomplete and is deleted.")
                    jobfolder.delete_checkpoint(folder)
                jobfolder.find_checkpoints(f"{job}/checkpoints", spec, on_incomplete=drop)
            if not train(job, spec, attempt, stop, set_state, pulse):
                say("stopped, with a checkpoint")
                os._exit(75)
        if RANK == 0:
            if os.path.exists(f"{job}/.result.json"):  # written before model/ appeared
                os.rename(f"{job}/.result.json", f"{job}/result.json")
                sync(job)
            if before.get("state") != "done":
                set_state("done")
            shutil.rmtree(f"{job}/checkpoints", ignore_errors=True)
    except Exception as problem:
        code, kind, message = classify(problem)

        def make_room():  # deletes half-written files, so that state.json can be written
            if kind == "disk-full" and spec and RANK == 0:
                shutil.rmtree(f"{job}/.model.partial", ignore_errors=True)
                jobfolder.find_checkpoints(f"{job}/checkpoints", spec, on_incomplete=jobfolder.delete_checkpoint)

        # The log is on the full disk, too: what cannot be written must not prevent the rest; the exit code gives the reason.
        for act in (make_room, lambda: set_state("failed", error={"type": kind, "message": message}),
                    lambda: code != 2 and traceback.print_exception(problem), lambda: print(message, file=sys.stderr, flush=True)):
            try:
                act()
            except OSError:
                pass
        os._exit(code)
    os._exit(0)  # at once: shutting PyTorch down takes a second


if __name__ == "__main__":
    main()
