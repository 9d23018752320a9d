"""The translator as a loop of torch.nn: GRU for the encoder, GRUCell with attention for each step.

Letters: S steps of a source, B batch, K beams, V tokens, E embedding, H hidden.
"""

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import recurra as rc


class TorchTranslator(nn.Module):
    """The weights of an `rc.Translator` of cell torch_gru, with additive attention or none."""

    def __init__(self, model: rc.Translator) -> None:
        super().__init__()
        E, H = model.target_embedding.embedding_dim, model.encoder.hidden_size
        self.mark = model.mark
        self.source, self.target = model.source_embedding, model.target_embedding
        self.start, self.output = model.start, model.output
        self.encoder = nn.GRU(E, H, bidirectional=True)
        own = dict(model.encoder.named_parameters())
        with torch.no_grad():
            for name, weight in self.encoder.named_parameters():
                weight.copy_(own[name])
        w = {name.removesuffix("_l0"): p.detach() for name, p in model.decoder.named_parameters()}
        self.attends = "U_a" in w
        self.cell = nn.GRUCell(E + 2 * H, H)
        self.sequence = None if self.attends else nn.GRU(E + 2 * H, H)
        with torch.no_grad():
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
                getattr(self.cell, name).copy_(w[name])
                if self.sequence is not None:
                    getattr(self.sequence, f"{name}_l0").copy_(w[name])
        if self.attends:
            self.query = nn.Linear(H, w["W_a"].shape[0], bias=False)
            self.key = nn.Linear(2 * H, w["U_a"].shape[0], bias=False)
            self.score = nn.Parameter(w["v_a"].clone())
        self.deep = nn.Linear(w["W_o"].shape[1], E)
        with torch.no_grad():
            if self.attends:
                self.query.weight.copy_(w["W_a"])
                self.key.weight.copy_(w["U_a"])
            self.deep.weight.copy_(w["W_o"])
            self.deep.bias.copy_(w["b_o"])

    def encode(self, source: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The memory [B, S, 2H], its keys, what is within, and the first state [B, H]."""
        packed = pack_padded_sequence(self.source(source), lengths, enforce_sorted=False)
        y, last = self.encoder(packed)
        y, _ = pad_packed_sequence(y)
        summary = torch.cat([last[0], last[1]], dim=1)
        h = torch.tanh(self.start(summary))  # type: ignore[misc]
        memory = y.transpose(0, 1) if self.attends else summary[:, None]
        keys = self.key(memory) if self.attends else memory
        within = torch.arange(memory.shape[1]) < lengths[:, None]
        return memory, keys, within, h

    def step(
        self, tokens: Tensor, h: Tensor, memory: Tensor, keys: Tensor, within: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The logits [N, V + 1] and the next state."""
        x = self.target(tokens)
        if self.attends:
            score = torch.tanh(keys + self.query(h)[:, None]) @ self.score
            alpha = score.masked_fill(~within, -torch.inf).softmax(dim=1)
            read = torch.bmm(alpha[:, None], memory).squeeze(1)
        else:
            read = memory[:, 0]
        h = self.cell(torch.cat([x, read], dim=1), h)
        return self.output(torch.tanh(self.deep(torch.cat([h, read, x], dim=1)))), h

    @torch.no_grad()
    def greedy(self, source: Tensor, lengths: Tensor, steps: int) -> list[list[int]]:
        """The most probable token each time, until all have ended."""
        memory, keys, within, h = self.encode(source, lengths)
        tokens = torch.full((len(h),), self.mark)
        said, ended = [], torch.zeros(len(h), dtype=torch.bool)
        for _ in range(steps):
            logits, h = self.step(tokens, h, memory, keys, within)
            tokens = logits.argmax(dim=1)
            ended |= tokens == self.mark
            said.append(tokens)
            if ended.all():
                break
        return [_ended(row, self.mark) for row in torch.stack(said, dim=1).tolist()]

    @torch.no_grad()
    def beam(self, source: Tensor, lengths: Tensor, steps: int, K: int) -> list[list[int]]:
        """The usual search: the K best of all ways on, those that ended with the rest, the best by
        their mean log-probability."""
        memory, keys, within, h = self.encode(source, lengths)
        B = len(h)
        rows = torch.arange(B).repeat_interleave(K)
        memory, keys, within, h = memory[rows], keys[rows], within[rows], h[rows]
        log_p = torch.full((B, K), -torch.inf)
        log_p[:, 0] = 0.0
        tokens = torch.full((B * K,), self.mark)
        history = torch.empty((B, K, 0), dtype=torch.int64)
        best: list[tuple[float, list[int]]] = [(-torch.inf, [])] * B
        for t in range(steps):
            logits, h = self.step(tokens, h, memory, keys, within)
            scores = logits.log_softmax(dim=1).view(B, K, -1) + log_p[..., None]
            ended = scores[..., self.mark] / ((6 + t) / 6)
            for b, (value, k) in enumerate(zip(*map(Tensor.tolist, ended.max(dim=1)), strict=True)):
                if value > best[b][0]:
                    best[b] = (value, history[b, k].tolist())
            scores[..., self.mark] = -torch.inf
            log_p, places = scores.flatten(1).topk(K, dim=1)
            parents, chosen = places // scores.shape[2], places % scores.shape[2]
            h = h[(parents + torch.arange(B)[:, None] * K).flatten()]
            history = history.gather(1, parents[..., None].expand(-1, -1, t))
            history = torch.cat([history, chosen[..., None]], dim=2)
            tokens = chosen.flatten()
        return [said for _, said in best]

    def loss(self, source: Tensor, target: Tensor, lengths: Tensor, ends: Tensor) -> Tensor:
        """The mean loss of a batch; the decoder of torch's own where nothing is fed back to it."""
        memory, keys, within, h = self.encode(source, lengths)
        T, B = target.shape
        read = torch.cat([torch.full((1, B), self.mark), target])
        there = torch.arange(T + 1)[:, None] <= ends
        wanted = torch.cat([target, target[:1]]).where(
            torch.arange(T + 1)[:, None] < ends, self.mark
        )
        if self.sequence is not None:
            x = self.target(read)
            context = memory[:, 0].expand(T + 1, -1, -1)
            y, _ = self.sequence(torch.cat([x, context], dim=2), h[None])
            deep = torch.tanh(self.deep(torch.cat([y, context, x], dim=2)))
            logits = self.output(deep[there])
        else:
            steps = []
            for tokens in read:
                each, h = self.step(tokens, h, memory, keys, within)
                steps.append(each)
            logits = torch.stack(steps)[there]
        return nn.functional.cross_entropy(logits, wanted[there])


def _ended(row: list[int], mark: int) -> list[int]:
    return row[: row.index(mark)] if mark in row else row
