"""Attention and the buffers of keys and values of rows that are generated together. Used by compute.py.
Registers the attention "srlm_grouped" in transformers."""

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.cache_utils import DynamicLayer
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import eager_mask

SPARE_COLUMNS = 32  # of the key/value buffers, which are copied when these are used up


def grouped_attention(module, query, key, value, attention_mask, scaling=None, dropout=0.0, **kwargs):
    """Attention that does not copy the keys and values for every query head that shares them. For one new token per row
    and a long batch that copy dominates: 4 ms a layer here, 10 with sdpa, 65 with eager (256 rows, one core).
    The whole matrix of weights is in memory at once, so long texts use sdpa."""
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
    """Keys and values [row, head, column, feature] with spare columns on the right. A step writes one column and returns
    the whole buffer; the mask hides unused columns. A slice would not be contiguous, and matmul copies such operands."""

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
        """New buffers: the present rows without their first `skip` columns, then those of `pieces`; all end at `width`."""
        if self.used:
            pieces = [(self.keys[:, :, skip:self.used], self.values[:, :, skip:self.used]), *pieces]
        self.keys, self.values = (
            torch.cat([torch.nn.functional.pad(part, (0, 0, width - part.shape[2], SPARE_COLUMNS)) for part in parts]) for parts in zip(*pieces))
        self.used, self.is_initialized = width, True

    def keep(self, count: int, holes, movers):
        """Keeps `count` rows: the last of them move into the holes, so that the others need not be copied."""
        self.keys[holes], self.values[holes] = self.keys[movers], self.values[movers]
        self.keys, self.values = self.keys[:count], self.values[:count]
