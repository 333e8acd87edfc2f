// What a report does: shows one picture at a time, draws its maps over the photograph as the controls say, and reads them.
//
// All texts of the report come from files of strangers. They become text, never markup: `element` is the only way in which anything is added.

"use strict";

const $ = (id) => document.getElementById(id);
const report = JSON.parse($("report").textContent);

/** An element with properties, attributes (those with a dash, and `role`), and children, which are elements or texts. */
function element(tag, properties = {}, ...children) {
  const svg = ["svg", "path", "line", "text", "circle"].includes(tag);
  const made = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (svg || name.includes("-") || name === "role" || name === "scope") made.setAttribute(name, value);
    else made[name] = value;
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

/** A text that comes from a file, in its own direction. */
const own = (text, name = "") => element("bdi", { className: name, dir: "auto" }, text);

const bytes = (base64) => Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
const percent = (part) => (part > 0 && part < 0.0095 ? "< 1 %" : Math.round(part * 100) + " %");
/** ImageNet's names list synonyms; the first is enough. */
const short = (label) => label.split(",")[0];

/** A number with three digits that matter. */
function number(value) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  return (size >= 1e5 || size < 1e-3 ? value.toExponential(2) : String(Number(value.toPrecision(3)))).replaceAll("-", "−");
}

// MARK: Pictures and their maps

for (const map of report.colours) map.table = bytes(map.table);
const colourMap = (name) => report.colours.find((map) => map.name === name);
const diverging = report.colours.find((map) => map.diverging);

/** What the page shows. */
const state = { picture: null, panels: [], cursor: null, hidden: new Set() };

/** The numbers of a map, from their whole numbers. */
function dequantised(panel) {
  const raw = bytes(panel.values);
  const count = panel.width * panel.height;
  const top = 2 ** panel.bits - 2;
  const numbers = new Float32Array(count);
  for (let i = 0; i < count; i++) {
    const level = panel.bits === 16 ? raw[2 * i] | (raw[2 * i + 1] << 8) : raw[i];
    numbers[i] = panel.low + (level / top) * (panel.high - panel.low);
  }
  return numbers;
}

/** The map at another size: bilinear between the centres of cells, edges held; or each cell as it is. */
function sampled(panel, width, height, smooth) {
  const axis = (size, cells) =>
    Array.from({ length: size }, (_, i) => {
      const at = ((i + 0.5) * cells) / size - (smooth ? 0.5 : 0);
      const low = clamp(Math.floor(at), 0, cells - 1);
      return { low, high: smooth ? Math.min(low + 1, cells - 1) : low, t: smooth ? clamp(at - low, 0, 1) : 0 };
    });
  const [columns, rows] = [axis(width, panel.width), axis(height, panel.height)];
  const result = new Float32Array(width * height);
  const mixed = new Float32Array(panel.width);
  let at = 0;
  for (const row of rows) {
    const [top, bottom] = [row.low * panel.width, row.high * panel.width];
    for (let x = 0; x < panel.width; x++) {
      mixed[x] = panel.numbers[top + x] * (1 - row.t) + panel.numbers[bottom + x] * row.t;
    }
    for (const { low, high, t } of columns) result[at++] = mixed[low] * (1 - t) + mixed[high] * t;
  }
  return result;
}

/** The same, kept for the sizes that are drawn now: in the grid, and large. */
function keptSample(panel, width, height, smooth) {
  const key = `${width} ${height} ${smooth}`;
  panel.samples ??= new Map();
  if (!panel.samples.has(key)) {
    if (panel.samples.size > 1) panel.samples.clear();
    panel.samples.set(key, sampled(panel, width, height, smooth));
  }
  return panel.samples.get(key);
}

/** The number of the cell at a place, in parts of the map's width and height. */
function valueAt(panel, x, y) {
  const column = clamp(Math.floor(x * panel.width), 0, panel.width - 1);
  const row = clamp(Math.floor(y * panel.height), 0, panel.height - 1);
  return panel.numbers[row * panel.width + column];
}

/** From where to where the colours of a map go. With a common scale, maps of one method and layer share it, whatever their class. */
function range(panel) {
  const alike =
    $("scale").value === "own"
      ? [panel]
      : state.panels.filter((p) => p.method === panel.method && p.layer === panel.layer && p.more === panel.more && !p.blank);
  const all = alike.length ? alike : [panel];
  const high = Math.max(...all.map((p) => p.high));
  if (!panel.signed) return { low: Math.min(...all.map((p) => p.low)), high };
  return { low: showsBoth(panel) ? -high : 0, high };
}

const showsBoth = (panel) => panel.signed && $("signs").value === "both";
const tableOf = (panel) => (showsBoth(panel) ? diverging : colourMap($("colour").value)).table;

/** How a panel is called. */
function title(panel) {
  const method = report.methods[panel.method].title;
  return method + (panel.label === null ? "" : `, ${short(panel.label)}`) + (hasLayers(panel.method) ? `, at ${panel.layer}` : "");
}

/** Whether there are maps of a method at several layers. */
const hasLayers = (method) => new Set(state.panels.filter((p) => p.method === method).map((p) => p.layer)).size > 1;

const wholeExtent = () => $("extent").value === "whole";

/** The part of the photograph that is shown, in parts of its width and height. */
const extent = () => (wholeExtent() ? [0, 0, 1, 1] : state.picture.region);

/** Where the map lies in what is shown. */
function place() {
  if (!wholeExtent()) return { x: 0, y: 0, width: 1, height: 1 };
  const [x, y, width, height] = state.picture.region;
  return { x, y, width, height };
}

/** Height for each pixel of width of what is shown; what is very tall is squeezed. */
function aspect() {
  const [, , width, height] = extent();
  return clamp((height * state.picture.height) / (width * state.picture.width), 0.25, 3);
}

/** Draws the photograph as far as it is shown. */
function drawPhotograph(canvas, width) {
  canvas.width = width;
  canvas.height = Math.max(1, Math.round(width * aspect()));
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.fillStyle = "#000";
  context.fillRect(0, 0, canvas.width, canvas.height);
  const [x, y, w, h] = extent();
  const { width: cw, height: ch } = canvas;
  context.drawImage(state.image, (-x / w) * cw, (-y / h) * ch, cw / w, ch / h);
  if (wholeExtent()) {
    const p = place();
    context.fillStyle = "rgba(0, 0, 0, 0.65)";
    const path = new Path2D();
    path.rect(0, 0, cw, ch);
    path.rect(p.x * cw, p.y * ch, p.width * cw, p.height * ch);
    context.fill(path, "evenodd");
  }
  return context;
}

/** Draws a map over the photograph, as the controls say. */
function drawMap(canvas, panel, width) {
  const context = drawPhotograph(canvas, width);
  if (panel === null || panel.blank) return;
  const opacity = Number($("opacity").value) / 100;
  if (showsBoth(panel)) {
    // Two colours stand out from a grey photograph.
    context.globalCompositeOperation = "saturation";
    context.globalAlpha = Math.min(1, 2 * opacity);
    context.fillStyle = "#808080";
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.globalCompositeOperation = "source-over";
  }
  const p = place();
  const w = Math.max(1, Math.round(p.width * canvas.width));
  const h = Math.max(1, Math.round(p.height * canvas.height));
  const values = keptSample(panel, w, h, $("cells").value === "smooth");
  const { low, high } = range(panel);
  const table = tableOf(panel);
  const both = showsBoth(panel);
  const scale = high > low ? 1 / (high - low) : 0;
  const heat = new ImageData(w, h);
  const pixels = heat.data;
  // How strong a place is: away from 0 where both signs are shown.
  const strength = (t) => (both ? Math.abs(2 * t - 1) : t);
  const level = (value) => clamp((value - low) * scale, 0, 1);
  const least = threshold(values, (value) => strength(level(value)));
  for (let i = 0; i < values.length; i++) {
    const t = level(values[i]);
    const entry = 3 * Math.round(t * 255);
    pixels[4 * i] = table[entry];
    pixels[4 * i + 1] = table[entry + 1];
    pixels[4 * i + 2] = table[entry + 2];
    // Where a map with signs says nothing, the photograph stays.
    pixels[4 * i + 3] = strength(t) < least ? 0 : both ? 255 * Math.sqrt(strength(t)) : 255;
  }
  const layer = new OffscreenCanvas(w, h);
  layer.getContext("2d").putImageData(heat, 0, 0);
  context.globalAlpha = opacity;
  context.drawImage(layer, p.x * canvas.width, p.y * canvas.height);
  context.globalAlpha = 1;
}

/** The strength from which on a place is among the strongest that are asked for. */
function threshold(values, strength) {
  const share = Number($("share").value) / 100;
  if (share >= 1) return 0;
  const bins = new Uint32Array(2049);
  for (const value of values) bins[Math.round(strength(value) * 2048)]++;
  let left = share * values.length;
  for (let bin = 2048; bin > 0; bin--) {
    left -= bins[bin];
    if (left < 0) return bin / 2048 - 1 / 4096;
  }
  return 1 / 4096;
}

// MARK: The grid

/** The panels that the controls ask for. */
function shownPanels() {
  const [label, layer] = [$("class").value, $("layer").value];
  return state.panels.filter(
    (panel) =>
      !state.hidden.has(panel.method) &&
      (label === "all" || panel.class === null || String(panel.class) === label) &&
      (layer === "all" || panel.layer === layer)
  );
}

const mapWidth = () => (state.shown.length > 16 ? 320 : 440);

/** Makes the figures of the grid anew. */
function fillGrid() {
  state.shown = shownPanels();
  state.cursor = null;
  const figures = state.shown.map((panel, index) => {
    const of = [];
    if (panel.label !== null) of.push(own(short(panel.label)), ` ${percent(panel.probability)}`);
    else of.push("whatever the class");
    if (panel.more) of.push(", ", own(panel.more));
    panel.canvas = element("canvas");
    panel.cross = element("div", { className: "cross", hidden: true });
    panel.value = element("span", { className: "value" });
    panel.bar = element("canvas", { width: 256, height: 1 });
    panel.lowLabel = element("span");
    panel.highLabel = element("span");
    panel.box = element("div", {
      className: "map", tabIndex: index === 0 ? 0 : -1, role: "application", "aria-roledescription": "map",
      "aria-label": `Map ${index + 1} of ${state.shown.length}: ${title(panel)}` + (panel.blank ? ", blank" : ""),
    }, panel.canvas, panel.cross);
    return element("figure", {}, panel.box,
      element("figcaption", {},
        element("span", { className: "what" }, report.methods[panel.method].title),
        element("span", { className: "of" }, ...of),
        hasLayers(panel.method) ? element("span", { className: "of" }, "at ", own(panel.layer)) : null,
        panel.blank
          ? element("span", { className: "of" }, "Blank: ", own(panel.blank), ".")
          : element("span", { className: "legend" }, panel.lowLabel, panel.bar, panel.highLabel),
        panel.note ? element("span", { className: "of" }, own(panel.note), ".") : null,
        panel.value));
  });
  $("grid").replaceChildren(...figures);
  if (!state.shown.length) $("grid").append(element("p", {}, "No map is chosen."));
  fillWipe();
  fillMatrix();
  readAt(null);
  schedule();
}

let isScheduled = false;
/** Draws all maps with the next frame. */
function schedule() {
  if (isScheduled) return;
  isScheduled = true;
  requestAnimationFrame(() => {
    isScheduled = false;
    draw();
  });
}

function draw() {
  if (!state.picture) return;
  $("opacity-value").textContent = $("opacity").value + " %";
  $("share-value").textContent = $("share").value === "100" ? "all" : $("share").value + " %";
  for (const panel of state.shown) {
    drawMap(panel.canvas, panel, mapWidth());
    if (panel.blank) continue;
    const { low, high } = range(panel);
    const clipped = panel.cut && high === panel.high;
    panel.lowLabel.textContent = (clipped && showsBoth(panel) ? "≤ " : "") + number(low);
    panel.highLabel.textContent = (clipped ? "≥ " : "") + number(high);
    const context = panel.bar.getContext("2d");
    const pixels = context.createImageData(256, 1);
    const table = tableOf(panel);
    for (let i = 0; i < 256; i++) pixels.data.set([table[3 * i], table[3 * i + 1], table[3 * i + 2], 255], 4 * i);
    context.putImageData(pixels, 0, 0);
  }
  drawWipe();
  drawCurves();
}

/** Shows the values of all maps at a place, in parts of the map's width and height; nil takes them away. */
function readAt(cursor, spoken = null) {
  state.cursor = cursor;
  const p = place();
  for (const panel of state.shown) {
    panel.cross.hidden = cursor === null;
    panel.value.textContent = "";
    if (cursor === null) continue;
    panel.cross.style.left = (p.x + cursor.x * p.width) * 100 + "%";
    panel.cross.style.top = (p.y + cursor.y * p.height) * 100 + "%";
    if (!panel.blank) panel.value.textContent = reading(panel, cursor);
  }
  if (cursor === null) {
    $("place").textContent = "";
    return;
  }
  const [x, y, width, height] = state.picture.region;
  const column = Math.floor((x + cursor.x * width) * state.picture.width);
  const row = Math.floor((y + cursor.y * height) * state.picture.height);
  const where = `Pixel ${column}, ${row} of the photograph; ${percent(cursor.x)} from the left and ${percent(cursor.y)} from the top of what the network saw`;
  $("place").textContent = (spoken && !spoken.blank ? `${title(spoken)}: ${reading(spoken, cursor)}. ` : "") + where;
}

/** What a map says at a place. */
function reading(panel, cursor) {
  const value = valueAt(panel, cursor.x, cursor.y);
  const { high } = range(panel);
  const cut = panel.cut && (value >= panel.high || (panel.signed && value <= panel.low));
  const part = high > 0 ? `, ${Math.round((100 * value) / high)} % of the largest`.replace("-", "−") : "";
  return (cut ? (value < 0 ? "≤ " : "≥ ") : "") + number(value) + part;
}

const panelOf = (target) => {
  const box = target.closest?.(".map");
  return box ? state.shown.find((panel) => panel.box === box) : null;
};

function pointAt(event) {
  const panel = panelOf(event.target);
  if (!panel) return;
  const box = panel.box.getBoundingClientRect();
  const p = place();
  const x = ((event.clientX - box.left) / box.width - p.x) / p.width;
  const y = ((event.clientY - box.top) / box.height - p.y) / p.height;
  const inside = x >= 0 && x < 1 && y >= 0 && y < 1;
  readAt(inside ? { x, y } : null);
}

/** The strongest place of a map. */
function strongest(panel) {
  let best = 0;
  panel.numbers.forEach((value, i) => {
    if (value > panel.numbers[best]) best = i;
  });
  return { x: ((best % panel.width) + 0.5) / panel.width, y: (Math.floor(best / panel.width) + 0.5) / panel.height };
}

function keyOnMap(event) {
  const panel = panelOf(event.target);
  if (!panel || event.ctrlKey || event.altKey || event.metaKey) return;
  const step = event.shiftKey ? 0.1 : 0.02;
  const moves = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] };
  if (moves[event.key]) {
    const from = state.cursor ?? { x: 0.5, y: 0.5 };
    const [dx, dy] = state.cursor ? moves[event.key] : [0, 0];
    readAt({ x: clamp(from.x + dx, 0.001, 0.999), y: clamp(from.y + dy, 0.001, 0.999) }, panel);
  } else if (event.key === "Enter") readAt(strongest(panel), panel);
  else if (event.key === "Escape") readAt(null);
  else if (event.key === "PageDown" || event.key === "PageUp") {
    // To the next map: one of them alone is a stop of the Tab key.
    const at = state.shown.indexOf(panel) + (event.key === "PageDown" ? 1 : -1);
    const next = state.shown[clamp(at, 0, state.shown.length - 1)];
    panel.box.tabIndex = -1;
    next.box.tabIndex = 0;
    next.box.focus();
  } else return;
  event.preventDefault();
}

// MARK: One against another

function fillWipe() {
  const chosen = [$("left").value, $("right").value];
  const options = () => [
    element("option", { value: "photograph" }, "the photograph"),
    ...state.shown.map((panel) => element("option", { value: panel.id }, title(panel))),
  ];
  $("left").replaceChildren(...options());
  $("right").replaceChildren(...options());
  const ids = ["photograph", ...state.shown.map((panel) => panel.id)];
  $("left").value = ids.includes(chosen[0]) ? chosen[0] : ids[Math.min(1, ids.length - 1)];
  $("right").value = ids.includes(chosen[1]) ? chosen[1] : ids.length > 2 ? ids[2] : "photograph";
  $("wipe").hidden = !state.shown.length;
}

function drawWipe() {
  if ($("wipe").hidden) return;
  for (const side of ["left", "right"]) {
    const panel = state.shown.find((p) => p.id === $(side).value) ?? null;
    const canvas = $(side + "-map");
    drawMap(canvas, panel, 880);
    canvas.setAttribute("aria-label", `${side === "left" ? "Left" : "Right"} of the border: ${panel ? title(panel) : "the photograph"}`);
  }
  moveBorder();
}

function moveBorder() {
  const at = $("border").value;
  $("border-value").textContent = at + " %";
  $("right-map").style.clipPath = `inset(0 0 0 ${at}%)`;
  $("line").style.left = at + "%";
}

// MARK: Curves

/** Colours that the colour-blind tell apart (Okabe and Ito), and dashes for more lines than there are colours. */
const lineColours = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8a6d00", "#7a7a7a"];
const lineStyle = (index) => ({
  stroke: lineColours[index % lineColours.length],
  "stroke-dasharray": ["none", "7 4", "2 3"][Math.floor(index / lineColours.length) % 3],
});

const area = (scores) => scores.slice(1).reduce((sum, score, i) => sum + (score + scores[i]) / 2, 0) / Math.max(1, scores.length - 1);

/** The curve's number at a share of the pixels. */
function curveAt(scores, share) {
  const at = share * (scores.length - 1);
  const low = Math.min(Math.floor(at), scores.length - 2);
  return scores[low] + (at - low) * (scores[low + 1] - scores[low]);
}

const curveTitle = (curve) => {
  const panel = state.panels.find((p) => p.method === curve.method && p.class === curve.class);
  return panel ? title(panel) : report.methods[curve.method]?.title ?? curve.method;
};

function fillCurves() {
  const curves = state.picture.curves;
  $("curves").hidden = !curves.length;
  if (!curves.length) return;
  const titles = [...new Set(curves.map(curveTitle))];
  $("pixels-method").replaceChildren(...titles.map((name) => element("option", {}, name)));
  const charts = [];
  for (const [name, words] of [["deletion", "Pixels taken away"], ["insertion", "Pixels put back"]]) {
    const some = curves.filter((curve) => curve.name === name && curve.scores.length > 1);
    if (!some.length) continue;
    const [left, top, width, height] = [36, 10, 390, 210];
    const x = (share) => left + share * (width - left - 8);
    const y = (score) => top + (1 - clamp(score, 0, 1)) * (height - top - 34);
    const svg = element("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${words}: the class's probability against the share of the pixels. The areas are in the table below.` });
    for (const mark of [0, 0.5, 1]) {
      svg.append(
        element("line", { class: "axis", x1: x(0), x2: x(1), y1: y(mark), y2: y(mark) }),
        element("text", { x: left - 6, y: y(mark) + 4, "text-anchor": "end" }, String(mark)),
        element("text", { x: x(mark), y: height - 18, "text-anchor": mark === 1 ? "end" : "middle" }, mark * 100 + " %"));
    }
    svg.append(element("text", { x: x(0.5), y: height - 3, "text-anchor": "middle" }, name === "deletion" ? "of the pixels gone" : "of the pixels there"));
    for (const curve of some) {
      const points = curve.scores.map((score, i) => `${x(i / (curve.scores.length - 1)).toFixed(1)} ${y(score).toFixed(1)}`);
      svg.append(element("path", { d: "M" + points.join("L"), fill: "none", "stroke-width": 2, ...lineStyle(titles.indexOf(curveTitle(curve))) }));
    }
    svg.append(element("line", { class: "now", y1: top, y2: y(0) }));
    const preview = element("canvas", { role: "img", "aria-label": `The picture with ${name === "deletion" ? "these pixels gone" : "only these pixels"}` });
    charts.push(element("div", {}, element("h3", {}, words), svg, preview, element("p", { className: "quiet now-value" })));
    Object.assign(charts.at(-1), { curves: some, kind: name, x });
  }
  const rows = titles.map((name, index) => {
    const cells = ["deletion", "insertion"].map((kind) => {
      const curve = curves.find((c) => c.name === kind && curveTitle(c) === name);
      return element("td", { className: "number" }, curve ? area(curve.scores).toFixed(3) : "–");
    });
    return element("tr", {}, element("th", { scope: "row" }, lineKey(index), own(name)), ...cells);
  });
  const table = element("table", { className: "data" },
    element("thead", {}, element("tr", {}, ...["Map", "Area, taken away (low is good)", "Area, put back (high is good)"].map((text) => element("th", { scope: "col" }, text)))),
    element("tbody", {}, ...rows));
  $("charts").replaceChildren(...charts, scrolling("Areas under the curves", table));
}

/** Whoever sees a part of a table only is told that there is more. */
const cut = new ResizeObserver((entries) => {
  // Later, because the hint has a height of its own.
  requestAnimationFrame(() => {
    for (const { target } of entries) {
      const box = target.closest(".scroll");
      box?.classList.toggle("more", box.scrollWidth > box.clientWidth + 1);
    }
  });
});

/** What scrolls sideways where it is too wide. */
function scrolling(name, ...children) {
  const box = element("div", { className: "scroll", tabIndex: 0, role: "region", "aria-label": name }, ...children);
  watch(box);
  return box;
}

/** Looks at a box that scrolls and at the table in it. */
function watch(box) {
  cut.observe(box);
  for (const table of box.querySelectorAll("table")) cut.observe(table);
}

/** The picture as the pixels go, and where on the curves that is. */
function drawCurves() {
  if ($("curves").hidden) return;
  const share = Number($("pixels").value) / 100;
  $("pixels-value").textContent = $("pixels").value + " %";
  for (const chart of $("charts").children) {
    if (!chart.curves) continue;
    const line = chart.querySelector(".now");
    line.setAttribute("x1", chart.x(share));
    line.setAttribute("x2", chart.x(share));
    const curve = chart.curves.find((c) => curveTitle(c) === $("pixels-method").value);
    const panel = curve ? state.panels.find((p) => p.method === curve.method && p.class === curve.class) : null;
    const [canvas, text] = [chart.querySelector("canvas"), chart.querySelector(".now-value")];
    text.textContent = curve ? `The class's probability there: ${number(curveAt(curve.scores, share))}` : "";
    canvas.hidden = !panel;
    if (!panel) continue;
    const context = drawPhotograph(canvas, 440);
    const p = place();
    const [w, h] = [Math.max(1, Math.round(p.width * canvas.width)), Math.max(1, Math.round(p.height * canvas.height))];
    const values = sampled(panel, w, h, true);
    const order = Float32Array.from(values).sort();
    const bound = share <= 0 ? Infinity : order[Math.min(order.length - 1, Math.floor((1 - share) * order.length))];
    const veil = new ImageData(w, h);
    for (let i = 0; i < values.length; i++) {
      const strong = values[i] >= bound;
      if (strong === (chart.kind === "deletion")) veil.data.set([124, 116, 104, 255], 4 * i);
    }
    const layer = new OffscreenCanvas(w, h);
    layer.getContext("2d").putImageData(veil, 0, 0);
    context.drawImage(layer, p.x * canvas.width, p.y * canvas.height);
  }
}

// MARK: Tables

/** A mean's 95 % interval, and of how many pictures it is. */
function spread(metric) {
  if (!metric?.pictures) return "";
  return (metric.pictures > 1 ? ` ${number(metric.low)} … ${number(metric.high)},` : "") + ` n = ${metric.pictures}`;
}

/** What marks a line beside its name. */
const lineKey = (index) =>
  element("svg", { class: "key", viewBox: "0 0 26 11" }, element("line", { x1: 0, x2: 26, y1: 5.5, y2: 5.5, "stroke-width": 3, ...lineStyle(index) }));

/** Rows of a table as lines from -1 to 1, over its columns; a number that is missing leaves a gap. */
function lineChart(title, columns, lines) {
  const [left, top, width, height] = [36, 10, 640, 244];
  const x = (column) => left + (columns.length > 1 ? column / (columns.length - 1) : 0.5) * (width - left - 60) + 20;
  const y = (value) => top + ((1 - clamp(value, -1, 1)) / 2) * (height - top - 46);
  const svg = element("svg", { class: "lines", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${title}, as lines. The numbers are in the table below.` });
  for (const mark of [-1, -0.5, 0, 0.5, 1])
    svg.append(
      element("line", { class: "axis", x1: left, x2: width - 8, y1: y(mark), y2: y(mark) }),
      element("text", { x: left - 6, y: y(mark) + 4, "text-anchor": "end" }, String(mark)));
  columns.forEach((name, i) => svg.append(element("text", { x: x(i), y: height - (i % 2 ? 5 : 19), "text-anchor": "middle" }, name)));
  lines.forEach((values, index) => {
    let path = "";
    values.forEach((value, i) => {
      if (value === null) return;
      path += `${i > 0 && values[i - 1] !== null ? "L" : "M"}${x(i).toFixed(1)} ${y(value).toFixed(1)}`;
      svg.append(element("circle", { cx: x(i), cy: y(value), r: 2.5, fill: lineStyle(index).stroke }));
    });
    svg.append(element("path", { d: path, fill: "none", "stroke-width": 2, ...lineStyle(index) }));
  });
  return svg;
}

/** A table whose cells are ready, and its rows as lines where they are numbers of one kind. */
function plainTable({ title, head, rows, remarks, lines }) {
  const columns = lines.length ? head.slice(1, 1 + Math.max(...lines.map((line) => line.length))) : [];
  return element("div", {},
    element("h3", {}, own(title)),
    ...(columns.length ? [lineChart(title, columns, lines)] : []),
    scrolling(title,
      element("table", { className: "data" },
        element("thead", {}, element("tr", {}, ...head.map((text) => element("th", { scope: "col" }, own(text))))),
        element("tbody", {}, ...rows.map(([name, ...cells], index) =>
          element("tr", {}, element("th", { scope: "row" }, ...(columns.length ? [lineKey(index)] : []), own(name)), ...cells.map((text) => element("td", { className: "number" }, text))))))),
    ...remarks.map((text) => element("p", { className: "quiet" }, own(text))));
}

/** A table of what was measured, that sorts by a column when its head is pressed. */
function metricTable(metrics, caption) {
  const names = [...new Set(metrics.map((m) => m.name))];
  const keyOf = (m) => `${m.method} ${m.class}`;
  const rows = [...new Set(metrics.map(keyOf))].map((key) => {
    const of = metrics.filter((m) => keyOf(m) === key);
    const found = names.map((name) => of.find((m) => m.name === name));
    return { title: curveTitle(of[0]), values: found.map((m) => m?.value ?? null), spreads: found.map(spread) };
  });
  const body = element("tbody");
  const heads = ["Map", ...names].map((name, column) => {
    const higher = column > 0 ? metrics.find((m) => m.name === name).higher : null;
    const button = element("button", { type: "button" }, own(name), higher === null ? "" : higher ? " (high is good)" : " (low is good)");
    const head = element("th", { scope: "col" }, button);
    button.addEventListener("click", () => {
      // First the best.
      const up = head.getAttribute("aria-sort") ? head.getAttribute("aria-sort") !== "ascending" : higher !== true;
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const value = (row) => (column === 0 ? row.title : row.values[column - 1]);
      rows.sort((a, b) => {
        const [left, right] = [value(a), value(b)];
        if (left === null || right === null) return (left === null) - (right === null);
        return (left < right ? -1 : left > right ? 1 : 0) * (up ? 1 : -1);
      });
      fill();
    });
    return head;
  });
  const fill = () =>
    body.replaceChildren(...rows.map((row) =>
      element("tr", {}, element("th", { scope: "row" }, own(row.title)),
        ...row.values.map((value, i) =>
          element("td", { className: "number" }, value === null ? "–" : number(value), element("span", { className: "spread" }, row.spreads[i]))))));
  fill();
  return scrolling(caption, element("h3", {}, caption), element("table", { className: "data" }, element("thead", {}, element("tr", {}, ...heads)), body));
}

function fillMetrics() {
  const tables = [];
  if (state.picture.metrics.length) tables.push(metricTable(state.picture.metrics, "This picture"));
  if (report.metrics.length) tables.push(metricTable(report.metrics, "All pictures (mean, 95 % interval, pictures)"));
  tables.push(...report.tables.map(plainTable));
  $("metrics").hidden = !tables.length;
  $("metrics-tables").replaceChildren(...tables);
}

/** Maps of more than that are no table that anybody could read. */
const matrixLimit = 48;
/** Sides of the grid on which maps are compared. */
const comparedSide = 56;

/** Pearson's correlation; null where one of the maps is the same everywhere. */
function correlation(a, b) {
  const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const [p, q] = [mean(a), mean(b)];
  let [ab, aa, bb] = [0, 0, 0];
  for (let i = 0; i < a.length; i++) {
    const [x, y] = [a[i] - p, b[i] - q];
    ab += x * y;
    aa += x * x;
    bb += y * y;
  }
  return aa > 0 && bb > 0 ? ab / Math.sqrt(aa * bb) : null;
}

/** A map on the grid of comparison: the mean of 2 × 2 places in each cell, so that fine maps are not judged by single pixels alone. */
function compared(panel) {
  if (panel.compared) return panel.compared;
  const side = comparedSide;
  const factor = Math.max(2, Math.ceil(Math.max(panel.width, panel.height) / side));
  const fine = sampled(panel, side * factor, side * factor, true);
  panel.compared = new Float64Array(side * side);
  for (let i = 0; i < fine.length; i++) {
    const [row, column] = [Math.floor(i / (side * factor)), i % (side * factor)];
    panel.compared[Math.floor(row / factor) * side + Math.floor(column / factor)] += fine[i] / factor / factor;
  }
  return panel.compared;
}

function fillMatrix() {
  const panels = state.shown.filter((panel) => !panel.blank);
  $("agreement").hidden = panels.length < 2;
  if (panels.length < 2) return;
  const some = panels.slice(0, matrixLimit);
  const heads = some.map((panel, i) => element("th", { scope: "col" }, element("abbr", { title: title(panel) }, String(i + 1))));
  const known = some.map(() => []);
  const rows = some.map((panel, i) => {
    const cells = some.map((other, j) => {
      const r = (known[i][j] = j < i ? known[j][i] : correlation(compared(panel), compared(other)));
      if (r === null) return element("td", {}, "–");
      const cell = element("td", {}, r.toFixed(2).replace("-0.00", "0.00").replace("-", "−"));
      const entry = 3 * Math.round((r + 1) * 127.5);
      const [red, green, blue] = diverging.table.slice(entry, entry + 3);
      cell.style.backgroundColor = `rgb(${red}, ${green}, ${blue})`;
      // Luminance as WCAG has it: whichever of black and white stands out more.
      const light = [red, green, blue].map((c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
      cell.style.color = 0.2126 * light[0] + 0.7152 * light[1] + 0.0722 * light[2] > 0.179 ? "#000" : "#fff";
      return cell;
    });
    return element("tr", {}, element("th", { scope: "row" }, `${i + 1} `, own(title(panel))), ...cells);
  });
  $("matrix").replaceChildren(
    element("table", {},
      panels.length > some.length ? element("caption", {}, `The first ${some.length} of ${panels.length} maps.`) : null,
      element("thead", {}, element("tr", {}, element("td"), ...heads)), element("tbody", {}, ...rows)));
  watch($("matrix"));
}

// MARK: The picture

function fillPredictions() {
  $("predictions").tBodies[0].replaceChildren(
    ...state.picture.predictions.map((prediction) => {
      const fill = element("span");
      fill.style.width = clamp(prediction.probability * 100, 0, 100) + "%";
      return element("tr", {},
        element("th", { scope: "row" }, own(prediction.label), ` (${prediction.class})`),
        element("td", {}, element("span", { className: "bar" }, fill, element("span", {}, percent(prediction.probability)))));
    }));
}

/** The choices of a list, keeping what was chosen if it is still there; a list without a choice is not shown. */
function fillChoice(select, choices) {
  const before = select.value;
  select.replaceChildren(...choices.map(([value, text]) => element("option", { value }, text)));
  if (choices.some(([value]) => value === before)) select.value = before;
  select.closest("label").hidden = choices.length < 3;
}

/** Shows a picture, by its place in the list. */
function show(index, focus = false) {
  const entry = report.pictures[index];
  state.index = index;
  for (const button of $("list").querySelectorAll("button")) {
    if (button.index === index) button.setAttribute("aria-current", "true");
    else button.removeAttribute("aria-current");
  }
  $("name").replaceChildren(own(entry.name.split("/").at(-1)));
  $("error").hidden = entry.error === null;
  $("error").textContent = entry.error ?? "";
  const isThere = entry.error === null;
  for (const id of ["maps", "wipe", "agreement"]) $(id).hidden = !isThere;
  document.querySelector(".seen").hidden = !isThere;
  $("previous").disabled = index === 0;
  $("next").disabled = index === report.pictures.length - 1;
  $("note").textContent = "";
  if (focus) $("name").focus();
  if (!isThere) {
    state.picture = null;
    for (const id of ["curves", "metrics"]) $(id).hidden = true;
    return;
  }
  const picture = JSON.parse($(entry.id).textContent);
  const image = new Image();
  image.onload = () => {
    if (state.index !== index) return;
    [state.picture, state.image] = [picture, image];
    state.panels = picture.panels;
    state.panels.forEach((panel, i) => Object.assign(panel, { id: `map-${i}`, numbers: dequantised(panel), values: null }));
    fillPicture();
    document.body.dataset.picture = index;
  };
  image.src = "data:image/jpeg;base64," + picture.photo;
}

function fillPicture() {
  const { picture, panels } = state;
  $("note").replaceChildren(own(picture.name), `, ${picture.width} × ${picture.height} pixels` + (picture.note ? `; ${picture.note}.` : ""));
  const width = Math.min(720, state.image.naturalWidth);
  const canvas = $("photograph");
  [canvas.width, canvas.height] = [width, Math.max(1, Math.round((width * state.image.naturalHeight) / state.image.naturalWidth))];
  canvas.getContext("2d").drawImage(state.image, 0, 0, canvas.width, canvas.height);
  fillPredictions();
  const classes = new Map(panels.filter((p) => p.class !== null).map((p) => [String(p.class), `${short(p.label)} ${percent(p.probability)}`]));
  fillChoice($("class"), [["all", "all classes"], ...classes]);
  fillChoice($("layer"), [["all", "all layers"], ...new Set(panels.map((p) => p.layer))].map((c) => (Array.isArray(c) ? c : [c, c])));
  $("scale").closest("label").hidden = classes.size < 2;
  $("signs").closest("label").hidden = !panels.some((p) => p.signed);
  const [x, y, w, h] = picture.region;
  $("extent").closest("label").hidden = Math.abs(x) + Math.abs(y) < 1e-9 && Math.abs(w - 1) + Math.abs(h - 1) < 1e-9;
  fillCurves();
  fillMetrics();
  fillGrid();
  fillMethods();
}

function fillList() {
  const { pictures } = report;
  $("pictures").hidden = $("turn").hidden = pictures.length < 2;
  if (pictures.length < 2) return;
  document.querySelector(".find").hidden = pictures.length < 9;
  $("list").append(
    ...pictures.map((entry, index) => {
      const said = entry.error === null ? (entry.label === null ? "" : `${short(entry.label)} ${percent(entry.probability)}`) : "could not be explained";
      const image = entry.thumbnail
        ? element("img", { alt: "", loading: "lazy", decoding: "async", src: "data:image/jpeg;base64," + entry.thumbnail }) : null;
      const button = element("button", { type: "button" }, image, own(entry.name.split("/").at(-1), "name"), own(said, "label"));
      button.index = index;
      button.addEventListener("click", () => show(index, true));
      return element("li", {}, button);
    }));
}

function find() {
  const wanted = $("find").value.trim().toLowerCase();
  let count = 0;
  for (const item of $("list").children) {
    const { name, label } = report.pictures[item.firstChild.index];
    item.hidden = !`${name} ${label ?? ""}`.toLowerCase().includes(wanted);
    if (!item.hidden) count++;
  }
  $("found").textContent = wanted ? `${count} of ${report.pictures.length}` : "";
}

// MARK: What stays the same

function fillMethods() {
  const seconds = state.picture.seconds;
  const time = (s) => (s === undefined ? "" : ` Took ${s < 1 ? `${number(s * 1000)} ms` : `${number(s)} s`} beyond the pass that all methods share.`);
  $("methods-list").replaceChildren(
    ...Object.entries(report.methods).map(([name, method]) =>
      element("div", {},
        element("h3", {}, method.title),
        element("p", {}, method.reading),
        element("p", { className: "quiet" },
          `${method.black ? "Black box" : "White box"}, ${method.family.toLowerCase()}. ${method.source}. Passes: ${method.passes}.${time(seconds[name])}`),
        element("p", { className: "quiet" }, `Formula: ${method.formula}`))));
}

function fillMade() {
  $("command").textContent = report.command;
  $("details").textContent = report.details;
  $("facts").replaceChildren(...report.facts.flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, own(value))]));
  $("left-out").hidden = !report.leftOut.length;
  $("left-out").querySelector("ul").replaceChildren(
    ...report.leftOut.map(([method, reason]) => element("li", {}, `${report.methods[method]?.title ?? method}: `, own(reason))));
  const [pictures, methods] = [report.pictures.length, Object.values(report.methods)];
  const model = report.facts.find(([name]) => name === "Model");
  const many = (count, word) => `${count} ${word}${count === 1 ? "" : "s"}`;
  const named = methods.length <= 4 ? methods.map((m) => m.title).join(", ") : many(methods.length, "method");
  $("summary").textContent = `${many(pictures, "picture")}, ${named}` + (model ? `; ${model[1].split("/").at(-1)}` : "");
  $("incomplete").hidden = report.incomplete === null;
  $("incomplete").textContent = report.incomplete ?? "";
}

function fillControls() {
  $("colour").append(...report.colours.filter((map) => !map.diverging).map((map) => element("option", { value: map.name, title: map.summary }, map.name)));
  const box = $("chosen");
  box.hidden = Object.keys(report.methods).length < 3;
  box.querySelector("fieldset").append(
    ...Object.entries(report.methods).map(([name, method]) => {
      const check = element("input", { type: "checkbox", checked: true });
      check.addEventListener("change", () => {
        if (check.checked) state.hidden.delete(name);
        else state.hidden.add(name);
        fillGrid();
      });
      return element("label", {}, check, " " + method.title);
    }));
}

function listen() {
  for (const id of ["colour", "signs", "opacity", "share", "scale", "cells"]) $(id).addEventListener("input", schedule);
  for (const id of ["class", "layer"]) $(id).addEventListener("input", fillGrid);
  $("extent").addEventListener("input", () => {
    readAt(null);
    schedule();
  });
  $("scale").addEventListener("input", () => readAt(state.cursor));
  $("controls").addEventListener("submit", (event) => event.preventDefault());
  const grid = $("grid");
  grid.addEventListener("pointermove", pointAt);
  grid.addEventListener("pointerdown", pointAt);
  grid.addEventListener("pointerleave", (event) => {
    if (event.pointerType === "mouse") readAt(null);
  });
  grid.addEventListener("keydown", keyOnMap);
  grid.addEventListener("focusin", (event) => {
    const panel = panelOf(event.target);
    if (!panel) return;
    for (const other of state.shown) other.box.tabIndex = other === panel ? 0 : -1;
  });
  for (const id of ["left", "right"]) $(id).addEventListener("input", schedule);
  $("border").addEventListener("input", moveBorder);
  const drag = (event) => {
    if (event.type === "pointermove" && !event.buttons) return;
    const box = $("stage").getBoundingClientRect();
    $("border").value = clamp((100 * (event.clientX - box.left)) / box.width, 0, 100);
    moveBorder();
  };
  $("stage").addEventListener("pointerdown", drag);
  $("stage").addEventListener("pointermove", drag);
  for (const id of ["pixels", "pixels-method"]) $(id).addEventListener("input", schedule);
  $("find").addEventListener("input", find);
  $("previous").addEventListener("click", () => show(state.index - 1, true));
  $("next").addEventListener("click", () => show(state.index + 1, true));
  $("copy").addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(report.command);
      $("copied").textContent = "Copied.";
    } catch {
      getSelection().selectAllChildren($("command"));
      $("copied").textContent = "The command is selected; copy it with the keyboard.";
    }
  });
}

fillControls();
fillList();
fillMade();
listen();
show(Math.max(0, report.pictures.findIndex((entry) => entry.error === null)));
