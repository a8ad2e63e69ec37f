"""AdamW for weights in bf16, with master weights and moments in fp32. bf16 keeps 8 significant bits: a moment in bf16 cannot
decay by 0.999, and a weight in bf16 does not change by less than a 256th of itself. So both are kept in fp32, and the model's
weights are rounded copies of the master weights. Memory: 12 bytes a parameter, besides weight and gradient."""

import torch
from torch.optim.adamw import adamw


class MasterAdamW(torch.optim.Optimizer):
    def __init__(self, params, lr, betas, eps, weight_decay=0.0):
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure=None):
        loss = None if closure is None else torch.enable_grad()(closure)()
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self.update(weight, group)
        return loss

    def update(self, weight, group):
        """One tensor at a time: only one gradient is in memory in fp32."""
        state = self.state[weight]
        if not state:
            master = weight.detach().float().clone()
            state.update(step=torch.zeros((), device=weight.device), master=master,
                         exp_avg=torch.zeros_like(master), exp_avg_sq=torch.zeros_like(master))
        adamw([state["master"]], [weight.grad.float()], [state["exp_avg"]], [state["exp_avg_sq"]], [], [state["step"]],
              fused=True, amsgrad=False, beta1=group["betas"][0], beta2=group["betas"][1], lr=group["lr"],
              weight_decay=group["weight_decay"], eps=group["eps"], maximize=False)
        weight.copy_(state["master"])

    def load_state_dict(self, state_dict):
        """torch's own gives all values the type of the weights, which would round them to bf16."""
        super().load_state_dict(state_dict)
        numbers = [number for group in state_dict["param_groups"] for number in group["params"]]
        weights = [weight for group in self.param_groups for weight in group["params"]]
        for number, weight in zip(numbers, weights):
            for name, value in state_dict["state"].get(number, {}).items():
                self.state[weight][name] = value.to(weight.device, torch.float32, copy=True)
