"use strict";
// Keeps the page up to date: one stream tells what has changed, and only that is changed in the document.
(() => {
  const main = document.getElementById("live"), stale = document.querySelector(".stale"), paused = document.querySelector(".held");
  if (!main.dataset.stream) return;
  const RETRY = 700, DOWN = 5000, SILENT = 25000;

  // --- the text of the page, as the server last sent it

  const PIECE = /[^>\n,]*[>\n,]|[^>\n,]+/g; // stream.py cuts texts in the same way
  let text = "", mark = main.dataset.shown;
  const patched = (changes) => {
    const pieces = text.match(PIECE) || [];
    return changes.map((each) => typeof each === "string" ? each : pieces.slice(each[0], each[0] + each[1]).join("")).join("");
  };

  // --- the document becomes what the text says: elements stay the same ones, with what a person did to them

  const id = (node) => node?.getAttribute("id") || ""; // not node.id: in a form with a field "id" that is the field
  const key = (node) => node.nodeType !== 1 ? "" : id(node) || ("row" in node.dataset ? id(node.querySelector("[id]")) : "");
  const alike = (one, other) => one.nodeType === other.nodeType && one.localName === other.localName && !key(one) === !key(other);
  const attributes = (old, made) => {
    for (const { name } of [...old.attributes]) if (!made.hasAttribute(name) && name !== "open") old.removeAttribute(name);
    for (const { name, value } of made.attributes) if (old.getAttribute(name) !== value && name !== "open") old.setAttribute(name, value);
  };
  const become = (old, made) => {
    if (old.nodeType !== 1) { if (old.data !== made.data) old.data = made.data; return; }
    if ("keep" in old.dataset) return;
    attributes(old, made);
    if (old.localName !== "time") children(old, made); // live.js writes what is in it
  };
  const children = (old, made) => {
    const wanted = new Set([...made.childNodes].map(key)), kept = new Map();
    for (const each of old.childNodes) if (key(each)) kept.set(key(each), each);
    let at = old.firstChild;
    const drop = () => { const next = at.nextSibling; at.remove(); at = next; };
    for (const each of [...made.childNodes]) {
      while (at && key(at) && !wanted.has(key(at))) drop();
      let found = key(each) ? kept.get(key(each)) : at;
      while (!key(each) && found && !alike(found, each)) found = found.nextSibling;
      if (found && alike(found, each)) become(found, each); else found = document.importNode(each, true);
      if (found === at) at = at.nextSibling; else old.insertBefore(found, at);
    }
    while (at) drop();
  };

  // --- a page does not change under the hand of who selects in it

  let pressed = false, onward = false, behind = false;
  addEventListener("pointerdown", (event) => { pressed = event.button === 0 && main.contains(event.target); });
  for (const end of ["pointerup", "pointercancel", "contextmenu", "blur"]) addEventListener(end, () => { setTimeout(() => { pressed = false; show(); }); });
  const selecting = () => {
    const chosen = getSelection();
    return !!main.querySelector("[data-row] input:checked") || !!chosen && !chosen.isCollapsed && main.contains(chosen.anchorNode);
  };
  const show = () => {
    const selects = selecting();
    if (!selects) onward = false;
    paused.hidden = !selects || onward;
    if (!behind || pressed || !paused.hidden) return;
    behind = false;
    const focus = document.activeElement;
    children(main, new DOMParser().parseFromString(`<main>${text}</main>`, "text/html").body.firstChild);
    main.dataset.shown = mark;
    if (focus !== document.activeElement && focus.isConnected) focus.focus({ preventScroll: true });
    document.dispatchEvent(new Event("longboat:shown"));
  };
  paused.querySelector("button").addEventListener("click", () => { onward = true; show(); });
  document.addEventListener("selectionchange", show);
  main.addEventListener("change", show);

  // --- the stream

  let source = null, heard = 0, failed = 0, again = 0;
  const told = (why) => { stale.textContent = why ? `${why} This page is out of date; retrying …` : ""; stale.hidden = !why; };
  const close = () => { clearTimeout(again); source?.close(); source = null; };
  const open = () => {
    close();
    if (document.hidden) return;
    const at = new URL(main.dataset.stream, location.href);
    at.searchParams.set("longboat-seen", mark);
    heard = Date.now();
    text = ""; // the first change is the whole page
    source = new EventSource(at);
    source.addEventListener("open", () => { heard = Date.now(); failed = 0; told(""); });
    source.addEventListener("beat", () => { heard = Date.now(); told(""); });
    source.addEventListener("message", (event) => {
      heard = Date.now();
      const [now, change] = JSON.parse(event.data);
      text = typeof change === "string" ? change : patched(change);
      mark = now;
      behind = true;
      told("");
      show();
    });
    source.addEventListener("stale", (event) => { heard = Date.now(); told(JSON.parse(event.data)); });
    source.addEventListener("end", close);
    source.addEventListener("error", () => {
      close();
      if (failed++) told("The dashboard does not answer.");
      again = setTimeout(open, failed > 1 ? DOWN : RETRY);
    });
  };
  setInterval(() => { if (source && Date.now() - heard > SILENT) { told("The dashboard does not answer."); open(); } }, 5000);
  document.addEventListener("visibilitychange", () => { if (document.hidden) close(); else open(); });
  addEventListener("pagehide", close);
  addEventListener("pageshow", (event) => { if (event.persisted) open(); });
  open();
})();
