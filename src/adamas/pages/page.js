// Draws the charts whose values stand in #charts, each into the figure that names it; copies listings.
"use strict";
const DASHES = [[], [9, 3], [3, 3], [9, 3, 3, 3], [6, 2]]; // beside the colour, so that it need not be seen
const css = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const colour = number => css(number === null ? "--grey" : `--c${number}`);
const make = (tag, attributes = {}, ...content) => {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...content); // strings become text, never markup
  return made;
};

function format(value) {
  if (value === null || value === undefined) return "diverged";
  const size = Math.abs(value);
  if (size >= 1e3 && size < 1e7) return String(Math.round(value)).replace(/\B(?=(\d{3})+$)/g, "\u2009");
  const short = Number(value.toPrecision(3));
  return size !== 0 && (size < 1e-3 || size >= 1e7) ? short.toExponential().replace("e+", "e") : String(short);
}

// Places for so many labels between low and high; on a logarithmic axis at powers of ten, and between few of them.
function ticks(low, high, log, most) {
  const decades = log ? Math.log10(high / low) : 0;
  const found = [];
  if (decades < 0.5) {
    const rough = (high - low) / Math.max(most, 2), unit = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 2.5, 5, 10].map(k => k * unit).find(s => s >= rough * 0.999);
    for (let k = Math.ceil(low / step - 1e-9); k * step <= high * (1 + 1e-9) && found.length < 50; k++) {
      found.push(Number((k * step).toPrecision(12)));
    }
    return found;
  }
  const between = decades < 1 ? [1, 1.5, 2, 3, 5, 7] : decades < 2.2 && most > 3 ? [1, 2, 5] : [1];
  const every = Math.max(1, Math.ceil(decades / Math.max(most, 2)));
  for (let k = Math.floor(Math.log10(low)); k <= Math.log10(high); k++) {
    if (k % every) continue;
    for (const b of between) {
      const at = Number(`${b}e${k}`);
      if (at >= low * 0.999 && at <= high * 1.001) found.push(at);
    }
  }
  return found;
}

class Chart {
  constructor(figure, told) {
    this.figure = figure;
    this.told = told;
    this.holder = figure.querySelector(".plot");
    this.view = 0;
    this.logX = told.x.log === true;
    this.hidden = new Set();
    this.near = -1;
    this.holder.setAttribute("role", "img");
    this.holder.tabIndex = 0;
    const keys = "Arrow keys read it point by point" + (told.small ? "." : ", + and − zoom, 0 shows the whole.");
    this.holder.setAttribute("aria-label", `${told.title}. ${keys}`);
    this.readout = make("div", { class: "readout", role: "status" });
    this.tip = make("div", { class: "tip", hidden: "" });
    this.holder.after(this.readout);
    this.holder.addEventListener("keydown", event => this.key(event));
    this.holder.addEventListener("mousemove", () => { this.keyed = undefined; }, true);
    this.holder.addEventListener("mouseleave", () => this.leave());
    this.holder.addEventListener("blur", () => this.leave());
    this.show(0);
    this.width = this.holder.clientWidth;
    new ResizeObserver(() => {
      if (this.holder.clientWidth !== this.width) this.draw();
    }).observe(this.holder);
  }

  get shown() { return this.told.views[this.view]; }

  show(view) {
    this.view = view;
    this.logY = this.shown.y.log === true;
    this.window = null;
    if (!this.told.small) {
      this.controls();
      this.legend();
    }
    this.draw();
  }

  controls() {
    const bar = make("div", { class: "controls" });
    const button = (text, action, pressed, label) => {
      const made = make("button", { type: "button" }, text);
      if (pressed !== undefined) made.setAttribute("aria-pressed", String(pressed));
      if (label) made.setAttribute("aria-label", label);
      made.addEventListener("click", () => action(made));
      bar.append(made);
    };
    const turn = name => made => {
      this[name] = !this[name];
      this.window = null;
      made.setAttribute("aria-pressed", String(this[name]));
      this.draw();
    };
    if (this.told.views.length > 1) {
      this.told.views.forEach((view, i) => button(view.name, () => {
        this.show(i);
        this.bar.querySelectorAll("button")[i].focus();
      }, i === this.view));
    }
    bar.append(make("span", { class: "apart" }));
    if (this.told.x.log !== null) button("log x", turn("logX"), this.logX);
    if (this.shown.y.log !== null) button("log y", turn("logY"), this.logY);
    button("+", () => this.zoom(0.5), undefined, "Zoom in");
    button("−", () => this.zoom(2), undefined, "Zoom out");
    button("Whole", () => this.whole());
    if (this.bar) this.bar.replaceWith(bar); else this.holder.before(bar);
    this.bar = bar;
  }

  legend() {
    const list = make("ul", { class: "legend", "aria-label": "Lines of the chart, each can be hidden" });
    this.entries = this.shown.series.map((series, i) => {
      const value = make("span", { class: "value" });
      const entry = make("button", { type: "button", "aria-pressed": String(!this.hidden.has(series.name)) });
      entry.append(swatch(series), series.name, value);
      entry.addEventListener("click", () => {
        if (!this.hidden.delete(series.name)) this.hidden.add(series.name);
        entry.setAttribute("aria-pressed", String(!this.hidden.has(series.name)));
        this.draw();
      });
      entry.addEventListener("mouseenter", () => this.point(i));
      entry.addEventListener("mouseleave", () => this.point(-1));
      list.append(make("li", {}, entry));
      return { entry, value };
    });
    if (this.list) this.list.replaceWith(list); else this.readout.after(list);
    this.list = list;
  }

  // The values as uPlot takes them: one x for all, undefined where a line has no place there, null where it breaks.
  data() {
    const all = [...new Set(this.shown.series.flatMap(s => s.x))].sort((a, b) => a - b).filter(x => !this.logX || x > 0);
    const columns = [all];
    this.places = []; // which column a line is
    for (const series of this.shown.series) {
      const at = new Map(series.x.map((x, k) => [x, k]));
      const column = values => all.map(x => {
        const k = at.get(x);
        return k === undefined ? undefined : this.logY && !(values[k] > 0) ? null : values[k];
      });
      this.places.push(columns.length);
      columns.push(column(series.y));
      if (series.low) columns.push(column(series.low), column(series.high));
    }
    return columns;
  }

  limits() {
    const { x } = this.told, { y } = this.shown;
    const positive = this.shown.series.filter(s => !s.right).flatMap(s => s.y).filter(v => v > 0);
    const first = this.shown.series.flatMap(s => s.x).filter(v => v > 0);
    return {
      x: [this.logX && x.low <= 0 ? Math.min(...first, x.high) : x.low, x.high],
      y: [this.logY && y.low <= 0 ? Math.max(Math.min(...positive), y.high / 1e6) : y.low, y.high],
    };
  }

  draw() {
    this.plot?.destroy();
    this.plot = null;
    this.near = -1;
    const told = this.told, view = this.shown, ink = css("--ink"), line = css("--line"), small = told.small;
    const width = this.width = this.holder.clientWidth;
    const height = small ? 165 : Math.round(Math.min(460, Math.max(270, width * 0.45)));
    const data = this.data();
    const series = [{}], bands = [];
    view.series.forEach((s, i) => {
      const hidden = this.hidden.has(s.name), stroke = colour(s.colour);
      const front = s.colour !== null;
      series.push({
        label: s.name, show: !hidden, stroke: () => this.near === i && !front ? ink : s.faint ? stroke + "80" : stroke,
        width: s.faint ? 1 : front ? 2.2 : 1, dash: small ? [] : DASHES[s.colour ?? 0], alpha: 1,
        scale: s.right ? "right" : "y", points: { show: s.points, size: small ? 5 : 7, fill: stroke },
      });
      if (s.low) {
        const edge = { show: !hidden, stroke: "transparent", width: 0, points: { show: false }, scale: "y" };
        const at = series.length;
        series.push({ ...edge }, { ...edge });
        if (front) bands.push({ series: [at + 1, at], fill: stroke + "20" });
      }
    });
    const font = `${small ? 11 : 12}px system-ui, sans-serif`;
    const axis = (scale, log, label, side, room) => ({
      scale, side, label: small && side === 3 ? undefined : label, labelSize: small ? 16 : 22, labelGap: 0,
      font, labelFont: font, stroke: ink,
      grid: { stroke: line, width: 1, show: side !== 1 }, ticks: { show: false }, gap: 4,
      size: side === 2 ? 22 : (u, values) => 10 + 6.6 * Math.max(3, ...(values ?? []).map(v => v.length)),
      splits: (u, at, low, high) => ticks(low, high, log, room), filter: (u, found) => found,
      values: (u, found) => found.map(v => v === 0 ? "0" : format(v)),
    });
    const limits = this.limits(), across = Math.max(3, Math.round(width / 95)), up = small ? 4 : 7;
    const scales = {
      x: { time: false, distr: this.logX ? 3 : 1, range: () => (this.window ?? limits).x },
      y: { distr: this.logY ? 3 : 1, range: () => (this.window ?? limits).y },
    };
    const axes = [
      axis("x", this.logX, told.x.label, 2, small ? 3 : across), axis("y", this.logY, view.y.label, 3, up),
    ];
    if (told.right) {
      scales.right = { range: () => [told.right.low, told.right.high] };
      axes.push(axis("right", false, told.right.label, 1, up));
    }
    const nearest = (u, place, index) => {
      if (index === null || u.data[place][index] !== undefined) return index;
      for (let k = 1; k < u.data[0].length; k++) {
        for (const at of [index - k, index + k]) {
          if (u.data[place][at] !== undefined) return at;
        }
      }
      return index;
    };
    this.holder.replaceChildren();
    this.plot = new uPlot({
      width, height, series, bands, scales, axes, legend: { show: false },
      padding: [small ? 8 : 14, told.right ? 0 : 18, 0, 0],
      cursor: {
        y: false, dataIdx: nearest, drag: { x: !small, y: !small, uni: 30, setScale: false }, bind: { dblclick: () => () => this.whole() },
        points: { show: (u, i) => {
          const dot = make("div"); // of lines alone, not of the edges of their bands
          if (!this.places.includes(i)) dot.style.display = "none";
          return dot;
        }, size: 8, fill: (u, i) => colour(view.series[this.places.indexOf(i)]?.colour ?? null) },
      },
      hooks: {
        drawClear: [u => this.under(u)], draw: [u => this.over(u)], setCursor: [u => this.moved(u)],
        setSelect: [u => this.select(u)],
      },
    }, data, this.holder);
    this.holder.append(this.tip);
  }

  // -- beside the lines

  marks(u, kinds, act) {
    const { ctx, bbox } = u;
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left - 6 * uPlot.pxRatio, bbox.top - 6 * uPlot.pxRatio, bbox.width + 12 * uPlot.pxRatio, bbox.height + 12 * uPlot.pxRatio);
    ctx.clip();
    for (const mark of this.shown.marks) {
      if (kinds.includes(mark.kind)) act(mark, ctx, bbox, uPlot.pxRatio);
    }
    ctx.restore();
  }

  under(u) {
    this.marks(u, ["stretch"], (mark, ctx, box) => {
      const from = Math.max(u.valToPos(mark.at[0], "x", true), box.left);
      const to = Math.min(u.valToPos(mark.at[1], "x", true), box.left + box.width);
      ctx.fillStyle = (mark.colour === null ? css("--faint") : colour(mark.colour)) + "2b";
      if (to > from) ctx.fillRect(from, box.top, to - from, box.height);
    });
  }

  over(u) {
    this.marks(u, ["x", "y", "top", "bottom", "dot"], (mark, ctx, box, ratio) => {
      const own = mark.colour === null ? css("--ink") : colour(mark.colour);
      ctx.strokeStyle = ctx.fillStyle = own;
      ctx.lineWidth = 1.4 * ratio;
      ctx.font = `${12 * ratio}px system-ui, sans-serif`;
      if (mark.kind === "x" || mark.kind === "y") {
        const at = u.valToPos(mark.at[0], mark.kind, true), upright = mark.kind === "x";
        ctx.setLineDash([5 * ratio, 4 * ratio]);
        ctx.beginPath();
        ctx.moveTo(upright ? at : box.left, upright ? box.top : at);
        ctx.lineTo(upright ? at : box.left + box.width, upright ? box.top + box.height : at);
        ctx.stroke();
        ctx.setLineDash([]);
        ctx.fillStyle = css("--ink");
        ctx.textAlign = upright ? "left" : "right";
        ctx.textBaseline = upright ? "top" : "bottom";
        ctx.fillText(mark.label, upright ? at + 5 * ratio : box.left + box.width - 3 * ratio,
          upright ? box.top + 3 * ratio : at - 3 * ratio);
        return;
      }
      if (mark.kind === "dot") {
        ctx.beginPath();
        ctx.arc(u.valToPos(mark.at[0], "x", true), u.valToPos(mark.at[1], "y", true), 4.5 * ratio, 0, 7);
        ctx.fill();
        return;
      }
      const y = mark.kind === "top" ? box.top : box.top + box.height, arm = 3.5 * ratio;
      for (const value of mark.at) {
        const x = u.valToPos(value, "x", true);
        ctx.beginPath();
        ctx.moveTo(x - arm, y - arm); ctx.lineTo(x + arm, y + arm);
        ctx.moveTo(x - arm, y + arm); ctx.lineTo(x + arm, y - arm);
        ctx.stroke();
      }
    });
  }

  // -- reading

  moved(u) {
    const { left, top, idx } = u.cursor;
    if (left < 0 || idx === null || idx === undefined) {
      this.leave();
      return;
    }
    let near = -1, least = 45;
    this.shown.series.forEach((series, i) => {
      const place = this.places[i], at = u.cursor.idxs[place], value = u.data[place][at];
      const visible = !this.hidden.has(series.name);
      if (this.entries) this.entries[i].value.textContent = visible && value !== undefined ? format(value) : "";
      if (!visible || value === null || value === undefined) return;
      const x = u.valToPos(u.data[0][at], "x");
      const away = Math.hypot(u.valToPos(value, series.right ? "right" : "y") - top, Math.max(0, Math.abs(x - left) - 15));
      if (away < least) [near, least] = [i, away];
    });
    if (this.keyed !== undefined && !this.hidden.has(this.shown.series[this.keyed]?.name)) near = this.keyed;
    if (this.told.small) near = 0;
    this.point(near);
    this.say(u, near);
  }

  // What is said of the line near the cursor, beside it; for a screen reader only where keys have led there.
  say(u, near) {
    const series = this.shown.series[near];
    if (!series) {
      this.tip.hidden = true;
      this.readout.textContent = "";
      return;
    }
    const place = this.places[near], at = u.cursor.idxs[place], value = u.data[place][at];
    const range = series.low && value !== null ? ` (${format(u.data[place + 1][at])} … ${format(u.data[place + 2][at])})` : "";
    const where = `${this.told.noun} ${format(u.data[0][at])}`;
    this.readout.textContent = this.keyed === undefined ? "" : `${series.name}, ${where}: ${format(value)}${range}`;
    this.tip.textContent = `${series.name}\n${where}\n${format(value)}${range}`;
    this.tip.hidden = false;
    const x = u.valToPos(u.data[0][at], "x") + u.bbox.left / uPlot.pxRatio, right = x > this.width * 0.6;
    const y = value === null ? u.bbox.top / uPlot.pxRatio : u.valToPos(value, series.right ? "right" : "y") + u.bbox.top / uPlot.pxRatio;
    this.tip.style.left = right ? "" : `${x + 12}px`;
    this.tip.style.right = right ? `${this.width - x + 12}px` : "";
    this.tip.style.top = `${Math.max(0, Math.min(y - 60, this.holder.clientHeight - 70))}px`;
  }

  // Draws that line, and its name in the legend, stronger than the others; -1 for none.
  point(near) {
    if (near === this.near || !this.plot) return;
    this.near = near;
    this.shown.series.forEach((series, i) => {
      const thin = series.faint || series.colour === null;
      this.plot.series[this.places[i]].width = (thin ? 1 : 2.2) + (i === near && !this.told.small ? 1.2 : 0);
      this.entries?.[i].entry.classList.toggle("near", i === near);
    });
    this.plot.redraw(true, false);
  }

  leave() {
    this.keyed = undefined;
    this.tip.hidden = true;
    this.readout.textContent = "";
    this.entries?.forEach(e => { e.value.textContent = ""; });
    this.point(-1);
  }

  key(event) {
    const { key } = event, u = this.plot;
    const seen = this.shown.series.map((s, i) => i).filter(i => !this.hidden.has(this.shown.series[i].name));
    if (key === "Escape") this.leave();
    else if ("+=".includes(key) && !this.told.small) this.zoom(0.5);
    else if ("-−".includes(key) && !this.told.small) this.zoom(2);
    else if (key === "0" && !this.told.small) this.whole();
    else if (key.startsWith("Arrow") && seen.length) {
      const here = seen.indexOf(this.keyed ?? -1);
      const turn = { ArrowUp: -1, ArrowDown: 1 }[key] ?? 0;
      this.keyed = here < 0 ? seen[0] : seen[(here + turn + seen.length) % seen.length];
      const place = this.places[this.keyed];
      const { min, max } = u.scales.x;
      const stops = u.data[0].map((x, i) => i).filter(i => u.data[place][i] !== undefined && u.data[0][i] >= min && u.data[0][i] <= max);
      if (!stops.length) return;
      const before = stops.findIndex(i => i >= (u.cursor.idx ?? stops[0]));
      const step = { ArrowLeft: -1, ArrowRight: 1 }[key] ?? 0;
      const at = stops[Math.min(Math.max((before < 0 ? 0 : before) + (here < 0 ? 0 : step), 0), stops.length - 1)];
      const value = u.data[place][at], scale = this.shown.series[this.keyed].right ? "right" : "y";
      u.setCursor({ left: u.valToPos(u.data[0][at], "x"), top: value === null ? 0 : u.valToPos(value, scale) });
    } else return;
    event.preventDefault();
  }

  // -- zoom

  // Shows that part; null for the whole.
  set(window) {
    this.window = window;
    const shown = window ?? this.limits();
    this.plot.batch(() => {
      for (const scale of ["x", "y"]) this.plot.setScale(scale, { min: shown[scale][0], max: shown[scale][1] });
    });
  }

  select(u) {
    const { left, top, width, height } = u.select;
    if (width < 5 && height < 5) return;
    const at = (from, to, scale) => [u.posToVal(from, scale), u.posToVal(to, scale)];
    u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
    this.set({ x: at(left, left + width, "x"), y: at(top + height, top, "y") });
  }

  zoom(factor) {
    const whole = this.limits(), now = this.window ?? whole, logs = { x: this.logX, y: this.logY };
    const next = {};
    for (const scale of ["x", "y"]) {
      const to = logs[scale] ? Math.log : v => v, back = logs[scale] ? Math.exp : v => v;
      const [low, high] = now[scale].map(to), [least, most] = whole[scale].map(to);
      const half = (high - low) * factor / 2, middle = (low + high) / 2;
      next[scale] = [back(Math.max(middle - half, least)), back(Math.min(middle + half, most))];
    }
    if (factor > 1 && ["x", "y"].every(s => next[s][0] <= whole[s][0] * (1 + 1e-9) && next[s][1] >= whole[s][1] * (1 - 1e-9))) {
      this.whole();
    } else this.set(next);
  }

  whole() { this.set(null); }
}

function swatch(series) {
  const of = (tag, attributes) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    return made;
  };
  const svg = of("svg", { class: "swatch", viewBox: "0 0 27 12", "aria-hidden": "true" });
  const line = of("line", { x1: 0, x2: 27, y1: 6, y2: 6, "stroke-dasharray": DASHES[series.colour ?? 0].join(" ") });
  line.style.stroke = `var(${series.colour === null ? "--grey" : `--c${series.colour}`})`;
  svg.append(line);
  return svg;
}

for (const button of document.querySelectorAll("button.copy")) {
  const status = button.parentElement.querySelector(".status");
  const code = button.closest(".code").querySelector("code");
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(code.textContent);
      status.textContent = "Copied.";
    } catch { // not allowed here: leave it selected
      getSelection().selectAllChildren(code);
      status.textContent = "Selected: copy it with Ctrl+C.";
    }
  });
}

const told = JSON.parse(document.getElementById("charts").textContent);
const charts = [...document.querySelectorAll("figure[data-chart]")].map(f => new Chart(f, told[f.dataset.chart]));
const redraw = () => charts.forEach(chart => chart.draw());
const paper = on => () => {
  document.documentElement.classList.toggle("paper", on); // light, and as wide as a sheet
  redraw();
};
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
addEventListener("beforeprint", paper(true));
addEventListener("afterprint", paper(false));
