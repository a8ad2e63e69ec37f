/** python/optimizer.py: weights in bf16 are trained as fp32 weights are, but for the last rounding. */
import { execFileSync } from 'node:child_process';
import { dirname } from 'node:path';
import { expect, it } from 'vitest';
import { pythonProgram } from '../../processes/python.js';
import { python } from '../support/python.js';

const SCRIPT = `
import io, json, sys
sys.path.insert(0, sys.argv[1])
import torch
from optimizer import MasterAdamW
torch.set_num_threads(1)
settings = {"lr": 1e-5, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.01}

def weight(dtype):
    return torch.nn.Parameter(torch.linspace(-1, 1, 64).to(torch.bfloat16).to(dtype))

def steps(optimizer, param, first, last):
    """Gradients that fall tenfold after 100 steps."""
    for step in range(first, last):
        param.grad = torch.full((64,), 1.0 if step < 100 else 0.1).to(torch.bfloat16).to(param.dtype)
        optimizer.step()

found = {}
for name, dtype, make in (("fp32", torch.float32, torch.optim.AdamW), ("master", torch.bfloat16, MasterAdamW), ("bf16", torch.bfloat16, torch.optim.AdamW)):
    param = weight(dtype)
    optimizer = make([param], **settings)
    steps(optimizer, param, 0, 1100)
    found[name] = param.detach().float()
    found[name + " second moment"] = float(optimizer.state[param]["exp_avg_sq"].mean())
param = weight(torch.bfloat16)
optimizer = MasterAdamW([param], **settings)
steps(optimizer, param, 0, 600)
file = io.BytesIO()
torch.save({"optimizer": optimizer.state_dict(), "weights": param.detach()}, file)
file.seek(0)
kept = torch.load(file, weights_only=True)
resumed = torch.nn.Parameter(kept["weights"].clone())
again = MasterAdamW([resumed], **settings)
again.load_state_dict(kept["optimizer"])
steps(again, resumed, 600, 1100)
print(json.dumps({
    "masterIsRoundedFp32": torch.equal(found["master"], found["fp32"].to(torch.bfloat16).float()),
    "bf16LostUpdates": torch.equal(found["bf16"], found["fp32"].to(torch.bfloat16).float()),
    "secondMoments": [found[f"{name} second moment"] for name in ("fp32", "master", "bf16")],
    "resumedIsEqual": torch.equal(resumed.detach().float(), found["master"]) and again.state[resumed]["exp_avg_sq"].dtype == torch.float32}))`;

it('keeps moments and master weights in fp32, also through a checkpoint', () => {
  const args = ['-c', SCRIPT, dirname(pythonProgram('optimizer.py'))];
  const found = JSON.parse(
    execFileSync(python, args, { encoding: 'utf8', env: { ...process.env, OMP_NUM_THREADS: '1' } }),
  );
  const [fp32, master, bf16] = found.secondMoments;
  expect(found).toMatchObject({ masterIsRoundedFp32: true, bf16LostUpdates: false, resumedIsEqual: true });
  expect(master).toBeCloseTo(fp32, 6);
  // What the optimizer is for: in bf16 the second moment does not decay to that of the smaller gradients.
  expect(bf16).toBeGreaterThan(1.5 * fp32);
});
