"use strict";
(() => {
  const part = (name) => document.getElementById(`browser-${name}`);
  const root = document.getElementById("browser"), data = JSON.parse(part("data").textContent);
  const MIDDLE = 127, NOT_FINITE = 255;
  const make = (tag, looks = {}, ...children) => {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(looks)) made[name] = value;
    made.append(...children);
    return made;
  };
  const minus = (text) => text.replace(/(?<![\w.])-(?=\d)/g, "−");

  // Bytes of a raster as places in the table of colours.
  const places = async (raster) => {
    const packed = Uint8Array.from(atob(raster.bytes), (c) => c.charCodeAt(0));
    const flow = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
    const codes = new Uint8Array(await new Response(flow).arrayBuffer());
    const scale = MIDDLE / raster.levels;
    return codes.map((c) => c === NOT_FINITE ? c : Math.round(MIDDLE + (c - raster.levels) * scale));
  };
  const rgb = (fill) => [1, 3, 5].map((i) => parseInt(fill.slice(i, i + 2), 16));
  const table = (method) => data.colours[String(method.signed)];
  const paint = (canvas, raster, found, colours) => {
    const [height, width] = raster.size, pixels = new ImageData(width, height);
    found.forEach((place, i) => pixels.data.set([...colours[place], 255], 4 * i));
    Object.assign(canvas, {width, height});
    canvas.getContext("2d").putImageData(pixels, 0, 0);
  };

  // One panel for each kind of data: the sample with the map of one method.
  const panels = {
    async image(view, method, map) {
      const canvas = make("canvas"), colours = table(method).map(([fill]) => rgb(fill));
      paint(canvas, map, await places(map), colours);
      canvas.setAttribute("role", "img");
      canvas.setAttribute("aria-label", `Map of ${method.label}`);
      canvas.style.opacity = part("opacity").value / 100;
      return make("div", {className: "stack"}, picture(view, "grey"), canvas);
    },
    async text(view, method, map) {
      const line = make("p", {className: "words", dir: "auto"});
      let i = 0;
      for (const [text, named] of view.words) {
        if (!named) { line.append(make("span", {className: "plain"}, text)); continue; }
        const place = map.codes[i], [fill, ink] = table(method)[place], word = make("span", {title: map.values[i++]}, text);
        line.append(word);
        if (place === MIDDLE || place === NOT_FINITE) continue;
        word.style.cssText = `background: ${fill}; color: ${ink}`;
        if (method.signed) word.className = place > MIDDLE ? "raises" : "lowers";
      }
      return line;
    },
    async table(view, method, map) {
      const bars = make("div", {className: "bars"});
      view.labels.forEach((label, i) => {
        const place = map.codes[i], share = place === NOT_FINITE ? 0 : (place - MIDDLE) / MIDDLE;
        const bar = make("span", {className: method.signed ? `amount ${share < 0 ? "lowers" : "raises"}` : "amount"});
        const size = Math.abs(share) * (method.signed ? 50 : 100);
        bar.style.width = `${size}%`;
        bar.style.left = `${!method.signed ? 0 : share < 0 ? 50 - size : 50}%`;
        bars.append(make("span", {}, label), make("span", {className: "track"}, bar), make("span", {}, map.values[i]));
      });
      return bars;
    },
    async series(view, method, map) {
      const [count, steps] = map.size, found = await places(map), wide = Math.max(1, Math.ceil(900 / steps)), high = 72;
      const grid = make("div", {className: "series"});
      for (let c = 0; c < count; c++) {
        const canvas = make("canvas", {width: steps * wide, height: high}), pen = canvas.getContext("2d");
        canvas.setAttribute("role", "img");
        canvas.setAttribute("aria-label", `Series ${c + 1} over the map of ${method.label}`);
        const points = view.channels[c].points, finite = points.filter((p) => p !== null);
        const low = Math.min(...finite), room = Math.max(...finite) - low || 1;
        for (let t = 0; t < steps; t++) {
          pen.fillStyle = table(method)[found[c * steps + t]][0];
          pen.fillRect(t * wide, 0, wide, high);
        }
        pen.strokeStyle = "#1a1a1a"; pen.lineWidth = 1.5; pen.beginPath();
        points.forEach((p, t) => {
          if (p === null) return;
          const at = [(t + 0.5) * wide, high * (0.9 - 0.8 * (p - low) / room)];
          if (t && points[t - 1] !== null) pen.lineTo(...at); else pen.moveTo(...at);
        });
        pen.stroke();
        grid.append(make("span", {}, view.channels[c].label), canvas);
      }
      return grid;
    },
  };
  const picture = (view, look) => {
    const shown = make("img", {src: view.image, alt: "The image", className: look});
    shown.onload = () => shown.classList.toggle("coarse", shown.naturalWidth < 100);
    return shown;
  };
  const framed = (title, note, body) =>
    make("figure", {}, make("figcaption", {}, make("b", {}, title), make("small", {}, note || "\xa0")), body);
  const panel = async (view, method) => {
    const map = view.maps[method.name];
    const empty = make("p", {className: "soft"}, "The run has no map of this method here.");
    if (!map) return framed(method.label, "", empty);
    const note = [`limit of |a|: ${map.limit}`, map.note, view.note].filter(Boolean).join("; ");
    return framed(method.label, note, await panels[data.kind](view, method, map));
  };

  // Scores of the sample, with a footnote for each reason why there is none.
  const scores = (sample, names) => {
    const letters = new Map();
    const cell = (value) => {
      if (typeof value === "string") return make("td", {}, minus(value));
      if (value === null) return make("td", {title: "not part of this run"}, "–");
      if (!letters.has(value)) letters.set(value, letters.size + 1);
      return make("td", {title: data.reasons[value]}, "n/a ", make("sup", {}, String(letters.get(value))));
    };
    const head = ["method", ...data.metrics].map((name) => make("th", {scope: "col"}, name));
    const rows = sample.scores.map((line, i) => make("tr", {className: names.includes(data.owners[i]) ? "shown" : ""},
      make("th", {scope: "row"}, data.lines[i]), ...line.map(cell)));
    const own = part("scores");
    own.replaceChildren(own.caption, make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...rows));
    part("reasons").replaceChildren(...[...letters].map(([reason, letter]) =>
      make("p", {}, make("sup", {}, String(letter)), ` ${data.reasons[reason]}`)));
  };

  let at = 0, turn = 0;
  const show = async () => {
    const mine = ++turn, sample = data.samples[at], view = sample.view;
    const names = [part("first").value, part("second").value].filter((name, i, all) => name && all.indexOf(name) === i);
    const found = [];
    if (!view) found.push(make("p", {className: "soft"}, data.methods.length
      ? "The run has kept no map of this sample; keep_maps says of how many it does." : "The run has kept no maps."));
    else try {
      if (view.image) found.push(framed("Input", "", make("div", {className: "stack"}, picture(view, ""))));
      for (const name of names) found.push(await panel(view, data.methods.find((m) => m.name === name)));
    } catch (fault) {
      found.push(make("p", {className: "failed"}, `This browser cannot show the map: ${fault.message}`));
    }
    if (mine !== turn) return;  // another choice came in the meantime
    part("panels").replaceChildren(...found);
    part("panels").style.setProperty("--count", found.length);
    part("sample").value = String(at);
    part("place").textContent = `${at + 1} of ${data.samples.length}`;
    part("facts").replaceChildren(...sample.facts.map(([name, text]) =>
      make("div", {}, make("dt", {}, name), make("dd", {}, text))));
    scores(sample, names);
    for (const own of part("thumbnails").children) own.setAttribute("aria-pressed", String(+own.value === at));
    root.dataset.shown = [at, ...names].join("|");
  };
  const go = (to) => { at = Math.max(0, Math.min(data.samples.length - 1, to)); show(); };

  part("sample").append(...data.samples.map((s, i) => make("option", {value: String(i)}, s.view || !data.methods.length ? s.head : `${s.head} (no map)`)));
  for (const name of ["first", "second"]) {
    part(name).append(...data.methods.map((m) => make("option", {value: m.name}, m.label)));
    part(name).addEventListener("change", show);
  }
  part("second").prepend(make("option", {value: ""}, "no other"));
  part("second").selectedIndex = Math.min(2, data.methods.length);
  data.samples.forEach((s, i) => {
    if (!s.view || !s.view.image) return;
    const own = make("button", {type: "button", value: String(i), title: s.head}, picture(s.view, ""));
    own.addEventListener("click", () => go(i));
    part("thumbnails").append(own);
  });
  for (const own of root.querySelectorAll(".of-maps")) own.hidden = !data.methods.length;
  for (const own of root.querySelectorAll(".of-images")) own.hidden = data.kind !== "image" || !data.methods.length;
  part("sample").addEventListener("change", () => go(+part("sample").value));
  part("previous").addEventListener("click", () => go(at - 1));
  part("next").addEventListener("click", () => go(at + 1));
  part("opacity").addEventListener("input", () => {
    part("percent").textContent = `${part("opacity").value} %`;
    for (const own of part("panels").querySelectorAll(".stack canvas")) own.style.opacity = part("opacity").value / 100;
  });
  root.tabIndex = 0;
  root.addEventListener("keydown", (event) => {
    const step = {ArrowLeft: -1, ArrowRight: 1}[event.key];
    if (!step || event.ctrlKey || event.altKey || event.metaKey || /^(SELECT|INPUT)$/.test(event.target.tagName)) return;
    event.preventDefault();
    go(at + step);
  });
  root.dataset.kind = data.kind;
  root.hidden = false;
  const all = document.getElementById("all-maps");
  if (all) all.open = false;
  show();
})();
