"""Results as tables for people. Takes the very dictionaries that --json prints."""

from __future__ import annotations

from typing import Any

from rich.table import Table
from rich.text import Text

from hello_distill.system.errors import listed

DEMO_ROWS = {
    "random_hard": "(a) random real images, hard labels",
    "distilled_hard": "(b) distilled images, hard labels",
    "distilled_projector": "(c) distilled images, projector's labels",
    "random_projector": "(d) random real images, projector's labels",
}


def size(count: int) -> str:
    """Bytes as people read them, in binary units."""
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024 or unit == "GiB":
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    raise AssertionError("unreachable")


def spread(summary: dict[str, Any]) -> str:
    """Mean, standard deviation and number of runs."""
    runs = len(summary["runs"])
    sd = "" if summary["sd"] is None else f" +- {summary['sd']:.1f}"
    return f"{summary['mean']:.1f}{sd} % (n = {runs})"


def training(result: dict[str, Any]) -> Table:
    """What `hello-distill train` prints."""
    table = Table("student", "labels", "seeds", "top-1, last epoch", f"top-1, best of {len(result['tested_epochs'])}")
    seeds = " ".join(map(str, result["seeds"]))
    table.add_row(result["student"], result["labels"], seeds, spread(result["top1_last"]), spread(result["top1_best"]))
    table.caption = (
        f"{result['epochs']} epochs, tested on {result['test_images']} images {result.get('test', 'of the test split')}"
    )
    return table


def evaluation(result: dict[str, Any]) -> Table:
    """What `hello-distill evaluate` prints."""
    stated, runs = result["expected"]["top1_last"], result["runs"]
    table = Table("student", "stated", "now", "expected range", "verdict")
    inside = "inside" if result["inside"] else "OUTSIDE"
    reach = f"{result['low']:.1f} to {result['high']:.1f} %"
    table.add_row(result["student"], spread(stated), f"{result['mean']:.1f} % (n = {len(runs)})", reach, inside)
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


def info(found: dict[str, Any]) -> Table:
    """What `hello-distill info` prints."""
    images, labels, stored = found["images"], found["labels"], found["stored_labels"]
    table = Table("what", "value", show_header=False)
    table.add_row("classes, images per class", f"{found['classes']}, {found['ipc']}")
    table.add_row("images", f"{images['count']} of {images['side']} pixels, {size(images['bytes'])}")
    numbers = f"states {labels['parameters']:,} numbers"
    table.add_row("labels", f"{labels['kind']}, {numbers}, {size(labels['bytes'])}")
    if labels["index_bytes"]:
        table.add_row("  of which index", size(labels["index_bytes"]))
    if found["teacher"]["bytes"]:
        table.add_row("teacher", f"{', '.join(found['teacher']['networks'])}, {size(found['teacher']['bytes'])}")
    for weights in found["public_weights"]:
        table.add_row("public weights relied on", f"{weights['name']}, {size(weights['bytes'])}")
    if found["encoder_knows"]:
        table.add_row("the encoder was trained on", found["encoder_knows"])
    table.add_row("stored labels would take", f"{size(stored['bytes'])} = {stored['formula']}")
    table.add_section()
    for rung in found["ladder"]:
        above = rung["smaller_from_ipc"]
        note = "" if above is None else f"; the projector is smaller from IPC {above}"
        stated = " as the manifest states" if rung["stated"] else ""
        table.add_row(f"as {rung['labels']}", f"{size(rung['bytes'])}{stated}{note}")
    table.add_section()
    for name, text in left_out_or_short(found["figures"]).items():
        table.add_row(name, text)
    for name, value in found["figures"].items():
        if name not in ("fidelity", "knee", "teacher_bytes", "skipped_images", "short_classes"):
            table.add_row(name.replace("_", " "), "unknown" if value is None else f"{value:.4g}")
    for point in found["figures"].get("fidelity", []):
        ranks = f"ranks {point['encoder_rank']} and {point['head_rank']}, {point['precision']}"
        faithful = f"agreement {point['agreement']:.1f} %, relative error {point['error']:.2g}"
        knee = "; from here on more bytes buy little" if point == found["figures"].get("knee") else ""
        table.add_row(ranks, f"{size(point['bytes'])}, {faithful}{knee}")
    return table


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


def diverged(result: dict[str, Any]) -> str:
    """A sentence on the runs that gave no result, where there are some."""
    names = ("method", "labels", "student")
    runs = [
        f"{', '.join(run[name] for name in names)}, IPC {run['ipc']}"
        + (f", step {run['step']} of {run['steps']}" if run.get("step") else "")
        + f", seed {run['seed']}"
        for run in result.get("diverged", [])
    ]
    return f" No result, because training diverged: {'; '.join(runs)}." if runs else ""


def remade(result: dict[str, Any]) -> str:
    """A sentence on images that were not the same ones for all labels, where there are some: their bytes differ."""
    found: dict[tuple[str, int], set[int]] = {}
    for cell in result["cells"]:
        found.setdefault((cell["method"], cell["ipc"]), set()).add(cell["bytes"]["images"])
    twice = listed([f"{method} at IPC {ipc}" for (method, ipc), sizes in sorted(found.items()) if len(sizes) > 1])
    if not twice:
        return ""
    return (
        f" Teachers, projector and images of {twice} were made more than once, so columns of a row differ by that, too."
    )


def student_settings(settings: dict[str, Any]) -> str:
    """A student's tuned settings as people read them."""
    loss = settings.get("loss")
    losses = {
        "mse": f"MSE + {settings.get('beta', 0):g} CE",
        "kl": f"KL at temperature {settings.get('temperature', 0):g}",
    }
    return ", ".join([*([losses.get(loss, loss)] if loss else ["CE"]), f"rate {settings['lr']:g}"])


def comparison(result: dict[str, Any]) -> Table:
    """What `hello-distill compare` prints."""
    table = Table("method", "labels", "IPC", "student", "top-1, last", "top-1, best", "images", "labels", "teacher")
    for cell in result["cells"]:
        sizes = [size(cell["bytes"][name]) for name in ("images", "labels", "teacher")]
        scores = [spread(cell["top1_last"]), spread(cell["top1_best"])]
        table.add_row(cell["method"], cell["labels"], str(cell["ipc"]), cell["student"], *scores, *sizes)
    table.caption = f"Top-1 on the test split.{diverged(result)}"
    return table


def continual(result: dict[str, Any]) -> Table:
    """What `hello-distill continual` prints: runs of which all steps are there."""
    table = Table("method", "labels", "IPC", "steps", "top-1 after each step", "mean of steps")
    for curve in result.get("curves", []):
        points = " ".join(f"{point['mean']:.1f}" for point in curve["top1_by_step"])
        names = [str(curve[name]) for name in ("method", "labels", "ipc", "steps")]
        table.add_row(*names, points, spread(curve["top1_mean"]))
    table.caption = (
        "On the test images of the classes seen; mean over seeds, each with its own order, +- standard deviation."
        + diverged(result)
    )
    return table


def study(result: dict[str, Any]) -> Table:
    """What `hello-distill study` prints: each variant, and how far it is from the first."""
    order = result["recipe"]["order"]
    first = order[0]
    table = Table(
        "variant", "student", "IPC", "held-out images", "test images, last epoch", f"from {first!r}", "numbers"
    )
    cells = {(cell["method"], cell["student"], cell["ipc"]): cell for cell in result["cells"]}
    for cell in sorted(result["cells"], key=lambda c: (c["student"], c["ipc"], order.index(c["method"]))):
        base = cells.get((first, cell["student"], cell["ipc"]))
        gain = "" if base in (None, cell) else f"{cell['top1_last']['mean'] - base['top1_last']['mean']:+.1f}"
        names = [cell["method"], cell["student"], str(cell["ipc"])]
        table.add_row(*names, spread(cell["held_top1"]), spread(cell["top1_last"]), gain, f"{cell['numbers']:,}")
    question = result["recipe"]["question"]
    text = f"{question}. Top-1; choices may rest on the held-out training images alone."
    table.caption = text + diverged(result)
    return table


def demo_gains(result: dict[str, Any]) -> str:
    """Points by which distilled images with the projector's labels are ahead of the other trainings."""
    ours = result["distilled_projector"]["mean"]
    gains = [f"{ours - result[name]['mean']:+.1f}" for name in ("random_hard", "distilled_hard", "random_projector")]
    return f"(c) is {gains[0]} points from (a), {gains[1]} from (b) and {gains[2]} from (d)."


def demo(result: dict[str, Any]) -> Table:
    """What `hello-distill demo` prints."""
    table = Table(
        "students trained on",
        "top-1 on the test split, last epoch",
        title="Fashion-MNIST, 10 images per class",
    )
    for key, text in DEMO_ROWS.items():
        table.add_row(text, spread(result[key]))
    sizes = {name: size(count) for name, count in result["bytes"].items()}
    table.caption = (
        f"{demo_gains(result)} "
        f"Images {sizes['images']}, projector {sizes['projector']}; "
        f"stored soft labels for the same training would take {sizes['stored_labels']}. "
        "The spread is over students; (a) and (d) are one draw of images."
    )
    return table


def doctor(found: dict[str, Any]) -> Text:
    """What `hello-distill doctor` prints: lines fit for pasting, those of what is amiss last."""
    rows = [(name, str(value)) for name, value in found["versions"].items()]
    rows += [("cores", str(found["cores"]))]
    rows += [(f"memory, {name}", size(value)) for name, value in found["memory"].items()]
    rows += [("disk, free", f"{size(place['free'])} at {place['folder']}") for place in found["disk"].values()]
    for name, kept in found["caches"].items():
        state = "" if kept["writable"] else ", not writable"
        rows.append((f"cache of {name}", f"{size(kept['bytes'])} at {kept['folder']}{state}"))
    for kind, weights in found["encoders"].items():
        rows += [(f"encoder, {kind}", f"{w['name']}, {size(w['bytes'])}, sha256 {w['sha256']}") for w in weights]
    rows += found["variables"].items()
    lines = [f"{name:<24} {value}" for name, value in rows]
    return Text("\n".join([*lines, *(f"- {problem}" for problem in found["problems"])]))
