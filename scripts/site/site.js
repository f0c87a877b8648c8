// Names for the search and for lists that the theme leaves without one of their own; what can be moved aside, wide tables and
// diagrams, can be reached by keyboard.
const MOVED = '.md-typeset__scrollwrap, .md-typeset p:has(> img[src$=".svg"])';
document$.subscribe(() => {
  document.querySelector(".md-search")?.setAttribute("aria-label", "Search");
  document.querySelectorAll(MOVED).forEach((wide) => { wide.tabIndex = 0; });
  document.querySelectorAll("nav[aria-label]").forEach((nav, number) => {
    nav.setAttribute("aria-label", `${nav.getAttribute("aria-label").replace(/ \(\d+\)$/, "")} (${number + 1})`);
  });
});
// The theme puts its copy buttons into landmarks without a name, and does so later: they are no places of a page.
const unmark = () => document.querySelectorAll("nav.md-code__nav:not([role])").forEach((nav) => { nav.setAttribute("role", "none"); });
new MutationObserver(unmark).observe(document.body, {childList: true, subtree: true});
unmark();
