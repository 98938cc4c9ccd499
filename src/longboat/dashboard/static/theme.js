"use strict";
// Before the page is drawn: apply the theme that was chosen here, if any.
{
  let chosen = "";
  try { chosen = localStorage.getItem("longboat-theme") || ""; } catch { /* no storage: use the system's theme */ }
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
  document.documentElement.classList.add("js");
}
