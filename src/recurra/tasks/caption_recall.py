"""How sentences find images, and images sentences, by a captioner.

Letters: N images, M captions of them, P positions of a grid, D features of an image, T tokens of
the longest caption.
"""

import torch
from torch import Tensor
from torch.nn import functional

from recurra.data.caption_store import CaptionBatch
from recurra.models import Captioner
from recurra.nn.plain import evaluating
from recurra.tasks.caption_floors import recalls
from recurra.views import Watch

_BLOCK = 100  # captions that are read side by side
_BEHIND = 16.0  # nats; exp(-16) is lost beside 1 in float32
_BEGINNINGS = (4, 8, 16)  # tokens
_WORTH = 0.6  # of captions at most are to be left by a beginning, or it is not worth reading


def recalled(
    model: Captioner, features: Tensor, batch: CaptionBatch, watch: Watch
) -> dict[str, float]:
    """The recalls of `recalls` among images, each with all captions of all of them.

    With a memory each caption is read once, and compared with images by the angle of what it
    imagines. Other models read captions once for each image, see `pair_scores`.

    Args:
        features: [N, D] or [N, P, D] of the images.
        batch: of these images.
        watch: is told how many images are done.
    """
    owners = batch.which.tolist()
    with torch.no_grad(), evaluating(model):
        if model.inject == "memory":
            said = model.imagined(batch.captions.to(features.device), batch.lengths)
            alike = functional.normalize(said, dim=1) @ functional.normalize(features, dim=1).T
            return recalls(alike.T, owners)
        scores = pair_scores(model, features, batch, watch)
    # an image finds what it makes more probable than others do; a sentence as it is
    found = recalls(scores - scores.logsumexp(0), owners)
    plain = recalls(scores, owners)
    return found | {k: v for k, v in plain.items() if k.startswith("text_to_image")}


def pair_scores(model: Captioner, features: Tensor, batch: CaptionBatch, watch: Watch) -> Tensor:
    """[N, M], the log-probability of each caption given each image, as far as ranks need it.

    A caption is read no further with an image where its beginning alone is less probable, by
    `_BEHIND` nats, than the whole is given its own image; the score is then that of the beginning.
    It is behind its own image all the same, and adds nothing to the sum of the probabilities that
    images give it. An image that is itself so far behind with all of its own captions reads every
    caption to the end. So the ranks of scores, and of scores less that sum, are those of all pairs.
    """
    device = features.device
    captions, which = batch.captions.to(device), batch.which.to(device)
    lengths = batch.lengths.to(device)
    order = lengths.argsort()  # captions of like length side by side: there is less padding to read
    own = _read(model, features, captions, lengths, order, which)
    scores = own.new_empty((len(features), len(order)))
    # whether an image read all to the end
    is_whole = torch.ones(len(features), dtype=torch.bool, device=torch.device("cpu"))
    beginnings = [steps for steps in _BEGINNINGS if steps <= len(captions)]
    for n, image in enumerate(features):
        watch("recall", n, len(features))
        rest = order
        for steps in list(beginnings):
            scores[n, rest] = _begun(model, image[None], captions, lengths, rest, steps)
            left = rest[scores[n, rest] >= own[rest] - _BEHIND]
            if len(left) > _WORTH * len(rest):
                beginnings.remove(steps)
            rest = left
        is_whole[n] = len(rest) == len(order)
        scores[n, rest] = _read(model, image[None], captions, lengths, rest)[rest]
    surplus = own - scores.logsumexp(0)
    for n, image in enumerate(features):
        if not is_whole[n] and surplus[which == n].amax() < 1 - _BEHIND:
            scores[n] = _read(model, image[None], captions, lengths, order)
    return scores


def _read(
    model: Captioner,
    features: Tensor,
    captions: Tensor,
    lengths: Tensor,
    chosen: Tensor,
    which: Tensor | None = None,
) -> Tensor:
    """[M], the log-probability of captions of these numbers, zeros of others.

    Args:
        features: of images.
        which: [M], the image that each caption is read with; None: the first.
    """
    found = features.new_zeros(len(lengths), dtype=torch.float32)
    for block in chosen.split(_BLOCK):
        some = captions[: int(lengths[block].max()), block]
        images = torch.zeros_like(block) if which is None else which[block]
        found[block] = model.log_probabilities(features, some, lengths[block], which=images)
    return found


def _begun(
    model: Captioner, image: Tensor, captions: Tensor, lengths: Tensor, chosen: Tensor, steps: int
) -> Tensor:
    """The log-probability of the first tokens of captions of these numbers, and of the end where
    they have fewer, given an image [1, ...]; captions that begin alike are read once."""
    t = torch.arange(steps, dtype=torch.int64, device=image.device)[:, None]
    said = captions[:steps, chosen].where(t < lengths[chosen], model.mark)
    alike, of = said.unique(dim=1, return_inverse=True)
    found: list[Tensor] = []
    for some in alike.split(_BLOCK, dim=1):
        counts = (some != model.mark).sum(0)
        images = torch.zeros_like(counts)
        read = some[: steps - 1]
        logits = model(image, read, counts.clamp(max=steps - 1), which=images).float()
        nll = functional.cross_entropy(logits.flatten(0, 1), some.flatten(), reduction="none")
        found.append(-(nll.view(steps, -1) * (t <= counts)).sum(0))
    return torch.cat(found)[of]
