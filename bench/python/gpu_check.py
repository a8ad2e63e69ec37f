"""Do the model server and the trainer work on this machine's GPU, and how fast are they?  Usage:
    python bench/python/gpu_check.py --tokenizer MODEL_DIR --data gsm8k.jsonl [--device cuda|cpu] [--part checks|speed|all]
        [--only NAME,NAME] [--work DIR]

Makes models with random weights, which use the tokenizer and the chat template of MODEL_DIR; needs 12 GB of disk, and a GPU
of 40 GB that nobody else uses. `--device cpu` tries the script itself out, with tiny shapes and without what only a GPU has.
checks: a line each, PASS or FAIL, with the reason. speed: server and trainer beside plain loops of transformers and PyTorch,
tokens/s, for the shapes of SmolLM2-135M and Qwen2.5-1.5B. Every wait has a limit. The last line is JSON.
Exit: 0 if all checks passed; asserts no time."""

import argparse
import asyncio
import hashlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
HERE = os.path.dirname(os.path.abspath(__file__))
PROGRAMS = os.path.join(HERE, "..", "..", "python")
sys.path[:0] = [PROGRAMS, HERE]

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from compute import Engine, Job
from folder import model_digest
from sampling import Sample, pick

TOKEN = secrets.token_hex(24)
SHAPES = {
    "tiny": dict(hidden_size=64, intermediate_size=176, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2),
    "135m": dict(hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9, num_key_value_heads=3),
    "1.5b": dict(hidden_size=1536, intermediate_size=8960, num_hidden_layers=28, num_attention_heads=12, num_key_value_heads=2, vocab_size=151936),
}
parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--tokenizer", required=True)
parser.add_argument("--data", required=True)
parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
parser.add_argument("--part", default="all", choices=["checks", "speed", "all"])
parser.add_argument("--only", default="")
parser.add_argument("--work")
args = parser.parse_args()
GPU = args.device == "cuda"
LIMIT = 150 if GPU else 400  # seconds of any single wait
WORK = os.path.abspath(args.work or tempfile.mkdtemp(prefix="srlm-gpu-"))
MODELS = f"{WORK}/models"
SMALL = f"{MODELS}/{'135m' if GPU else 'tiny'}"
TINY = f"{MODELS}/tiny"
with open(args.data, encoding="utf-8") as file:
    ROWS = [json.loads(line) for _, line in zip(range(512), file)]
tokenizer = AutoTokenizer.from_pretrained(args.tokenizer, local_files_only=True)
tokenizers = threading.Lock()  # they must not be shared between threads


# ---- models, servers, jobs ----

def make_model(name, dtype=torch.float32):
    folder = f"{MODELS}/{name}"
    if os.path.exists(folder):
        return folder
    torch.manual_seed(0)
    shape = {"vocab_size": len(tokenizer), **SHAPES[name]}
    ends = dict(bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id)
    with torch.device(args.device):
        model = LlamaForCausalLM(LlamaConfig(**shape, **ends, max_position_embeddings=8192, tie_word_embeddings=True)).to(dtype)
    model.model.norm.weight.data.mul_(4)  # otherwise all tokens are about equally likely, and rounding chooses among them
    model.save_pretrained(folder + ".partial")
    for file in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(f"{args.tokenizer}/{file}", folder + ".partial")
    os.rename(folder + ".partial", folder)
    return folder


def prompt_ids(question):
    with tokenizers:
        text = tokenizer.apply_chat_template([{"role": "user", "content": question}], tokenize=False, add_generation_prompt=True)
        return tokenizer(text, add_special_tokens=False).input_ids


def texts(count):
    """[(token ids, where the answer begins)]"""
    found = []
    for row in ROWS[:count]:
        prompt = prompt_ids(row["question"])
        with tokenizers:
            found.append((prompt + tokenizer(row["answer"], add_special_tokens=False).input_ids, len(prompt)))
    return found


@contextmanager
def server(*options, program=(f"{PROGRAMS}/server.py",)):
    """A model server. Yields ask(path, body) -> (status, reply); ask.pid is its process."""
    state = tempfile.mkdtemp(prefix="server-", dir=WORK)
    command = [sys.executable, *program, "--state-dir", state, "--model-root", MODELS, *options]
    with open(f"{state}/log.txt", "w") as log:
        process = subprocess.Popen(command, env={**os.environ, "SRLM_ENGINE_TOKEN": TOKEN}, stdout=log, stderr=log)
    try:
        wait_for(lambda: os.path.exists(f"{state}/server.json") or process.poll() is not None)
        if process.poll() is not None:
            raise RuntimeError(f"the server ended with {process.returncode}: {open(f'{state}/log.txt').read()[-2000:]}")
        with open(f"{state}/server.json") as file:
            base = f"http://127.0.0.1:{json.load(file)['port']}"

        def ask(path, body):
            headers = {"content-type": "application/json", "authorization": f"Bearer {TOKEN}"}
            request = urllib.request.Request(base + path, json.dumps(body).encode(), headers)
            try:
                with urllib.request.urlopen(request, timeout=LIMIT) as reply:
                    return reply.status, json.load(reply)
            except urllib.error.HTTPError as problem:
                return problem.code, json.load(problem)

        ask.process, ask.log = process, f"{state}/log.txt"
        yield ask
    except Exception:
        with open(f"{state}/log.txt") as log:
            print(f"---- end of {state}/log.txt\n{log.read()[-3000:]}", file=sys.stderr, flush=True)
        raise
    finally:
        process.kill()
        process.wait()


def load(ask, model):
    status, reply = ask("/engine/load", {"path": model, "sha256": model_digest(model)})
    assert status == 200, reply
    return reply["model"]


def sample(ask, model, question, **more):
    body = {"model": model, "messages": [{"role": "user", "content": question}], "max_tokens": 24, **more}
    status, reply = ask("/v1/chat/completions", body)
    assert status == 200, reply
    return reply["choices"]


def scores(ask, model, given):
    body = {"model": model, "prompt": [ids for ids, _ in given], "echo": True, "logprobs": 1, "max_tokens": 0,
            "logprobs_from": [first for _, first in given]}
    status, reply = ask("/v1/completions", body)
    assert status == 200, reply
    return [torch.tensor(choice["logprobs"]["token_logprobs"][first:]) for choice, (_, first) in zip(reply["choices"], given)]


@torch.no_grad()
def plain_scores(folder, given, device, dtype):
    """What transformers computes, a text at a time."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).to(device).eval()
    found = []
    for ids, first in given:
        logits = model(torch.tensor([ids], device=device)).logits[0, first - 1:-1].float()
        found.append(logits.log_softmax(-1).gather(1, torch.tensor(ids[first:], device=device)[:, None])[:, 0].cpu())
    return found


def apart(one, other):
    return max((a - b).abs().max().item() for a, b in zip(one, other))


def job(model, name, rows=64, **more):
    folder = f"{WORK}/jobs/{name}"
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    talks = [[{"role": "user", "content": row["question"]}, {"role": "assistant", "content": row["answer"]}] for row in ROWS[:rows]]
    data = "".join(json.dumps({"messages": messages}) + "\n" for messages in talks).encode()
    spec = {
        "version": 2, "key": "0" * 64, "baseModel": model, "baseModelSha256": model_digest(model), "data": "train.jsonl",
        "dataSha256": hashlib.sha256(data).hexdigest(), "method": "full", "lora": None, "epochs": 1, "batchSize": 16, "microBatchSize": 16,
        "learningRate": 2e-4, "schedule": "linear", "warmupRatio": 0.1, "weightDecay": 0, "adamBetas": [0.9, 0.99], "maxGradNorm": 1,
        "maxLength": 512 if GPU else 48, "overlong": "leave-out", "precision": "auto", "gradientCheckpointing": False, "seed": 0, "deterministic": False, "device": args.device,
        "threads": None, "processes": 1, "checkpoint": {"everySteps": None, "everyMinutes": 10_000, "keep": 2}, **more,
    }
    for file, content in (("train.jsonl", data), ("spec.json", json.dumps(spec).encode())):
        with open(f"{folder}/{file}", "wb") as out:
            out.write(content)
    return folder


def start(folder, *launcher):
    log = open(f"{folder}/log.txt", "a")
    return subprocess.Popen([sys.executable, *launcher, f"{PROGRAMS}/trainer.py", folder], stdout=log, stderr=log, start_new_session=True)


def train(folder, *launcher):
    """(exit code, state.json, losses)"""
    process = start(folder, *launcher)
    try:
        code = process.wait(LIMIT)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    with open(f"{folder}/state.json") as file:
        return code, json.load(file), losses(folder)


def done(folder, *launcher):
    code, state, found = train(folder, *launcher)
    assert code == 0, (code, state["error"], open(f"{folder}/log.txt").read()[-1500:])
    return found


def differ(one, other):
    """The largest difference of two curves of losses, as a share."""
    assert len(one) == len(other), (one, other)
    return max(abs(a - b) / b for a, b in zip(one, other))


def losses(folder):
    """The last loss of each step: those after a checkpoint are repeated."""
    if not os.path.exists(f"{folder}/steps.jsonl"):
        return []
    with open(f"{folder}/steps.jsonl") as file:
        last = {step["step"]: step["loss"] for step in map(json.loads, file)}
    return [last[step] for step in sorted(last)]


def result(folder):
    with open(f"{folder}/result.json") as file:
        return json.loads(json.load(file)["content"])


def wait_for(met, limit=LIMIT):
    until = time.monotonic() + limit
    while not met():
        if time.monotonic() > until:
            raise TimeoutError(f"not met within {limit} s")
        time.sleep(0.05)


def used_memory():
    free, whole = torch.cuda.mem_get_info()
    return (whole - free) / 1e9


@contextmanager
def ballast(leave):
    """Another program takes the memory of the GPU, except `leave` GB."""
    torch.cuda.empty_cache()
    held = torch.empty(int(torch.cuda.mem_get_info()[0] - leave * 1e9), dtype=torch.uint8, device="cuda")
    try:
        yield
    finally:
        del held
        torch.cuda.empty_cache()


def run_job(engine, **parts):
    async def work():
        job = Job(asyncio.get_running_loop(), **parts)
        engine.inbox.put(job)
        await job.future
    asyncio.run(asyncio.wait_for(work(), LIMIT))


def run_samples(engine, samples):
    run_job(engine, samples=samples)
    return [row.out for row in samples]


def engine_of(folder, device):
    engine = Engine(device, torch.float32, 4, 256, False)
    run_job(engine, call=lambda: engine.load(folder, "x"))
    return engine


# ---- checks; each returns a sentence, and raises where something is wrong ----

def server_float32():
    """samples, stops, scores and swaps models in float32"""
    given = texts(12)
    with server("--device", args.device, "--dtype", "float32") as ask:
        model = load(ask, SMALL)
        question = ROWS[0]["question"]
        drawn = [sample(ask, model, question, n=4, seed=7, temperature=0.7, **more) for more in ({"top_k": 20}, {}, {"top_p": 0.9})]
        again = [sample(ask, model, question, n=4, seed=7, temperature=0.7, **more) for more in ({"top_k": 20}, {}, {"top_p": 0.9})]
        assert drawn == again, "the same seeds give other replies"
        replies = [choice["message"]["content"] for choice in drawn[0]]
        assert len(set(replies)) == 4 and all(choice["finish_reason"] in ("length", "stop") for choice in drawn[0]), drawn
        assert all(choice["completion_tokens"] <= 24 for one in drawn for choice in one)
        mark = replies[0][len(replies[0]) // 2:][:3]
        cut = sample(ask, model, question, n=1, seed=7, temperature=0.7, top_k=20, stop=[mark])[0]
        assert cut["finish_reason"] == "stop" and cut["message"]["content"] == replies[0][:replies[0].find(mark)], (mark, cut, replies[0])
        found = scores(ask, model, given)
        gap = apart(found, plain_scores(SMALL, given, args.device, torch.float32))
        on_cpu = apart(found, plain_scores(SMALL, given, "cpu", torch.float32))
        assert gap < 2e-3 and on_cpu < 2e-3, (gap, on_cpu)
        other = load(ask, TINY)
        status, _ = ask("/v1/chat/completions", {"model": f"srlm-{'0' * 64}", "messages": [{"role": "user", "content": "?"}]})
        assert status == 404
        swapped = apart(scores(ask, other, given), plain_scores(TINY, given, args.device, torch.float32))
        assert swapped < 2e-3, swapped
    return f"log-probabilities at most {gap:.1e} from transformers' on this device, {on_cpu:.1e} from those on a CPU"


def server_bfloat16():
    """chooses bfloat16 by itself, and scores as well as transformers does"""
    given = texts(12)
    exact = torch.cat(plain_scores(SMALL, given, "cpu", torch.float32))
    plain = torch.cat(plain_scores(SMALL, given, args.device, torch.bfloat16))
    with server("--device", "auto", *([] if GPU else ["--dtype", "bfloat16"])) as ask:
        found = torch.cat(scores(ask, load(ask, SMALL), given))
        alone = torch.cat([torch.cat(scores(ask, load(ask, SMALL), [one])) for one in given])
    ours, theirs = (found - exact).abs().mean().item(), (plain - exact).abs().mean().item()
    assert 1e-5 < ours < 1.3 * theirs, (ours, theirs)
    return f"mean error {ours:.4f} nats, transformers {theirs:.4f}; in a batch and alone {(found - alone).abs().mean().item():.4f} apart"


def server_deterministic():
    """two deterministic servers give equal bytes, also with others' requests in between"""
    given, replies = texts(8), []
    for busy in (False, True):
        with server("--device", args.device, "--deterministic") as ask, ThreadPoolExecutor(8) as pool:
            model = load(ask, SMALL)
            others = [pool.submit(sample, ask, model, row["question"], n=2, seed=1) for row in ROWS[20:28]] if busy else []
            found = [sample(ask, model, row["question"], **{"n": 3, "seed": 5, "temperature": 0.8, **more})
                     for row in ROWS[:4] for more in ({}, {"top_k": 20}, {"top_p": 0.9}, {"temperature": 0})]
            replies.append(json.dumps([found, [one.tolist() for one in scores(ask, model, given)]]))
            [other.result() for other in others]
    assert replies[0] == replies[1]
    return f"{len(replies[0])} bytes equal"


def sampler():
    """draws tokens by their probabilities, and the same ones as a CPU"""
    torch.manual_seed(1)
    logits, draws, said = torch.randn(len(tokenizer)) * 3, 4096 if GPU else 512, []
    for more in (dict(top_k=0, top_p=1.0), dict(top_k=8, top_p=1.0), dict(top_k=0, top_p=0.6), dict(top_k=50, top_p=0.8)):
        rows = lambda: [Sample([0], 1, 0.7, stop=[], seed=seed, **more) for seed in range(draws)]
        drawn, expected = [], []
        for part in range(0, draws, 256):
            given = logits.expand(256, -1)
            drawn += pick(given.to(args.device), rows()[part:part + 256])
            expected += pick(given.clone(), rows()[part:part + 256])
        share = sum(a == b for a, b in zip(drawn, expected)) / draws
        assert share > 0.995, (more, share)
        assert more["top_k"] != 8 or set(drawn) <= set(logits.topk(8).indices.tolist())
        said.append(f"{share:.1%}")
        probability = (logits / 0.7).softmax(-1)
        if more == dict(top_k=0, top_p=1.0):
            for token in logits.topk(3).indices.tolist():
                wanted, spread = draws * probability[token].item(), (draws * probability[token].item()) ** 0.5
                assert abs(drawn.count(token) - wanted) < 5 * spread, (token, drawn.count(token), wanted)
    return f"equal to a CPU's: {', '.join(said)} (all tokens, top-k 8, top-p, both)"


def engine_tokens():
    """takes the tokens that generate() takes, and those of a CPU with the same seeds"""
    prompts = [prompt_ids(row["question"]) for row in ROWS[:8]]
    engine = engine_of(SMALL, args.device)
    greedy = run_samples(engine, [Sample(prompt, 24, 0, 0, 1.0, [], 0) for prompt in prompts])
    model = AutoModelForCausalLM.from_pretrained(SMALL, dtype=torch.float32).to(args.device).eval()
    same = 0
    for prompt, out in zip(prompts, greedy):
        with torch.no_grad():
            plain = model.generate(torch.tensor([prompt], device=args.device), do_sample=False, max_new_tokens=24)[0, len(prompt):].tolist()
        same += plain == out
    rows = lambda: [Sample(prompt, 24, 0.7, 20 * (i % 2), 1.0, [], i) for i, prompt in enumerate(prompts)]
    here, there = run_samples(engine, rows()), run_samples(engine_of(SMALL, "cpu"), rows())
    drawn = sum(a == b for a, b in zip(here, there))
    assert same >= 7 and drawn >= 7, (same, drawn)
    return f"{same} of 8 greedy replies and {drawn} of 8 drawn ones are equal, token by token"


def server_outside_vocabulary():
    """server and trainer refuse a token that the model does not have"""
    folder = f"{MODELS}/outside"
    if not os.path.exists(folder):
        shutil.copytree(TINY, folder)
        other = AutoTokenizer.from_pretrained(args.tokenizer, local_files_only=True)
        other.add_tokens(["<|surplus|>"], special_tokens=True)
        other.save_pretrained(folder)
    with server("--device", args.device) as ask:
        model = load(ask, folder)
        status, reply = ask("/v1/chat/completions", {"model": model, "messages": [{"role": "user", "content": "a <|surplus|> b"}]})
        sample(ask, model, "still there?")
    assert status == 400, (status, reply)
    untrainable = job(folder, "outside", rows=16)
    with open(f"{untrainable}/train.jsonl", "a") as file:
        file.write(json.dumps({"messages": [{"role": "user", "content": "<|surplus|>"}, {"role": "assistant", "content": "?"}]}) + "\n")
    with open(f"{untrainable}/spec.json") as file:
        spec = json.load(file)
    with open(f"{untrainable}/train.jsonl", "rb") as file:
        spec["dataSha256"] = hashlib.file_digest(file, "sha256").hexdigest()
    with open(f"{untrainable}/spec.json", "w") as file:
        json.dump(spec, file)
    code, state, _ = train(untrainable)
    assert code == 2 and state["error"]["type"] == "bad-model", (code, state)
    return f"{reply['error']['message']} {state['error']['message']}"


def server_failed_device():
    """ends when the GPU has failed for good, so that the next one can start"""
    unchecked = ("import sys; sys.path.insert(0, sys.argv.pop(1)); import protocol, server;"
                 "protocol.Decoder.prompts = lambda self, body: (body['prompt'], body['logprobs_from']); sys.exit(server.main())")
    with server("--device", args.device, program=("-c", unchecked, PROGRAMS)) as ask:
        model = load(ask, TINY)
        # The GPU reads outside of the embedding, which ends its work for this process.
        status, reply = ask("/v1/completions", {"model": model, "prompt": [[1, 10 ** 6]], "echo": True, "logprobs": 1, "max_tokens": 0, "logprobs_from": [1]})
        assert status == 500, (status, reply)
        if GPU:
            assert ask.process.wait(LIMIT) == 7
    return reply["error"]["message"]


def memory_returned():
    """gives the memory back when it unloads, also after sampling"""
    with server("--device", "cuda") as ask:
        before = used_memory()
        model = load(ask, SMALL)
        with ThreadPoolExecutor(64) as pool:
            list(pool.map(lambda row: sample(ask, model, row["question"], n=4, max_tokens=64), ROWS[:64]))
        scores(ask, model, texts(64))
        most = used_memory()
        ask("/engine/unload", {})
        after = used_memory()
        load(ask, SMALL)
        sample(ask, model, "again")
    ended = used_memory()
    assert most - before > 0.2 and after - before < 0.6, (before, most, after)  # what stays is CUDA's own: its context, its kernels
    return f"{before:.2f} GB before, {most:.2f} at most, {after:.2f} unloaded, {ended:.2f} when it has ended"


def server_halves_batch():
    """halves its batch where another program took the memory, and continues"""
    with server("--device", "cuda") as ask:
        model = load(ask, SMALL)
        sample(ask, model, "warm")
        halved = 0
        with ballast(1.2), ThreadPoolExecutor(64) as pool:
            def until_done(row):
                nonlocal halved
                for _ in range(40):
                    body = {"model": model, "messages": [{"role": "user", "content": row["question"]}], "n": 4, "max_tokens": 256, "top_k": 20}
                    status, reply = ask("/v1/chat/completions", body)
                    if status == 200:
                        return True
                    assert status == 503 and reply["error"]["type"] == "batch_halved", (status, reply)
                    halved += 1
                return False
            assert all(pool.map(until_done, ROWS[:64]))
            with open(ask.log) as file:
                sizes = sorted({int(line.split("at most ")[1].split()[0]) for line in file if "at most" in line}, reverse=True)
            assert halved, "memory did not run out"
    return f"{halved} requests were repeated, with batches of {sizes}"


def server_load_out_of_memory():
    """says that memory ran out while loading, gives it back, and loads later"""
    with server("--device", "cuda") as ask:
        model = load(ask, TINY)
        sample(ask, model, "warm")
        ask("/engine/unload", {})
        with ballast(0.15):
            status, reply = ask("/engine/load", {"path": SMALL, "sha256": model_digest(SMALL)})
            assert status == 503 and reply["error"]["type"] == "out_of_memory", (status, reply)
        sample(ask, load(ask, SMALL), "now?")
    return reply["error"]["message"][:80]


def trainer_precisions():
    """trains in bf16, bf16 with autocast, and fp32, with about equal losses; the loss falls"""
    found = {precision: done(job(SMALL, f"precision-{precision}", precision=precision, epochs=2)) for precision in ("auto", "bf16-autocast", "fp32")}
    chosen = result(f"{WORK}/jobs/precision-auto")["precision"]
    assert not GPU or chosen == "bf16", chosen
    for name, curve in found.items():
        assert curve[-1] < curve[0] - 0.3, (name, curve)
        assert differ(curve, found["fp32"]) < 0.02, (name, curve, found["fp32"])
    return "; ".join(f"{name} {curve[0]:.3f} to {curve[-1]:.3f}" for name, curve in found.items())


def trainer_as_on_cpu():
    """computes the losses that a CPU computes (fp32)"""
    here, there = (done(job(TINY, f"fp32-{device}", rows=32, precision="fp32", device=device)) for device in (args.device, "cpu"))
    gap = differ(here, there)
    assert gap < 1e-3, (here, there)
    return f"at most {gap:.1e} apart, as a share"


def trainer_less_memory():
    """LoRA, smaller micro-batches and checkpointing of activations give the losses that they should"""
    whole = done(job(SMALL, "whole", precision="bf16"))
    for name, more in (("micro-batches", dict(microBatchSize=4)), ("checkpointing", dict(gradientCheckpointing=True))):
        curve = done(job(SMALL, name, precision="bf16", **more))
        assert differ(curve, whole) < 0.02, (name, whole, curve)
    lora = {"r": 16, "alpha": 32, "dropout": 0.0, "targetModules": "all-linear"}
    curves = [done(job(SMALL, f"lora-{checkpointing}", method="lora", lora=lora, gradientCheckpointing=checkpointing, learningRate=1e-3, epochs=2))
              for checkpointing in (False, True)]
    assert all(curve[-1] < curve[0] - 0.1 for curve in curves), curves
    assert differ(*curves) < 0.02, curves
    with server("--device", args.device) as ask:
        shutil.copytree(f"{WORK}/jobs/lora-True/model", f"{MODELS}/trained", dirs_exist_ok=True)
        sample(ask, load(ask, f"{MODELS}/trained"), "?")
    return f"full {whole[-1]:.3f}; LoRA {curves[0][0]:.3f} to {curves[0][-1]:.3f}; its model is served"


def trainer_resumes():
    """killed with SIGKILL after a checkpoint, ends with the weights of an undisturbed training, byte for byte (deterministic)"""
    how = dict(rows=96, deterministic=True, microBatchSize=8, precision="auto", epochs=2, checkpoint={"everySteps": 4, "everyMinutes": 10_000, "keep": 2})
    whole, killed = job(SMALL, "undisturbed", **how), job(SMALL, "killed", **how)
    curve = done(whole)
    process = start(killed)
    wait_for(lambda: len(losses(killed)) >= 6 or process.poll() is not None)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    at = len(losses(killed))
    done(killed)
    assert at < 12, "it was killed too late"
    assert "resuming from the checkpoint" in open(f"{killed}/log.txt").read()
    assert losses(killed) == curve, (losses(killed), curve)
    assert result(killed)["sha256"] == result(whole)["sha256"]
    return f"killed at step {at} of 12"


def trainer_stops():
    """SIGTERM: a checkpoint and exit code 75; accelerate launch with one process continues from it"""
    folder = job(SMALL, "stopped", rows=96, epochs=8)
    process = start(folder)
    wait_for(lambda: len(losses(folder)) >= 2 or process.poll() is not None)
    process.terminate()
    code = process.wait(LIMIT)
    at = len(losses(folder))
    assert code == 75 and at < 48, (code, at)
    done(folder, "-m", "accelerate.commands.launch", "--num_processes", "1")
    assert f"resuming from the checkpoint at step {at}" in open(f"{folder}/log.txt").read()
    return f"stopped at step {at} of 48, done by accelerate"


def trainer_two_processes():
    """two processes where there is one GPU: refused with a reason"""
    folder = job(TINY, "two", rows=32, microBatchSize=8, processes=2)
    code, state, _ = train(folder, "-m", "accelerate.commands.launch", "--num_processes", "2")
    if torch.cuda.device_count() > 1 or not GPU:
        assert code == 0, state
        return "done"
    assert code != 0
    with open(f"{folder}/log.txt") as log:
        return f"exit code {code}, {state['error']}, log: ...{log.read()[-200:]}"


def trainer_out_of_memory():
    """where memory runs out: exit code 4, and the reason in state.json; a smaller micro-batch then fits"""
    with ballast(8):
        folder = job(SMALL, "too-large", rows=256, batchSize=256, microBatchSize=256)
        code, state, _ = train(folder)
        assert code == 4 and state["error"]["type"] == "out-of-memory", (code, state)
        with open(f"{folder}/spec.json") as file:
            spec = json.load(file)
        with open(f"{folder}/spec.json", "w") as file:
            json.dump({**spec, "microBatchSize": 8}, file)
        done(folder)
        launched = job(SMALL, "too-large-launched", rows=256, batchSize=256, microBatchSize=256)
        code, other, _ = train(launched, "-m", "accelerate.commands.launch", "--num_processes", "1")
        assert code == 1 and other["error"]["type"] == "out-of-memory", (code, other)
    return state["error"]["message"][:120]


TOGETHER = [server_float32, server_bfloat16, server_deterministic, sampler, engine_tokens, server_outside_vocabulary, server_failed_device,
            trainer_precisions, trainer_as_on_cpu, trainer_less_memory, trainer_resumes, trainer_stops, trainer_two_processes]
ALONE = [memory_returned, server_halves_batch, server_load_out_of_memory, trainer_out_of_memory]  # they need the whole memory


def check(function):
    begun = time.monotonic()
    try:
        verdict, said = "PASS", function()
    except BaseException as problem:
        verdict, said = "FAIL", f"{type(problem).__name__}: {problem}"[:1500]
        traceback.print_exc()
    line = {"check": function.__name__, "verdict": verdict, "seconds": round(time.monotonic() - begun, 1), "says": said}
    print(f"{verdict} {line['seconds']:6.1f} s  {line['check']}: {function.__doc__}. {said}", flush=True)
    return line


def checks():
    wanted = [name for name in args.only.split(",") if name]
    chosen = lambda group: [one for one in group if not wanted or one.__name__ in wanted]
    with ThreadPoolExecutor(5 if GPU else 1) as pool:
        found = list(pool.map(check, chosen(TOGETHER)))
    return found + [check(one) for one in chosen(ALONE) if GPU]


# ---- speed ----

def bench(program, *options):
    """The JSON lines of a program of bench/python, by the name that each has."""
    command = [sys.executable, f"{HERE}/{program}", "--data", os.path.abspath(args.data), *map(str, options)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT)
    if ran.returncode:
        raise RuntimeError(f"{program} ended with {ran.returncode}: {ran.stderr[-1500:]}")
    lines = [json.loads(line) for line in ran.stdout.splitlines() if line.startswith("{")]
    return {line["bench"]: line for line in lines}


def plain_training(folder, rows=256, batch=16):
    """A loop in plain PyTorch: bf16 weights, fused AdamW, loss on the answer. Tokens/s of the steps, without the first two."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).to(args.device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-4, betas=(0.9, 0.99), weight_decay=0, fused=True)
    given, marks = texts(rows), []
    for at in range(0, rows, batch):
        part = given[at:at + batch]
        width = max(len(ids) for ids, _ in part)
        ids_BT = torch.tensor([ids + [0] * (width - len(ids)) for ids, _ in part], device=args.device)
        mask_BT = torch.tensor([[1] * len(ids) + [0] * (width - len(ids)) for ids, _ in part], device=args.device)
        labels_BT = torch.tensor([[-100] * first + ids[first:] + [-100] * (width - len(ids)) for ids, first in part], device=args.device)
        model(ids_BT, attention_mask=mask_BT, labels=labels_BT, use_cache=False).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if GPU:
            torch.cuda.synchronize()
        marks.append((time.monotonic(), sum(len(ids) for ids, _ in part)))
    del model, optimizer
    if GPU:
        torch.cuda.empty_cache()
    return sum(tokens for _, tokens in marks[2:]) / (marks[-1][0] - marks[1][0])


def our_training(folder, name, rows=256):
    path = job(folder, f"speed-{name}", rows=rows, precision="bf16")
    process, marks = start(path), []
    wait_for(lambda: len(losses(path)) >= 2 or process.poll() is not None)
    begun = time.monotonic()
    count = len(losses(path))
    wait_for(lambda: len(losses(path)) >= rows // 16 or process.poll() is not None)
    seconds = time.monotonic() - begun
    assert process.wait(LIMIT) == 0, open(f"{path}/log.txt").read()[-1500:]
    with open(f"{path}/steps.jsonl") as file:
        return sum(json.loads(line)["tokens"] for line in list(file)[count:]) / seconds


def speeds(shape, folder):
    large = shape == "1.5b"
    batches, prompts = ("64,256", 64) if GPU else ("8", 4)
    cases = {
        "sample": lambda: bench("drive_server.py", "--model", folder, "--prompts", prompts, "--texts", 256 if GPU else 8, "--device", args.device, "--dtype", "bfloat16"),
        "sample all tokens": lambda: bench("drive_server.py", "--model", folder, "--prompts", prompts, "--texts", 1, "--top-k", 0, "--device", args.device, "--dtype", "bfloat16"),
        "generate": lambda: bench("generate_baseline.py", "--model", folder, "--prompts", prompts, "--batches", batches, "--device", args.device),
        "plain scores": lambda: bench("score_baseline.py", "--model", folder, "--prompts", 256 if GPU else 8, "--batches", "8,64", "--device", args.device),
        "train": lambda: {"train": {"tokensPerSecond": our_training(folder, shape, 256 if GPU else 48)}},
        "plain training": lambda: {"plain_training": {"tokensPerSecond": plain_training(folder, 256 if GPU else 48)}},
    }
    found = {}
    for name, case in cases.items():
        begun = time.monotonic()
        try:
            for bench_name, line in case().items():
                row = f"{name}: {bench_name}" if name == "sample all tokens" else bench_name
                if name != "sample all tokens" or bench_name == "server_generate":
                    found[row] = line
                    print(f"SPEED {shape:5} {row:36} {line['tokensPerSecond']:10.0f} tokens/s", flush=True)
        except BaseException as problem:
            found[name] = {"problem": str(problem)[:1500]}
            print(f"SPEED {shape:5} {name} failed: {problem}", flush=True)
        print(f"      ({time.monotonic() - begun:.0f} s for {name})", flush=True)
    return found


def main():
    os.makedirs(MODELS, exist_ok=True)
    begun = time.monotonic()
    for name in {"tiny", os.path.basename(SMALL)}:
        make_model(name)
    device = torch.cuda.get_device_name() if GPU else "cpu"
    said = {"device": device, "torch": torch.__version__, "checks": [], "speed": {}}
    if args.part != "speed":
        said["checks"] = checks()
        print(f"checks took {time.monotonic() - begun:.0f} s", flush=True)
    if args.part != "checks":
        said["speed"][os.path.basename(SMALL)] = speeds(os.path.basename(SMALL), SMALL)
        if GPU:
            said["speed"]["1.5b"] = speeds("1.5b", make_model("1.5b", torch.bfloat16))
    failed = [line["check"] for line in said["checks"] if line["verdict"] != "PASS"]
    for line in said["checks"]:
        print(f"{line['verdict']} {line['check']}")
    print(f"{len(said['checks']) - len(failed)} passed, {len(failed)} failed; {time.monotonic() - begun:.0f} s in all on {device}", flush=True)
    print(json.dumps(said), flush=True)
    if not args.work:
        shutil.rmtree(WORK, ignore_errors=True)
    os._exit(1 if failed else 0)


if __name__ == "__main__":
    main()
