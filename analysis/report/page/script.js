"use strict";
(() => {
  const $ = (query, from = document) => from.querySelector(query);
  const $$ = (query, from = document) => [...from.querySelectorAll(query)];
  const element = (name, text, kind) => {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    if (kind) made.className = kind;
    return made;
  };
  const [texts, rows] = JSON.parse($("#data").textContent);

  // A row: eleven texts, then the radius and numbers; shares are in hundredths of a percent.
  const [DATASET, NETWORK, TRAINING, ATTACK, RADIUS, SPACE, SURROGATE, GRADIENT, SEED_LIST, COUNTS,
    DETAIL, EPSILON, MEAN, LOW, HIGH, LOWEST, HIGHEST, ZERO, SEEDS, DOUBT] = Array(20).keys();
  const text = (row, column) => texts[row[column]];
  const setting = (row) => [DATASET, NETWORK, TRAINING].map((column) => row[column]).join();
  const mostSeeds = new Map();
  for (const row of rows)
    mostSeeds.set(setting(row), Math.max(row[SEEDS], mostSeeds.get(setting(row)) || 0));
  const ofAll = (row) => (row[SEEDS] < mostSeeds.get(setting(row)) ? ` of ${mostSeeds.get(setting(row))}` : "");
  const percent = (share, digits = 1) => (share / 100).toFixed(digits);

  // ---- theme: the system's until a person chooses
  const themes = ["system", "light", "dark"];
  const button = $("#theme");
  const remembered = (value) => {
    try { // pages opened from a file may have no storage
      return value ? localStorage.setItem("spikegrid-theme", value) : localStorage.getItem("spikegrid-theme");
    } catch { return null; }
  };
  const paint = (theme) => {
    document.documentElement.dataset.theme = theme;
    button.textContent = `theme: ${theme}`;
  };
  const theme = () => document.documentElement.dataset.theme || "system";
  if (themes.includes(remembered())) paint(remembered());
  button.addEventListener("click", () => {
    const next = themes[(themes.indexOf(theme()) + 1) % themes.length];
    paint(next);
    remembered(next);
  });

  // ---- curves: the legend shows and hides, pointer and arrow keys read points
  const legend = $$(".legend [data-s]");
  const shown = (number) => $(`.legend [data-s="${number}"]`).getAttribute("aria-pressed") === "true";
  const show = (one, on) => {
    one.setAttribute("aria-pressed", String(on));
    for (const curve of $$(`.chart [data-s="${one.dataset.s}"]`)) curve.classList.toggle("off", !on);
  };
  for (const one of legend) one.addEventListener("click", () => show(one, !shown(one.dataset.s)));
  for (const every of $$("[data-all]"))
    every.addEventListener("click", () => legend.forEach((one) => show(one, every.dataset.all === "all")));

  const tip = $("#tip");
  const pointsOf = (chart) => $$("g[data-p]", chart).filter((g) => !g.classList.contains("off"))
    .flatMap((g) => {
      const places = g.dataset.p.split(" ");
      return $(".dots", g).getAttribute("d").slice(1).split("h0M").map((pair, i) => {
        const [x, y] = pair.split(" ").map(parseFloat);
        return { g, x, y, row: rows[places[i]] };
      });
    }).filter((point) => point.row);

  const describe = (row) => [
    `${text(row, NETWORK)}, ${text(row, TRAINING)}`,
    `ε = ${text(row, RADIUS)} · ${percent(row[MEAN])} % [${percent(row[LOW])}, ${percent(row[HIGH])}]`,
    `${row[SEEDS]}${ofAll(row)} ${row[SEEDS] === 1 ? "seed" : "seeds"} (${text(row, SEED_LIST)})` +
      (row[SEEDS] > 1 ? `, ${percent(row[LOWEST])} to ${percent(row[HIGHEST])} %` : ""),
    `correct: ${text(row, COUNTS)}`,
    text(row, ATTACK) + (text(row, SPACE) ? ` · ${text(row, SPACE)}` : ""),
    text(row, SURROGATE) ? `surrogate ${text(row, SURROGATE)}, gradient ${text(row, GRADIENT)}` : "",
    text(row, DETAIL),
    row[DOUBT] ? "⚠ its own gradient is masked" : "",
  ].filter(Boolean);

  const quiet = () => {
    tip.hidden = true;
    for (const mark of $$(".mark")) mark.remove();
    for (const g of $$("g.near")) g.classList.remove("near");
  };
  const read = (chart, point) => {
    quiet();
    chart.picked = point;
    const mark = document.createElementNS("http://www.w3.org/2000/svg", "circle");
    for (const [key, value] of [["cx", point.x], ["cy", point.y], ["r", 6], ["class", "mark"]])
      mark.setAttribute(key, value);
    point.g.classList.add("near");
    point.g.append(mark);
    tip.replaceChildren(...describe(point.row).map((line, i) => element(i ? "div" : "b", line)));
    tip.hidden = false;
    place();
  };
  const place = () => {
    const mark = $(".mark");
    if (!mark) return;
    const at = mark.getBoundingClientRect(), room = document.documentElement.clientWidth;
    if (at.bottom < 0 || at.top > innerHeight) return quiet();
    const left = at.right + 10 + tip.offsetWidth < room ? at.right + 10 : at.left - 10 - tip.offsetWidth;
    const top = Math.min(at.top, innerHeight - tip.offsetHeight - 8);
    tip.style.left = `${Math.max(8, Math.min(left, room - tip.offsetWidth - 8))}px`;
    tip.style.top = `${Math.max(8, top)}px`;
  };
  addEventListener("scroll", place, { passive: true });
  const nearest = (points, x, y) => points.reduce((best, point) => {
    // across first: people aim at a radius
    const far = Math.hypot(2 * (point.x - x), point.y - y);
    return !best || far < best.far ? { ...point, far } : best;
  }, null);

  for (const chart of $$(".chart")) {
    const own = (event) =>
      new DOMPoint(event.clientX, event.clientY).matrixTransform(chart.getScreenCTM().inverse());
    const follow = (event) => {
      const { x, y } = own(event), point = nearest(pointsOf(chart), x, y);
      if (point && point.far < 60) read(chart, point); else quiet();
    };
    chart.addEventListener("pointermove", follow);
    chart.addEventListener("pointerup", follow); // a tap moves nothing
    chart.addEventListener("pointerleave", (event) => event.pointerType === "touch" || quiet());
    chart.addEventListener("blur", quiet);
    chart.addEventListener("keydown", (event) => {
      const points = pointsOf(chart), old = chart.picked;
      if (event.key === "Escape") return quiet();
      if (!event.key.startsWith("Arrow") || !points.length) return undefined;
      event.preventDefault();
      chart.scrollIntoView({ block: "nearest" });
      if (!old || tip.hidden) return read(chart, points[0]);
      const sign = /Right|Up/.test(event.key) ? 1 : -1;
      const along = /Left|Right/.test(event.key);
      const others = along
        ? points.filter((p) => p.g === old.g).sort((a, b) => a.x - b.x)
        : points.filter((p) => p.x === old.x).sort((a, b) => b.y - a.y);
      const place = others.findIndex((p) => p.g === old.g && p.x === old.x);
      const next = others[place + sign];
      return next && read(chart, next);
    });
  }

  // ---- paper: what is folded away is printed, too
  let folded = [];
  addEventListener("beforeprint", () => {
    folded = $$("details:not([open])");
    for (const one of folded) one.open = true;
  });
  addEventListener("afterprint", () => { for (const one of folded) one.open = false; });

  // ---- the table of results: sorted, filtered, some rows at a time
  const table = $("#rows");
  if (!table) return;
  const columns = [
    ["dataset", DATASET], ["network", NETWORK], ["training", TRAINING], ["attack", ATTACK],
    ["space", SPACE], ["ε", EPSILON, (row) => text(row, RADIUS)],
    ["accuracy %", MEAN, (row) => (row[DOUBT] ? "⚠ " : "") + percent(row[MEAN], 2)],
    ["95 % samples", LOW, (row) => `${percent(row[LOW])} – ${percent(row[HIGH])}`],
    ["range of seeds", LOWEST, (row) => row[SEEDS] > 1 ? `${percent(row[LOWEST])} – ${percent(row[HIGHEST])}` : ""],
    ["correct", COUNTS], ["seeds", SEEDS, (row) => `${row[SEEDS]}${ofAll(row)} (${text(row, SEED_LIST)})`],
    ["surrogate", SURROGATE], ["gradient", GRADIENT],
    ["no gradient %", ZERO, (row) => text(row, SURROGATE) ? percent(row[ZERO]) : ""],
    ["detail", DETAIL],
  ].filter(([, column]) => { // columns that say nothing stay away
    if (column !== DATASET && column !== DETAIL) return true;
    return new Set(rows.map((row) => row[column])).size > 1;
  });
  const numeric = (column) => column >= EPSILON;
  const side = (column) => (numeric(column) || column === COUNTS ? "n" : "");
  const STEP = 200;
  let sort = { column: null, sign: 1 }, most = STEP, chosen = rows;

  const draw = () => {
    const body = $("tbody", table);
    const lines = chosen.slice(0, most).map((row) => {
      const line = element("tr", undefined, row[DOUBT] ? "doubt" : "");
      for (const [name, column, format] of columns) {
        const words = format ? format(row) : text(row, column);
        const cell = element("td", words, side(column));
        if (name === "accuracy %" && row[DOUBT]) cell.title = "this network's own gradient is masked";
        line.append(cell);
      }
      return line;
    });
    body.replaceChildren(...lines);
    const total = rows.length.toLocaleString("en");
    $("#count").textContent =
      `${Math.min(most, chosen.length).toLocaleString("en")} shown of ${chosen.length.toLocaleString("en")} chosen, ${total} rows in all`;
    $("#more").hidden = chosen.length <= most;
  };
  const compare = (a, b) => {
    const { column, sign } = sort;
    if (numeric(column)) return sign * (a[column] - b[column]);
    return sign * text(a, column).localeCompare(text(b, column), "en", { numeric: true });
  };
  const choose = () => {
    const words = $("#words").value.toLowerCase().split(/\s+/).filter(Boolean);
    const lists = $$("[data-column]").map((list) => [list.column, list.value]).filter(([, value]) => value);
    chosen = rows.filter((row) => {
      if (!lists.every(([column, value]) => text(row, column) === value)) return false;
      const all = words.length ? row.slice(0, EPSILON).map((i) => texts[i]).join(" ").toLowerCase() : "";
      return words.every((word) => all.includes(word));
    });
    if (sort.column !== null) chosen = [...chosen].sort(compare);
    draw();
  };

  const head = element("tr");
  for (const [name, column] of columns) {
    const cell = element("th", undefined, side(column));
    const press = element("button", name);
    press.type = "button";
    cell.scope = "col";
    cell.append(press);
    press.addEventListener("click", () => {
      sort = { column, sign: sort.column === column ? -sort.sign : 1 };
      for (const other of $$("th", head)) other.removeAttribute("aria-sort");
      cell.setAttribute("aria-sort", sort.sign > 0 ? "ascending" : "descending");
      choose();
    });
    head.append(cell);
  }
  const top = element("thead");
  top.append(head);
  table.append(top, element("tbody"));
  for (const [place, list] of $$("[data-column]").entries()) {
    list.column = [DATASET, NETWORK, TRAINING, ATTACK, SPACE][place];
    const values = [...new Set(rows.map((row) => text(row, list.column)))].filter(Boolean).sort();
    list.append(...values.map((value) => {
      const option = element("option", value);
      option.value = value;
      return option;
    }));
    list.parentElement.hidden = values.length < 2;
    list.addEventListener("change", choose);
  }
  $("#words").addEventListener("input", choose);
  $("#more").addEventListener("click", () => { most += 5 * STEP; draw(); });
  addEventListener("beforeprint", () => { quiet(); most = Math.max(most, 10 * STEP); draw(); });
  draw();
})();
