"""The HTTP protocol of the model server: decodes the bodies of requests and words the error replies. Used by server.py.
Decoder turns texts into token ids with the tokenizer of the loaded model, and back.
Guard refuses requests that are not of a program with the token.
Raises RequestError for everything that a client got wrong. (Not named requests.py: that would hide the package.)"""

import hmac
import json
import random
import sys

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from chat import Chat
from compute import BatchHalved, Engine, is_out_of_memory
from sampling import UnservableModel, Sample


MOST_CHOICES = 16_384  # vLLM's default


class RequestError(Exception):
    """An error reply: HTTP status, OpenAI's error type, one sentence."""

    def __init__(self, status: int, kind: str, message: str):
        super().__init__(message)
        self.status, self.kind = status, kind


def bad(message: str) -> RequestError:
    return RequestError(400, "invalid_request_error", message)


def failure(path: str, problem: Exception) -> JSONResponse:
    if isinstance(problem, RequestError):
        status, kind = problem.status, problem.kind
    elif isinstance(problem, HTTPException):
        status, kind, problem = problem.status_code, "invalid_request_error", f"{problem.detail}: {path}"
    elif isinstance(problem, BatchHalved):
        status, kind = 503, "batch_halved"
    elif is_out_of_memory(problem):
        status, kind = 503, "out_of_memory"
    else:
        status, kind, problem = 500, "server_error", problem if isinstance(problem, UnservableModel) else f"{type(problem).__name__}: {problem}"
    print(f"{path} {status} {problem}", file=sys.stderr, flush=True)
    return JSONResponse({"error": {"message": str(problem), "type": kind}}, status)


class Guard:
    """Lets the requests through that a program of this host makes with the token. Any web page can make a browser send
    requests here, too: those have an Origin, or the name of the page's own server as Host."""

    def __init__(self, app, token: str):
        self.app, self.expected = app, f"Bearer {token}".encode()

    async def __call__(self, scope, receive, send):
        problem = self.refusal(Headers(scope=scope), scope["server"][1])
        await (failure(scope["path"], problem) if problem else self.app)(scope, receive, send)

    def refusal(self, headers: Headers, port: int) -> RequestError | None:
        if "origin" in headers:
            return RequestError(403, "forbidden", "The request has an Origin: it is a browser's.")
        if headers.getlist("host") not in ([f"127.0.0.1:{port}"], [f"localhost:{port}"]):
            return RequestError(403, "forbidden", f"The Host of the request is not 127.0.0.1:{port}.")
        if not hmac.compare_digest(headers.get("authorization", "").encode("latin-1"), self.expected):
            return RequestError(401, "authentication_error", "The bearer token is missing or wrong.")
        return None


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


def take(body: dict, name: str, kind: type, default=None, least=None):
    """A field of the body, of this type and at least `least`; null counts as missing."""
    value = body.get(name)
    value = default if value is None else value
    if kind is float and type(value) is int:
        value = float(value)
    if type(value) is not kind or least is not None and not least <= value < float("inf"):
        words = {str: "a string", bool: "true or false", int: "a whole number", float: "a number"}[kind]
        raise bad(f"{name} must be {words}{'' if least is None else f' of at least {least}'}.")
    return value


def message_of(one) -> dict:
    """A message with a text as its content, which may also be given as parts."""
    content = one.get("content") if isinstance(one, dict) else None
    if isinstance(content, list) and all(isinstance(part, dict) and part.get("type") == "text" for part in content):
        content = "".join(part["text"] if isinstance(part.get("text"), str) else "" for part in content)
    if not (isinstance(content, str) and isinstance(one.get("role"), str)):
        raise bad("Each message must be {role, content}, both strings; content may be a list of parts of type text.")
    for name, value in one.items():
        if name not in ("role", "content") and value not in (None, [], ""):
            raise bad(f"This server does not support {name[:100]!r} in a message.")
    return {"role": one["role"], "content": content}


class Decoder:
    """Requests as token ids and rows, by the loaded model's tokenizer, chat template and context."""

    def __init__(self, engine: Engine):
        self.engine = engine
        self.known = None

    def encode(self, text: str, special: bool) -> list[int]:
        try:
            text.encode()
        except UnicodeEncodeError:
            raise bad("The text has half of a surrogate pair, which is not a character.") from None
        ids, vocabulary = self.engine.tokenizer(text, add_special_tokens=special, verbose=False).input_ids, self.engine.vocabulary
        if max(ids, default=0) >= vocabulary:  # a GPU would fail for good
            raise bad(f"The tokenizer gives token {max(ids)}, and the model has {vocabulary}.")
        return ids

    def chat_text(self, body) -> str:
        messages = body.get("messages")
        messages = [message_of(one) for one in messages] if isinstance(messages, list) else []
        if not messages:
            raise bad("messages must be a list of {role, content}, not empty.")
        continued = take(body, "continue_final_message", bool, False)
        prompt = take(body, "add_generation_prompt", bool, not continued)
        if continued and prompt:
            raise bad("continue_final_message and add_generation_prompt cannot both be true.")
        try:
            return self.chat().prompt(messages) if prompt else self.chat().render(messages, continue_final_message=continued)
        except Exception as problem:  # templates raise any exception for roles, or an order of them, that they do not support
            raise bad(f"The model's chat template refuses these messages: {problem}") from None

    def chat(self) -> Chat:
        """That of the loaded model."""
        if self.known is None or self.known.tokenizer is not self.engine.tokenizer:
            self.known = Chat(self.engine.tokenizer)
        return self.known

    def tokens(self, body) -> list[int] | list[list[int]]:
        """The token ids of a chat prompt (`messages`), or of a text or each of several texts (`prompt`)."""
        if "messages" in body:
            return self.encode(self.chat_text(body), False)
        special, prompt = take(body, "add_special_tokens", bool, True), body.get("prompt")
        if isinstance(prompt, str):
            return self.encode(prompt, special)
        if not (isinstance(prompt, list) and all(isinstance(one, str) for one in prompt)):
            raise bad("prompt must be a string or a list of strings (or give messages).")
        return [self.encode(one, special) for one in prompt]

    def checked(self, ids) -> list[int]:
        """Token ids that a request gave."""
        vocabulary = self.engine.vocabulary
        if not (isinstance(ids, list) and ids and all(type(token) is int and 0 <= token < vocabulary for token in ids)):
            raise bad(f"Each prompt must be a text, or a list of token ids below {vocabulary} that is not empty.")
        return ids

    def check_fits(self, ids: list[int], room: int):
        if not ids or len(ids) + room > self.engine.context:
            raise bad(f"The prompt has {len(ids)} tokens: none, or {'no room for an answer' if room else 'too many'}"
                      f" in the model's context of {self.engine.context}.")

    def prompts(self, body) -> tuple[list[list[int]], list[int]]:
        """The token ids of each prompt, and the position from which on they are scored. Nothing precedes the first token."""
        prompts, firsts = body.get("prompt"), body["logprobs_from"]
        if not (isinstance(prompts, list) and prompts):
            raise bad("prompt must be a list of lists of token ids, not empty.")
        for one in prompts:
            self.check_fits(self.checked(one), 0)
        if not (isinstance(firsts, list) and len(firsts) == len(prompts) and all(type(first) is int and first > 0 for first in firsts)):
            raise bad("logprobs_from must be a list of positions of at least 1, one per prompt.")
        return prompts, firsts

    def samples(self, body, prompt: list[int], index=0) -> list[Sample]:
        """Rows for the replies to the prompt at `index` of the request, so that no two of them draw alike."""
        stop = body.get("stop") or []
        stop = [stop] if isinstance(stop, str) else stop
        if not (isinstance(stop, list) and all(isinstance(one, str) and one for one in stop)):
            raise bad("stop must be a string or a list of strings, none of them empty.")
        # In deterministic mode equal requests without a seed must have equal replies, too.
        seed = take(body, "seed", int, 0 if self.engine.deterministic else random.getrandbits(63))
        n, top_k = take(body, "n", int, 1, 1), max(0, take(body, "top_k", int, 0, -1))
        if n > MOST_CHOICES:
            raise bad(f"n must be at most {MOST_CHOICES}.")
        temperature, top_p = take(body, "temperature", float, 1.0, 0), take(body, "top_p", float, 1.0, 0)
        self.check_fits(prompt, 1)
        room = self.engine.context - len(prompt)
        max_tokens = min(take(body, "max_tokens", int, room, 1), room)
        return [Sample(prompt, max_tokens, temperature, top_k, top_p, stop, (seed + index * n + i) % 2**64) for i in range(n)]

    def spelling(self, token: int) -> str:
        return self.engine.tokenizer.decode([token])

    def text(self, row: Sample) -> str:
        """The text of a reply. Decoded together with the end of its prompt: some tokenizers drop the first space of a text."""
        decode = self.engine.tokenizer.decode
        before, out = row.prompt[-4:], row.out[:-1] if row.out[-1] in self.engine.ends else row.out
        text = decode(before + out, skip_special_tokens=True)[len(decode(before, skip_special_tokens=True)):]
        return text[:min([at for stop in row.stop if (at := text.find(stop)) >= 0], default=len(text))]
