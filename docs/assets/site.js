// What scrolls sideways can be reached by the keyboard. Runs on each page, also when the theme changes pages without loading.
document$.subscribe(() => {
  for (const each of document.querySelectorAll(".md-typeset__scrollwrap")) each.tabIndex = 0;
});
