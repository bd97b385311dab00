// The fleet's map on one canvas: ten thousand cells are one picture and never ten thousand elements.
// `data` is what dashboard/fleet/picture.py makes. A chosen cell goes back as {kind, name, column}.

const HEIGHT_PX = 660;
const SMALLEST_PX = 5;
const TITLE_PX = 15;
const HEAD_PX = 14; // the GPUs' numbers over their columns
const NAMED_PX = 13; // from this size on, rows and columns are named
const TOLD_PX = 40; // and from this one, a cell says its value
const MOST_FRAMES = 200; // of small cells: more would hide one another

export default function (component) {
  const { data, parentElement, setTriggerValue } = component;
  const root = parentElement.querySelector(".fleet-map");
  if (!root || !data) return;
  root.fleetMap ??= new FleetMap(root);
  root.fleetMap.show(data, (chosen) => setTriggerValue("chosen", chosen));
  return () => root.fleetMap?.stop();
}

class FleetMap {
  constructor(root) {
    this.root = root;
    this.canvas = root.querySelector("canvas");
    this.tip = root.querySelector(".tip");
    this.spoken = root.querySelector(".spoken");
    this.legend = root.querySelector(".legend");
    this.at = null; // {group, cell} under the pointer or the keyboard
    this.sizes = new ResizeObserver(() => this.draw());
    this.canvas.addEventListener("mousemove", (e) => this.point(e));
    this.canvas.addEventListener("mouseleave", () => this.leave());
    this.canvas.addEventListener("click", (e) => { this.point(e); this.choose(e); });
    this.canvas.addEventListener("keydown", (e) => this.key(e));
    this.canvas.addEventListener("blur", () => this.leave());
  }

  show(data, chosen) {
    // what the pointer stood on may be gone: a block was opened, a node went
    const cell = this.data?.level === data.level && this.at && data.groups[this.at.group]?.cells[this.at.cell];
    if (!cell || cell === ".") { this.at = null; this.title = null; this.tip.hidden = true; }
    this.data = data;
    this.chosen = chosen;
    this.canvas.setAttribute("aria-label", `${data.about}. Arrow keys move, Enter opens.`);
    this.sizes.disconnect();
    this.sizes.observe(this.root);
    this.explain();
    this.draw();
  }

  stop() { this.sizes.disconnect(); }

  palette() {
    const [r, g, b] = rgb(getComputedStyle(this.root).getPropertyValue("--st-background-color"));
    return this.data.palette[0.3 * r + 0.6 * g + 0.1 * b < 128 ? "dark" : "light"];
  }

  explain() {
    const { bands, counts, unknown, marks, kind } = this.data;
    const shades = this.palette();
    const items = bands.map((text, n) => swatch(shades[n], `${text}: ${counts[n].toLocaleString("en")}`));
    if (unknown.count) items.push(swatch(shades.at(-1), `${unknown.text}: ${unknown.count.toLocaleString("en")}`));
    for (const [mark, text] of Object.entries(marks)) items.push(word(`${mark} ${text}`));
    items.push(word(kind, "kind"));
    this.legend.replaceChildren(...items);
  }

  // The largest cells with which everything still fits one screen.
  layOut(width) {
    const context = this.canvas.getContext("2d");
    context.font = font(this.root, 11);
    const names = this.data.groups.map(({ labels }) => this.data.level !== "gpu" ? 0
      : Math.min(170, Math.max(...labels.map((label) => context.measureText(label ?? "").width)) + 8));
    for (let size = this.data.largest; ; size--) {
      const plan = this.plan(width, size, names);
      if ((plan.height <= HEIGHT_PX && plan.width <= width) || size <= SMALLEST_PX) return plan;
    }
  }

  plan(width, size, widths) {
    const { groups, level } = this.data;
    const titled = groups.length > 1;
    const named = level === "gpu" && size >= NAMED_PX;
    const above = (titled ? TITLE_PX : 0) + (named ? HEAD_PX : 0);
    const between = size >= 9 ? 12 : 8;
    const places = [];
    let x = 0, y = 0, high = 0, most = 0;
    groups.forEach((group, n) => {
      const names = named ? widths[n] : 0;
      const wide = names + group.across * size;
      const tall = Math.ceil(group.cells.length / group.across) * size + above;
      if (x > 0 && x + wide > width) { x = 0; y += high + between; high = 0; }
      const step = Math.max(wide, titled && size >= 9 ? 70 : 0) + between;
      // a title ends before the next one, and before the map's edge
      places.push({ x: x + names, y: y + above, names, title: Math.min(step - 4, width - x), across: group.across });
      most = Math.max(most, x + wide);
      x += step;
      high = Math.max(high, tall);
    });
    return { size, places, titled, named, above, width: most, height: y + high + 2 };
  }

  draw() {
    const width = Math.floor(this.root.clientWidth);
    if (!width) return;
    const plan = (this.now = this.layOut(width));
    const ratio = window.devicePixelRatio || 1;
    this.canvas.width = width * ratio;
    this.canvas.height = plan.height * ratio;
    this.canvas.style.height = `${plan.height}px`;
    const context = this.canvas.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, plan.height);
    const shades = this.palette();
    const text = getComputedStyle(this.root).color;
    const framed = [];
    this.data.groups.forEach((group, n) => this.drawGroup(context, group, plan.places[n], shades, text, framed));
    for (const { x, y, shade } of framed) this.frame(context, x, y, shade, text, framed.length <= MOST_FRAMES);
    this.ring(context, text);
    this.root.dataset.foreshockMap = this.data.level;
  }

  drawGroup(context, group, place, shades, text, framed) {
    const { size, titled, named, above } = this.now;
    const gap = size >= 9 ? 2 : 1;
    context.textBaseline = "middle";
    context.fillStyle = text;
    context.textAlign = "left";
    context.font = font(this.root, 11);
    if (titled) fitted(context, group.name, place.x - place.names, place.y - above + TITLE_PX / 2 - 1, place.title);
    if (named) {
      this.numbers(context, group, place);
      context.textAlign = "right";
      group.labels.forEach((label, row) => fitted(context, label ?? "?", place.x - 6, place.y + (row + 0.5) * size, place.names - 6));
    }
    context.textAlign = "center";
    const small = font(this.root, 12), bold = font(this.root, Math.min(34, Math.max(8, Math.round(size * 0.62))), "bold");
    context.font = bold;
    for (let cell = 0; cell < group.cells.length; cell++) {
      const band = group.cells[cell];
      if (band === ".") continue;
      const x = place.x + (cell % place.across) * size, y = place.y + Math.floor(cell / place.across) * size;
      const shade = band === "?" ? shades.at(-1) : shades[Number(band)];
      context.fillStyle = shade;
      context.fillRect(x, y, size - gap, size - gap);
      const mark = group.marks[cell], middle = x + (size - gap) / 2;
      context.fillStyle = dark(shade) ? "#ffffff" : "#14181f";
      if (size >= TOLD_PX && group.values[cell] != null) {
        context.font = small;
        context.fillText(group.values[cell].toFixed(Math.min(2, this.data.decimals)), middle, y + size - gap - 11);
        context.font = bold;
      }
      if (mark === " ") continue;
      if (size >= 9) context.fillText(mark, middle, y + (size - gap) / 2 + (size >= TOLD_PX ? -6 : 0.5));
      else framed.push({ x, y, shade });
    }
  }

  // Of each column whose GPUs have its number.
  numbers(context, group, place) {
    const { size } = this.now, rows = group.cells.length / group.across;
    const number = (column) => {
      for (let row = 0; row < rows; row++) if (group.cells[row * group.across + column] !== ".") return group.index[row * group.across + column];
      return null;
    };
    context.textAlign = "right";
    if (place.names >= 30) context.fillText("GPU", place.x - 6, place.y - HEAD_PX / 2);
    context.textAlign = "center";
    for (let column = 0; column < group.across; column++) {
      if (number(column) === column) context.fillText(column, place.x + (column + 0.5) * size - 1, place.y - HEAD_PX / 2);
    }
  }

  // A cell too small for its mark is drawn larger, over its neighbours, in a frame: both its colour and it are seen.
  frame(context, x, y, shade, text, large) {
    const inner = this.now.size - 1, more = large ? 2 : 0;
    for (const [colour, by] of [[text, more + 2], [shade, more]]) {
      context.fillStyle = colour;
      context.fillRect(x - by, y - by, inner + 2 * by, inner + 2 * by);
    }
  }

  ring(context, text) {
    if (!this.at) return;
    const { x, y } = this.corner(this.at);
    context.strokeStyle = text;
    context.lineWidth = 2;
    context.strokeRect(x - 1, y - 1, this.now.size, this.now.size);
  }

  corner({ group, cell }) {
    const place = this.now.places[group], size = this.now.size;
    return { x: place.x + (cell % place.across) * size, y: place.y + Math.floor(cell / place.across) * size };
  }

  // The cell at a place of the canvas; {group, title: true} on a group's name.
  find(x, y) {
    const { places, size, titled, above } = this.now;
    for (let group = 0; group < places.length; group++) {
      const place = places[group];
      const column = Math.floor((x - place.x) / size), row = Math.floor((y - place.y) / size);
      if (titled && y >= place.y - above && y < place.y && x >= place.x - place.names && x < place.x - place.names + place.title) return { group, title: true };
      if (column < 0 || column >= place.across || row < 0) continue;
      const cell = row * place.across + column;
      if (cell < this.data.groups[group].cells.length && this.data.groups[group].cells[cell] !== ".") return { group, cell };
    }
    return null;
  }

  point(event) {
    const found = this.find(event.offsetX, event.offsetY);
    this.canvas.style.cursor = found ? "pointer" : "default";
    this.go(found?.title ? null : found);
    this.title = found?.title ? found : null;
    if (this.title && this.data.level !== "gpu") this.say(`${this.data.groups[found.group].name}: open it`, event.offsetX, event.offsetY);
  }

  go(at, aloud = false) {
    const moved = at?.group !== this.at?.group || at?.cell !== this.at?.cell;
    this.at = at;
    if (moved) this.draw();
    if (!at) { this.tip.hidden = true; return; }
    const { x, y } = this.corner(at), text = this.words(at);
    this.say(text, x + this.now.size, y);
    if (aloud) this.spoken.textContent = text;
  }

  say(text, x, y) {
    this.tip.textContent = text;
    this.tip.hidden = false;
    const left = x + this.tip.offsetWidth + 12 > this.root.clientWidth ? x - this.tip.offsetWidth - this.now.size - 12 : x + 10;
    this.tip.style.left = `${Math.max(0, left)}px`;
    this.tip.style.top = `${this.canvas.offsetTop + y + 8}px`;
  }

  leave() { this.at = null; this.tip.hidden = true; if (this.now) this.draw(); }

  words({ group, cell }) {
    const { level, title, unit, decimals, bands, states, unknown } = this.data;
    const of = this.data.groups[group], band = of.cells[cell];
    const where = level === "gpu"
      ? `${of.labels[Math.floor(cell / of.across)] ?? "?"} GPU ${of.index[cell] ?? "?"}` : of.labels[cell] ?? "?";
    const value = of.values[cell];
    const meaning = band === "?" ? unknown.text : unit ? "" : bands[Number(band)];
    const told = value == null ? meaning : [`${value.toFixed(decimals)} ${unit}`.trim(), meaning].filter(Boolean).join(", ");
    const lines = [where];
    if (title !== "State") lines.push(`${title.toLowerCase()}: ${told}`);
    lines.push(`state: ${states[Number(of.told[cell])]}`);
    if (level !== "gpu") lines.push(`${of.gpus[cell]} GPUs, ${of.bad[cell]} not ok`);
    return lines.join("\n");
  }

  choose() {
    if (this.title && this.data.level !== "gpu") { this.chosen({ kind: "block", name: this.data.groups[this.title.group].name }); return; }
    if (!this.at) return;
    const of = this.data.groups[this.at.group], cell = this.at.cell;
    if (this.data.level === "gpu") {
      this.chosen({ kind: "gpu", name: of.labels[Math.floor(cell / of.across)], column: cell % of.across });
    } else this.chosen({ kind: this.data.level, name: of.labels[cell] });
  }

  key(event) {
    const { groups } = this.data;
    const at = this.at ?? { group: 0, cell: -1 };
    const across = groups[at.group].across;
    const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: across, ArrowUp: -across }[event.key];
    if (event.key === "Enter" || event.key === " ") { this.title = null; this.choose(); }
    else if (event.key === "Escape") { this.leave(); return; }
    else if (step === undefined) return;
    else this.go(moved(groups, at, this.at ? step : 1), true);
    event.preventDefault();
  }
}

// `step` cells on, over the end of a group into the next, past places where no GPU is.
function moved(groups, { group, cell }, step) {
  for (let tries = 0; tries < 4096; tries++) {
    cell += step;
    if (cell >= groups[group].cells.length || cell < 0) {
      const next = group + Math.sign(step);
      if (next < 0 || next >= groups.length) return { group, cell: step > 0 ? last(groups[group]) : first(groups[group]) };
      group = next;
      cell = step > 0 ? 0 : groups[group].cells.length - 1;
      step = Math.sign(step);
    }
    if (groups[group].cells[cell] !== ".") return { group, cell };
  }
  return { group: 0, cell: first(groups[0]) };
}

const first = (group) => [...group.cells].findIndex((c) => c !== ".");
const last = (group) => [...group.cells].findLastIndex((c) => c !== ".");

function fitted(context, text, x, y, width) {
  let shown = text;
  while (shown.length > 2 && context.measureText(shown).width > width) shown = `…${shown.slice(2)}`;
  context.fillText(shown, x, y);
}

function font(root, px, weight = "normal") {
  return `${weight} ${px}px ${getComputedStyle(root).fontFamily}`;
}

function rgb(text) {
  const value = text.trim();
  if (value.startsWith("#")) {
    const hex = value.length === 4 ? [...value.slice(1)].map((c) => c + c).join("") : value.slice(1);
    return [0, 2, 4].map((i) => parseInt(hex.slice(i, i + 2), 16));
  }
  return (value.match(/[\d.]+/g) ?? [255, 255, 255]).map(Number);
}

function dark(shade) {
  const [r, g, b] = rgb(shade);
  return 0.3 * r + 0.6 * g + 0.1 * b < 140;
}

function swatch(colour, text) {
  const item = word(text), square = document.createElement("i");
  square.style.background = colour;
  item.prepend(square);
  return item;
}

function word(text, name = "") {
  const item = document.createElement("span");
  item.textContent = text;
  item.className = name;
  return item;
}
