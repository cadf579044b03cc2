// The filter of the quarterly table; without it the page only lacks the filter.
"use strict";
{
  const COLUMNS = 5;
  const box = document.querySelector(".filter");
  const input = box.querySelector("input");
  const said = box.querySelector("output");

  // Case and accents make no difference: "uber" finds "Übersetzer".
  const plain = (text) => text.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase();
  const numbers = (row) => Array.from(row.cells).slice(1).map((cell) => Number(cell.textContent.replaceAll(",", "")));
  const sums = (rows) => rows.reduce((sum, row) => sum.map((value, place) => value + row.hires[place]), Array(COLUMNS).fill(0));

  const show = (row, hires) => hires.forEach((value, place) => {
    const cell = row.cells[place + 1];
    cell.textContent = value.toLocaleString("en-US");
    cell.classList.toggle("zero", value === 0);
  });

  const groups = Array.from(document.querySelectorAll("tbody"), (body) => {
    const [head, ...jobs] = body.rows;
    return {
      body,
      head,
      words: plain(head.cells[0].textContent),
      jobs: jobs.map((row) => ({ row, words: plain(row.cells[0].textContent), hires: numbers(row) })),
    };
  });
  const total = document.querySelector("tfoot tr");
  const count = groups.reduce((sum, group) => sum + group.jobs.length, 0);

  const filter = () => {
    const wanted = plain(input.value.trim());
    const shown = [];
    for (const group of groups) {
      const all = group.words.includes(wanted);
      group.jobs.forEach((job) => { job.row.hidden = !all && !job.words.includes(wanted); });
      const found = group.jobs.filter((job) => !job.row.hidden);
      group.body.hidden = found.length === 0;
      show(group.head, sums(found));
      shown.push(...found);
    }
    show(total, sums(shown));
    total.cells[0].textContent = wanted ? "Total of these" : "Total";
    said.textContent = wanted ? `${shown.length} of ${count} rows; sums are theirs` : "";
  };

  input.addEventListener("input", filter);
  box.hidden = false;
  filter();
}
