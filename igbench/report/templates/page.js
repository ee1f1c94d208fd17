"use strict";
for (const table of document.querySelectorAll("table.numbers")) {
  const heads = [...table.tHead.rows[0].cells], body = table.tBodies[0];
  const original = [...body.rows];
  const value = (row, i) => row.cells[i].dataset.value === undefined ? NaN : +row.cells[i].dataset.value;
  const sort = (i) => {
    const up = heads[i].getAttribute("aria-sort") !== "ascending", sign = up ? 1 : -1;
    for (const head of heads) head.removeAttribute("aria-sort");
    heads[i].setAttribute("aria-sort", up ? "ascending" : "descending");
    body.append(...[...original].sort((a, b) => {
      if (i === 0) return sign * a.cells[0].textContent.localeCompare(b.cells[0].textContent);
      const x = value(a, i), y = value(b, i);
      return isNaN(x) - isNaN(y) || (isNaN(x) ? 0 : sign * (x - y));
    }));
  };
  heads.forEach((head, i) => {
    head.tabIndex = 0;
    head.addEventListener("click", () => sort(i));
    head.addEventListener("keydown", (event) => { if (event.key === "Enter") sort(i); });
  });
}
