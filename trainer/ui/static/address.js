// The page's place is in its address: ?tab=compare&view=table&method=lora, ?tab=train&run=ID,
// ?tab=lesson&step=3&present=1, and of Live ?tab=live&text=...; Back, Forward and a reload return to it. Other scripts
// change it with `labAddress`, and hear of Back and Forward by the window's event "labaddress", whose detail has the
// parameters. When a page is loaded the server's handlers read them from the request; Compare's get them (compare.js).
const labTabs = ["live", "compare", "train", "lesson"];
const labViews = ["overview", "table", "significance", "errors", "curves", "costs"];
const labFilters = ["task", "backbone", "method", "state", "label", "seed"]; // Compare's, in the order of its controls
const labOptions = ["reference", "unit", "x", "y", "axis", "kind", "against", "unlike", "machines", "columns", "differing", "cards"]; // after them
const labTabParameters = [...new Set(["view", "run", "step", "text", "calibrated", ...labFilters, ...labOptions])]; // of one tab
const labNoParameters = Object.fromEntries(labTabParameters.map(name => [name, null]));
const labLeft = {}; // tab -> the parameters that it was left with
let labRestoring = 1; // the number of the newest restoration; 0 while none is under way
let labRestorations = 1;

// Sets parameters of the address, and removes those that are null, false or empty; a list is repeated. A new entry in
// the browser's history, unless nothing changes, or with `replace`.
function labAddress(changes, replace = false) {
  const url = new URL(location.href);
  for (const [name, value] of Object.entries(changes)) {
    url.searchParams.delete(name);
    for (const one of [value].flat()) {
      if (one !== null && one !== undefined && one !== false && one !== "") url.searchParams.append(name, one);
    }
  }
  if (url.href === location.href) return;
  history[replace ? "replaceState" : "pushState"](null, "", url);
}

// The tab of an address: of one that names none, as ?run=ID, that of what it names.
function labTabOf(params) {
  const tab = params.get("tab");
  if (labTabs.includes(tab)) return tab;
  if (params.has("text")) return "live";
  if (params.has("run")) return "train";
  if (params.has("view")) return "compare";
  return params.has("step") || params.get("present") === "1" ? "lesson" : "live";
}

function labTab(name) {
  return [...document.querySelectorAll(`[role="tab"][data-tab-id="${name}"]`)]
    .find(tab => !tab.closest(".visually-hidden"));
}

function labSelected(names) {
  return names.find(name => labTab(name)?.getAttribute("aria-selected") === "true");
}

function labOpen(name) {
  labTab(name)?.click();
}

// Writes the tabs that are open into the address.
function labSync() {
  if (labRestoring) return;
  const params = new URLSearchParams(location.search);
  const tab = labSelected(labTabs), before = labTabOf(params);
  if (!tab) return;
  if (tab !== before) {
    labLeft[before] = Object.fromEntries(labTabParameters.map(name => [name, params.getAll(name)]));
    const changes = {tab, ...labNoParameters, ...labLeft[tab]};
    if (tab === "compare") changes.view = labSelected(labViews.slice(1)) ?? null;
    labAddress(changes);
  } else if (tab === "compare") {
    const view = labSelected(labViews);
    if (view && view !== (params.get("view") ?? labViews[0])) labAddress({tab, view});
  }
}

// Presses a tab until it is open, first once the page is quiet, or after `patience` seconds: Gradio fails where it draws
// a tab's content beside the page's, or twice at once.
let labChanged = 0;
new MutationObserver(() => { labChanged = Date.now(); }).observe(document.documentElement, {subtree: true, childList: true});
async function labSelect(name, number, seconds, patience) {
  const since = Date.now();
  let pressed = 0;
  for (const end = since + 1000 * seconds; Date.now() < end && labRestoring === number;) {
    const tab = labTab(name), now = Date.now();
    if (tab?.getAttribute("aria-selected") === "true") return;
    const quiet = window.labDrawn && now - labChanged > 250;
    if (tab && now - pressed > 3000 && (quiet || now - since > 1000 * patience)) {
      pressed = now;
      tab.click();
    }
    await new Promise(done => setTimeout(done, 50));
  }
}

async function labRestore(seconds, patience) {
  const number = labRestoring = ++labRestorations, params = new URLSearchParams(location.search);
  const tab = labTabOf(params);
  await labSelect(tab, number, seconds, patience);
  const view = labViews.includes(params.get("view")) ? params.get("view") : labViews[0];
  if (tab === "compare") await labSelect(view, number, 10, Infinity);
  if (labRestoring !== number) return;
  if (tab === "compare") labTab(view)?.scrollIntoView({block: "nearest", inline: "center"}); // in its bar, on a phone
  if (tab !== (params.get("tab") ?? "live")) labAddress({tab}, true);
  labRestoring = 0;
}

addEventListener("popstate", async () => {
  await labRestore(10, 1.5);
  dispatchEvent(new CustomEvent("labaddress", {detail: new URLSearchParams(location.search)}));
});
// Who presses a tab while the page still goes to that of its address wants the pressed one.
document.addEventListener("click", event => {
  if (event.isTrusted && event.target.closest?.('[role="tab"]')) labRestoring = 0;
}, true);
new MutationObserver(labSync).observe(document.documentElement, {subtree: true, attributeFilter: ["aria-selected"]});
labRestore(60, 5);

document.addEventListener("click", event => {
  const name = event.target.closest?.("[data-open-tab]")?.dataset.openTab;
  if (!name) return;
  labOpen(name);
  scrollTo({top: 0});
});
