"""Model server: samples from one model and scores texts with it, over an HTTP interface like OpenAI's.
Usage: SRLM_ENGINE_TOKEN=... python server.py --state-dir DIR --model-root DIR [--deterministic]
Each request needs the token, and to be made by a program of this host. Serves GET /health, /v1/models, POST
/v1/chat/completions, /v1/completions, /tokenize, /engine/load, /engine/unload. The name of the model is the
sha256 of its folder, so a reply cannot come from other weights.
Writes DIR/server.json (by rename, once it listens), DIR/lock (held while alive, with its pid), DIR/requests.jsonl. The last,
and DIR/log.txt if that is its output, are started again at 50 MB; what was in them is then in requests.jsonl.1 and log.txt.1.
--deterministic: one request at a time in float32; a reply depends on request, weights and --threads only.
Streams a reply as one event; calls no tools, reads no pickles, runs no code from a model folder. compute.py does the computing,
protocol.py and completions.py decode requests.
Exit: 0 stopped by SIGTERM or SIGINT, 2 bad arguments or token, 3 another server holds DIR, 4 a template or tokenizer hung,
5 no space left for the files above, 6 the file system of DIR has no locks, 7 the GPU failed, 8 the port is taken."""

import argparse
import asyncio
import errno
import fcntl
import gc
import json
import os
import signal
import socket
import sys
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime, timezone

# Set before torch is imported: its threads then sleep while they wait for each other, instead of spinning. On cores that
# other programs use too, spinning made a pass six to ten times slower (measured with five busy processes on two cores).
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Nor is the network used, whatever a model folder names.
os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1")

TOKEN_CHARACTERS = 32  # at least; the supervisor makes tokens of 48
TOKEN = os.environ.pop("SRLM_ENGINE_TOKEN", "")
if len(TOKEN) < TOKEN_CHARACTERS:  # before the imports, which take seconds
    print(f"SRLM_ENGINE_TOKEN must be a secret of at least {TOKEN_CHARACTERS} characters; without one, any program and any web page"
          " could use the server.", file=sys.stderr)
    sys.exit(2)

gc.disable()  # during the imports it finds nothing, and takes a sixth of their time

import torch
import uvicorn
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route

from completions import Prompt, chat_alternatives, chat_choices, check_fields, choices_of, events, prompts_of, streams
from compute import DeviceFailed, Engine, Job, ScoredText, is_out_of_memory
from folder import DigestCache, check_model_folder
from logs import Log, bound_files
from protocol import Decoder, Guard, RequestError, bad, body_of, failure, take

gc.enable()

HOST = "127.0.0.1"  # a worker talks to the servers of its own host only
TEXT_SECONDS = 120  # to render and encode one request, while up to hundreds wait for the same thread


class TextHung(RequestError):
    """A thread cannot be ended, and this one keeps a core busy: the process has to end."""


class Server:
    """The HTTP side: checks requests, makes jobs of them, builds the replies. On the asyncio thread, except for templates
    and tokenizers. Those come with the model: they were tried out before the run (probe.py), but may still hang at a text
    that nobody tried. They have a thread of their own, so that /health answers; one, since tokenizers are not shared."""

    def __init__(self, args, engine: Engine):
        self.args, self.engine, self.digests = args, engine, DigestCache()
        self.decoder = Decoder(engine)
        self.roots = [os.path.realpath(root) for root in args.model_root]
        self.texts = ThreadPoolExecutor(1)
        self.in_flight = self.texts_done = 0
        self.loading = False  # reads or loads weights
        self.idle = asyncio.Event()
        self.gate = asyncio.Lock()  # held while weights are swapped: no new request is admitted
        self.idle.set()

    def app(self, token: str) -> Starlette:
        def route(path, method, handler):
            async def endpoint(request):
                request.state.started, request.state.seconds = time.monotonic(), 0.0
                try:
                    body = await body_of(request)
                    is_stream = path.startswith("/v1/") and streams(body)
                    reply = await handler(request, body)
                    if is_stream:
                        return StreamingResponse(events(body, reply), media_type="text/event-stream")
                    return JSONResponse(reply, headers={"x-compute-seconds": f"{request.state.seconds:.4f}"})
                except Exception as problem:
                    response = failure(path, problem)
                    if isinstance(problem, (TextHung, DeviceFailed)):
                        response.background = BackgroundTask(os._exit, 4 if isinstance(problem, TextHung) else 7)
                    return response
            return Route(path, endpoint, methods=[method])

        handlers = {HTTPException: lambda request, problem: failure(request.url.path, problem)}
        return Starlette(middleware=[Middleware(Guard, token=token)], exception_handlers=handlers, routes=[
            route("/health", "GET", self.health),
            route("/v1/models", "GET", self.models),
            route("/v1/chat/completions", "POST", self.chat),
            route("/v1/completions", "POST", self.completions),
            route("/tokenize", "POST", self.tokenize),
            route("/engine/load", "POST", self.load),
            route("/engine/unload", "POST", self.unload),
        ])

    async def health(self, request, body):
        """`progress` changes with all progress: the supervisor ends a server that has work and makes no progress."""
        # Reading and loading weights takes the processor time of other threads than this one, which answers.
        seconds = int(time.process_time() - time.thread_time()) if self.loading else 0
        return {"working": self.in_flight > 0 or self.gate.locked(), "progress": f"{self.engine.passes} {self.texts_done} {seconds}"}

    async def load(self, request, body):
        path, sha256 = take(body, "path", str), take(body, "sha256", str)
        real = os.path.realpath(path)
        if not any(os.path.commonpath([root, real]) == root for root in self.roots):
            raise RequestError(403, "forbidden", "The path is not below a --model-root.")
        async with self.gate:
            if self.engine.sha256 != sha256:
                try:
                    check_model_folder(real)
                except ValueError as problem:
                    raise bad(str(problem)) from None
                with self.load_time():
                    found = await asyncio.to_thread(self.digests.digest, real)
                if found != sha256:
                    raise RequestError(409, "wrong_digest", f"The digest of the folder is {found}, not {sha256}.")
                await self.idle.wait()
                try:
                    with self.load_time():
                        await self.compute(call=lambda: self.engine.load(real, sha256))
                except Exception as problem:  # transformers and safetensors raise any exception for broken folders
                    if is_out_of_memory(problem) or isinstance(problem, DeviceFailed):
                        raise
                    raise bad(f"The model cannot be loaded: {problem}") from problem
        return {"model": f"srlm-{sha256}"}

    async def unload(self, request, body):
        async with self.gate:
            await self.idle.wait()
            await self.compute(call=self.engine.unload)
        return {"model": None}

    async def tokenize(self, request, body):
        async with self.flight():
            self.require_model(body if body.get("model") is not None else None)
            check_fields("/tokenize", body)
            tokens = await self.text_work(self.decoder.tokens, body)
            return {"tokens": tokens, "count": len(tokens), "max_model_len": self.engine.context}

    async def models(self, request, body):
        name = self.name()
        return {"object": "list", "data": [{"id": name, "object": "model", "owned_by": "srlm", "max_model_len": self.engine.context}] if name else []}

    async def chat(self, request, body):
        async with self.flight():
            self.require_model(body)
            check_fields("/v1/chat/completions", body)
            prompt = await self.text_work(lambda: self.decoder.encode(self.decoder.chat_text(body), False))
            body = {**body, "max_tokens": body.get("max_tokens") or body.get("max_completion_tokens")}
            samples = self.decoder.samples(body, prompt)
            scored, top = chat_alternatives(body, prompt)
            for row in samples:
                row.top = top
            await self.compute(request, samples=samples, texts=scored)

            choices, more = await self.text_work(chat_choices, self.decoder, samples, top, scored)
            return {**self.reply(request, "chat.completion", choices, [prompt], samples), **more}

    async def completions(self, request, body):
        async with self.flight():
            self.require_model(body)
            check_fields("/v1/completions", body)
            if body.get("logprobs_from") is not None:
                return await self.scores(request, body)
            prompts = await self.text_work(lambda: [Prompt(self.decoder, body, ids, text, i)
                                                    for i, (ids, text) in enumerate(prompts_of(self.decoder, body))])
            samples = [row for prompt in prompts for row in prompt.to_sample()]
            texts = [prompt.scored for prompt in prompts if prompt.scored]
            if samples or texts:  # an echo alone computes nothing
                await self.compute(request, samples=samples, texts=texts)

            rows = [row for prompt in prompts for row in prompt.rows]
            return self.reply(request, "text_completion", await self.text_work(choices_of, prompts), [prompt.ids for prompt in prompts], rows)

    async def scores(self, request, body):
        """For srlm itself: log-probabilities of each prompt's tokens from position `logprobs_from` on; null for the tokens
        before it, which cost less."""
        if not body.get("echo") or body.get("logprobs") != 1 or body.get("max_tokens") != 0:
            raise bad("logprobs_from needs echo true, logprobs 1, max_tokens 0.")
        prompts, firsts = self.decoder.prompts(body)
        texts = [ScoredText(ids, first) for ids, first in zip(prompts, firsts)]
        await self.compute(request, texts=texts)
        choices = [{"index": i, "logprobs": {"token_logprobs": [None] * min(text.first, len(text.ids)) + text.logprobs}}
                   for i, text in enumerate(texts)]
        return self.reply(request, "text_completion", choices, prompts)

    # ---- parts of replies ----

    @contextmanager
    def load_time(self):
        self.loading = True
        try:
            yield
        finally:
            self.loading = False

    @asynccontextmanager
    async def flight(self):
        """For a request that needs the loaded weights to stay until it ends."""
        async with self.gate:
            self.in_flight += 1
            self.idle.clear()
        try:
            yield
        finally:
            self.in_flight -= 1
            if self.in_flight == 0:
                self.idle.set()

    def name(self) -> str | None:
        return f"srlm-{self.engine.sha256}" if self.engine.sha256 else None

    def require_model(self, body=None):
        loaded = self.name()
        if loaded is None or body is not None and body.get("model") != loaded:
            wanted = f"The request wants {body.get('model')!r}" if body else "The request needs a model"
            raise RequestError(404, "wrong_model", f"{wanted}; loaded is {loaded or 'none'}.")

    async def text_work(self, work, *args):
        """Runs it on the thread of templates and tokenizers."""
        try:
            done = await asyncio.wait_for(asyncio.get_running_loop().run_in_executor(self.texts, work, *args), TEXT_SECONDS)
            self.texts_done += 1
            return done
        except TimeoutError:
            raise TextHung(503, "text_hung", f"The model's chat template or tokenizer did not end in {TEXT_SECONDS} s;"
                           " the server ends, because nothing else ends them.") from None

    async def compute(self, request=None, call=None, samples=(), texts=()):
        """Passes a job to the compute thread and waits for it. When the client disconnects, its rows are dropped."""
        job = Job(asyncio.get_running_loop(), call, list(samples), list(texts))
        self.engine.inbox.put(job)
        if request is None:
            return await job.future
        leaving = asyncio.create_task(disconnected(request))
        try:
            await asyncio.wait([job.future, leaving], return_when=asyncio.FIRST_COMPLETED)
            if not job.future.done():
                raise RequestError(499, "disconnected", "The client disconnected.")
            request.state.seconds += job.seconds
            return job.future.result()
        finally:
            job.cancelled = True
            leaving.cancel()

    def reply(self, request, kind: str, choices, prompts, samples=()):
        read, written = sum(map(len, prompts)), sum(len(row.out) for row in samples)
        line = {"time": now(), "path": request.url.path, "request": request.headers.get("x-request-id"), "model": f"srlm-{self.engine.sha256}",
                "n": len(choices), "prompt_tokens": read, "completion_tokens": written, "ms": round((time.monotonic() - request.state.started) * 1000)}
        try:
            with open(os.path.join(self.args.state_dir, "requests.jsonl"), "a") as file:
                file.write(json.dumps(line) + "\n")
        except OSError as problem:  # a full disk must not cost a reply that was computed
            print(f"requests.jsonl: {problem}", file=sys.stderr, flush=True)
        # Without an id and a time: in deterministic mode equal requests have equal replies, byte for byte.
        named = {} if self.engine.deterministic else {"id": f"srlm-{uuid.uuid4().hex}", "created": int(time.time())}
        usage = {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}
        return {**named, "object": kind, "model": line["model"], "choices": choices, "usage": usage}


async def disconnected(request):
    while (await request.receive())["type"] != "http.disconnect":
        pass


def now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--state-dir", required=True)
    parser.add_argument("--model-root", action="append", required=True, metavar="DIR", help="a folder below which models may be loaded")
    parser.add_argument("--deterministic", action="store_true")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--dtype", choices=["auto", "bfloat16", "float32"], default="auto")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count())
    parser.add_argument("--max-batch", type=int, default=256, help="at most this many rows are generated at once")
    parser.add_argument("--port", type=int, default=0, help="default: any that is free")
    args = parser.parse_args()

    device = args.device if args.device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: torch sees no GPU.")
    if args.deterministic:
        if args.dtype == "bfloat16":
            parser.error("--deterministic computes in float32.")
        os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
        torch.use_deterministic_algorithms(True)
    # Hardware without bfloat16 instructions emulates them, which is slower than float32.
    fast = torch.cuda.is_bf16_supported(including_emulation=False) if device == "cuda" else torch.cpu.get_capabilities().get("avx512_bf16", False)
    dtype = args.dtype if args.dtype != "auto" else "bfloat16" if fast and not args.deterministic else "float32"

    sys.stdout, sys.stderr = Log(sys.stdout), Log(sys.stderr)
    os.makedirs(args.state_dir, exist_ok=True)
    os.chmod(args.state_dir, 0o700)  # prompts are nobody else's business
    lock = open(os.path.join(args.state_dir, "lock"), "a")  # not emptied by a server that does not get the lock
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print(f"Another server is running in {args.state_dir}.", file=sys.stderr)
        return 3
    except OSError as problem:
        print(f"{args.state_dir} cannot be locked: {problem.strerror}.", file=sys.stderr)
        return 6
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()
    os.fsync(lock.fileno())
    card = os.path.join(args.state_dir, "server.json")
    if os.path.exists(card):
        os.remove(card)  # left by a server that was killed, whose port nobody should wait for

    def stop(*_):
        # At once: the caller repeats a request that was cut off, and nothing here has to be saved.
        if os.path.exists(card):
            os.remove(card)
        os._exit(0)

    def stop_on_signals():
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, stop)

    stop_on_signals()

    engine = Engine(device, getattr(torch, dtype), args.threads, args.max_batch, args.deterministic)
    try:
        listener = socket.create_server((HOST, args.port), backlog=2048)
    except OSError as problem:
        print(f"Port {args.port}: {problem.strerror}.", file=sys.stderr)
        return 8

    async def serve():
        server = uvicorn.Server(uvicorn.Config(Server(args, engine).app(TOKEN), log_level="warning", lifespan="off", ws="none"))
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        while not server.started:
            await asyncio.sleep(0.01)
        stop_on_signals()  # again, in place of uvicorn's handlers, which wait for requests to end
        with open(card + ".tmp", "w") as file:
            json.dump({"pid": os.getpid(), "port": listener.getsockname()[1], "host": HOST}, file)
            file.flush()
            os.fsync(file.fileno())
        os.rename(card + ".tmp", card)
        await asyncio.gather(serving, bound_files(args.state_dir))

    asyncio.run(serve())
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except OSError as problem:
        if problem.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        sys.exit(5)
