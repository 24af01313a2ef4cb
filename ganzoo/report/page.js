"use strict";
(() => {
  const root = document.documentElement;
  const wantsDark = matchMedia("(prefers-color-scheme: dark)");
  const button = document.getElementById("theme");

  // The sheets: all of the main products are in the page, one of each run is seen; of other products the last one is.
  const slider = document.getElementById("when");
  const show = () => {
    const place = slider.max > 0 ? slider.value / slider.max : 1;
    const figures = document.querySelectorAll("figure.sheets:not(.other)");
    let text = `place ${Number(slider.value) + 1} of ${Number(slider.max) + 1}`;
    for (const figure of figures) {
      const sheets = [...figure.querySelectorAll("img")];
      const seen = sheets[Math.round(place * (sheets.length - 1))];
      if (!seen) continue;
      for (const sheet of sheets) sheet.hidden = sheet !== seen;
      const step = `step ${seen.dataset.step}`;
      if (figures.length === 1) text = step;
      else figure.querySelector(".step").textContent = step;
    }
    document.getElementById("now").textContent = text;
    slider.setAttribute("aria-valuetext", text);
  };
  if (slider) {
    slider.addEventListener("input", show);
    show();
  }

  // What was turned: the pictures of a row lie upon each other, each as far as the slider has come.
  for (const turned of document.querySelectorAll(".turned")) {
    const [label, input, told] = ["label", "input", "output"].map((name) => turned.querySelector(name));
    const names = input.dataset.names.split("|");
    const wipe = () => {
      const place = Math.min(Math.floor(input.value / 100), names.length - 2);
      const share = input.value - 100 * place;
      for (const row of turned.querySelectorAll(".row")) {
        [...row.querySelectorAll("img")].forEach((picture, i) => {
          const seen = Math.min(100, Math.max(0, input.value - 100 * (i - 1)));
          picture.style.clipPath = i ? `inset(0 ${100 - seen}% 0 0)` : "";
        });
      }
      const [left, right] = [names[place + 1], names[place]];
      told.textContent = share === 0 ? right : share === 100 ? left : `${left} on the left, ${right} on the right`;
      input.setAttribute("aria-valuetext", told.textContent);
    };
    turned.classList.add("wiped");
    label.hidden = false;
    input.addEventListener("input", wipe);
    wipe();
  }

  // The charts: their colours are those of page.css, whatever the theme.
  const { charts, game } = JSON.parse(document.getElementById("drawn").textContent);
  const places = [...document.querySelectorAll(".plot")];
  const dashes = ["solid", "dash", "dot", "dashdot", "longdash"];
  const probe = root.appendChild(document.createElement("span"));
  const colour = (name) => {
    probe.style.color = `var(--${name})`;
    return getComputedStyle(probe).color;
  };
  const axis = () => ({ gridcolor: colour("line"), linecolor: colour("line"), zerolinecolor: colour("line"), tickfont: { color: colour("ink") } });
  const layout = (chart) => ({
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { color: colour("ink"), family: "system-ui, sans-serif", size: 13 },
    margin: { l: 56, r: 12, t: 8, b: 44 },
    hovermode: "x unified",
    hoverdistance: -1,
    hoverlabel: { bgcolor: colour("paper"), bordercolor: colour("line"), font: { color: colour("ink") }, namelength: 60 },
    showlegend: true,
    legend: { orientation: "h", x: 0, y: -0.22, yanchor: "top" },
    xaxis: { ...axis(), title: { text: "step", standoff: 6 } },
    yaxis: { ...axis(), ...(chart.range ? { range: [...chart.range] } : {}) },
  });
  const line = (i) => ({ color: colour("c" + (i % 8)), dash: dashes[Math.floor(i / 8) % 5 || i % 5], width: 1.8 });
  const config = { responsive: true, displayModeBar: false, displaylogo: false, showLink: false, plotlyServerURL: "", topojsonURL: "" };
  const traces = (chart) => {
    const few = chart.traces.every((trace) => trace.x.length < 30);
    return chart.traces.map(({ name, look, x, y }) => ({
      name, x, y,
      type: "scatter",
      mode: few ? "lines+markers" : "lines",
      line: line(look),
      marker: { color: line(look).color, size: 6 },
      hovertemplate: "%{y:.5~g}",
    }));
  };
  places.forEach((place) => {
    const chart = charts[place.dataset.chart];
    if (chart.traces.every((trace) => trace.x.length === 0)) {
      place.classList.add("bare");
      place.textContent = "It holds no finite number.";
      return;
    }
    // Room for the names of many runs.
    place.style.height = `${20 + (chart.traces.length > 4 ? 1.2 * Math.ceil(chart.traces.length / 2) : 0)}rem`;
    Plotly.newPlot(place, traces(chart), layout(chart), config);
  });

  // The game: one moment at a time; Play goes on to the next.
  const turn = document.getElementById("turn");
  const moment = () => {
    const frame = game.frames[turn.value];
    const text = `step ${frame.step}`;
    document.getElementById("then").textContent = text;
    turn.setAttribute("aria-valuetext", text);
    return frame;
  };
  const field = (frame) => {
    const n = Math.round(Math.sqrt(frame.z.length));
    const line = Array.from({ length: n }, (_, i) => game.reach * (2 * i / (n - 1) - 1));
    const z = line.map((_, i) => frame.z.slice(i * n, (i + 1) * n));
    const arrows = { x: [], y: [] };
    frame.push.forEach(([dx, dy], i) => {
      const [x, y] = frame.x[i];
      arrows.x.push(x, x + game.scale * dx, null);
      arrows.y.push(y, y + game.scale * dy, null);
    });
    const heads = { symbol: "arrow", angleref: "previous", size: arrows.x.map((_, i) => (i % 3 === 1 ? 7 : 0)), color: colour("ink") };
    const range = [-game.reach, game.reach];
    return [[
      {
        type: "heatmap", x: line, y: line, z, ...(game.anchored ? { zmin: 0, zmax: 1 } : {}), zsmooth: "best", hoverinfo: "z",
        colorscale: [[0, colour("low")], [0.5, colour("paper")], [1, colour("high")]], colorbar: { thickness: 10, title: { text: "D" } },
      },
      { type: "scatter", mode: "markers", name: "data", x: game.real.map((p) => p[0]), y: game.real.map((p) => p[1]), marker: { color: colour("c7"), size: 4 }, hoverinfo: "skip" },
      { type: "scatter", mode: "markers", name: "samples", x: frame.x.map((p) => p[0]), y: frame.x.map((p) => p[1]), marker: { color: colour("c1"), size: 5 }, hoverinfo: "skip" },
      { type: "scatter", mode: "lines+markers", name: "push", ...arrows, line: { color: colour("ink"), width: 1 }, marker: heads, hoverinfo: "skip" },
    ], { xaxis: { ...axis(), range, constrain: "domain" }, yaxis: { ...axis(), range, scaleanchor: "x", constrain: "domain" }, hovermode: "closest" }];
  };
  const bars = (frame) => [[
    { type: "bar", name: "data", x: game.words, y: game.real, marker: { color: colour("c7") } },
    { type: "bar", name: "samples", x: game.words, y: frame.made, marker: { color: colour("c1") } },
    { type: "scatter", mode: "lines+markers", name: "D", x: game.words, y: frame.z, yaxis: "y2", line: { color: colour("c0") } },
  ], {
    xaxis: { ...axis(), title: { text: "" }, tickangle: -60, automargin: true }, yaxis: { ...axis(), title: { text: "share" }, rangemode: "tozero" },
    margin: { l: 56, r: 56, t: 8, b: 44 },
    yaxis2: { ...axis(), overlaying: "y", side: "right", showgrid: false, title: { text: "D" }, ...(game.anchored ? { range: [0, 1], tickmode: "linear", dtick: 0.25 } : {}) },
  }];
  const drawGame = () => {
    if (!game) return;
    const [shown, more] = (game.words ? bars : field)(moment());
    Plotly.react("field", shown, { ...layout({}), ...more }, config);
  };
  if (game) {
    const start = document.getElementById("start");
    let timer = 0;
    const stop = () => {
      clearInterval(timer);
      timer = 0;
      start.textContent = "Play";
    };
    const next = () => {
      turn.value = Number(turn.value) + 1;
      drawGame();
      if (turn.value === turn.max) stop();
    };
    start.hidden = turn.disabled;
    start.addEventListener("click", () => {
      if (timer) return stop();
      if (turn.value === turn.max) turn.value = 0;
      start.textContent = "Pause";
      timer = setInterval(next, 400);
      drawGame();
    });
    turn.addEventListener("input", () => { stop(); drawGame(); });
  }

  const restyle = () => {
    drawGame();
    for (const place of places.filter((place) => place.data)) {
      const colours = charts[place.dataset.chart].traces.map((trace) => line(trace.look).color);
      Plotly.update(
        place,
        { "line.color": colours, "marker.color": colours },
        {
          "font.color": colour("ink"), "hoverlabel.bgcolor": colour("paper"), "hoverlabel.bordercolor": colour("line"),
          "hoverlabel.font.color": colour("ink"),
          ...Object.fromEntries(["xaxis", "yaxis"].flatMap((name) => [
            [`${name}.gridcolor`, colour("line")], [`${name}.linecolor`, colour("line")], [`${name}.zerolinecolor`, colour("line")],
            [`${name}.tickfont.color`, colour("ink")],
          ])),
        },
      );
    }
  };

  // A table that does not scroll needs no stop of the tab key.
  const stops = () => {
    for (const box of document.querySelectorAll(".scroll")) box.tabIndex = box.scrollWidth > box.clientWidth ? 0 : -1;
  };
  document.addEventListener("toggle", stops, true);
  addEventListener("resize", stops);
  stops();

  // The theme: what the system wants, until the button says otherwise.
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : wantsDark.matches);
  const themed = () => {
    button.textContent = isDark() ? "Light theme" : "Dark theme";
    restyle();
  };
  button.hidden = false;
  button.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    themed();
  });
  wantsDark.addEventListener("change", themed);
  themed();
  // Paper is white.
  let before;
  addEventListener("beforeprint", () => { before = root.dataset.theme || ""; root.dataset.theme = "light"; restyle(); });
  addEventListener("afterprint", () => { if (before) root.dataset.theme = before; else delete root.dataset.theme; restyle(); });
})();
