"""The compute thread of the model server: holds one model, samples rows of token ids from it and scores them.
Provides Engine; server.py puts a Job into its inbox and awaits the job's future. Works for any causal language model of
transformers whose state consists of keys and values; nothing here depends on an architecture.
Default: all waiting rows share one batch. Rows leave it when they end, and others join. Every row draws from its own
seed, so only rounding depends on its neighbours. Deterministic mode: one job at a time, and a result depends only on the
job and the weights. Knows nothing of HTTP or text; does not split a model over several GPUs.
Axes in names: R rows, T tokens, N wanted positions, V vocabulary."""

import asyncio
import copy
import ctypes
import gc
import queue
import sys
import threading
import time
from dataclasses import dataclass, field

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, DynamicCache
from transformers.cache_utils import Cache, DynamicLayer, DynamicSlidingWindowLayer

from cache import SPARE_COLUMNS, RoomyLayer
from folder import check_loaded
from sampling import Ranked, UnservableModel, Sample, check_finite, end_tokens, pick, rank_texts, ranked

GATHER_SECONDS = 0.01     # an idle engine waits this long for more jobs after the first
# At most this many tokens in one pass over prompts. On a CPU activations fit its cache; a GPU is idle while a pass is
# prepared, so each has to be large.
FORWARD_TOKENS = {"cpu": 1024, "cuda": 8192}
LOGIT_ROWS = {"cpu": 64, "cuda": 512}  # rows of logits that are turned into log-probabilities at once
JOIN_STEPS = 16           # joining copies the key/value buffers, so a few rows wait up to this many steps for more
FIXED_MEMORY = 4 << 30    # bytes of keys and values in deterministic mode, which must not depend on the free memory


class BatchHalved(Exception):
    """Memory ran out, and batches are smaller from now on: the same request may succeed."""


class DeviceFailed(Exception):
    """The GPU refused a call. Every later call of this process fails in the same way, so the process has to end."""


@dataclass(eq=False)
class ScoredText:
    """One row to score: log-probabilities (nats) of ids[first:], each given the tokens before it. `top`: each of them with
    that many alternatives, in `ranked`, whose last entry is for the token that would follow."""
    ids: list[int]
    first: int
    top: int | None = None
    logprobs: list[float] = field(default_factory=list)
    ranked: list[Ranked] = field(default_factory=list)


@dataclass(eq=False)
class Job:
    """The work of one request: rows, or a call to make while there are no rows."""
    loop: asyncio.AbstractEventLoop
    call: object = None
    samples: list[Sample] = field(default_factory=list)
    texts: list[ScoredText] = field(default_factory=list)
    cancelled: bool = False
    seconds: float = 0  # the share of its rows in the time that their batches took

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


class Engine:
    """One model and one thread. Other threads may use `inbox`, and read what `load` sets; nothing else."""

    def __init__(self, device: str, dtype: torch.dtype, threads: int, max_batch: int, deterministic: bool):
        self.device, self.dtype, self.threads = device, dtype, threads
        self.max_batch, self.forward_tokens, self.deterministic = max_batch, FORWARD_TOKENS[device], deterministic
        self.inbox: queue.SimpleQueue[Job] = queue.SimpleQueue()
        self.sha256 = self.model = self.tokenizer = self.speller = self.wanted_RT = None
        self.passes = 0                      # so far, each of at most FORWARD_TOKENS columns
        self.clear()
        threading.Thread(target=self.run, daemon=True).start()

    def clear(self):
        self.texts: list[ScoredText] = []    # to score, shortest first
        self.waiting: list[Sample] = []      # to generate, in order of arrival
        self.rows: list[Sample] = []         # being generated; row i of cache, mask and positions
        self.cache = self.mask = self.positions = None
        self.steps = 0                       # since the buffers were last rebuilt

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
            except Exception as problem:  # a bad batch must not end the thread; its jobs are settled with the problem
                jobs = {row.job for row in [*self.texts, *self.waiting, *self.rows]}
                self.clear()
                if is_out_of_memory(problem) and self.max_batch > 1:
                    self.max_batch, self.forward_tokens = self.max_batch // 2, max(1, self.forward_tokens // 2)
                    problem = BatchHalved(f"memory ran out; from now on at most {self.max_batch} rows are generated at once.")
                for job in jobs:
                    job.settle(problem=named(problem))

    def charged(self, work):
        """Does `work`, and divides the time among the rows that it returns."""
        started = time.perf_counter()
        rows = work()
        for row in rows:
            row.job.seconds += (time.perf_counter() - started) / len(rows)

    def take(self):
        """Takes the jobs that have arrived; waits if there is nothing to do. Deterministic: one job, once the last is done."""
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
                    job.settle(problem=named(problem))
        self.texts = sorted((text for text in self.texts if not text.job.cancelled), key=lambda text: len(text.ids))

    # ---- the model ----

    def load(self, path: str, sha256: str):
        self.unload()
        config = AutoConfig.from_pretrained(path, local_files_only=True, trust_remote_code=False)
        if not all(type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) for layer in DynamicCache(config=config).layers):
            raise UnservableModel(f"{config.model_type} models keep more state than keys and values; this server cannot run them.")
        # Undoes the choice of the folder, which may be code of the hub; transformers then takes sdpa, or eager where the
        # architecture has no sdpa.
        config._attn_implementation = None
        tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True, trust_remote_code=False)
        model, loaded = AutoModelForCausalLM.from_pretrained(path, config=config, dtype=self.dtype, local_files_only=True, use_safetensors=True,
                                                             trust_remote_code=False, output_loading_info=True)
        check_loaded(loaded)
        model = model.to(self.device).eval()
        # A model that does not use sdpa has special attention (a soft cap, sinks) and keeps it. On a GPU sdpa's kernels are
        # faster.
        if self.device == "cpu" and model.config._attn_implementation == "sdpa":
            model.set_attn_implementation("srlm_grouped")
        text_config = config.get_text_config(decoder=True)
        self.context = getattr(text_config, "max_position_embeddings", None) or min(tokenizer.model_max_length, 1 << 20)
        self.vocabulary = model.get_input_embeddings().num_embeddings
        self.ends = end_tokens(model, tokenizer)
        # Tokenizers must not be shared between threads; the copy is for the compute thread.
        self.tokenizer, self.speller = tokenizer, copy.deepcopy(tokenizer)
        self.model, cache = model, DynamicCache()
        model.get_output_embeddings().register_forward_pre_hook(self.only_wanted)
        with torch.no_grad():
            list(self.forward([[0]], [0], cache))
        token_bytes = sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)
        # A rebuild holds new rows twice, and a forward pass needs memory too.
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
        logits of each row from its position `starts` on. The other positions skip the output layer, which is a large part
        of a small model's work. A long text is processed in pieces, so that no matrix gets too large."""
        width = max(map(len, ids))
        input_ids = self.tensor([[0] * (width - len(row)) + row for row in ids])
        mask = self.tensor([[0] * (width - len(row)) + [1] * len(row) for row in ids])
        positions = (mask.cumsum(-1) - 1).clamp(min=0)
        wanted_RT = torch.arange(width, device=self.device) >= self.tensor([[width - len(row) + start] for row, start in zip(ids, starts)])
        piece = FORWARD_TOKENS[self.device]
        if cache is None and width > piece:
            cache = DynamicCache()
        for start in range(0, width, piece):
            columns = slice(start, min(start + piece, width))
            self.wanted_RT = wanted_RT[:, columns]
            try:
                logits = self.model(input_ids=input_ids[:, columns], attention_mask=mask[:, :columns.stop], position_ids=positions[:, columns],
                                    past_key_values=cache, use_cache=cache is not None).logits
                self.passes += 1
            finally:
                wanted, self.wanted_RT = self.wanted_RT, None
            yield columns, wanted, logits

    def only_wanted(self, layer, args):
        return None if self.wanted_RT is None else (args[0][self.wanted_RT],)

    # ---- scoring ----

    def score(self) -> list[ScoredText]:
        """Scores one batch: the longest waiting text and those next in length, so that there is little padding."""
        if not self.texts:
            return []
        count = max(1, self.forward_tokens // len(self.texts[-1].ids))
        self.texts, batch = self.texts[:-count], self.texts[-count:]
        try:
            wanted = [text for text in batch if text.first < len(text.ids) or text.top is not None]
            if wanted:
                self.score_batch(wanted)
        except Exception:
            self.texts += batch  # `run` settles the jobs of all rows in these lists
            raise
        for text in batch:
            text.job.row_done()
        return batch

    def score_batch(self, texts: list[ScoredText]):
        width = max(len(text.ids) for text in texts)
        # The logits of a column predict the token of the next one.
        targets_RT = self.tensor([[0] * (width - len(text.ids)) + text.ids[1:] + [0] for text in texts])
        logprobs_RT = torch.zeros(targets_RT.shape)
        for columns, wanted_RT, logits_NV in self.forward([text.ids for text in texts], [text.first - 1 for text in texts]):
            # A few rows of float32 logits fit the CPU's cache; all of them together would pass through memory several times.
            size = LOGIT_ROWS[self.device]
            parts = zip(logits_NV.split(size), targets_RT[:, columns][wanted_RT].split(size))
            found = [-torch.nn.functional.cross_entropy(logits.float(), targets, reduction="none") for logits, targets in parts]
            logprobs_RT[:, columns][wanted_RT.cpu()] = torch.cat(found).cpu()
            rank_texts(texts, width, columns.stop, wanted_RT, logits_NV, size)
        for text, logprobs_T in zip(texts, logprobs_RT):
            text.logprobs = check_finite(logprobs_T[width - len(text.ids) + text.first - 1:-1]).tolist()

    # ---- generating ----

    def join(self) -> list[Sample]:
        """Moves waiting rows into the batch: one pass over each prompt, whose keys and values its samples share."""
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
            self.waiting += [row for rows in by_prompt.values() for row in rows]  # `run` settles the jobs of all rows in these lists
            raise
        self.accept(torch.cat(first_logits), joined)

    def rebuild(self, joined: list[Sample] = (), pieces: list = ()):
        """New buffers with the joined rows and new spare columns, without the columns that are padding in every row."""
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
        columns = torch.arange(width + SPARE_COLUMNS, device=self.device)
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
        self.passes += 1
        rows = list(self.rows)
        self.accept(logits_RTV[:, -1], rows)
        return rows

    def accept(self, logits_RV, rows: list[Sample]):
        """Draws the next token of each row, and removes the finished rows from the batch."""
        finished, tokens = [], pick(logits_RV, rows)
        self.note_alternatives(logits_RV, rows, tokens)
        for row, token in zip(rows, tokens):
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

    def note_alternatives(self, logits_RV, rows: list[Sample], tokens: list[int]):
        some = [i for i, row in enumerate(rows) if row.top is not None]
        if some:
            found = ranked(logits_RV[some], [tokens[i] for i in some], max(rows[i].top for i in some))
            for i, one in zip(some, found):
                rows[i].ranked.append(one)

    def stopped(self, row: Sample) -> bool:
        # A character takes at most four tokens, so a stop string that is complete now lies within these.
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


def is_out_of_memory(problem: Exception) -> bool:
    # The allocator of a GPU has an exception of its own. Its libraries and its driver allocate, too, and only say so.
    signs = ("can't allocate memory", "CUDA error: out of memory", "STATUS_ALLOC_FAILED")
    return isinstance(problem, (torch.OutOfMemoryError, MemoryError)) or any(sign in str(problem) for sign in signs)


def named(problem: Exception) -> Exception:
    if isinstance(problem, torch.AcceleratorError) and not is_out_of_memory(problem):
        return DeviceFailed(str(problem).partition("\n")[0])
    return problem


def free_memory(device: str) -> int:
    if device == "cuda":
        return torch.cuda.mem_get_info()[0]
    try:
        with open("/proc/meminfo") as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith("MemAvailable"))
    except OSError:
        return FIXED_MEMORY
