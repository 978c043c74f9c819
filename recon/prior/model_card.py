"""The model card of a prior: what it was trained on, in the README of its folder."""

from recon.prior.store import PriorFacts


def model_card(facts: PriorFacts) -> str:
    """The README of a prior's folder."""
    training = facts.training
    start = training.get("started_from")
    length = f"{facts.images_seen:,} images"
    if start:
        length += f", the first {start['images_seen']:,} of them by the prior that this one was started from"
    lines = [
        "# Diffusion prior for MRI reconstruction",
        "",
        f"Written by recon {facts.code_version}. Load it with `recon reconstruct SCAN --prior THIS_FOLDER`.",
        "",
        "| | |",
        "|---|---|",
        f"| parameters | {training.get('parameters', 0):,} |",
        f"| training length | {length} |",
        f"| training data | {training.get('slices', 0)} slices of {training.get('subjects', 0)} subjects |",
        f"| held out for v(sigma) | {training.get('validation_subjects', 0)} subjects |",
        f"| contrasts | {', '.join(name for name in facts.contrast_labels if name != 'unknown')} |",
        f"| origins | {'; '.join(training.get('origins', []))} |",
        f"| licences of the data | {'; '.join(training.get('licences', []))} |",
        f"| scale | {facts.scale_statistic} |",
        "",
        "It draws images that are plausible under its training data. Where a scan differs from them, trust the audit",
        "that every reconstruction reports. It is not a medical device.",
    ]
    return "\n".join(lines)
