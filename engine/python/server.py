"""Model server: one model, sampled and scored over an OpenAI-like HTTP interface.
Usage: SRLM_ENGINE_TOKEN=... python server.py --state-dir DIR --model-root DIR [--model DIR] [--deterministic]
Gives GET /health, GET /v1/models, POST /v1/chat/completions, /v1/completions, /tokenize, /engine/load,
/engine/unload. The model's name is the sha256 of its folder, so an answer can never come from other weights.
Writes DIR/server.json (by rename, once it listens), DIR/lock (held while alive), DIR/requests.jsonl.
Default: all waiting requests share one batch; every row draws from its own seed, so only rounding depends on
its neighbours. --deterministic: one request at a time in float32, a reply depends on request and weights alone.
Does not stream, does not call tools, serves no pickles, runs no code from a model folder.
Exit: 0 stopped by SIGTERM or SIGINT, 2 bad arguments or --model, 3 another server has DIR."""

import argparse
import asyncio
import copy
import ctypes
import fcntl
import gc
import hmac
import ipaddress
import json
import os
import queue
import random
import signal
import socket
import sys
import threading
import time
from dataclasses import dataclass, field
from datetime import datetime, timezone

import torch
import uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, DynamicCache
from transformers.cache_utils import Cache, DynamicLayer, DynamicSlidingWindowLayer

from folder import check_model_folder, model_digest

GATHER_SECONDS = 0.01     # an idle server waits this long for a request's companions
FORWARD_TOKENS = 1024     # most tokens in one pass over prompts: activations stay in the cache, logits stay small
ROOM_COLUMNS = 32         # spare columns of the key/value buffers; all of them are copied once in so many steps
JOIN_STEPS = 16           # joining copies the buffers, so a few rows wait up to so many steps for more


class Refused(Exception):
    """An answer other than 200: HTTP status, OpenAI's error type, one sentence."""

    def __init__(self, status: int, kind: str, message: str):
        super().__init__(message)
        self.status, self.kind = status, kind


def bad(message: str) -> Refused:
    return Refused(400, "invalid_request_error", message)


@dataclass(eq=False)
class Sample:
    """One row to generate."""
    job: "Job"
    prompt: list[int]
    max_tokens: int
    temperature: float
    top_k: int
    top_p: float
    stop: list[str]
    seed: int
    out: list[int] = field(default_factory=list)
    finish: str | None = None

    def __post_init__(self):
        self.rng = random.Random(self.seed)


@dataclass(eq=False)
class Text:
    """One row to score: log-probabilities of ids[first:], each given all before it."""
    job: "Job"
    ids: list[int]
    first: int
    logprobs: list[float] = field(default_factory=list)


@dataclass(eq=False)
class Job:
    """What one request asks of the compute thread: rows, or one call when nothing else runs."""
    loop: asyncio.AbstractEventLoop
    call: object = None
    samples: list[Sample] = field(default_factory=list)
    texts: list[Text] = field(default_factory=list)
    cancelled: bool = False

    def __post_init__(self):
        self.future = self.loop.create_future()

    def start(self):
        self.left = len(self.samples) + len(self.texts)

    def settle(self, result=None, problem=None):
        def there():
            if not self.future.done():
                self.future.set_exception(problem) if problem else self.future.set_result(result)
        self.loop.call_soon_threadsafe(there)

    def row_done(self):
        self.left -= 1
        if self.left == 0:
            self.settle()


class RoomyLayer(DynamicLayer):
    """Keys and values [row, head, column, feature] with spare columns on the right. A step writes one column and
    hands out the whole buffer (the mask hides the spare part): batched matmul copies any operand that is not dense."""

    def update(self, key_states, value_states, *args, **kwargs):
        self.keys[:, :, self.used:self.used + 1] = key_states
        self.values[:, :, self.used:self.used + 1] = value_states
        self.used += 1
        return self.keys, self.values

    def get_seq_length(self):
        return self.used if self.is_initialized else 0

    def get_mask_sizes(self, query_length):
        return self.keys.shape[-2], 0

    def rebuild(self, width: int, skip: int, pieces):
        """New buffers: this layer's columns from `skip` on, then the pieces' rows, all ending at column `width`."""
        old = [(self.keys[:, :, skip:self.used], self.values[:, :, skip:self.used])] if self.is_initialized else []
        parts = old + pieces
        rows, (_, heads, _, size) = sum(key.shape[0] for key, _ in parts), parts[0][0].shape
        value_size = parts[0][1].shape[-1]
        keys = parts[0][0].new_zeros(rows, heads, width + ROOM_COLUMNS, size)
        values = parts[0][1].new_zeros(rows, heads, width + ROOM_COLUMNS, value_size)
        at = 0
        for key, value in parts:
            keys[at:at + key.shape[0], :, width - key.shape[2]:width] = key
            values[at:at + key.shape[0], :, width - key.shape[2]:width] = value
            at += key.shape[0]
        self.keys, self.values, self.used, self.is_initialized = keys, values, width, True

    def keep(self, count: int, holes, movers):
        """Drops all but `count` rows: the last ones alive move into the holes, so the rest is not copied."""
        self.keys[holes], self.values[holes] = self.keys[movers], self.values[movers]
        self.keys, self.values = self.keys[:count], self.values[:count]


class Engine:
    """The loaded model and the one thread that computes with it. Everything below `run` runs on that thread."""

    def __init__(self, device: str, dtype: torch.dtype, threads: int, max_batch: int, deterministic: bool):
        self.device, self.dtype, self.threads = device, dtype, threads
        self.max_batch, self.deterministic = max_batch, deterministic
        self.inbox: queue.SimpleQueue[Job] = queue.SimpleQueue()
        self.sha256, self.model, self.tokenizer, self.context = None, None, None, 0
        self.clear()
        threading.Thread(target=self.run, daemon=True).start()

    def clear(self):
        self.texts: list[Text] = []          # to score, shortest first
        self.waiting: list[Sample] = []      # to generate, in order of arrival
        self.rows: list[Sample] = []         # being generated: rows of the cache
        self.cache, self.mask, self.steps = None, None, 0

    def run(self):
        torch.set_num_threads(self.threads)
        torch.set_grad_enabled(False)
        while True:
            try:
                self.take()
                if self.texts:
                    self.score()
                if self.waiting or self.rows:
                    self.drop([row for row in self.rows if row.job.cancelled])
                    self.join()
                    self.step()
            except Exception as problem:  # one bad batch must not end the server; its requests are told
                jobs = {row.job for row in [*self.texts, *self.waiting, *self.rows]}
                self.clear()
                for job in jobs:
                    job.settle(problem=problem)

    def take(self):
        """Takes in what has arrived; waits if there is nothing to do. Deterministic: one job, when all is done."""
        idle = not (self.texts or self.waiting or self.rows)
        if self.deterministic and not idle:
            return
        jobs = [self.inbox.get()] if idle else []
        if not self.deterministic:
            if idle and not jobs[0].call:
                time.sleep(GATHER_SECONDS)
            while not self.inbox.empty():
                jobs.append(self.inbox.get())
        for job in jobs:
            if job.call:
                try:
                    job.settle(job.call())
                except Exception as problem:
                    job.settle(problem=problem)
            else:
                job.start()
                self.waiting += job.samples
                self.texts += job.texts
        self.texts.sort(key=lambda text: len(text.ids))

    # ---- model ----

    def load(self, path: str, sha256: str):
        self.unload()
        config = AutoConfig.from_pretrained(path, local_files_only=True, trust_remote_code=False)
        layers = DynamicCache(config=config).layers
        if not all(type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) for layer in layers):
            raise bad(f"{config.model_type} models keep more than keys and values between tokens; this server cannot run them.")
        tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True, trust_remote_code=False)
        model = AutoModelForCausalLM.from_pretrained(path, dtype=self.dtype, local_files_only=True, use_safetensors=True, trust_remote_code=False)
        self.model = model.to(self.device).eval()
        self.tokenizer = tokenizer
        # Tokenizers are not safe to share between threads; this copy belongs to the compute thread.
        self.speller = copy.deepcopy(tokenizer)
        text_config = config.get_text_config(decoder=True)
        self.context = getattr(text_config, "max_position_embeddings", None) or min(tokenizer.model_max_length, 1 << 20)
        self.ends = end_tokens(model, tokenizer)
        self.sha256 = sha256

    def unload(self):
        self.sha256 = self.model = self.tokenizer = self.speller = None
        gc.collect()
        if self.device == "cuda":
            torch.cuda.empty_cache()
        if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
            libc.malloc_trim(0)

    def forward(self, ids: list[list[int]], keep: int, cache=None):
        """One pass over texts, padded on the left so that all end together. Yields (column, logits) for the last
        `keep` columns, piece by piece: a long text goes through in pieces, so that no logits or eager attention
        matrix is larger than FORWARD_TOKENS x vocabulary (or x context)."""
        width = max(map(len, ids))
        input_ids = torch.tensor([[0] * (width - len(row)) + row for row in ids], device=self.device)
        mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in ids], device=self.device)
        positions = (mask.cumsum(-1) - 1).clamp(min=0)
        if cache is None and width > FORWARD_TOKENS:
            cache = DynamicCache()
        for start in range(0, width, FORWARD_TOKENS):
            stop = min(start + FORWARD_TOKENS, width)
            wanted = stop - max(start, width - keep)
            logits = self.model(input_ids=input_ids[:, start:stop], attention_mask=mask[:, :stop], position_ids=positions[:, start:stop],
                                past_key_values=cache, use_cache=cache is not None, logits_to_keep=max(wanted, 1)).logits
            if wanted > 0:
                yield stop - wanted, logits[:, -wanted:]

    # ---- scoring ----

    def score(self):
        """One batch: the longest text waiting and those next in length, so that little is padding."""
        self.texts = [text for text in self.texts if not text.job.cancelled]
        count = max(1, FORWARD_TOKENS // len(self.texts[-1].ids)) if self.texts else 0
        batch = self.texts[len(self.texts) - count:]
        wanted = [text for text in batch if text.first < len(text.ids)]
        if wanted:
            width = max(len(text.ids) for text in wanted)
            # The logits of column c are for the token of column c + 1.
            keep = max(len(text.ids) - text.first for text in wanted) + 1
            for column, logits in self.forward([text.ids for text in wanted], keep):
                for text, logits_TV in zip(wanted, logits):
                    pad = width - len(text.ids)
                    start = max(column, pad + text.first - 1)
                    target = torch.tensor(text.ids[start + 1 - pad:column + logits_TV.shape[0] + 1 - pad], device=self.device)
                    logits_TV = logits_TV[start - column:][:len(target)].float()
                    logprob = logits_TV.gather(1, target[:, None])[:, 0] - logits_TV.logsumexp(-1)
                    text.logprobs += check_finite(logprob).tolist()
        for text in batch:
            text.job.row_done()
        del self.texts[len(self.texts) - len(batch):]

    # ---- generating ----

    def join(self):
        """Moves waiting rows into the batch: one pass over each prompt, its keys and values shared by its samples."""
        self.waiting = [row for row in self.waiting if not row.job.cancelled]
        free = self.max_batch - len(self.rows)
        enough = len(self.waiting) * 4 >= len(self.rows) or self.steps >= JOIN_STEPS
        if not self.waiting or free * 4 < self.max_batch or not enough:
            return
        fresh, self.waiting = self.waiting[:free], self.waiting[free:]
        by_prompt: dict[tuple, list[Sample]] = {}
        for row in fresh:
            by_prompt.setdefault(tuple(row.prompt), []).append(row)
        prompts = sorted(by_prompt, key=len)
        pieces, first_logits, joined = [], [], []
        while prompts:
            count = max(1, FORWARD_TOKENS // len(prompts[-1]))
            group, prompts = prompts[-count:], prompts[:-count]
            cache = DynamicCache()
            for _, logits in self.forward([list(prompt) for prompt in group], 1, cache):
                pass
            owner = torch.tensor([i for i, prompt in enumerate(group) for _ in by_prompt[prompt]], device=self.device)
            pieces.append([(layer.keys[owner], layer.values[owner]) for layer in cache.layers])
            first_logits.append(logits[owner, -1])
            joined += [row for prompt in group for row in by_prompt[prompt]]
        self.rebuild(joined, pieces)
        self.accept(torch.cat(first_logits), joined)

    def rebuild(self, joined: list[Sample] = (), pieces=()):
        """The cache again, with new rows and new room, and without columns that are only padding."""
        lengths = [len(row.prompt) + len(row.out) - 1 for row in self.rows]
        used = self.cache.get_seq_length() if self.rows else 0
        skip = used - max(lengths, default=0)
        width = max(lengths + [len(row.prompt) for row in joined])
        if not self.rows:
            self.cache = Cache(layers=[RoomyLayer() for _ in pieces[0]])
        for i, layer in enumerate(self.cache.layers):
            layer.rebuild(width, skip, [piece[i] for piece in pieces])
        lengths += [len(row.prompt) for row in joined]
        self.rows = [*self.rows, *joined]
        columns = torch.arange(width + ROOM_COLUMNS, device=self.device)
        self.positions = torch.tensor(lengths, device=self.device)
        self.mask = ((columns < width) & (columns >= width - self.positions[:, None])).long()
        self.steps = 0

    def step(self):
        """One token for every row."""
        if not self.rows:
            return
        if self.cache.layers[0].used == self.mask.shape[1]:
            self.rebuild()
        self.mask[:, self.cache.layers[0].used] = 1
        last = torch.tensor([row.out[-1:] for row in self.rows], device=self.device)
        logits = self.model(input_ids=last, attention_mask=self.mask, position_ids=self.positions[:, None],
                            past_key_values=self.cache, use_cache=True, logits_to_keep=1).logits[:, -1]
        self.positions += 1
        self.steps += 1
        self.accept(logits, self.rows)

    def accept(self, logits, rows: list[Sample]):
        """Draws each row's next token and takes the rows that are finished out of the batch."""
        finished = []
        for row, token in zip(rows, pick(logits, rows)):
            row.out.append(token)
            if token in self.ends:
                row.finish = "stop"
            elif row.stop and self.stopped(row):
                row.finish = "stop"
            elif len(row.out) >= row.max_tokens:
                row.finish = "length"
            if row.finish:
                finished.append(row)
        self.drop(finished)
        for row in finished:
            row.job.row_done()

    def stopped(self, row: Sample) -> bool:
        # A character takes at most four tokens: no stop string ending in the last token begins before these.
        tail = row.out[-(4 * max(map(len, row.stop)) + 4):]
        text = self.speller.decode(tail, skip_special_tokens=True)
        return any(stop in text for stop in row.stop)

    def drop(self, gone: list[Sample]):
        if not gone:
            return
        gone = set(gone)
        count = len(self.rows) - len(gone)
        holes = [i for i, row in enumerate(self.rows[:count]) if row in gone]
        movers = [i for i, row in enumerate(self.rows[count:], count) if row not in gone]
        for hole, mover in zip(holes, movers):
            self.rows[hole] = self.rows[mover]
        self.rows = self.rows[:count]
        if not count:
            self.cache = self.mask = None
            return
        to, fro = torch.tensor(holes, dtype=torch.long, device=self.device), torch.tensor(movers, dtype=torch.long, device=self.device)
        for layer in self.cache.layers:
            layer.keep(count, to, fro)
        self.mask[to], self.positions[to] = self.mask[fro], self.positions[fro]
        self.mask, self.positions = self.mask[:count], self.positions[:count]


def check_finite(values):
    if not torch.isfinite(values).all():
        raise Refused(500, "model_error", "The model gives values that are not finite; its weights are broken.")
    return values


def pick(logits_RV, rows: list[Sample]) -> list[int]:
    """Next tokens. Each row needs one number from its own stream: the token at that point of the cumulated
    probabilities. Rows with and without top-k are drawn apart, since only the latter need the whole vocabulary."""
    check_finite(logits_RV.amax(-1))
    tokens = logits_RV.argmax(-1)
    for limited in (True, False):
        some = [i for i, row in enumerate(rows) if row.temperature > 0 and bool(row.top_k) == limited]
        if not some:
            continue
        def column(name):
            return torch.tensor([[getattr(rows[i], name)] for i in some], dtype=torch.float32, device=logits_RV.device)
        top_p, values, ids = column("top_p"), logits_RV[some], None
        if limited or (top_p < 1).any():
            most = max(rows[i].top_k for i in some) if limited else values.shape[-1]
            values, ids = values.topk(min(most, values.shape[-1]))
        values = values.float() / column("temperature")
        if limited:
            values.masked_fill_(torch.arange(values.shape[-1], device=values.device) >= column("top_k"), -torch.inf)
        share = values.softmax(-1)
        total = share.cumsum(-1)
        if ids is not None:
            total = share.masked_fill_(total - share >= top_p, 0).cumsum(-1)
        uniform = torch.tensor([[rows[i].rng.random()] for i in some], device=values.device)
        # Rounding must not carry the point past the last token that has any probability.
        point = torch.minimum(uniform * total[:, -1:], total[:, -1:].nextafter(torch.zeros_like(uniform)))
        drawn = torch.searchsorted(total, point, right=True)
        tokens[some] = (drawn if ids is None else ids.gather(1, drawn))[:, 0]
    return tokens.tolist()


def end_tokens(model, tokenizer) -> set[int]:
    """Every token that ends an answer: the model's and the tokenizer's, and the one the chat template puts after one."""
    ends = set()
    for ids in (model.generation_config.eos_token_id, model.config.get_text_config(decoder=True).eos_token_id, tokenizer.eos_token_id):
        ends.update(ids if isinstance(ids, (list, tuple)) else [] if ids is None else [ids])
    try:
        turn = tokenizer.apply_chat_template([{"role": "user", "content": "?"}, {"role": "assistant", "content": "srlm"}], tokenize=False)
    except Exception:  # a template may want other roles; then the tokens above have to do
        return ends
    after = tokenizer(turn.rpartition("srlm")[2].strip(), add_special_tokens=False).input_ids
    if after and after[0] in tokenizer.added_tokens_decoder and tokenizer.added_tokens_decoder[after[0]].special:
        ends.add(after[0])
    return ends


# ---- HTTP ----

class Server:
    """The HTTP side, all of it on the asyncio thread: checks requests, makes jobs of them, words the replies."""

    def __init__(self, args, engine: Engine):
        self.args, self.engine = args, engine
        self.roots = [os.path.realpath(root) for root in args.model_root]
        self.token = os.environ.get("SRLM_ENGINE_TOKEN")
        self.in_flight = 0
        self.idle = asyncio.Event()
        self.gate = asyncio.Lock()  # held while weights are swapped: nobody new comes in
        self.idle.set()

    def app(self) -> Starlette:
        def route(path, method, handler, open_to_all=False):
            async def endpoint(request):
                started = time.time()
                try:
                    given = request.headers.get("authorization", "").encode()
                    if self.token and not open_to_all and not hmac.compare_digest(given, f"Bearer {self.token}".encode()):
                        raise Refused(401, "authentication_error", "The bearer token is missing or wrong.")
                    return JSONResponse(await handler(*[request, await body_of(request), started][:3 if method == "POST" else 0]))
                except Refused as refused:
                    status, kind, message = refused.status, refused.kind, str(refused)
                except torch.OutOfMemoryError as problem:
                    status, kind, message = 503, "out_of_memory", str(problem)
                except Exception as problem:
                    status, kind, message = 500, "server_error", f"{type(problem).__name__}: {problem}"
                print(f"{path} {status} {message}", file=sys.stderr)
                return JSONResponse({"error": {"message": message, "type": kind}}, status)
            return Route(path, endpoint, methods=[method])

        return Starlette(routes=[
            route("/health", "GET", self.health, open_to_all=True),
            route("/v1/models", "GET", self.models),
            route("/v1/chat/completions", "POST", self.chat),
            route("/v1/completions", "POST", self.completions),
            route("/tokenize", "POST", self.tokenize),
            route("/engine/load", "POST", self.load),
            route("/engine/unload", "POST", self.unload),
        ])

    async def health(self):
        engine = self.engine
        return {"status": "ok", "device": engine.device, "dtype": str(engine.dtype).removeprefix("torch."), "model": engine.sha256,
                "in_flight": self.in_flight, "deterministic": engine.deterministic}

    async def models(self):
        sha256 = self.engine.sha256
        return {"object": "list", "data": [{"id": f"srlm-{sha256}", "object": "model", "owned_by": "srlm", "max_model_len": self.engine.context}] if sha256 else []}

    async def load(self, request, body, started):
        path, sha256 = take(body, "path", str), take(body, "sha256", str)
        real = os.path.realpath(path)
        if not any(os.path.commonpath([root, real]) == root for root in self.roots):
            raise Refused(403, "forbidden", "The path is not below a --model-root.")
        async with self.gate:
            if self.engine.sha256 != sha256:
                try:
                    check_model_folder(real)
                except ValueError as problem:
                    raise bad(str(problem)) from None
                found = await asyncio.to_thread(model_digest, real)
                if found != sha256:
                    raise Refused(409, "wrong_digest", f"The folder's sha256 is {found}, not {sha256}.")
                await self.idle.wait()
                await self.compute(call=lambda: self.engine.load(real, sha256))
        return {"model": f"srlm-{sha256}", "seconds": round(time.time() - started, 3)}

    async def unload(self, request, body, started):
        async with self.gate:
            await self.idle.wait()
            await self.compute(call=self.engine.unload)
        return {"model": None}

    async def tokenize(self, request, body, started):
        self.require_model()
        if "messages" in body:
            tokens = self.encode(self.chat_text(body), False)
        else:
            special, prompt = take(body, "add_special_tokens", bool, True), body.get("prompt")
            if isinstance(prompt, list) and all(isinstance(one, str) for one in prompt):
                tokens = [self.encode(one, special) for one in prompt]
            elif isinstance(prompt, str):
                tokens = self.encode(prompt, special)
            else:
                raise bad("prompt must be a string or a list of strings (or give messages).")
        count = sum(map(len, tokens)) if tokens and isinstance(tokens[0], list) else len(tokens)
        return {"tokens": tokens, "count": count, "max_model_len": self.engine.context}

    async def chat(self, request, body, started):
        async with Flight(self):
            self.require_model(body)
            if body.get("stream") or body.get("logprobs"):
                raise bad("stream and logprobs are not supported here.")
            prompt = self.encode(self.chat_text(body), False)
            name = "max_completion_tokens" if body.get("max_completion_tokens") is not None else "max_tokens"
            max_tokens = take(body, name, int, self.engine.context, 1)
            samples = self.samples(body, [prompt], max_tokens)
            await self.compute(request, samples=samples)
            choices = [{"index": i, "message": {"role": "assistant", "content": self.text(row)}, "finish_reason": row.finish,
                        "completion_tokens": len(row.out)} for i, row in enumerate(samples)]
            return self.reply(request, started, "chat.completion", choices, [prompt], samples)

    async def completions(self, request, body, started):
        async with Flight(self):
            self.require_model(body)
            if body.get("stream"):
                raise bad("stream is not supported here.")
            prompts = self.prompts(body)
            echo, n = take(body, "echo", bool, False), take(body, "n", int, 1, 1)
            scored = body.get("logprobs") not in (None, False)
            max_tokens = take(body, "max_tokens", int, 16, 0)
            if max_tokens == 0 and not (echo and n == 1):
                raise bad("max_tokens 0 needs echo, and n 1.")
            first = body.get("logprobs_from", 1)
            firsts = first if isinstance(first, list) else [first] * len(prompts)
            if len(firsts) != len(prompts) or any(type(one) is not int or one < 0 for one in firsts):
                raise bad("logprobs_from must be a position from 0, or a list of them, one a prompt.")
            samples = self.samples(body, prompts, max_tokens) if max_tokens else []
            if samples:
                await self.compute(request, samples=samples)
            whole = [row.prompt + row.out for row in samples] or prompts
            # One more pass over prompt and answer costs less than keeping the logits of every step.
            starts = [max(1, firsts[i // n]) if echo else len(prompts[i // n]) for i in range(len(whole))]
            texts = [Text(None, ids, start) for ids, start in zip(whole, starts)] if scored else []
            if texts:
                await self.compute(request, texts=texts)
            choices = []
            for i, ids in enumerate(whole):
                text = self.text(samples[i]) if samples else ""
                choices.append({"index": i, "finish_reason": samples[i].finish if samples else "length",
                                "text": (self.engine.tokenizer.decode(prompts[i // n]) if echo else "") + text,
                                "completion_tokens": len(ids) - len(prompts[i // n]), "logprobs": None})
                if scored:
                    blank = min(texts[i].first, len(ids)) if echo else 0
                    choices[i]["logprobs"] = {"token_logprobs": [None] * blank + texts[i].logprobs, "tokens": [], "text_offset": [], "top_logprobs": None}
            return self.reply(request, started, "text_completion", choices, prompts, samples)

    # ---- parts of requests ----

    def require_model(self, body=None):
        loaded = f"srlm-{self.engine.sha256}" if self.engine.sha256 else None
        if loaded is None or body is not None and body.get("model") != loaded:
            asked = f"The request wants {body.get('model')!r}" if body else "The request needs a model"
            raise Refused(404, "wrong_model", f"{asked}; loaded is {loaded or 'none'}.")

    def encode(self, text: str, special: bool) -> list[int]:
        try:
            text.encode()
        except UnicodeEncodeError:
            raise bad("The text holds half of a surrogate pair, which is no character.") from None
        return self.engine.tokenizer(text, add_special_tokens=special, verbose=False).input_ids

    def chat_text(self, body) -> str:
        messages = body.get("messages")
        if not (isinstance(messages, list) and messages and all(isinstance(one, dict) and isinstance(one.get("role"), str)
                                                                 and isinstance(one.get("content"), str) for one in messages)):
            raise bad("messages must be a list of {role, content}, both strings.")
        go_on = take(body, "continue_final_message", bool, False)
        prompt = take(body, "add_generation_prompt", bool, not go_on)
        if go_on and prompt:
            raise bad("continue_final_message and add_generation_prompt cannot both be true.")
        try:
            return self.engine.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=prompt, continue_final_message=go_on)
        except Exception as problem:  # templates raise what they like about roles and their order
            raise bad(f"The model's chat template refuses these messages: {problem}") from None

    def prompts(self, body) -> list[list[int]]:
        prompt = body.get("prompt")
        several = isinstance(prompt, list) and prompt and not isinstance(prompt[0], int)
        prompts = []
        for one in prompt if several else [prompt]:
            if isinstance(one, str):
                one = self.encode(one, True)
            vocabulary = self.engine.model.get_input_embeddings().num_embeddings
            if not (isinstance(one, list) and one and all(type(token) is int and 0 <= token < vocabulary for token in one)):
                raise bad(f"prompt must be text or token ids below {vocabulary} (one, or a list of them), not empty.")
            if len(one) > self.engine.context:
                raise bad(f"The prompt has {len(one)} tokens, the model's context {self.engine.context}.")
            prompts.append(one)
        return prompts

    def samples(self, body, prompts: list[list[int]], max_tokens: int) -> list[Sample]:
        stop = body.get("stop") or []
        stop = [stop] if isinstance(stop, str) else stop
        if not (isinstance(stop, list) and all(isinstance(one, str) and one for one in stop)):
            raise bad("stop must be a string or a list of strings, none of them empty.")
        # Without a seed, a deterministic server still has to answer alike.
        seed = take(body, "seed", int, 0 if self.engine.deterministic else random.getrandbits(63))
        n, top_k = take(body, "n", int, 1, 1), max(0, take(body, "top_k", int, 0, -1))
        temperature, top_p = take(body, "temperature", float, 1.0, 0), take(body, "top_p", float, 1.0, 0)
        samples = []
        for prompt in prompts:
            room = self.engine.context - len(prompt)
            if room < 1 or not prompt:
                raise bad(f"The prompt has {len(prompt)} tokens: none, or no room for an answer in the model's context of {self.engine.context}.")
            samples += [Sample(None, prompt, min(max_tokens, room), temperature, top_k, top_p, stop, (seed + i) % 2**64) for i in range(n)]
        return samples

    async def compute(self, request=None, call=None, samples=(), texts=()):
        """Gives a job to the compute thread and waits for it; a client that hangs up takes its rows along."""
        job = Job(asyncio.get_running_loop(), call, list(samples), list(texts))
        for row in [*samples, *texts]:
            row.job = job
        self.engine.inbox.put(job)
        if request is None:
            return await job.future
        gone = asyncio.create_task(hung_up(request))
        try:
            await asyncio.wait([job.future, gone], return_when=asyncio.FIRST_COMPLETED)
            if not job.future.done():
                raise Refused(499, "disconnected", "The client hung up.")
            return job.future.result()
        finally:
            job.cancelled = True
            gone.cancel()

    def text(self, row: Sample) -> str:
        """The answer's text. Decoded together with the end of its prompt: some tokenizers drop the first space of a text."""
        decode = self.engine.tokenizer.decode
        before, out = row.prompt[-4:], row.out[:-1] if row.out[-1] in self.engine.ends else row.out
        text = decode(before + out, skip_special_tokens=True)[len(decode(before, skip_special_tokens=True)):]
        return text[:min([at for stop in row.stop if (at := text.find(stop)) >= 0], default=len(text))]

    def reply(self, request, started, kind, choices, prompts, samples):
        asked, given = sum(map(len, prompts)), sum(len(row.out) for row in samples)
        line = {"time": now(), "path": request.url.path, "request": request.headers.get("x-request-id"), "model": f"srlm-{self.engine.sha256}",
                "n": len(choices), "prompt_tokens": asked, "completion_tokens": given, "ms": round((time.time() - started) * 1000)}
        with open(os.path.join(self.args.state_dir, "requests.jsonl"), "a") as file:
            file.write(json.dumps(line) + "\n")
        # No id and no time: in deterministic mode equal requests have equal replies, byte for byte.
        return {"object": kind, "model": line["model"], "choices": choices,
                "usage": {"prompt_tokens": asked, "completion_tokens": given, "total_tokens": asked + given}}


class Flight:
    """`async with Flight(server)`: a request that needs the loaded weights until it ends."""

    def __init__(self, server: Server):
        self.server = server

    async def __aenter__(self):
        async with self.server.gate:
            self.server.in_flight += 1
            self.server.idle.clear()

    async def __aexit__(self, *_):
        self.server.in_flight -= 1
        if self.server.in_flight == 0:
            self.server.idle.set()


async def body_of(request) -> dict:
    if request.method == "GET":
        return {}
    try:
        body = json.loads(await request.body() or b"{}")
    except (ValueError, RecursionError):
        raise bad("The body is not JSON.") from None
    if not isinstance(body, dict):
        raise bad("The body is not a JSON object.")
    return body


async def hung_up(request):
    while (await request.receive())["type"] != "http.disconnect":
        pass


def take(body: dict, name: str, kind: type, default=None, least=None):
    value = body.get(name)
    value = default if value is None else value
    if kind is float and type(value) is int:
        value = float(value)
    if type(value) is not kind or least is not None and not least <= value < float("inf"):
        words = {str: "a string", bool: "true or false", int: "a whole number", float: "a number"}[kind]
        raise bad(f"{name} must be {words}{'' if least is None else f' from {least}'}.")
    return value


def now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--state-dir", required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--model-root", action="append", required=True, metavar="DIR", help="models are loaded from below these only")
    parser.add_argument("--model", metavar="DIR", help="load this one before listening")
    parser.add_argument("--deterministic", action="store_true")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--dtype", choices=["auto", "bfloat16", "float32"], default="auto")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count())
    parser.add_argument("--max-batch", type=int, default=256, help="most rows generated at once")
    args = parser.parse_args()

    loopback = args.host == "localhost" or is_loopback(args.host)
    if not loopback and not os.environ.get("SRLM_ENGINE_TOKEN"):
        parser.error(f"--host {args.host} can be reached from outside: set SRLM_ENGINE_TOKEN.")
    device = args.device if args.device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: torch sees no GPU.")
    if args.deterministic:
        if args.dtype == "bfloat16":
            parser.error("--deterministic computes in float32.")
        os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
        torch.use_deterministic_algorithms(True)
    # A CPU without bfloat16 instructions emulates them, slower than float32.
    fast = torch.cuda.is_bf16_supported() if device == "cuda" else torch.cpu.get_capabilities().get("avx512_bf16", False)
    dtype = args.dtype if args.dtype != "auto" else "bfloat16" if fast and not args.deterministic else "float32"

    os.makedirs(args.state_dir, exist_ok=True)
    lock = open(os.path.join(args.state_dir, "lock"), "w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print(f"Another server is running in {args.state_dir}.", file=sys.stderr)
        return 3
    card = os.path.join(args.state_dir, "server.json")
    if os.path.exists(card):
        os.remove(card)  # of a server that was killed; nobody shall wait for its port

    def stop(*_):
        # At once: a request cut off is sent again by its caller, and nothing here needs saving.
        if os.path.exists(card):
            os.remove(card)
        os._exit(0)

    engine = Engine(device, getattr(torch, dtype), args.threads, args.max_batch, args.deterministic)
    if args.model:
        try:
            check_model_folder(args.model)
            engine.load(os.path.realpath(args.model), model_digest(args.model))
        except (ValueError, OSError, Refused) as problem:
            print(f"--model: {problem}", file=sys.stderr)
            return 2
    listener = socket.create_server((args.host, args.port), family=socket.AF_INET6 if ":" in args.host else socket.AF_INET, backlog=2048)

    async def serve():
        server = uvicorn.Server(uvicorn.Config(Server(args, engine).app(), log_level="warning", lifespan="off"))
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        while not server.started:
            await asyncio.sleep(0.01)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, stop)  # in place of uvicorn's, which wait for requests to end
        with open(card + ".tmp", "w") as file:
            json.dump({"pid": os.getpid(), "port": listener.getsockname()[1], "host": args.host, "startedAt": now(),
                       "deterministic": args.deterministic, "device": device, "dtype": dtype}, file)
        os.rename(card + ".tmp", card)
        await serving

    asyncio.run(serve())
    return 0


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


if __name__ == "__main__":
    sys.exit(main())
