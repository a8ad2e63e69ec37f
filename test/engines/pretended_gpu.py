"""The engine on a GPU that is not there.  Usage: python pretended_gpu.py PROGRAMS MODEL_DIR
Its tensors are on the CPU, and say that they are on a GPU. An operation that mixes both kinds fails as it would there, and so
does one that has no deterministic implementation there. Exit: 0 if samples and log-probabilities are those of the CPU,
and those of the CPU are those of a plain forward pass.
Does not show that a kernel exists or is right: that needs a GPU (bench/python/gpu_check.py)."""

import asyncio
import sys
from concurrent.futures import ThreadPoolExecutor

sys.path.insert(0, sys.argv[1])
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map
from transformers import AutoModelForCausalLM

import compute
from compute import DeviceFailed, Engine, Job, ScoredText, is_out_of_memory, named
from sampling import Sample, pick

torch.set_num_threads(1)  # the tensors are small, and a test shares its cores

resident = {}  # parameters and buffers of models on the GPU, by id; held, so that no id is used twice
on_gpu = lambda value: isinstance(value, OnGpu) or id(value) in resident


class OnGpu(torch.Tensor):
    pass


class PretendedGpu(TorchFunctionMode):
    def __torch_function__(self, function, types, args=(), kwargs=None):
        with torch._C.DisableTorchFunction():
            return self.call(function, args, kwargs or {})

    def call(self, function, args, kwargs):
        name, asked = getattr(function, "__name__", ""), getattr(function, "__self__", None)
        if asked is torch.Tensor.device:
            return torch.device("cuda", 0) if on_gpu(args[0]) else torch.device("cpu")
        if asked is torch.Tensor.is_cuda:
            return on_gpu(args[0])
        tensors = [value for value in tree_leaves((args, kwargs)) if isinstance(value, torch.Tensor)]
        self.place = any(map(on_gpu, tensors))
        if name == "__getitem__":
            refused = self.place and not on_gpu(args[0])
        elif name == "__setitem__":
            refused = any(on_gpu(value) != on_gpu(args[0]) for value in tensors if value.dim()) and not (on_gpu(args[0]) and on_gpu(args[2]))
        else:
            refused = self.place and name not in ("to", "cpu") and any(value.dim() and not on_gpu(value) for value in tensors)
        if name == "cumsum" and self.place and tensors[0].is_floating_point() and torch.are_deterministic_algorithms_enabled():
            refused = True
        if refused:
            raise RuntimeError(f"a GPU refuses {name} of {[(tuple(value.shape), on_gpu(value)) for value in tensors]}")
        if name == "cpu":
            self.place = False
        if name == "to":
            args = [args[0], *map(self.to_cpu, args[1:])]
        kwargs = {key: self.to_cpu(value) if key == "device" else value for key, value in kwargs.items()}
        plain = lambda value: value.as_subclass(torch.Tensor) if isinstance(value, OnGpu) else value
        made = function(*tree_map(plain, args), **tree_map(plain, kwargs))
        mark = lambda value: value.as_subclass(OnGpu if self.place else torch.Tensor) if isinstance(value, torch.Tensor) and id(value) not in resident else value
        return tree_map(mark, made)

    def to_cpu(self, value):
        """The place that is asked for is noted."""
        if isinstance(value, torch.device) or isinstance(value, str) and value.split(":")[0] in ("cuda", "cpu"):
            self.place = torch.device(value).type == "cuda"
            return "cpu"
        return value


def pretend():
    def move(module, device):
        if device == "cuda":
            resident.update((id(value), value) for value in [*module.parameters(), *module.buffers()])
        return module

    class LoadedElsewhere:
        """In a thread that does not pretend: loading uses devices of its own."""
        from_pretrained = staticmethod(lambda *args, **kwargs: ThreadPoolExecutor(1).submit(AutoModelForCausalLM.from_pretrained, *args, **kwargs).result())

    run = Engine.run

    def run_pretending(self):
        with PretendedGpu():
            run(self)

    Engine.run, torch.nn.Module.to, compute.AutoModelForCausalLM = run_pretending, move, LoadedElsewhere
    torch.cuda.mem_get_info, torch.cuda.empty_cache = lambda: (8 << 30, 16 << 30), lambda: None
    compute.FORWARD_TOKENS["cuda"] = 128  # so that long texts are cut into pieces


def replies(device, deterministic):
    how = [dict(top_k=0, top_p=1.0), dict(top_k=5, top_p=1.0), dict(top_k=0, top_p=0.8), dict(top_k=7, top_p=0.9)]
    rows = [Sample([3 + i % 50] * (4 + 3 * i), 4 + i * 5 % 17, 0.8, stop=["zz"] if i % 3 else [], seed=i, **how[i % 4]) for i in range(12)]
    rows += [Sample([7, 9], 5, 0.8, 0, 1.0, stop=[], seed=99, top=2)]
    # One without a token to score, for the token that would follow alone.
    texts = [ScoredText([5 + j * (i + 1) % 200 for j in range(4 + 60 * i)], 2 + i, [None, 3, 0][i % 3]) for i in range(5)] + [ScoredText([5], 1, 1)]
    torch.use_deterministic_algorithms(deterministic)
    engine = Engine(device, torch.float32, 1, 16, deterministic)

    async def work():
        for parts in (dict(call=lambda: engine.load(sys.argv[2], "x")), dict(samples=rows, texts=texts), dict(call=engine.unload)):
            job = Job(asyncio.get_running_loop(), **parts)
            engine.inbox.put(job)
            await job.future
    asyncio.run(work())
    if device == "cpu":
        check_ranked([(text.ids, text.first, text.top, text.ranked) for text in texts if text.top is not None])
        check_ranked([(row.prompt + row.out, len(row.prompt), row.top, row.ranked) for row in rows if row.top is not None])
    return [row.out for row in rows], torch.tensor([value for text in texts for value in text.logprobs] +
                                                   [value for one in [*texts, *rows] for at in one.ranked for _, value in at.top])


def check_ranked(found):
    model = AutoModelForCausalLM.from_pretrained(sys.argv[2], dtype=torch.float32)
    for ids, first, top, ranked in found:
        logprobs_TV = model(torch.tensor([ids])).logits[0].log_softmax(-1)
        for at, one in enumerate(ranked, first):
            plain_V = logprobs_TV[at - 1]
            best = plain_V.topk(max(top, 1))
            assert [token for token, _ in one.top][:top or 1] == best.indices.tolist(), (one, best)
            assert (torch.tensor([value for _, value in one.top])[:top or 1] - best.values).abs().max() < 1e-4, (one, best)
            if at < len(ids):
                assert one.token == ids[at] and abs(one.logprob - plain_V[ids[at]]) < 1e-4, (one, plain_V[ids[at]])
                assert one.rank == (plain_V >= plain_V[ids[at]]).sum(), one
        assert len(ranked) >= len(ids) - first, (len(ranked), len(ids), first)


def check_pick():
    torch.use_deterministic_algorithms(False)
    logits_RV = torch.randn(400, 500) * 3
    for how in (dict(top_k=0, top_p=1.0), dict(top_k=5, top_p=1.0), dict(top_k=0, top_p=0.5), dict(top_k=20, top_p=0.5)):
        rows = lambda: [Sample([0], 1, 0.7, stop=[], seed=seed, **how) for seed in range(400)]
        here = pick(logits_RV.clone(), rows())
        with PretendedGpu():
            there = pick(logits_RV.to("cuda"), rows())
        assert here == there, how
        order = (logits_RV / 0.7).softmax(-1).sort(descending=True)
        place = (order.indices == torch.tensor(here)[:, None]).float().argmax(-1, keepdim=True)
        before = (order.values.cumsum(-1) - order.values).gather(1, place)
        assert not how["top_k"] or place.max() < how["top_k"], how
        assert how["top_k"] or before.max() < how["top_p"], how
        assert len(set(place.flatten().tolist())) > 3, how


def check_problems():
    failed = torch.AcceleratorError("CUDA error: device-side assert triggered\nCompile with TORCH_USE_CUDA_DSA")
    assert type(named(failed)) is DeviceFailed and str(named(failed)) == "CUDA error: device-side assert triggered"
    for full in (torch.AcceleratorError("CUDA error: out of memory"), torch.OutOfMemoryError("CUDA out of memory."),
                 RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)")):
        assert named(full) is full and is_out_of_memory(full), full
    other = IndexError("index out of range in self")
    assert named(other) is other and not is_out_of_memory(other)


def main():
    check_problems()
    on_cpu = {deterministic: replies("cpu", deterministic) for deterministic in (False, True)}
    pretend()
    check_pick()
    for deterministic, (tokens, logprobs) in on_cpu.items():
        found, scored = replies("cuda", deterministic)
        assert found == tokens and (scored - logprobs).abs().max() < 1e-4, (deterministic, (scored - logprobs).abs().max())
    try:
        with PretendedGpu():
            torch.ones(2, device="cuda") + torch.ones(2)
    except RuntimeError:
        return
    raise AssertionError("the pretended GPU would notice nothing")


main()
