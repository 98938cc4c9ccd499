"use strict";
// Before the page is drawn: the theme that was chosen here, if one was.
{
  let chosen = "";
  try { chosen = localStorage.getItem("longboat-theme") || ""; } catch { /* no storage: the system's */ }
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
  document.documentElement.classList.add("js");
}
