"""Fields of requests, prompts and log-probabilities as OpenAI's and vLLM's APIs have them. Used by server.py.
A field that would change a reply and is not supported is refused: a reply that ignores it would be taken for one that
does not. A field that changes nothing, or has the value that changes nothing, is accepted.
Raises RequestError."""

import json

from compute import ScoredText
from protocol import Decoder, bad, take
from sampling import Ranked, Sample

MOST_ALTERNATIVES = 20  # vLLM's default

SAMPLING = {"model", "stream", "stream_options", "max_tokens", "n", "seed", "stop", "temperature", "top_p", "top_k", "prompt_logprobs"}
SUPPORTED = {
    "/v1/completions": SAMPLING | {"prompt", "echo", "logprobs", "logprobs_from", "add_special_tokens", "return_tokens_as_token_ids"},
    "/v1/chat/completions": SAMPLING | {"messages", "logprobs", "top_logprobs", "max_completion_tokens", "add_generation_prompt",
                                        "continue_final_message"},
    "/tokenize": {"model", "messages", "prompt", "add_special_tokens", "add_generation_prompt", "continue_final_message"},
}
# What these say is for the bookkeeping of other servers.
WITHOUT_EFFECT = {"user", "metadata", "store", "request_id", "session_id", "safety_identifier", "prompt_cache_key", "service_tier",
                  "priority", "cache_salt"}
# Values of unsupported fields that ask for nothing.
NEUTRAL = {
    "best_of": [1], "suffix": [""], "frequency_penalty": [0], "presence_penalty": [0], "repetition_penalty": [1],
    "length_penalty": [1], "min_p": [0], "min_tokens": [0], "logit_bias": [{}], "stop_token_ids": [[]], "bad_words": [[]],
    "ignore_eos": [False], "include_stop_str_in_output": [False], "skip_special_tokens": [True], "use_beam_search": [False],
    "spaces_between_special_tokens": [True], "response_format": [{"type": "text"}], "tools": [[]], "functions": [[]],
    "tool_choice": ["none", "auto"], "parallel_tool_calls": [True, False], "modalities": [["text"]], "chat_template_kwargs": [{}],
    "return_token_ids": [False], "return_token_strs": [False], "return_tokens_as_token_ids": [False], "echo": [False],
}


def check_fields(path: str, body: dict):
    for name, value in body.items():
        if name in SUPPORTED[path] or name in WITHOUT_EFFECT or value is None or value in NEUTRAL.get(name, []):
            continue
        if name == "best_of" and value == body.get("n"):
            continue
        raise bad(f"This server does not support {name[:100]!r}{' with this value' if name in NEUTRAL else ''} at {path}, and a reply"
                  " without it would not be what was asked for; leave the field out.")


def streams(body: dict) -> bool:
    return take(body, "stream", bool, False)


def events(body: dict, reply: dict):
    """A complete reply as server-sent events, for clients that take nothing else: one event with each choice's text, not one
    for each token."""
    kept = {name: reply[name] for name in ("id", "created", "model", "prompt_logprobs") if name in reply}
    is_chat = reply["object"] == "chat.completion"
    kept["object"] = "chat.completion.chunk" if is_chat else reply["object"]

    def event(**fields):
        return f"data: {json.dumps({**kept, **fields})}\n\n"
    for choice in reply["choices"]:
        if is_chat:
            choice = {"index": choice["index"], "delta": choice["message"], "logprobs": choice.get("logprobs"), "finish_reason": choice["finish_reason"]}
        yield event(choices=[choice])
    options = body.get("stream_options")
    if isinstance(options, dict) and options.get("include_usage"):
        yield event(choices=[], usage=reply["usage"])
    yield "data: [DONE]\n\n"


def alternatives(body: dict, name: str, least=0) -> int | None:
    count = take(body, name, int, -1)
    if body.get(name) is not None and not least <= count <= MOST_ALTERNATIVES:
        raise bad(f"{name} must be from {least} to {MOST_ALTERNATIVES}.")
    return None if count < 0 else count


def prompts_of(decoder: Decoder, body: dict) -> list[tuple[list[int], str | None]]:
    """The token ids of each prompt, and its text if that is how it was given: `prompt` is a text, a list of token ids, or a
    list of either."""
    prompt, special = body.get("prompt"), take(body, "add_special_tokens", bool, True)
    is_one = isinstance(prompt, str) or isinstance(prompt, list) and prompt and all(type(token) is int for token in prompt)
    prompts = [prompt] if is_one else prompt
    if not (isinstance(prompts, list) and prompts):
        raise bad("prompt must be a text, a list of token ids, or a list of either, not empty.")
    return [(decoder.encode(one, special), one) if isinstance(one, str) else (decoder.checked(one), None) for one in prompts]


class Prompt:
    """One prompt of a request with all that is computed for it. `scored`: its tokens are ranked. `rows`: its replies."""

    def __init__(self, decoder: Decoder, body: dict, ids: list[int], text: str | None, index: int):
        self.decoder, self.ids, self.text = decoder, ids, text
        self.echo = take(body, "echo", bool, False)
        self.as_ids = take(body, "return_tokens_as_token_ids", bool, False)
        self.logprobs, self.prompt_logprobs = alternatives(body, "logprobs"), alternatives(body, "prompt_logprobs")
        if self.prompt_logprobs is None and self.echo:
            self.prompt_logprobs = self.logprobs
        if take(body, "max_tokens", int, 16, 0) == 0:
            if not self.echo and self.prompt_logprobs is None:
                raise bad("max_tokens 0 asks for nothing: set echo or prompt_logprobs, too.")
            decoder.check_fits(ids, 0)
            self.rows = []
        else:
            self.rows = decoder.samples({**body, "max_tokens": body.get("max_tokens") or 16}, ids, index)
        top = max(self.logprobs or 0, self.prompt_logprobs or 0)
        self.scored = ScoredText(ids, 1, top) if self.prompt_logprobs is not None else None
        for row in self.rows:
            row.top = self.logprobs
        # The pass over the prompt has the next token, too: this is the request of lm-eval and of perplexity tools.
        self.follows = (self.scored is not None and len(self.rows) == 1 and self.rows[0].max_tokens == 1 and not self.rows[0].stop
                        and body.get("temperature") == 0)

    def to_sample(self) -> list[Sample]:
        return [] if self.follows else self.rows

    def choices(self, first: int) -> list[dict]:
        """Once everything is computed; `first` is the index of the first one."""
        if self.follows:
            row, last = self.rows[0], self.scored.ranked[-1]
            token, logprob = last.top[0]
            row.out, row.ranked = [token], [Ranked(token, logprob, 1, last.top)]
            row.finish = "stop" if token in self.decoder.engine.ends else "length"
        return [self.choice(first + i, row) for i, row in enumerate(self.rows or [None])]

    def choice(self, index: int, row: Sample | None) -> dict:
        before = "" if not self.echo else self.text if self.text is not None else self.decoder.engine.tokenizer.decode(self.ids)
        choice = {"index": index, "text": before + (self.decoder.text(row) if row else ""), "finish_reason": row.finish if row else "length",
                  "logprobs": None}
        if self.logprobs is not None:
            choice["logprobs"] = self.columns([*(self.ranked_prompt() if self.echo else []), *(row.ranked if row else [])])
        if self.prompt_logprobs is not None:
            choice["prompt_logprobs"] = prompt_logprobs(self.decoder, self.scored, self.prompt_logprobs)
        return choice

    def ranked_prompt(self) -> list[Ranked]:
        """The first token has no log-probability, since nothing precedes it; the last entry is no token of the prompt."""
        return [Ranked(self.ids[0], None, 0, []), *self.scored.ranked[:-1]]

    def columns(self, ranked: list[Ranked]) -> dict:
        """OpenAI's form of a completion's log-probabilities. As in vLLM, an offset adds up the lengths of the tokens."""
        tokens, offsets, tops = [], [], []
        for one in ranked:
            offsets.append(offsets[-1] + len(tokens[-1]) if offsets else 0)
            tokens.append(self.spelled(one.token))
            tops.append(None if one.logprob is None else self.named(one))
        return {"text_offset": offsets, "token_logprobs": [one.logprob for one in ranked], "tokens": tokens, "top_logprobs": tops}

    def named(self, one: Ranked) -> dict[str, float]:
        """Several tokens may have the same spelling, as parts of characters do: the likeliest of them counts."""
        found = {}
        for token, logprob in [(one.token, one.logprob), *one.top[:self.logprobs]]:
            name = self.spelled(token)
            found[name] = max(found.get(name, logprob), logprob)
        return found

    def spelled(self, token: int) -> str:
        return f"token_id:{token}" if self.as_ids else self.decoder.spelling(token)


def choices_of(prompts: list[Prompt]) -> list[dict]:
    found = []
    for prompt in prompts:
        found += prompt.choices(len(found))
    return found


def prompt_logprobs(decoder: Decoder, scored: ScoredText, top: int) -> list[dict | None]:
    """vLLM's form: for each token but the first, the token itself and then the most likely ones, by token id."""
    def entry(one: Ranked) -> dict:
        own = (one.token, one.logprob, one.rank)
        best = [(token, logprob, at + 1) for at, (token, logprob) in enumerate(one.top[:top]) if token != one.token]
        return {str(token): {"logprob": logprob, "rank": rank, "decoded_token": decoder.spelling(token)} for token, logprob, rank in [own, *best]}
    return [None, *(entry(one) for one in scored.ranked[:-1])]


def chat_alternatives(body: dict, prompt: list[int]) -> tuple[list[ScoredText], int | None]:
    """What of a chat's prompt is to be scored, and how many alternatives each token of its reply is reported with."""
    asked, top, before = take(body, "logprobs", bool, False), alternatives(body, "top_logprobs"), alternatives(body, "prompt_logprobs")
    if top is not None and not asked:
        raise bad("top_logprobs needs logprobs true.")
    return [] if before is None else [ScoredText(prompt, 1, before)], (top or 0) if asked else None


def chat_choices(decoder: Decoder, rows: list[Sample], top: int | None, scored: list[ScoredText]) -> tuple[list[dict], dict]:
    """The choices of a reply, and what belongs beside them."""
    choices = [{"index": i, "message": {"role": "assistant", "content": decoder.text(row)}, "finish_reason": row.finish,
                "completion_tokens": len(row.out)} for i, row in enumerate(rows)]
    for choice, row in zip(choices, rows):
        if top is not None:
            choice["logprobs"] = chat_logprobs(decoder, row, top)
    return choices, {"prompt_logprobs": prompt_logprobs(decoder, text, text.top) for text in scored}


def chat_logprobs(decoder: Decoder, row: Sample, top: int) -> dict:
    """OpenAI's form of a chat reply's log-probabilities."""
    def entry(token: int, logprob: float) -> dict:
        text = decoder.spelling(token)
        return {"token": text, "logprob": logprob, "bytes": list(text.encode())}
    return {"content": [{**entry(one.token, one.logprob), "top_logprobs": [entry(*best) for best in one.top[:top]]} for one in row.ranked]}
