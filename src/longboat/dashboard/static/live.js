"use strict";
// Keeps times up to date, and handles keys. Every page can be read without this file.
(() => {
  // --- times

  const span = (s) => {
    s = Math.max(0, s);
    if (s < 60) return s < 10 ? `${s.toFixed(1)} s` : `${Math.round(s)} s`;
    if (s < 3600) return `${Math.round(s / 60)} m`;
    if (s < 36000) return `${Math.floor(s / 3600)} h ${Math.floor((s / 60) % 60)} m`;
    return s < 86400 ? `${Math.round(s / 3600)} h` : `${Math.round(s / 86400)} d`;
  };
  const tick = () => {
    const now = Date.now() / 1000;
    for (const each of document.querySelectorAll("time[data-at]")) {
      const past = now - Number(each.dataset.at);
      each.textContent = past < 0 ? `in ${span(-past)}` : past < 1 ? "a moment ago" : `${span(past)} ago`;
    }
    for (const each of document.querySelectorAll("time[data-since]")) each.textContent = span(now - Number(each.dataset.since));
  };
  setInterval(tick, 1000);
  document.addEventListener("longboat:shown", tick);

  document.querySelector("nav a[aria-current=page]")?.scrollIntoView({ block: "nearest", inline: "center" }); // on narrow screens the menu scrolls

  // --- copies: browsers allow them by TLS and on this machine only

  if (!navigator.clipboard) document.documentElement.classList.add("no-copies");
  document.addEventListener("click", async (event) => {
    const button = event.target.closest?.("[data-copy]");
    if (!button) return;
    try { await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).innerText || document.getElementById(button.dataset.copy).textContent); button.textContent = "Copied"; } catch { button.textContent = "Not allowed"; }
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });

  // --- theme

  const button = document.getElementById("theme"), root = document.documentElement;
  const themes = ["auto", "light", "dark"];
  const told = () => { button.textContent = `Theme: ${root.dataset.theme || "auto"}`; };
  button.addEventListener("click", () => {
    const next = themes[(themes.indexOf(root.dataset.theme || "auto") + 1) % 3];
    if (next === "auto") delete root.dataset.theme; else root.dataset.theme = next;
    try { localStorage.setItem("longboat-theme", next); } catch { /* it applies to this page only */ }
    told();
    document.dispatchEvent(new Event("longboat:theme"));
  });
  told();

  // --- keys

  const keys = document.getElementById("keys");
  document.getElementById("help").addEventListener("click", () => keys.showModal());
  const rows = () => [...document.querySelectorAll("#live [data-row]")].filter((row) => row.querySelector("a"));
  const here = () => rows().findIndex((row) => row.contains(document.activeElement));
  const go = (by) => {
    const all = rows();
    if (!all.length) return;
    const place = Math.min(all.length - 1, Math.max(0, here() + by));
    all[place].querySelector("a.go, a").focus();
  };
  let waiting = 0;
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input:not([type=checkbox]), textarea, select")) return;
    if (keys.open) return;
    const key = event.key;
    if (Date.now() - waiting < 1500) {
      waiting = 0;
      const link = document.querySelector(`nav a[data-key="${CSS.escape(key)}"]`);
      if (link) { event.preventDefault(); link.click(); }
      return;
    }
    if (key === "j") go(1);
    else if (key === "k") go(-1);
    else if (key === "g") waiting = Date.now();
    else if (key === "?") keys.showModal();
    else if (key === "x") rows()[here()]?.querySelector("input[type=checkbox]")?.click();
    else if (key === "r") (document.querySelector("button.does-retry") || document.querySelector("input:checked") && document.querySelector("[data-does=retry]"))?.click();
    else if (key === "/") {
      const box = document.getElementById("q");
      if (box) { box.focus(); box.select(); } else location.href = document.querySelector('nav a[data-key="b"]').href + "#q";
    } else return;
    event.preventDefault();
  });
  if (location.hash === "#q") document.getElementById("q")?.focus();

  // --- suggestions complete the last word of a search

  const box = document.getElementById("q"), list = document.getElementById("suggestions");
  if (box && list) {
    const words = [...list.options].map((each) => each.value);
    box.addEventListener("input", () => {
      const at = box.value.lastIndexOf(" ") + 1, head = box.value.slice(0, at), word = box.value.slice(at);
      const found = words.filter((each) => each.startsWith(word)).slice(0, 30);
      list.replaceChildren(...found.map((each) => { const made = document.createElement("option"); made.value = head + each; return made; }));
    });
  }
})();
