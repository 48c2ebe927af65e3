"use strict";
// A click on a column's name sorts by it, a second one turns the order round; without a script the order is the page's own.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells], body = table.tBodies[0];
  const value = (row, n) => {
    const cell = row.cells[n], told = cell.dataset.v;
    return told === undefined ? cell.textContent.trim().toLowerCase() : told === "" ? -Infinity : Number(told);
  };
  heads.forEach((head, n) => {
    if (!head.textContent.trim()) return;
    head.tabIndex = 0;
    const sort = () => {
      const down = head.getAttribute("aria-sort") === "descending" ? 1 : -1;
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down === -1 ? "descending" : "ascending");
      const rows = [...body.rows].map((row) => [value(row, n), row]);
      rows.sort(([a], [b]) => (a < b ? -down : a > b ? down : 0));
      body.append(...rows.map(([, row]) => row));
    };
    head.addEventListener("click", sort);
    head.addEventListener("keydown", (event) => { if (event.key === "Enter") sort(); });
  });
}
