// Keeps the page up to date. Without it the page is the same, and renews itself each minute as a whole.
"use strict";

(() => {
  const EVERY_MS = 15_000;
  const PATIENCE_MS = 10_000;
  const UNDISTURBED_MS = 60_000;
  let renewedAt = Date.now();
  const byId = (id) => document.getElementById(id);

  // What a reader has folded out, and where the keyboard is, stays as it is.
  function renew(next) {
    const open = new Set([...document.querySelectorAll("details[open]")].map((details) => details.id));
    const focused = document.activeElement?.id;
    const [before, now] = [byId("main"), next.getElementById("main")];
    const said = next.getElementById("verdict")?.textContent;
    if (said !== byId("verdict")?.textContent) byId("said").textContent = said ?? "";
    for (const details of now.querySelectorAll("details")) details.open = open.has(details.id);
    before.replaceWith(document.adoptNode(now));
    if (focused) byId(focused)?.focus({ preventScroll: true });
    document.title = next.title;
    renewedAt = Date.now();
    const icon = next.querySelector("link[rel=icon]");
    if (icon) document.querySelector("link[rel=icon]").href = icon.getAttribute("href");
  }

  function answers() {
    byId("lost").hidden = true;
    document.body.classList.remove("lost");
  }

  // A page that cannot be renewed must not look well.
  function isLost() {
    const lost = byId("lost");
    if (!lost.hidden) return;
    const since = new Date().toISOString().slice(0, 19).replace("T", " ");
    lost.textContent = `strongroom does not answer since ${since} UTC. What stands below is of before, and may be wrong.`;
    lost.hidden = false;
    document.body.classList.add("lost");
  }

  async function refresh() {
    // Nobody looks, or somebody is copying a command; but what is old must not be left standing for the sake of that.
    const isSelecting = !(getSelection()?.isCollapsed ?? true);
    if (document.hidden || (isSelecting && Date.now() - renewedAt < UNDISTURBED_MS)) return;
    try {
      const signal = AbortSignal.timeout(PATIENCE_MS);
      const answer = await fetch(location.pathname, { cache: "no-store", signal });
      const next = new DOMParser().parseFromString(await answer.text(), "text/html");
      // Also an answer that says why there is nothing to see has this page's form.
      if (!next.getElementById("main")) throw new Error(`status ${answer.status}`);
      renew(next);
      answers();
    } catch {
      isLost();
    }
  }

  setInterval(refresh, EVERY_MS);
  document.addEventListener("visibilitychange", refresh);
})();
