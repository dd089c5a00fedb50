"use strict";
(() => {
  const all = (selector) => Array.from(document.querySelectorAll(selector));
  const one = (id) => document.getElementById(id);
  const steps = all(".step").map((element) => ({ element, text: element.textContent.toLowerCase() }));
  const buttons = all(".count");
  const search = one("search"), kind = one("kind"), found = one("found"), fold = one("fold"), alike = one("alike");
  const state = { q: "", actions: new Set(), kind: "", alike: !alike };
  // The step that a link led to is shown, whatever is looked for.
  let linked = null;

  const isShown = ({ element, text }, words) => {
    if (element === linked) return true;
    const action = element.dataset.action;
    // One of those that are alike stands for all, until a word of another is looked for.
    if ("alike" in element.dataset && !state.alike && !words.length) return false;
    // What is as declared is looked for, or asked for, or not there to be seen.
    const wanted = state.actions.size ? state.actions.has(action) : action !== "none" || words.length || onlyNone;
    return wanted && (!state.kind || element.dataset.kind === state.kind) && words.every((word) => text.includes(word));
  };
  const onlyNone = steps.every(({ element }) => element.dataset.action === "none");

  const show = () => {
    let count = 0;
    const words = state.q.toLowerCase().split(/\s+/).filter(Boolean);
    for (const step of steps) {
      const shown = isShown(step, words);
      step.element.hidden = !shown;
      count += shown ? 1 : 0;
    }
    for (const group of all(".group")) group.hidden = !group.querySelector(".step:not([hidden])");
    for (const button of buttons) button.setAttribute("aria-pressed", String(state.actions.has(button.dataset.action)));
    one("none").hidden = count > 0;
    found.textContent = count === steps.length ? "" : `${count} of ${steps.length} steps`;
    name();
  };

  const name = () => {
    const open = steps.some(({ element }) => !element.hidden && element.open);
    fold.textContent = open ? "Fold all" : "Unfold all";
  };

  // Thousands of steps may fold at once.
  let soon = 0;
  const folded = () => { clearTimeout(soon); soon = setTimeout(name); };

  const remember = () => {
    const parts = new URLSearchParams();
    if (state.q) parts.set("q", state.q);
    if (state.actions.size) parts.set("action", Array.from(state.actions).join(","));
    if (state.kind) parts.set("kind", state.kind);
    try { history.replaceState(null, "", "#" + parts); } catch { /* A page inside of a page has no address. */ }
  };

  const changed = () => { linked = null; remember(); show(); };

  // The part of the address behind `#` is a step, or what is looked for.
  const follow = () => {
    const hash = location.hash.slice(1);
    const target = /^s\d+$/.test(hash) && one(hash);
    if (target) {
      linked = target;
      target.open = true;
      show();
      target.scrollIntoView({ block: "start" });
      target.querySelector("summary").focus({ preventScroll: true });
      return;
    }
    linked = null;
    const parts = new URLSearchParams(hash);
    state.q = parts.get("q") || "";
    state.kind = parts.get("kind") || "";
    const known = buttons.map((button) => button.dataset.action);
    state.actions = new Set((parts.get("action") || "").split(",").filter((action) => known.includes(action)));
    search.value = state.q;
    kind.value = state.kind;
    show();
  };

  const reset = () => {
    state.q = ""; state.kind = ""; state.actions.clear();
    search.value = ""; kind.value = "";
  };

  search.addEventListener("input", () => { state.q = search.value.trim(); changed(); });
  kind.addEventListener("change", () => { state.kind = kind.value; changed(); });
  for (const button of buttons) {
    button.addEventListener("click", () => {
      const action = button.dataset.action;
      if (!state.actions.delete(action)) state.actions.add(action);
      changed();
    });
  }
  if (alike) alike.addEventListener("click", () => {
    state.alike = !state.alike;
    alike.setAttribute("aria-pressed", String(state.alike));
    show();
  });
  one("clear").addEventListener("click", () => { reset(); changed(); search.focus(); });
  fold.addEventListener("click", () => {
    const open = fold.textContent === "Unfold all";
    for (const { element } of steps) if (!element.hidden) element.open = open;
    show();
  });
  for (const { element } of steps) element.addEventListener("toggle", folded);
  addEventListener("keydown", (event) => {
    const typing = /^(input|select|textarea)$/i.test(event.target.tagName);
    if (event.key === "/" && !typing) { event.preventDefault(); search.focus(); }
    if (event.key === "Escape" && event.target === search) { search.value = ""; state.q = ""; changed(); }
  });
  addEventListener("hashchange", follow);
  // A second click on the same link changes no address.
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[href^='#s']");
    if (link && link.getAttribute("href") === location.hash) follow();
  });

  // The lines of the box that is pointed at.
  const lines = all(".lines path");
  for (const box of all(".box")) {
    const mark = (near) => {
      for (const line of lines) {
        if (line.dataset.from === box.dataset.step || line.dataset.to === box.dataset.step) line.classList.toggle("near", near);
      }
    };
    for (const name of ["mouseenter", "focus"]) box.addEventListener(name, () => mark(true));
    for (const name of ["mouseleave", "blur"]) box.addEventListener(name, () => mark(false));
  }

  addEventListener("beforeprint", () => { for (const { element } of steps) if (!element.hidden) element.open = true; });
  follow();
})();
