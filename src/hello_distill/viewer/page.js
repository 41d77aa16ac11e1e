// The page of `hello-distill view`: images by class, one of them with its crop and what is mixed in, and its labels.

const FIRST = 10;  // images of a class that are shown at first
const QUIET = 700;  // milliseconds without a change, after which the first classes are spoken
const SMALL = 96;  // pixels a side up to which images are enlarged without smoothing

const at = (id) => document.getElementById(id);
const made = (name, properties = {}, ...children) => {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
};
const between = (value, low, high) => Math.min(Math.max(value, low), high);

const shown = await (await fetch("artefact")).json();
const side = shown.side;
const state = { row: 0, which: "after", flip: false, mix: "none", partner: 0, share: 0.7 };

const source = (row) => `images/${state.which}/${row}`;
const className = (row) => shown.classes[shown.targets[row]];
const percent = (share) => `${(100 * share).toFixed(share < 0.0995 ? 1 : 0)} %`;

// A frame of whole pixels over a picture, moved and resized by pointer and by keys.
class Box {
  constructor(element, changed) {
    Object.assign(this, { element, changed, top: 0, left: 0, height: side, width: side });
    element.addEventListener("pointerdown", (event) => this.grab(event));
    element.addEventListener("keydown", (event) => this.key(event));
    this.draw();
  }

  get list() {
    return [this.top, this.left, this.height, this.width];
  }

  set(top, left, height, width) {
    this.height = between(Math.round(height), 1, side);
    this.width = between(Math.round(width), 1, side);
    this.top = between(Math.round(top), 0, side - this.height);
    this.left = between(Math.round(left), 0, side - this.width);
    this.draw();
  }

  change(...box) {
    this.set(...box);
    this.changed();
  }

  draw() {
    const part = (pixels) => `${(100 * pixels) / side}%`;
    Object.assign(this.element.style, {
      top: part(this.top), left: part(this.left), height: part(this.height), width: part(this.width),
    });
    this.element.ariaLabel = `${this.width} by ${this.height} pixels, ${this.left} from the left, ${this.top} from the top`;
  }

  grab(event) {
    event.preventDefault();
    this.element.focus();
    this.element.setPointerCapture(event.pointerId);
    const corner = [...this.element.children].indexOf(event.target);
    const [top, left, height, width] = this.list;
    const scale = side / this.element.parentElement.getBoundingClientRect().width;
    const move = (moved) => {
      const right = Math.round((moved.clientX - event.clientX) * scale);
      const down = Math.round((moved.clientY - event.clientY) * scale);
      if (corner < 0) {
        this.change(top + down, left + right, height, width);
        return;
      }
      const [y0, y1] = corner < 2 ? [between(top + down, 0, top + height - 1), top + height]
        : [top, between(top + height + down, top + 1, side)];
      const [x0, x1] = corner % 2 ? [left, between(left + width + right, left + 1, side)]
        : [between(left + right, 0, left + width - 1), left + width];
      this.change(y0, x0, y1 - y0, x1 - x0);
    };
    const drop = () => {
      this.element.removeEventListener("pointermove", move);
      this.element.removeEventListener("lostpointercapture", drop);
    };
    this.element.addEventListener("pointermove", move);
    this.element.addEventListener("lostpointercapture", drop);
  }

  key(event) {
    const step = Math.max(1, Math.round(side / 56));
    const [right, down] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key] ?? [0, 0];
    const grow = { "+": 1, "=": 1, "-": -1, "−": -1, _: -1 }[event.key] ?? 0;
    if (event.ctrlKey || event.metaKey || event.altKey || !(right || down || grow)) return;
    event.preventDefault();
    const [top, left, height, width] = this.list;
    if (grow) this.change(top - grow * step, left - grow * step, height + 2 * grow * step, width + 2 * grow * step);
    else if (event.shiftKey) this.change(top, left, between(height + down * step, 1, side - top), between(width + right * step, 1, side - left));
    else this.change(top + down * step, left + right * step, height, width);
  }
}

// One request at a time; of the views that were wanted meanwhile the latest is asked for next.
let busy = false;
let wanted = false;

async function ask() {
  wanted = true;
  if (busy) return;
  busy = true;
  at("labels").ariaBusy = "true";
  while (wanted) {
    wanted = false;
    const request = { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(asked()) };
    const response = await fetch("labels", request).catch(() => null);
    if (response === null) refused("`hello-distill view` does not answer; start it again, and reload this page.");
    else if (!response.ok) refused(await response.text());
    else answered(await response.json());
  }
  busy = false;
  at("labels").ariaBusy = "false";
  document.body.dataset.answered = Number(document.body.dataset.answered ?? 0) + 1;
}

function asked() {
  const mixes = {
    none: null,
    cutmix: { kind: "cutmix", partner: state.partner, hole: hole.list },
    mixup: { kind: "mixup", partner: state.partner, share: state.share },
  };
  return { row: state.row, box: crop.list, flip: state.flip, before: state.which === "before", mix: mixes[state.mix] };
}

function refused(sentence) {
  at("refusal").textContent = sentence;
  at("refusal").hidden = false;
}

function answered(answer) {
  at("refusal").hidden = true;
  at("seen").src = answer.picture;
  at("seen").alt = state.mix === "none" ? `Crop of ${className(state.row)}` : `${className(state.row)} mixed with ${className(state.partner)}`;
  if (state.mix !== "none") {
    at("strength-said").textContent = percent(1 - answer.share);
    if (document.activeElement !== at("strength")) at("strength").value = Math.round(100 * (1 - answer.share));
  }
  answer.labels.forEach((label, number) => {
    const lines = at("labels").children[number].querySelectorAll("li");
    lines.forEach((line, rank) => {
      const entry = label.top[rank];
      line.classList.toggle("none", !entry);
      const [name, share] = line.querySelectorAll(".said span");
      name.textContent = name.title = entry ? shown.classes[entry.class] : "";
      share.textContent = entry ? percent(entry.probability) : "";
      Object.assign(line.dataset, entry ? { class: entry.class, probability: entry.probability } : { class: "", probability: "" });
      line.querySelector(".track div").style.width = entry ? `${100 * entry.probability}%` : "0";
    });
  });
  clearTimeout(answered.timer);
  answered.timer = setTimeout(() => {
    at("spoken").textContent = answer.labels
      .map((label) => `${label.name}: ${shown.classes[label.top[0].class]}, ${percent(label.top[0].probability)}`)
      .join("; ");
  }, QUIET);
}

// Images of every class, with a search for classes; `chosen` is told the image that is clicked.
function gallery(place, searching, chosen) {
  place.append(at("gallery").content.cloneNode(true));
  const [search, count, classes] = ["input", "[role=status]", ".classes"].map((part) => place.querySelector(part));
  search.placeholder = `Search ${shown.classes.length} classes`;
  search.ariaLabel = searching;
  const rows = shown.classes.map(() => []);
  shown.targets.forEach((target, row) => rows[target].push(row));
  const picture = (row, number) => {
    const image = made("img", { loading: "lazy", decoding: "async", alt: "", src: source(row) });
    if (side <= SMALL) image.className = "sharp";
    const button = made("button", { type: "button", ariaLabel: `${className(row)}, image ${number + 1}` }, image);
    button.dataset.row = row;
    return button;
  };
  const sections = shown.classes.map((name, target) => {
    const pictures = made("div", { className: "pictures" }, ...rows[target].slice(0, FIRST).map(picture));
    const heading = made("div", { className: "heading" }, made("h3", {}, name, " ", made("span", { textContent: rows[target].length })));
    const section = made("section", { ariaLabel: name }, heading, pictures);
    if (rows[target].length > FIRST) {
      const more = made("button", { type: "button", className: "more", textContent: "show all", ariaLabel: `show all ${rows[target].length} of ${name}` });
      more.addEventListener("click", () => {
        pictures.append(...rows[target].slice(FIRST).map((row, index) => picture(row, FIRST + index)));
        pictures.children[FIRST].focus();
        more.remove();
        mark();
      });
      heading.append(more);
    }
    return section;
  });
  // Classes of few images stand beside each other.
  classes.style.setProperty("--most", Math.max(...rows.map((each) => Math.min(each.length, FIRST))));
  classes.append(...sections);
  const filter = () => {
    const words = search.value.toLocaleLowerCase().split(/\s+/).filter(Boolean);
    let found = 0;
    sections.forEach((section, target) => {
      const name = shown.classes[target].toLocaleLowerCase();
      section.hidden = !words.every((word) => name.includes(word));
      found += !section.hidden;
    });
    count.textContent = words.length ? `${found} of ${sections.length} classes` : `${shown.targets.length.toLocaleString("en")} images`;
  };
  search.addEventListener("input", filter);
  filter();
  classes.addEventListener("click", (event) => {
    const button = event.target.closest("button[data-row]");
    if (button) chosen(Number(button.dataset.row));
  });
}

// Show which image is open, and where it was opened from.
function mark() {
  for (const button of document.querySelectorAll("#images [aria-current]")) button.removeAttribute("aria-current");
  document.querySelector(`#images [data-row="${state.row}"]`)?.setAttribute("aria-current", "true");
}

function open(row) {
  state.row = row;
  at("editor-title").textContent = className(row);
  at("kept").src = source(row);
  at("kept").alt = `Image of ${className(row)} as it is kept`;
  mark();
  ask();
}

function choosePartner(row) {
  state.partner = row;
  at("partner").querySelector("img").src = source(row);
  at("partner").querySelector("span").textContent = `${className(row)}, choose another`;
  ask();
}

// A square hole of this share of the picture, its centre left where it is as far as it fits.
function resizeHole(share) {
  const edge = Math.max(1, Math.round(side * Math.sqrt(share)));
  hole.set(hole.top + (hole.height - edge) / 2, hole.left + (hole.width - edge) / 2, edge, edge);
}

function describe() {
  const { bar } = shown;
  document.title = `${shown.name}: hello-distill view`;
  at("name").textContent = shown.name;
  at("lead").textContent = shown.lead;
  at("labels-end").append(made("b", { textContent: bar.labels.bytes ? bar.labels.text : "nothing" }), bar.labels.name);
  at("stored-end").append(made("b", { textContent: bar.stored.text }), bar.stored.name);
  const [small, large] = [bar.labels.bytes, bar.stored.bytes].sort((a, b) => a - b);
  at("bar-part").style.width = `${(100 * small) / large}%`;
  at("bar-part").parentElement.classList.toggle("over", bar.labels.bytes > bar.stored.bytes);
  at("weights-said").textContent = bar.said;
  at("weights-public").textContent = bar.public.length ? `It also needs public weights: ${bar.public.join(", ")}.` : "";
  at("notes").append(...shown.notes.map((note) => made("li", { textContent: note })));
  at("update").hidden = !shown.before;
  for (const labeller of shown.labellers) {
    const lines = Array.from({ length: Math.min(5, shown.classes.length) }, () => made("li", {},
      made("div", { className: "said" }, made("span"), made("span")),
      made("div", { className: "track" }, made("div"))));
    at("labels").append(made("section", { ariaLabel: labeller.name },
      made("h3", { textContent: labeller.name }), made("p", { className: "about", textContent: labeller.about }),
      made("ol", {}, ...lines)));
  }
  for (const image of [at("kept"), at("seen"), at("partner").querySelector("img")]) image.classList.toggle("sharp", side <= SMALL);
}

const crop = new Box(at("crop"), ask);
const hole = new Box(at("hole"), ask);
crop.set(side / 8, side / 8, (3 * side) / 4, (3 * side) / 4);
hole.set(side / 4, side / 4, side / 2, side / 2);
describe();
gallery(document.querySelector("#images .gallery-place"), "Search classes", (row) => {
  open(row);
  at("editor").scrollIntoView({ block: "nearest" });
  at("crop").focus({ preventScroll: true });
});
const middle = shown.targets.findIndex((target) => target === 1);
choosePartner(Math.max(0, middle));
open(0);

at("whole").addEventListener("click", () => crop.change(0, 0, side, side));
at("flip").addEventListener("click", () => {
  state.flip = !state.flip;
  at("flip").ariaPressed = state.flip;
  ask();
});
at("mix").addEventListener("change", (event) => {
  state.mix = event.target.value;
  at("mixing").hidden = state.mix === "none";
  at("hole").hidden = state.mix !== "cutmix";
  ask();
});
at("strength").addEventListener("input", (event) => {
  const partner = event.target.value / 100;
  state.share = 1 - partner;
  resizeHole(partner);
  ask();
});
at("update").addEventListener("change", (event) => {
  state.which = event.target.value;
  for (const button of document.querySelectorAll("button[data-row]")) button.firstChild.src = source(button.dataset.row);
  at("partner").querySelector("img").src = source(state.partner);
  open(state.row);
});
at("partner").addEventListener("click", () => {
  const place = document.querySelector("#picker .gallery-place");
  if (!place.childElementCount) {
    gallery(place, "Search classes of the image to mix in", (row) => {
      choosePartner(row);
      at("picker").close();
    });
  }
  at("picker").showModal();
  place.querySelector("input").focus();
});
at("picker-close").addEventListener("click", () => at("picker").close());
at("editor").addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  const button = document.querySelector(`#images [data-row="${state.row}"]`);
  (button?.checkVisibility() ? button : document.querySelector("#images input")).focus();
});
