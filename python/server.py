"""Model server: one model, sampled and scored over an OpenAI-like HTTP interface.
Usage: SRLM_ENGINE_TOKEN=... python server.py --state-dir DIR --model-root DIR [--model DIR] [--deterministic]
Gives GET /health, GET /v1/models, POST /v1/chat/completions, /v1/completions, /tokenize, /engine/load,
/engine/unload. The model's name is the sha256 of its folder, so an answer can never come from other weights.
Writes DIR/server.json (by rename, once it listens), DIR/lock (held while alive, with its pid), DIR/requests.jsonl.
--deterministic: one request at a time in float32; a reply depends on request, weights and --threads alone.
Does not stream, does not call tools, reads no pickles, runs no code from a model folder. The computing is in compute.py.
Exit: 0 stopped by SIGTERM or SIGINT, 2 bad arguments or --model, 3 another server has DIR."""

import argparse
import asyncio
import fcntl
import hmac
import ipaddress
import json
import os
import random
import signal
import socket
import sys
import time
from contextlib import asynccontextmanager
from datetime import datetime, timezone

# Before torch: its threads then sleep while they wait for each other, instead of spinning. Where other programs want the
# cores as well, spinning made one pass six to ten times slower (seen with five busy processes on two cores).
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.routing import Route

from compute import BatchHalved, Engine, Job, ModelProblem, Sample, Text, is_out_of_memory
from folder import check_model_folder, model_digest


class Refused(Exception):
    """An answer other than 200: HTTP status, OpenAI's error type, one sentence."""

    def __init__(self, status: int, kind: str, message: str):
        super().__init__(message)
        self.status, self.kind = status, kind


def bad(message: str) -> Refused:
    return Refused(400, "invalid_request_error", message)


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
        def route(path, method, handler):
            async def endpoint(request):
                request.state.started, request.state.seconds = time.time(), 0.0
                try:
                    given = request.headers.get("authorization", "").encode()
                    if self.token and path != "/health" and not hmac.compare_digest(given, f"Bearer {self.token}".encode()):
                        raise Refused(401, "authentication_error", "The bearer token is missing or wrong.")
                    reply = await handler(request, await body_of(request))
                    return JSONResponse(reply, headers={"x-compute-seconds": f"{request.state.seconds:.4f}"})
                except Exception as problem:
                    return failure(path, problem)
            return Route(path, endpoint, methods=[method])

        return Starlette(exception_handlers={HTTPException: lambda request, problem: failure(request.url.path, problem)}, routes=[
            route("/health", "GET", self.health),
            route("/v1/models", "GET", self.models),
            route("/v1/chat/completions", "POST", self.chat),
            route("/v1/completions", "POST", self.completions),
            route("/tokenize", "POST", self.tokenize),
            route("/engine/load", "POST", self.load),
            route("/engine/unload", "POST", self.unload),
        ])

    async def health(self, request, body):
        engine = self.engine
        return {"status": "ok", "device": engine.device, "dtype": str(engine.dtype).removeprefix("torch."), "model": engine.sha256,
                "in_flight": self.in_flight, "deterministic": engine.deterministic}

    async def models(self, request, body):
        sha256 = self.engine.sha256
        return {"object": "list", "data": [{"id": f"srlm-{sha256}", "object": "model", "owned_by": "srlm", "max_model_len": self.engine.context}] if sha256 else []}

    async def load(self, request, body):
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
                try:
                    await self.compute(call=lambda: self.engine.load(real, sha256))
                except (torch.OutOfMemoryError, MemoryError):
                    raise
                except Exception as problem:  # transformers and safetensors raise what they like about broken folders
                    raise bad(f"The model cannot be loaded: {problem}") from problem
        return {"model": f"srlm-{sha256}", "seconds": round(time.time() - request.state.started, 3)}

    async def unload(self, request, body):
        async with self.gate:
            await self.idle.wait()
            await self.compute(call=self.engine.unload)
        return {"model": None}

    async def tokenize(self, request, body):
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

    async def chat(self, request, body):
        async with self.flight():
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
            return self.reply(request, "chat.completion", choices, [prompt], samples)

    async def completions(self, request, body):
        async with self.flight():
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
            texts = [Text(ids, start) for ids, start in zip(whole, starts)] if scored else []
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
            return self.reply(request, "text_completion", choices, prompts, samples)

    # ---- parts of requests ----

    @asynccontextmanager
    async def flight(self):
        """Around a request that needs the loaded weights to stay until it ends."""
        async with self.gate:
            self.in_flight += 1
            self.idle.clear()
        try:
            yield
        finally:
            self.in_flight -= 1
            if self.in_flight == 0:
                self.idle.set()

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
        prompts, vocabulary = [], self.engine.vocabulary
        for one in prompt if several else [prompt]:
            if isinstance(one, str):
                one = self.encode(one, True)
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
            samples += [Sample(prompt, min(max_tokens, room), temperature, top_k, top_p, stop, (seed + i) % 2**64) for i in range(n)]
        return samples

    async def compute(self, request=None, call=None, samples=(), texts=()):
        """Gives a job to the compute thread and waits for it; a client that hangs up takes its rows along."""
        job = Job(asyncio.get_running_loop(), call, list(samples), list(texts))
        self.engine.inbox.put(job)
        if request is None:
            return await job.future
        gone = asyncio.create_task(hung_up(request))
        try:
            await asyncio.wait([job.future, gone], return_when=asyncio.FIRST_COMPLETED)
            if not job.future.done():
                raise Refused(499, "disconnected", "The client hung up.")
            request.state.seconds += job.seconds
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

    def reply(self, request, kind, choices, prompts, samples):
        asked, given = sum(map(len, prompts)), sum(len(row.out) for row in samples)
        line = {"time": now(), "path": request.url.path, "request": request.headers.get("x-request-id"), "model": f"srlm-{self.engine.sha256}",
                "n": len(choices), "prompt_tokens": asked, "completion_tokens": given, "ms": round((time.time() - request.state.started) * 1000)}
        with open(os.path.join(self.args.state_dir, "requests.jsonl"), "a") as file:
            file.write(json.dumps(line) + "\n")
        # No id and no time: in deterministic mode equal requests have equal replies, byte for byte.
        return {"object": kind, "model": line["model"], "choices": choices,
                "usage": {"prompt_tokens": asked, "completion_tokens": given, "total_tokens": asked + given}}


def failure(path: str, problem: Exception) -> JSONResponse:
    if isinstance(problem, Refused):
        status, kind = problem.status, problem.kind
    elif isinstance(problem, HTTPException):
        status, kind, problem = problem.status_code, "invalid_request_error", f"{problem.detail}: {path}"
    elif isinstance(problem, BatchHalved):
        status, kind = 503, "batch_halved"
    elif is_out_of_memory(problem):
        status, kind = 503, "out_of_memory"
    else:
        status, kind, problem = 500, "server_error", problem if isinstance(problem, ModelProblem) else f"{type(problem).__name__}: {problem}"
    print(f"{path} {status} {problem}", file=sys.stderr, flush=True)
    return JSONResponse({"error": {"message": str(problem), "type": kind}}, status)


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

    if not is_loopback(args.host) and not os.environ.get("SRLM_ENGINE_TOKEN"):
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
    lock = open(os.path.join(args.state_dir, "lock"), "a")  # not emptied by one who does not get it
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print(f"Another server is running in {args.state_dir}.", file=sys.stderr)
        return 3
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()
    card = os.path.join(args.state_dir, "server.json")
    if os.path.exists(card):
        os.remove(card)  # of a server that was killed; nobody shall wait for its port

    def stop(*_):
        # At once: a request that is cut off is sent again by its caller, and nothing here needs saving.
        if os.path.exists(card):
            os.remove(card)
        os._exit(0)

    def stop_on_signals():
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, stop)

    stop_on_signals()

    engine = Engine(device, getattr(torch, dtype), args.threads, args.max_batch, args.deterministic)
    if args.model:
        try:
            check_model_folder(args.model)
            engine.load(os.path.realpath(args.model), model_digest(args.model))
        except (ValueError, OSError, ModelProblem) as problem:
            print(f"--model: {problem}", file=sys.stderr)
            return 2
    listener = socket.create_server((args.host, args.port), family=socket.AF_INET6 if ":" in args.host else socket.AF_INET, backlog=2048)

    async def serve():
        server = uvicorn.Server(uvicorn.Config(Server(args, engine).app(), log_level="warning", lifespan="off"))
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        while not server.started:
            await asyncio.sleep(0.01)
        stop_on_signals()  # again, in place of uvicorn's, which wait for requests to end
        with open(card + ".tmp", "w") as file:
            json.dump({"pid": os.getpid(), "port": listener.getsockname()[1], "host": args.host, "startedAt": now(),
                       "deterministic": args.deterministic, "device": device, "dtype": dtype}, file)
        os.rename(card + ".tmp", card)
        await serving

    asyncio.run(serve())
    return 0


def is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


if __name__ == "__main__":
    sys.exit(main())
