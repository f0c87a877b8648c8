// Names for the search and for lists that the theme leaves without one of their own; wide tables can be reached by keyboard.
document$.subscribe(() => {
  document.querySelector(".md-search")?.setAttribute("aria-label", "Search");
  document.querySelectorAll(".md-typeset__scrollwrap").forEach((table) => { table.tabIndex = 0; });
  document.querySelectorAll("nav[aria-label]").forEach((nav, number) => {
    nav.setAttribute("aria-label", `${nav.getAttribute("aria-label").replace(/ \(\d+\)$/, "")} (${number + 1})`);
  });
});
