"use strict";
// Draws the charts with uPlot, in the colours of the style sheet, from the points that stand in the page.
// Dragging across one opens the jobs of that time; its link does the same by keyboard.
(() => {
  const style = () => getComputedStyle(document.documentElement);
  const colour = (name) => style().getPropertyValue(name).trim();
  const span = (s) => {
    if (s === null || s === undefined) return "–";
    if (s === 0) return "0";
    if (s < 0.001) return `${+(s * 1e6).toPrecision(3)} µs`;
    if (s < 1) return `${+(s * 1e3).toPrecision(3)} ms`;
    if (s < 120) return `${+s.toPrecision(3)} s`;
    return s < 7200 ? `${+(s / 60).toPrecision(3)} m` : `${+(s / 3600).toPrecision(3)} h`;
  };
  const number = (n) => n === null || n === undefined ? "–" : n >= 1e6 ? `${+(n / 1e6).toPrecision(3)}M` : n >= 1e4 ? `${+(n / 1e3).toPrecision(3)}k` : `${+n.toPrecision(3)}`;
  const two = (n) => String(n).padStart(2, "0");
  const clock = (at) => {
    const when = new Date(at * 1000);
    return when.getHours() + when.getMinutes() ? `${two(when.getHours())}:${two(when.getMinutes())}` : `${when.getDate()}.${when.getMonth() + 1}.`;
  };
  const KINDS = {
    outcomes: { lines: [["succeeded", "--succeeded"], ["retried", "--waiting"], ["dead", "--dead"], ["cancelled", "--cancelled"]], value: number, fill: true, of: (d) => [d.t, d.succeeded, d.retried, d.dead, d.cancelled] },
    depth: { lines: [["ready", "--ready"], ["running", "--running"], ["scheduled", "--scheduled"], ["waiting", "--waiting"]], value: number, fill: true, of: (d) => [d.depth.t, d.depth.ready || [], d.depth.running || [], d.depth.scheduled || [], d.depth.waiting || []] },
    wait: { lines: [["p50", "--ready"], ["p95", "--scheduled"], ["p99", "--dead"]], value: span, points: true, of: (d) => [d.t, ...d.wait] },
    run: { lines: [["p50", "--ready"], ["p95", "--scheduled"], ["p99", "--dead"]], value: span, points: true, of: (d) => [d.t, ...d.run] },
  };
  const drawn = new Map();

  const options = (kind, box, data) => {
    const dim = colour("--dim"), line = colour("--line"), font = `11px ${style().getPropertyValue("--font")}`;
    const axis = { stroke: dim, font, grid: { stroke: line, width: 1 }, ticks: { show: false } };
    return {
      width: box.clientWidth, height: 170, padding: [8, 8, 0, 0],
      cursor: {
        sync: { key: "longboat", filters: { pub: (type) => type === "mousemove" || type === "mouseleave" } },
        points: { size: 5 }, drag: { x: true, y: false, setScale: false, dist: 4 },
      },
      hooks: { draw: [(plot) => deploys(plot, data.deploys, dim)], setSelect: [(plot) => { if (plot.select.width > 0) location.href = jobsOf(figureOf(plot), ...brushed(plot)); }] },
      scales: { x: { range: () => [data.t[0] ?? 0, data.t[data.t.length - 1] ?? 1] }, y: { range: (_, low, high) => [0, high > 0 ? high * 1.08 : 1] } },
      axes: [{ ...axis, space: 70, size: 28, values: (_, all) => all.map(clock) }, { ...axis, size: 54, values: (_, all) => all.map(kind.value) }],
      series: [{ value: (_, at) => at === null ? "" : new Date(at * 1000).toLocaleTimeString([], { timeZoneName: "short" }) }, ...kind.lines.map(([label, name], place) => ({
        label, stroke: colour(name), width: 1.5, value: (_, value) => kind.value(value), spanGaps: !!kind.points,
        points: { show: false }, fill: kind.fill && !place ? `${colour(name)}22` : undefined,
      }))],
    };
  };

  // A deploy is a dashed line with its version.
  const deploys = ({ ctx, bbox, valToPos }, marks, ink) => {
    ctx.save();
    ctx.strokeStyle = ctx.fillStyle = ink;
    ctx.setLineDash([4 * devicePixelRatio, 3 * devicePixelRatio]);
    let free = Infinity;
    for (const [at, version] of marks || []) {  // the newest first: it keeps its name where several are close together
      const x = valToPos(at, "x", true);
      if (x < bbox.left || x > bbox.left + bbox.width) continue;
      ctx.beginPath();
      ctx.moveTo(x, bbox.top);
      ctx.lineTo(x, bbox.top + bbox.height);
      ctx.stroke();
      ctx.font = `${11 * devicePixelRatio}px ${style().getPropertyValue("--font")}`;
      const text = version.slice(0, 20), wide = ctx.measureText(text).width + 4;
      const left = x + wide > bbox.left + bbox.width ? x - wide : x + 4;
      if (left + wide > free) continue;
      ctx.fillText(text, left, bbox.top + 10 * devicePixelRatio);
      free = Math.min(left, x);
    }
    ctx.restore();
  };

  // --- the jobs of a time

  const figureOf = (plot) => plot.root.closest("[data-chart]");
  const brushed = ({ select, posToVal }) => [posToVal(select.left, "x"), posToVal(select.left + select.width, "x")];
  const iso = (at) => new Date(at * 1000).toISOString().replace(".000Z", "Z");
  const jobsOf = ({ dataset }, from, to) => {
    const first = Math.floor(from), last = Math.max(first + 1, Math.ceil(to));
    return `${dataset.jobs}?q=${encodeURIComponent(`after:${iso(first)} before:${iso(last)}${dataset.words}`)}`;
  };
  const name = (figure) => {
    const { plot, data, chosen } = drawn.get(figure), link = figure.querySelector(".during"), end = data.t.length - 1;
    link.hidden = end < 0;
    if (link.hidden) return;
    const [from, to] = chosen || [data.t[0], data.t[end] + data.step], left = plot.valToPos(from, "x");
    link.href = jobsOf(figure, from, to);
    link.textContent = chosen ? `Jobs ${new Date(from * 1000).toLocaleTimeString()} – ${new Date(to * 1000).toLocaleTimeString()}` : "Jobs";
    if (chosen) plot.setSelect({ left, top: 0, width: plot.valToPos(to, "x") - left, height: plot.bbox.height / devicePixelRatio }, false);
  };
  document.addEventListener("keydown", (event) => {
    const link = event.target.closest?.(".during"), figure = link?.closest("[data-chart]"), known = drawn.get(figure);
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!known || !by) return;
    event.preventDefault();
    const { t, step } = known.data, first = t[0], last = t[t.length - 1] + step, wide = Math.max(step, Math.round((last - first) / 30 / step) * step);
    let [from, to] = known.chosen || (by < 0 ? [last, last + wide] : [first - wide, first]);
    if (by < 0 || !event.shiftKey) from += by * wide;
    if (by > 0 || !event.shiftKey) to += by * wide;
    if (from >= first - 1 && to <= last + 1) known.chosen = [from, to];
    name(figure);
  });

  const draw = (figure, data) => {
    const kind = KINDS[figure.dataset.chart], box = figure.querySelector(".plot"), points = kind.of(data);
    const known = drawn.get(figure);
    if (known && known.plot.root.isConnected) { Object.assign(known.data, data); known.plot.setData(points); name(figure); return; }
    const held = { ...data };
    box.replaceChildren();
    drawn.set(figure, { plot: new uPlot(options(kind, box, held), points, box), data: held, chosen: known?.chosen });
    name(figure);
  };

  let points = "";
  const look = () => {
    const now = document.getElementById("series")?.textContent || "";
    if (now === points || !now) return;
    points = now;
    const data = JSON.parse(now);
    document.querySelectorAll("[data-chart]").forEach((figure) => draw(figure, { ...data }));
  };
  const again = () => {
    for (const [figure, { plot, data }] of [...drawn]) {
      plot.destroy();
      drawn.delete(figure);
      if (figure.isConnected) draw(figure, data);
    }
  };
  document.addEventListener("longboat:theme", again);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
  addEventListener("resize", () => drawn.forEach(({ plot }, figure) => plot.setSize({ width: figure.querySelector(".plot").clientWidth, height: 170 })));
  document.addEventListener("longboat:shown", look);
  look();
})();
