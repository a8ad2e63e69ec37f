"""The model server's compute thread: holds one model, samples and scores rows of token ids with it.
Gives Engine; server.py puts a Job in its inbox and awaits the job's future. Any causal language model of transformers
whose state is keys and values will do; nothing here is about one architecture.
Default: all waiting rows share one batch. Rows leave it when they end, others join; every row draws from its own seed,
so only rounding depends on its neighbours. Deterministic: one job at a time, a result depends on job and weights alone.
Knows nothing of HTTP or text; does not split a model over several GPUs.
Axes in names: R rows, T tokens, V vocabulary."""

import asyncio
import copy
import ctypes
import gc
import queue
import random
import sys
import threading
import time
from dataclasses import dataclass, field

import torch
from transformers import AttentionInterface, AttentionMaskInterface, AutoConfig, AutoModelForCausalLM, AutoTokenizer, DynamicCache
from transformers.cache_utils import Cache, DynamicLayer, DynamicSlidingWindowLayer
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import eager_mask

GATHER_SECONDS = 0.01     # an idle engine waits this long for a job's companions
FORWARD_TOKENS = 1024     # most tokens in one pass over prompts: activations stay in the CPU's cache, logits stay small
LOGIT_ROWS = 64           # rows of logits that are turned into log-probabilities at once
ROOM_COLUMNS = 32         # spare columns of the key/value buffers, which are copied when these are used up
JOIN_STEPS = 16           # joining copies the buffers too, so a few rows wait up to so many steps for more
FIXED_MEMORY = 4 << 30    # bytes of keys and values in deterministic mode, where the free memory must not show


class ModelProblem(Exception):
    """The model cannot be served; one sentence."""


class BatchHalved(Exception):
    """Memory ran out; what was asked will fit better the next time."""


@dataclass(eq=False)
class Sample:
    """One row to generate. top_k 0 and top_p 1 are off; temperature 0 takes the likeliest token."""
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
        if self.temperature == 0:
            self.temperature, self.top_k = 1.0, 1

    def columns(self) -> int:
        return len(self.prompt) + self.max_tokens


@dataclass(eq=False)
class Text:
    """One row to score: log-probabilities (nats) of ids[first:], each given all before it."""
    ids: list[int]
    first: int
    logprobs: list[float] = field(default_factory=list)


@dataclass(eq=False)
class Job:
    """What one request wants: rows, or a call to make while there are none."""
    loop: asyncio.AbstractEventLoop
    call: object = None
    samples: list[Sample] = field(default_factory=list)
    texts: list[Text] = field(default_factory=list)
    cancelled: bool = False
    seconds: float = 0  # its rows' share of the time in which they were computed

    def __post_init__(self):
        self.future = self.loop.create_future()
        self.left = len(self.samples) + len(self.texts)
        for row in [*self.samples, *self.texts]:
            row.job = self

    def settle(self, result=None, problem: Exception | None = None):
        def on_loop():
            if not self.future.done():
                self.future.set_exception(problem) if problem else self.future.set_result(result)
        self.loop.call_soon_threadsafe(on_loop)

    def row_done(self):
        self.left -= 1
        if self.left == 0:
            self.settle()


# ---- attention and cache ----

def grouped_attention(module, query, key, value, attention_mask, scaling=None, dropout=0.0, **kwargs):
    """Attention without a copy of the keys and values for every query head that shares them. For one new token a row
    and a long batch this is what counts: 4 ms a layer where sdpa takes 10 and eager 65 (256 rows, one core).
    Its matrix of weights is whole in memory, so long texts go to sdpa."""
    rows, heads, tokens, size = query.shape
    if tokens * key.shape[2] > 512 * 512 or kwargs.get("position_bias") is not None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, dropout, scaling, **kwargs)
    query = (query * (size ** -0.5 if scaling is None else scaling)).reshape(rows, key.shape[1], -1, size)
    weights = (query @ key.transpose(2, 3)).view(rows, heads, tokens, -1).add_(attention_mask).softmax(-1)
    found = weights.view(rows, key.shape[1], -1, key.shape[2]) @ value
    return found.view(rows, heads, tokens, -1).transpose(1, 2).contiguous(), None


AttentionInterface.register("srlm_grouped", grouped_attention)
AttentionMaskInterface.register("srlm_grouped", eager_mask)


class RoomyLayer(DynamicLayer):
    """Keys and values [row, head, column, feature] with spare columns on the right. A step writes one column and hands
    out the whole buffer; the mask hides what is not used. A slice would not be dense, and matmul copies such operands."""

    used = 0

    def update(self, key_states, value_states, *args, **kwargs):
        self.keys[:, :, self.used], self.values[:, :, self.used] = key_states[:, :, 0], value_states[:, :, 0]
        self.used += 1
        return self.keys, self.values

    def get_seq_length(self):
        return self.used

    def get_mask_sizes(self, query_length):
        return self.keys.shape[-2], 0

    def rebuild(self, width: int, skip: int, pieces: list):
        """New buffers: the rows there are, without their first `skip` columns, then those of `pieces`; all end at `width`."""
        if self.used:
            pieces = [(self.keys[:, :, skip:self.used], self.values[:, :, skip:self.used]), *pieces]
        self.keys, self.values = (
            torch.cat([torch.nn.functional.pad(part, (0, 0, width - part.shape[2], ROOM_COLUMNS)) for part in parts]) for parts in zip(*pieces))
        self.used, self.is_initialized = width, True

    def keep(self, count: int, holes, movers):
        """Keeps `count` rows: the last ones alive move into the holes, so the others need not be copied."""
        self.keys[holes], self.values[holes] = self.keys[movers], self.values[movers]
        self.keys, self.values = self.keys[:count], self.values[:count]


class Engine:
    """One model and one thread. Only `inbox` may be used from outside, and what `load` sets may be read."""

    def __init__(self, device: str, dtype: torch.dtype, threads: int, max_batch: int, deterministic: bool):
        self.device, self.dtype, self.threads = device, dtype, threads
        self.max_batch, self.forward_tokens, self.deterministic = max_batch, FORWARD_TOKENS, deterministic
        self.inbox: queue.SimpleQueue[Job] = queue.SimpleQueue()
        self.sha256 = self.model = self.tokenizer = self.speller = self.wanted_RT = None
        self.clear()
        threading.Thread(target=self.run, daemon=True).start()

    def clear(self):
        self.texts: list[Text] = []          # to score, shortest first
        self.waiting: list[Sample] = []      # to generate, in order of arrival
        self.rows: list[Sample] = []         # being generated; row i of cache, mask and positions
        self.cache = self.mask = self.positions = None
        self.steps = 0                       # since the last rebuild

    def run(self):
        torch.set_num_threads(self.threads)
        torch.set_grad_enabled(False)
        while True:
            try:
                self.take()
                self.charged(self.score)
                self.drop([row for row in self.rows if row.job.cancelled])
                self.charged(self.join)
                self.charged(self.step)
            except Exception as problem:  # one bad batch must not end the thread; whoever waits for it is told
                jobs = {row.job for row in [*self.texts, *self.waiting, *self.rows]}
                self.clear()
                if is_out_of_memory(problem) and self.max_batch > 1:
                    self.max_batch, self.forward_tokens = self.max_batch // 2, max(1, self.forward_tokens // 2)
                    problem = BatchHalved(f"memory ran out; from now on at most {self.max_batch} rows are generated at once.")
                for job in jobs:
                    job.settle(problem=problem)

    def charged(self, work):
        """Does `work`, and shares the time among the rows it was for."""
        started = time.perf_counter()
        rows = work()
        for row in rows:
            row.job.seconds += (time.perf_counter() - started) / len(rows)

    def take(self):
        """Takes in what has arrived; waits if there is nothing to do. Deterministic: one job, when the last is done."""
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
            self.waiting += job.samples
            self.texts += job.texts
            if job.call:
                try:
                    job.settle(job.call())
                except Exception as problem:
                    job.settle(problem=problem)
        self.texts = sorted((text for text in self.texts if not text.job.cancelled), key=lambda text: len(text.ids))

    # ---- the model ----

    def load(self, path: str, sha256: str):
        self.unload()
        config = AutoConfig.from_pretrained(path, local_files_only=True, trust_remote_code=False)
        if not all(type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) for layer in DynamicCache(config=config).layers):
            raise ModelProblem(f"{config.model_type} models keep more than keys and values from token to token; this server cannot run them.")
        tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True, trust_remote_code=False)
        model = AutoModelForCausalLM.from_pretrained(path, dtype=self.dtype, local_files_only=True, use_safetensors=True, trust_remote_code=False)
        model = model.to(self.device).eval()
        # A model that does not take sdpa has something of its own (a soft cap, sinks), and keeps its own attention.
        # On a GPU sdpa's kernels are the better ones.
        if self.device == "cpu" and model.config._attn_implementation == "sdpa":
            model.set_attn_implementation("srlm_grouped")
        text_config = config.get_text_config(decoder=True)
        self.context = getattr(text_config, "max_position_embeddings", None) or min(tokenizer.model_max_length, 1 << 20)
        self.vocabulary = model.get_input_embeddings().num_embeddings
        self.ends = end_tokens(model, tokenizer)
        # Tokenizers must not be shared between threads; this copy is the compute thread's.
        self.tokenizer, self.speller = tokenizer, copy.deepcopy(tokenizer)
        self.model, cache = model, DynamicCache()
        model.get_output_embeddings().register_forward_pre_hook(self.only_wanted)
        with torch.no_grad():
            list(self.forward([[0]], [0], cache))
        token_bytes = sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)
        # A rebuild holds new rows twice, and a forward pass needs room as well.
        memory = FIXED_MEMORY if self.deterministic else free_memory(self.device) * 0.4
        self.most_cells = memory / token_bytes
        self.sha256 = sha256

    def unload(self):
        self.sha256 = self.model = self.tokenizer = self.speller = None
        gc.collect()
        if self.device == "cuda":
            torch.cuda.empty_cache()
        if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
            libc.malloc_trim(0)

    def tensor(self, values, **kwargs):
        return torch.tensor(values, device=self.device, **kwargs)

    def forward(self, ids: list[list[int]], starts: list[int], cache=None):
        """One pass over texts, padded on the left so that all end together. Yields (columns, wanted_RT, logits_NV): the
        logits of each row from its position `starts` on, and of no other, since the output layer is a good part of a
        small model's work. A long text goes through in pieces, so that no matrix gets too large."""
        width = max(map(len, ids))
        input_ids = self.tensor([[0] * (width - len(row)) + row for row in ids])
        mask = self.tensor([[0] * (width - len(row)) + [1] * len(row) for row in ids])
        positions = (mask.cumsum(-1) - 1).clamp(min=0)
        wanted_RT = torch.arange(width, device=self.device) >= self.tensor([[width - len(row) + start] for row, start in zip(ids, starts)])
        if cache is None and width > FORWARD_TOKENS:
            cache = DynamicCache()
        for start in range(0, width, FORWARD_TOKENS):
            columns = slice(start, min(start + FORWARD_TOKENS, width))
            self.wanted_RT = wanted_RT[:, columns]
            try:
                logits = self.model(input_ids=input_ids[:, columns], attention_mask=mask[:, :columns.stop], position_ids=positions[:, columns],
                                    past_key_values=cache, use_cache=cache is not None).logits
            finally:
                wanted, self.wanted_RT = self.wanted_RT, None
            yield columns, wanted, logits

    def only_wanted(self, layer, args):
        return None if self.wanted_RT is None else (args[0][self.wanted_RT],)

    # ---- scoring ----

    def score(self) -> list[Text]:
        """Scores one batch: the longest text waiting and those next in length, so that little is padding."""
        if not self.texts:
            return []
        count = max(1, self.forward_tokens // len(self.texts[-1].ids))
        self.texts, batch = self.texts[:-count], self.texts[-count:]
        try:
            wanted = [text for text in batch if text.first < len(text.ids)]
            if wanted:
                self.score_batch(wanted)
        except Exception:
            self.texts += batch  # `run` tells everyone in these lists
            raise
        for text in batch:
            text.job.row_done()
        return batch

    def score_batch(self, texts: list[Text]):
        width = max(len(text.ids) for text in texts)
        # The logits of one column are about the token in the next.
        targets_RT = self.tensor([[0] * (width - len(text.ids)) + text.ids[1:] + [0] for text in texts])
        logprobs_RT = torch.zeros(targets_RT.shape)
        for columns, wanted_RT, logits_NV in self.forward([text.ids for text in texts], [text.first - 1 for text in texts]):
            # A few rows of float32 logits fit the CPU's cache; all of them would go through memory several times.
            parts = zip(logits_NV.split(LOGIT_ROWS), targets_RT[:, columns][wanted_RT].split(LOGIT_ROWS))
            found = [-torch.nn.functional.cross_entropy(logits.float(), targets, reduction="none") for logits, targets in parts]
            logprobs_RT[:, columns][wanted_RT.cpu()] = torch.cat(found).cpu()
        for text, logprobs_T in zip(texts, logprobs_RT):
            text.logprobs = check_finite(logprobs_T[width - len(text.ids) + text.first - 1:-1]).tolist()

    # ---- generating ----

    def join(self) -> list[Sample]:
        """Moves waiting rows into the batch: one pass over each prompt, its keys and values shared by its samples."""
        self.waiting = [row for row in self.waiting if not row.job.cancelled]
        free = self.max_batch - len(self.rows)
        worthwhile = len(self.waiting) * 4 >= len(self.rows) or self.steps >= JOIN_STEPS
        if not self.waiting or not worthwhile or free * 4 < self.max_batch:
            return []
        columns, taken, by_prompt = max((row.columns() for row in self.rows), default=0), len(self.rows), {}
        for row in self.waiting[:free]:
            columns = max(columns, row.columns())
            if taken and (taken + 1) * columns > self.most_cells:
                break
            by_prompt.setdefault(tuple(row.prompt), []).append(row)
            taken += 1
        joined = self.waiting[:taken - len(self.rows)]
        self.waiting = self.waiting[len(joined):]
        if by_prompt:
            self.prefill(by_prompt)
        return joined

    def prefill(self, by_prompt: dict[tuple, list[Sample]]):
        prompts, joined, first_logits, pieces = sorted(by_prompt, key=len), [], [], []
        try:
            while prompts:
                count = max(1, self.forward_tokens // len(prompts[-1]))
                prompts, group = prompts[:-count], prompts[-count:]
                cache = DynamicCache()
                *_, (_, _, logits_RV) = self.forward([list(prompt) for prompt in group], [len(prompt) - 1 for prompt in group], cache)
                owner = self.tensor([i for i, prompt in enumerate(group) for _ in by_prompt[prompt]])
                pieces.append([(layer.keys[owner], layer.values[owner]) for layer in cache.layers])
                first_logits.append(logits_RV[owner])
                joined += [row for prompt in group for row in by_prompt[prompt]]
            self.rebuild(joined, pieces)
        except Exception:
            self.waiting += [row for rows in by_prompt.values() for row in rows]  # `run` tells everyone in these lists
            raise
        self.accept(torch.cat(first_logits), joined)

    def rebuild(self, joined: list[Sample] = (), pieces: list = ()):
        """The cache again, with new rows and new room, and without the columns that are padding in every row."""
        lengths = [len(row.prompt) + len(row.out) - 1 for row in self.rows]
        skip = self.cache.get_seq_length() - max(lengths) if self.rows else 0
        if not self.rows:
            self.cache = Cache(layers=[RoomyLayer() for _ in pieces[0]])
        lengths += [len(row.prompt) for row in joined]
        width = max(lengths)
        for i, layer in enumerate(self.cache.layers):
            layer.rebuild(width, skip, [piece[i] for piece in pieces])
        self.rows = [*self.rows, *joined]
        self.positions = self.tensor(lengths)
        columns = torch.arange(width + ROOM_COLUMNS, device=self.device)
        self.mask = ((columns < width) & (columns >= width - self.positions[:, None])).long()
        self.steps = 0

    def step(self) -> list[Sample]:
        """One token for every row."""
        if not self.rows:
            return []
        if self.cache.get_seq_length() == self.mask.shape[1]:
            self.rebuild()
        self.mask[:, self.cache.get_seq_length()] = 1
        logits_RTV = self.model(input_ids=self.tensor([row.out[-1:] for row in self.rows]), attention_mask=self.mask, logits_to_keep=1,
                                position_ids=self.positions[:, None], past_key_values=self.cache, use_cache=True).logits
        self.positions += 1
        self.steps += 1
        rows = list(self.rows)
        self.accept(logits_RTV[:, -1], rows)
        return rows

    def accept(self, logits_RV, rows: list[Sample]):
        """Draws each row's next token; takes the rows that are finished out of the batch."""
        finished = []
        for row, token in zip(rows, pick(logits_RV, rows)):
            row.out.append(token)
            if token in self.ends or row.stop and self.stopped(row):
                row.finish = "stop"
            elif len(row.out) >= row.max_tokens:
                row.finish = "length"
            if row.finish:
                finished.append(row)
        self.drop(finished)
        for row in finished:
            row.job.row_done()

    def stopped(self, row: Sample) -> bool:
        # A character takes at most four tokens, so a stop string that has just been completed is within these.
        tail = row.out[-(4 * max(map(len, row.stop)) + 4):]
        text = self.speller.decode(tail, skip_special_tokens=True)
        return any(stop in text for stop in row.stop)

    def drop(self, gone: list[Sample]):
        if not gone:
            return
        gone = set(gone)
        count = len(self.rows) - len(gone)
        alive = [row not in gone for row in self.rows]
        holes = [i for i in range(count) if not alive[i]]
        movers = [i for i in range(count, len(self.rows)) if alive[i]]
        for hole, mover in zip(holes, movers):
            self.rows[hole] = self.rows[mover]
        self.rows = self.rows[:count]
        if not count:
            self.cache = self.mask = self.positions = None
            return
        holes, movers = self.tensor(holes, dtype=torch.long), self.tensor(movers, dtype=torch.long)
        for layer in self.cache.layers:
            layer.keep(count, holes, movers)
        self.mask[holes], self.positions[holes] = self.mask[movers], self.positions[movers]
        self.mask, self.positions = self.mask[:count], self.positions[:count]


def pick(logits_RV, rows: list[Sample]) -> list[int]:
    """Next tokens. Each row takes one number from its own stream, and the token at that point of its cumulated
    probabilities. Rows with and without top-k apart: only the latter need the whole vocabulary."""
    check_finite(logits_RV.amax(-1))
    tokens = torch.zeros(len(rows), dtype=torch.long)
    for limited in (True, False):
        some = [i for i, row in enumerate(rows) if bool(row.top_k) == limited]
        if not some:
            continue
        temperature, top_p, top_k, uniform = (torch.tensor([[value] for value in values]) for values in zip(
            *((rows[i].temperature, rows[i].top_p, rows[i].top_k, rows[i].rng.random()) for i in some)))
        values, ids = logits_RV if len(some) == len(rows) else logits_RV[some], None
        if limited or (top_p < 1).any():
            values, ids = values.topk(min(int(top_k.max()) or values.shape[-1], values.shape[-1]))
            ids = ids.cpu()
        values = values.cpu().float() / temperature
        if limited:
            values.masked_fill_(torch.arange(values.shape[-1]) >= top_k, -torch.inf)
        share = values.softmax(-1)
        total = share.cumsum(-1)
        if ids is not None:
            # The likeliest token always stays, also for top_p 0.
            total = share.masked_fill_(total - share >= top_p.clamp(min=1e-9), 0).cumsum(-1)
        # Rounding must not carry the point past the last token that has any probability.
        point = torch.minimum(uniform * total[:, -1:], total[:, -1:].nextafter(torch.tensor(0.0)))
        drawn = torch.searchsorted(total, point, right=True)
        tokens[some] = (drawn if ids is None else ids.gather(1, drawn))[:, 0]
    return tokens.tolist()


def check_finite(values):
    if not torch.isfinite(values).all():
        raise ModelProblem("The model gives values that are not finite; its weights are broken.")
    return values


def end_tokens(model, tokenizer) -> set[int]:
    """Every token that ends an answer: the model's, the tokenizer's, and the one the chat template puts after an answer."""
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


def is_out_of_memory(problem: Exception) -> bool:
    return isinstance(problem, (torch.OutOfMemoryError, MemoryError)) or "can't allocate memory" in str(problem)


def free_memory(device: str) -> int:
    if device == "cuda":
        return torch.cuda.mem_get_info()[0]
    try:
        with open("/proc/meminfo") as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith("MemAvailable"))
    except OSError:
        return FIXED_MEMORY
