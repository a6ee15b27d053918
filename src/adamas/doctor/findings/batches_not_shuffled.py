"""Batches that come in the same order in every epoch, or one class after the other."""

from adamas.doctor.diagnosis import Found, Kind, Remedy
from adamas.doctor.findings.remedies import percent
from adamas.doctor.run import Look


def examine(look: Look, standing: bool) -> Found | None:
    order = look.facts.get("order", {})
    labels = look.facts.get("labels", {})
    top, overall = float(labels.get("top_share", 0.0)), float(labels.get("overall_top", 1.0))
    sorted_by = labels.get("batches", 0) >= 10 and top > overall + (0.25 if standing else 0.35)
    epoch = order.get("epoch")
    sampler = order.get("sampler")
    if not (sorted_by or epoch or sampler == "SequentialSampler"):
        return None
    told: list[str] = []
    if sorted_by:
        told.append(f"a batch has {percent(top)} of one class, all together have {percent(overall)}")
    if epoch:
        told.append(f"the same batches come again in the same order every {epoch} steps")
    elif sampler == "SequentialSampler":
        told.append("the loader goes through the data in order")
    return Found(
        "; ".join(told),
        "the training data is not shuffled: gradients of neighbouring steps are alike, and the last class is learnt "
        "over the others",
        Remedy("DataLoader(…, shuffle=True), or a fresh permutation in each epoch.", {"shuffle": True}),
        0.95 if sorted_by else 0.85,
        "warning",
    )


KIND = Kind("D603", "batches-not-shuffled", 17, examine, ("D105", "D201", "D602", "D702", "D703", "D205", "D701"))
