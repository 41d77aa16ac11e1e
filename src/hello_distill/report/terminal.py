"""What commands print for people: results as the tables of their files, and what `info`, `verify` and others find."""

from __future__ import annotations

from typing import Any

from rich.console import Group
from rich.table import Column, Table
from rich.text import Text

from hello_distill.format.results import read
from hello_distill.format.results.entries import Summary
from hello_distill.report import page, sections
from hello_distill.report.page import plain, score, size
from hello_distill.system.errors import listed


def result(content: dict[str, Any]) -> Group:
    """What commands print that make a result: its tables, as the report has them."""
    known = read(content)
    assert known is not None
    section = sections.section("", known)
    return Group(Text(section.title), *map(drawn, section.tables))


def drawn(block: page.Table | page.Text) -> Table | Text:
    """A table with its title above and its notes below, or sentences."""
    if isinstance(block, page.Text):
        return Text(" ".join(block.notes))
    head, *rows = block.lines()
    columns = [Column(name, overflow="fold") for name in head]
    table = Table(*columns, title=block.title, caption=" ".join(block.notes))
    for row in rows:
        table.add_row(*row)
    return table


FOUND = "What an earlier run has left takes nothing. Tests of teachers and projector come on top."
KEPT = "Memory: the most that the process has held so far. What is kept is on the disk until the artefact is there."


def forecast(result: dict[str, Any]) -> Group:
    """What `hello-distill distill --dry-run` prints: time by stage, memory, disk, and labels of every kind."""
    disk = result["disk"]
    rows = []
    for stage in [*result["stages"], result["student"]]:
        numbers = " to ".join(f"{number:,}" for number in dict.fromkeys((stage["least"], stage["most"])))
        lengths = _lengths([stage["seconds"] * stage[bound] for bound in ("least", "most")])
        kept = page.weight(disk.get(stage["stage"], 0))
        rows.append(page.row(stage["stage"], f"{numbers} {stage['unit']}", lengths, page.weight(stage["memory"]), kept))
    kept = page.weight(sum(disk.values()) - disk["artefact"])
    rows.insert(-1, page.row("in all", "", _lengths(result["seconds"]), page.weight(result["memory"]["process"]), kept))
    size, memory = result["size"], result["memory"]
    title = (
        f"{size['images']:,} training images of {size['classes']:,} classes at {result['side']} pixels, {size['ipc']} "
        "images per class, on this machine"
    )
    place = "in memory beside the process" if memory["decoded_in_memory"] else "on the disk, in the cache"
    room = [
        page.row(f"decoded images, {place}", page.weight(memory["decoded_images"])),
        page.row("artefact", page.weight(disk["artefact"])),
    ]
    labels = [page.row(name, page.weight(size)) for name, size in result["labels"].items()]
    return Group(
        drawn(page.Table(title, ("stage", "length", "time", "memory", "kept"), rows, (FOUND, KEPT))),
        drawn(page.Table("Room", ("what", "bytes"), room, ())),
        drawn(page.Table("Labels of the student's training", ("kept as", "bytes"), labels, ())),
    )


def beside_truth(result: dict[str, Any]) -> Group:
    """What `hello-distill distill --forecast` prints at its end: time by stage and bytes, as said and as taken."""
    every = [*result["stages"], {"stage": "in all", "said": result["said"], "took": result["took"]}]
    rows = [page.row(each["stage"], _lengths(each["said"]), duration(each["took"])) for each in every]
    for name in ("memory", "artefact"):
        rows.append(page.row(name, page.weight(result[name]["said"]), page.weight(result[name]["took"])))
    return Group(drawn(page.Table("The forecast and what came of it", ("stage", "said", "taken"), rows, ())))


def _lengths(least_and_most: list[float]) -> str:
    """Two times, or one where they are shown alike; of one unit where that is the same."""
    least, most = map(duration, least_and_most)
    number, _, unit = least.partition(" ")
    return most if least == most else f"{number if most.endswith(f' {unit}') else least} to {most}"


def duration(seconds: float) -> str:
    """A time in the largest unit of which it has at least two."""
    for unit, length in (("days", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.1f} s"


def evaluation(result: dict[str, Any]) -> Table:
    """What `hello-distill evaluate` prints."""
    stated, runs = Summary.model_validate(result["expected"]["top1_last"]), len(result["runs"])
    expected = f"{plain(score(stated.mean, stated.sd))} % (n = {len(stated.runs)})"
    table = Table("student", "stated", "now", "expected range", "verdict")
    inside = "inside" if result["inside"] else "OUTSIDE"
    reach = f"{result['low']:.1f} to {result['high']:.1f} %"
    table.add_row(result["student"], expected, f"{result['mean']:.1f} % (n = {runs})", reach, inside)
    table.caption = "Top-1 after the last epoch. Of honest repetitions 95 in 100 come out inside."
    return table


def verification(result: dict[str, Any]) -> Table:
    """What `hello-distill verify` prints."""
    table = Table("check", "result", show_header=False)
    for check in result["checks"]:
        table.add_row("ok", Text(check))
    for check in result["not_checked"]:
        table.add_row("NOT CHECKED", Text(check))
    return table


def pushed(result: dict[str, Any]) -> Group:
    """What `hello-distill push` prints: each repository with its files."""
    return Group(*(_repository(each, result["dry_run"]) for each in result["repositories"]))


def _repository(sent: dict[str, Any], dry_run: bool) -> Table:
    seen = "private" if sent["private"] else "public"
    branch = f", branch {sent['revision']}" if sent["revision"] else ""
    if dry_run:
        where = "would be sent; nothing was"
    else:
        where = f"sent to {sent['url']}" if sent["new"] else f"are at {sent['url']} already; nothing new was sent"
    title = f"{sent['kind']} {sent['repository']} ({seen}{branch}): {sent['bytes']:,} bytes {where}"
    table = Table(Column("file"), Column("bytes", justify="right"), title=Text(title), title_justify="left")
    for name, count in sent["files"].items():
        table.add_row(Text(name), f"{count:,}")
    return table


FIGURES = {
    "teacher_top1": ("teacher", "{:.1f} % of held-out images"),
    "ensemble_top1": ("weak teachers' mean", "{:.1f} % of held-out images"),
    "zero_shot_top1": ("projector before fitting", "{:.1f} % of held-out images"),
    "projector_top1": ("projector after Eq. 5", "{:.1f} % of held-out images"),
    "labels_on_held_out": (
        "labels as shipped",
        "{:.1f} % of held-out images; they are made for views of the distilled ones",
    ),
    "view_agreement": ("labels agree with teacher", "on {:.1f} % of new views of the distilled images"),
    "view_error": ("their relative error", "{:.2g} on these views (0: a copy, 1: a constant)"),
    "information_loss_before": ("information loss of Eq. 7", "{:.3g} before the image update"),
    "information_loss_after": ("information loss of Eq. 7", "{:.3g} after it"),
}
"""How a figure of a manifest is called and written, in the order in which they are shown."""
TOLD_APART = ("fidelity", "knee", "teacher_bytes", "skipped_images", "short_classes")
"""Figures that have rows of their own."""


def info(facts: dict[str, Any]) -> Table:
    """What `hello-distill info` prints."""
    images, labels, stored = facts["images"], facts["labels"], facts["stored_labels"]
    table = Table("what", "value", show_header=False)
    table.add_row("classes, images per class", f"{facts['classes']}, {facts['ipc']}")
    table.add_row("images", f"{images['count']} of {images['side']} pixels, {size(images['bytes'])}")
    numbers = f"states {labels['parameters']:,} numbers"
    table.add_row("labels", f"{labels['kind']}, {numbers}, {size(labels['bytes'])}")
    if labels["index_bytes"]:
        table.add_row("  of which index", size(labels["index_bytes"]))
    if facts["teacher"]["bytes"]:
        table.add_row("teacher", f"{', '.join(facts['teacher']['networks'])}, {size(facts['teacher']['bytes'])}")
    for own in facts.get("own_teachers", []):
        table.add_row("teacher that was brought along", f"{own['name']}, SHA-256 {own['sha256'][:12]}...")
    for weights in facts["public_weights"]:
        table.add_row("public, downloaded once", f"{weights['name']}, {size(weights['bytes'])}")
    if facts["encoder_knows"]:
        table.add_row("the encoder was trained on", facts["encoder_knows"])
    table.add_row("soft labels without views", f"{size(stored['bytes'])} = {stored['formula']}")
    table.add_section()
    for rung in facts["ladder"]:
        above = rung["smaller_from_ipc"]
        note = "" if above is None else f"; the projector is smaller from IPC {above}"
        stated = " as the manifest states" if rung["stated"] else ""
        views = " with their views" if rung["labels"].startswith("stored") else ""
        table.add_row(f"as {rung['labels']}", f"{size(rung['bytes'])}{views}{stated}{note}")
    table.add_section()
    for name, text in left_out_or_short(facts["figures"]).items():
        table.add_row(name, text)
    if reached := facts.get("expected"):
        top1 = Summary.model_validate(reached["top1_last"])
        table.add_row("students, on test images", f"{page.plain(page.row(top1)[0])} % (n = {len(top1.runs)})")
    for row in figures(facts["figures"]):
        table.add_row(*row)
    points = facts["figures"].get("fidelity", [])
    if points:
        table.add_row("forms to choose from", "on another draw of new views; agreement is known to about 2 points")
    for point in points:
        ranks = f"ranks {point['encoder_rank']} and {point['head_rank']}, {point['precision']}"
        faithful = f"agreement {point['agreement']:.1f} %, relative error {point['error']:.2g}"
        knee = "; from here on more bytes buy little" if point == facts["figures"].get("knee") else ""
        table.add_row(ranks, f"{size(point['bytes'])}, {faithful}{knee}")
    return table


def figures(found: dict[str, Any]) -> list[tuple[str, str]]:
    """Figures of a manifest as people read them: what each is, and its value."""
    rows = []
    for name in dict.fromkeys([*FIGURES, *found]):
        if name in found and name not in TOLD_APART:
            value, (what, form) = found[name], FIGURES.get(name, (name.replace("_", " "), "{:.4g}"))
            rows.append((what, "unknown" if value is None else form.format(value)))
    return rows


def left_out_or_short(figures: dict[str, Any]) -> dict[str, str]:
    """What was done about bad images and short classes, where there were some."""
    rows = {}
    if skipped := figures.get("skipped_images"):
        rows["training images left out"] = ", ".join(f"{count} {reason}" for reason, count in skipped.items())
    if short := figures.get("short_classes"):
        counts = listed([f"{name} ({count})" for name, count in short["training_images"].items()])
        done = "fewer distilled images of" if short["rule"] == "fewer" else "images used again of"
        rows["short classes"] = f"{done} {counts}"
    return rows


def doctor(facts: dict[str, Any]) -> Text:
    """What `hello-distill doctor` prints: lines fit for pasting, those of what is amiss last."""
    rows = [(name, str(value)) for name, value in facts["versions"].items()]
    rows += [("cores", str(facts["cores"]))]
    rows += [(f"memory, {name}", size(value)) for name, value in facts["memory"].items()]
    rows += [("disk, free", f"{size(volume['free'])} at {volume['folder']}") for volume in facts["disk"].values()]
    for name, kept in facts["caches"].items():
        state = "" if kept["writable"] else ", not writable"
        rows.append((f"cache of {name}", f"{size(kept['bytes'])} at {kept['folder']}{state}"))
    for kind, weights in facts["encoders"].items():
        rows += [(f"encoder, {kind}", f"{w['name']}, {size(w['bytes'])}, sha256 {w['sha256']}") for w in weights]
    rows += facts["variables"].items()
    lines = [f"{name:<24} {value}" for name, value in rows]
    return Text("\n".join([*lines, *(f"- {problem}" for problem in facts["problems"])]))
