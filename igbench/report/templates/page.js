"use strict";
const root = document.documentElement, THEMES = ["light", "dark"], KEY = "igbench-theme";
const kept = (theme) => {  // storage may be forbidden
  try { if (theme) localStorage.setItem(KEY, theme); return localStorage.getItem(KEY); }
  catch { return null; }
};
if (THEMES.includes(kept())) root.dataset.theme = kept();

function switchTheme(button) {
  const system = matchMedia("(prefers-color-scheme: dark)");
  const dark = () => (root.dataset.theme || THEMES[+system.matches]) === "dark";
  const name = () => { button.textContent = dark() ? "Light" : "Dark"; };
  button.addEventListener("click", () => {
    root.dataset.theme = THEMES[+!dark()];
    kept(root.dataset.theme);
    name();
  });
  system.addEventListener("change", name);
  button.hidden = false;
  name();
}

function sortable(table) {
  const heads = [...table.tHead.rows[table.tHead.rows.length - 1].cells], body = table.tBodies[0];
  const original = [...body.rows], next = { ascending: "descending", descending: "" };
  const compare = (a, b, i, sign) => {
    const [x, y] = [a, b].map((row) => parseFloat(row.cells[i].dataset.value));
    if (!isNaN(x) || !isNaN(y)) return isNaN(x) - isNaN(y) || sign * (x - y);
    return sign * a.cells[i].textContent.localeCompare(b.cells[i].textContent, "en", { numeric: true });
  };
  heads.forEach((head, i) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const order = next[head.getAttribute("aria-sort")] ?? "ascending";
      for (const other of heads) other.removeAttribute("aria-sort");
      if (order) head.setAttribute("aria-sort", order);
      const sign = order === "descending" ? -1 : 1;
      body.append(...(order ? [...original].sort((a, b) => compare(a, b, i, sign)) : original));
    });
  });
}
addEventListener("DOMContentLoaded", () => {
  document.querySelectorAll("table.numbers, table.words").forEach(sortable);
  document.querySelectorAll(".hint").forEach((hint) => { hint.hidden = false; });
  switchTheme(document.getElementById("theme"));
});
