// Filters the quarterly table while its reader types. The server filters, sorts and folds as well:
// without this script only the typing is missing.
"use strict";
{
  const box = document.querySelector(".filter");
  const input = box.querySelector("input");
  const said = box.querySelector("output");
  const bars = document.querySelectorAll(".bar");

  // Case and accents make no difference: "uber" finds "Übersetzer".
  const plain = (text) => text.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase();
  const words = (row) => plain(row.querySelector("th bdi, th i").textContent);
  const numberCells = (row) => Array.from(row.querySelectorAll("td:not(.change)"));
  const numbers = (row) => numberCells(row).map((cell) => Number(cell.textContent.replaceAll(",", "")));
  const sums = (rows) => rows.reduce((sum, row) => sum.map((value, place) => value + row.hires[place]), Array(columns).fill(0));

  const show = (row, hires, change) => {
    numberCells(row).forEach((cell, place) => {
      cell.textContent = hires[place].toLocaleString("en-US");
      cell.classList.toggle("zero", hires[place] === 0);
    });
    const cell = row.querySelector(".change");
    if (cell) cell.textContent = change ? cell.dataset.whole : "";
  };

  const totals = Array.from(document.querySelectorAll(".total tr, tfoot tr"));
  const columns = numberCells(totals[0]).length;
  const groups = Array.from(document.querySelectorAll("tbody:not(.total)"), (body) => {
    const [head, ...jobs] = body.rows;
    const name = words(head);
    return { body, head, name, jobs: jobs.map((row) => ({ row, words: words(row), hires: numbers(row) })) };
  });
  const count = groups.reduce((sum, group) => sum + group.jobs.length, 0);

  const filter = () => {
    const wanted = plain(input.value.trim());
    const shown = [];
    for (const group of groups) {
      const all = group.name.includes(wanted);
      group.jobs.forEach((job) => { job.row.hidden = !all && !job.words.includes(wanted); });
      const found = group.jobs.filter((job) => !job.row.hidden);
      group.body.hidden = found.length === 0;
      show(group.head, sums(found), found.length === group.jobs.length);
      shown.push(...found);
    }
    const everything = shown.length === count;
    for (const total of totals) {
      show(total, sums(shown), everything);
      total.cells[0].firstElementChild.textContent = everything ? "Total" : "Total of these";
    }
    for (const bar of bars) {
      const group = groups.find((each) => each.body.dataset.department === bar.dataset.department);
      bar.classList.toggle("out", group.body.hidden);
    }
    said.textContent = wanted ? `${shown.length} of ${count} rows; sums are theirs` : "";
  };

  let pause;
  // The address shows what its reader sees, and so do the links to other years and orders.
  const OWN = "text json ndjson csv".split(" ");
  const remember = () => {
    clearTimeout(pause);
    const address = (link) => {
      const url = new URL(link, location.href);
      const page = !OWN.includes(url.searchParams.get("format"));
      if (page && input.value) url.searchParams.set("filter", input.value);
      else url.searchParams.delete("filter");
      return url;
    };
    history.replaceState(null, "", address(location.href));
    for (const link of document.querySelectorAll("a[href^='?']:not(.only):not(.all)")) {
      const url = address(link.href);
      link.setAttribute("href", url.search + url.hash);
    }
  };

  input.addEventListener("input", () => {
    filter();
    clearTimeout(pause);
    // Safari takes no more than a hundred new addresses in half a minute.
    pause = setTimeout(remember, 300);
  });
  // Whoever follows a link within those moments takes the filter along.
  document.addEventListener("click", (event) => {
    if (event.target.closest("a")) remember();
  }, true);
  box.querySelector(".type").hidden = false;
  filter();
}
