// Live: what a press brings is shown where the eye is, with a sign at the button until it comes, and an address.

let labPredicted = ""; // the sentence that was predicted last
let labReplaced = ""; // the one that the example of another task may replace

// The sentence of an address without one, by its task: the example that the page opened with, for as long as the browser
// has the page, reloads included.
function labFirst(params, text) {
  const key = `peft-lab-first-${params.get("task") ?? ""}`;
  if (text) sessionStorage.setItem(key, text);
  return sessionStorage.getItem(key) ?? "";
}

// Goes to an element where it is not whole in view, now and while its content arrives, until the reader moves the page.
let labStopShowing = () => {};
function labShow(id, watched = id) {
  labStopShowing();
  const kinds = ["wheel", "touchmove", "keydown", "pointerdown"];
  const start = Date.now(), calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const show = () => {
    const element = document.getElementById(id), high = element?.getBoundingClientRect().height > innerHeight;
    const target = (high && element.querySelector(".lab-answers")) || element; // of what does not fit, the cards
    const box = target?.getBoundingClientRect();
    if (!box?.height || (box.top >= 0 && box.bottom <= innerHeight)) return;
    if (box.top >= 0 && box.top < 24) return; // higher than the window: it begins at the top
    // Only as far as it takes to see its end: what was pressed stays in view where both fit.
    const far = box.top < 0 ? box.top : Math.min(box.top, box.bottom - innerHeight);
    scrollBy({top: far, behavior: calm ? "instant" : "smooth"});
  };
  const observer = new MutationObserver(() => { if (Date.now() - start > 20000) labStopShowing(); else show(); });
  labStopShowing = () => {
    observer.disconnect();
    for (const kind of kinds) removeEventListener(kind, labStopShowing);
  };
  const area = document.getElementById(watched);
  if (area) observer.observe(area, {childList: true, subtree: true, characterData: true});
  for (const kind of kinds) addEventListener(kind, labStopShowing, {passive: true});
  show();
}

// After a press on Train: goes to the runs, unless the bar says why nothing was queued.
function labShowRuns() {
  if (!document.querySelector("#lab-train-bar .lab-warning")) labShow("lab-runs");
}

// The sign at the button, until the answers begin to arrive: they then say themselves that they are being computed.
function labBusy(id, area) {
  const button = document.getElementById(id), element = document.getElementById(area);
  if (!button || !element) return;
  button.setAttribute("aria-busy", "true");
  const done = () => { button.removeAttribute("aria-busy"); observer.disconnect(); };
  const observer = new MutationObserver(done);
  observer.observe(element, {childList: true, subtree: true, characterData: true});
  setTimeout(done, 10000);
}

// The task for an address: none where there is no choice of it.
function labTask(task) {
  return document.getElementById("live-task")?.checkVisibility() ? task : null;
}

// `js` of the choice of a task: it stands in the address in place of the sentence, which was of another task.
function labChooseTask(inputs) {
  const [task] = inputs;
  [labReplaced, labPredicted] = [labPredicted, ""]; // the next sentence is the task's own example
  labAddress({tab: "live", ...labNoParameters, task}, true);
  return inputs;
}

// `js` of the prediction after an offer: what is offered, its last input, comes into the box here in the page, unless a
// sentence of the reader's is there, or the reader is about to type one: what comes from the server would overwrite
// what is typed while it is on its way.
async function labOffer(inputs) {
  const offered = inputs.at(-1), box = () => document.querySelector("#live-text textarea");
  for (let tries = 0; offered && !box() && tries < 100; tries++) await new Promise(next => setTimeout(next, 100));
  const area = box(), typing = area && document.activeElement === area;
  const own = typing || (area?.value.trim() && area.value !== labReplaced);
  if (!offered || !area || own) return [area?.value ?? inputs[0], ...inputs.slice(1)];
  area.value = offered;
  area.dispatchEvent(new Event("input", {bubbles: true}));
  return [offered, ...inputs.slice(1)];
}

// `js` of the events that predict: shows the answers, and puts the sentence into the address unless the class guesses.
function labPredict(inputs) {
  const [text, runs, , guessing, , , calibrated, task] = inputs;
  labBusy("live-predict", "live-answers");
  // The press of Enter that predicts ends no showing.
  setTimeout(labShow, 0, "live-answers");
  labPredicted = text;
  const here = new URLSearchParams(location.search), first = !here.has("text") && text === labFirst(here);
  if (text?.trim() && !guessing && !first) {
    const parameters = {text, run: runs ?? [], task: labTask(task), calibrated: calibrated ? "1" : null};
    labAddress({tab: "live", ...labNoParameters, ...parameters});
  }
  return inputs;
}

// A press on Why: the sign is at that button until the card is drawn again, and the page goes to what opens in the card.
document.addEventListener("click", event => {
  const why = event.target.closest?.(".lab-board [data-pick][aria-expanded]");
  if (!why) return;
  if (why.getAttribute("aria-expanded") === "false") why.toggleAttribute("data-busy", true);
  labShow(`live-card-${why.dataset.pick}`, "live-answers");
});

// The example that was pressed is marked until the sentence is changed.
function labMark(example) {
  for (const one of document.querySelectorAll(".lab-examples [aria-current]")) one.removeAttribute("aria-current");
  example?.setAttribute("aria-current", "true");
}
document.addEventListener("click", event => {
  const example = event.target.closest?.(".lab-examples [data-pick]");
  if (example) labMark(example);
});
document.addEventListener("input", event => { if (event.target.closest?.("#live-text")) labMark(null); });

// Before a person changes anything.
const labNote = () => {
  const params = new URLSearchParams(location.search), area = document.querySelector("#live-text textarea");
  if (labTabOf(params) !== "live" || !area?.value || labPredicted === area.value) return;
  if (params.has("text")) labPredicted ||= area.value;
  else if (!labPredicted) {
    labPredicted = area.value;
    labFirst(params, area.value);
  }
};
for (const kind of ["pointerdown", "keydown", "focusin"]) addEventListener(kind, labNote, true);

addEventListener("labaddress", event => {
  const area = document.querySelector("#live-text textarea");
  // What was typed and not predicted stays.
  const first = area?.value === labPredicted ? labFirst(event.detail) : "";
  const text = event.detail.get("text") || first;
  if ((event.detail.get("tab") ?? "live") !== "live" || !text || !area || area.value === text) return;
  area.value = text;
  area.dispatchEvent(new Event("input", {bubbles: true}));
  setTimeout(() => document.getElementById("live-predict")?.click(), 150);
});
