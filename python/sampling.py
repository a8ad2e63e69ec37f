"""Rows to generate, the choice of their next tokens from logits, the log-probabilities of tokens and of their
alternatives, and the tokens that end a reply. Used by compute.py.
Raises UnservableModel where a model computes nothing usable.
Axes in names: R rows, V vocabulary."""

import random
from dataclasses import dataclass, field

import torch


class UnservableModel(Exception):
    """The model cannot be served; one sentence."""


@dataclass
class Ranked:
    """A token at its position: its log-probability (nats) and rank, and the most likely tokens there, best first."""
    token: int
    logprob: float
    rank: int
    top: list[tuple[int, float]]


@dataclass(eq=False)
class Sample:
    """One row to generate. top_k 0 and top_p 1 are off; temperature 0 takes the most likely token. `top`: report each token
    with that many alternatives, by the model's own probabilities, before temperature, top_k and top_p."""
    prompt: list[int]
    max_tokens: int
    temperature: float
    top_k: int
    top_p: float
    stop: list[str]
    seed: int
    top: int | None = None
    out: list[int] = field(default_factory=list)
    ranked: list[Ranked] = field(default_factory=list)
    finish: str | None = None

    def __post_init__(self):
        self.rng = random.Random(self.seed)
        if self.temperature == 0:
            self.temperature, self.top_k = 1.0, 1

    def columns(self) -> int:
        return len(self.prompt) + self.max_tokens


def pick(logits_RV, rows: list[Sample]) -> list[int]:
    """Next tokens. Each row draws one number from its own stream, which chooses the token at that point of its cumulative
    probabilities. Rows with top-k are handled apart from the others: only those without it need the whole vocabulary."""
    check_finite(logits_RV.amax(-1))
    tokens = torch.zeros(len(rows), dtype=torch.long)
    for limited in (True, False):
        some = [i for i, row in enumerate(rows) if bool(row.top_k) == limited]
        if not some:
            continue
        # A GPU keeps the logits of whole vocabularies, which take long to copy. It adds them up in no fixed order.
        place = "cpu" if limited or torch.are_deterministic_algorithms_enabled() else logits_RV.device
        temperature, top_p, top_k, uniform = (torch.tensor([[value] for value in values], device=place) for values in zip(
            *((rows[i].temperature, rows[i].top_p, rows[i].top_k, rows[i].rng.random()) for i in some)))
        values, ids = logits_RV if len(some) == len(rows) else logits_RV[some], None
        if limited or (top_p < 1).any():
            values, ids = values.topk(min(int(top_k.max()) or values.shape[-1], values.shape[-1]))
            ids = ids.to(place)
        values = values.to(place).float() / temperature
        if limited:
            values.masked_fill_(torch.arange(values.shape[-1]) >= top_k, -torch.inf)
        share = values.softmax(-1)
        total = share.cumsum(-1)
        if ids is not None:
            # The most likely token is always kept, also for top_p 0.
            total = share.masked_fill_(total - share >= top_p.clamp(min=1e-9), 0).cumsum(-1)
        # Rounding must not move the point past the last token that has any probability.
        point = torch.minimum(uniform * total[:, -1:], total[:, -1:].nextafter(total.new_zeros(())))
        drawn = torch.searchsorted(total, point, right=True)
        if ids is not None:
            if total.is_cuda:  # its sums may grow by rounding behind the last token that is kept
                drawn = torch.minimum(drawn, (share > 0).sum(-1, keepdim=True) - 1)
            drawn = ids.gather(1, drawn)
        tokens[some] = drawn[:, 0].cpu()
    return tokens.tolist()


def ranked(logits_NV, tokens: list[int], top: int) -> list[Ranked]:
    """Each token at its position. One subtraction gives the value of a token and of the same token among the most likely
    ones, so that both are the same number: evaluation tools compare them to find out whether a token is the most likely."""
    logits_NV = logits_NV.float()
    total_N1 = check_finite(logits_NV.logsumexp(-1, keepdim=True))
    own_N1 = logits_NV.gather(-1, torch.tensor(tokens, device=logits_NV.device)[:, None])
    rank_N = (logits_NV >= own_N1).sum(-1)
    values, ids = logits_NV.topk(min(max(top, 1), logits_NV.shape[-1]))
    # JSON has no infinity; the number is vLLM's.
    values, own_N1 = (values - total_N1).clamp(min=-9999), (own_N1 - total_N1).clamp(min=-9999)
    rows = zip(tokens, own_N1[:, 0].tolist(), rank_N.tolist(), ids.tolist(), values.tolist())
    return [Ranked(token, own, rank, list(zip(best, logprobs))) for token, own, rank, best, logprobs in rows]


def rank_texts(texts, width: int, stop: int, wanted_RT, logits_NV, size: int):
    """Adds to the texts that want alternatives (`top`) what one pass found, whose columns end before `stop` of `width`; at
    most `size` rows of logits at once. Texts are padded on the left, and all columns behind a wanted one are wanted."""
    begin = 0
    for text, count in zip(texts, wanted_RT.sum(-1).tolist()):
        logits_TV, begin = logits_NV[begin:begin + count], begin + count
        if text.top is None or not count:
            continue
        # The logits of a column predict the token of the next one. None follows the last: any token serves there.
        first = stop - (width - len(text.ids)) - count + 1
        targets = [*text.ids, 0][first:first + count]
        for at in range(0, count, size):
            text.ranked += ranked(logits_TV[at:at + size], targets[at:at + size], text.top)


def check_finite(values):
    if not torch.isfinite(values).all():
        raise UnservableModel("The model gives values that are not finite; its weights are broken.")
    return values


def end_tokens(model, tokenizer) -> set[int]:
    """All tokens that end a reply: the model's, the tokenizer's, and the one that the chat template puts after a reply."""
    ends = set()
    for ids in (model.generation_config.eos_token_id, model.config.get_text_config(decoder=True).eos_token_id, tokenizer.eos_token_id):
        ends.update(ids if isinstance(ids, (list, tuple)) else [] if ids is None else [ids])
    try:
        turn = tokenizer.apply_chat_template([{"role": "user", "content": "?"}, {"role": "assistant", "content": "srlm"}], tokenize=False)
    except Exception:  # a template may demand other roles; then these tokens must be enough
        return ends
    after = tokenizer(turn.rpartition("srlm")[2].strip(), add_special_tokens=False).input_ids
    if after and after[0] in tokenizer.added_tokens_decoder and tokenizer.added_tokens_decoder[after[0]].special:
        ends.add(after[0])
    return ends
