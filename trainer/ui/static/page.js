// What the page does by itself: tables that sort and download. One listener for the whole page, so that tables drawn
// later have it too. trainer/ui/common/script.py puts the page's language and texts before it as `labTexts`.

// Gradio has said the browser's language of the page.
document.documentElement.lang = labTexts.language;

// In one of some thousand loads the Svelte of this Gradio fails while it draws the page (sveltejs/svelte#18610), which
// then stays covered. Loading it once more helps; only where nothing was entered that would be lost.
// The same where a tab is pressed while the page is being drawn: its content then never comes.
const labBroken = new RegExp([
  "Cannot read properties of undefined \\(reading 'e'\\)", "undefined is not an object .*\\.e\\b", 'is undefined.*"e"',
  "is not a function or its return value is not iterable",
].join("|"));
let labEntered = false;
document.addEventListener("input", event => { labEntered ||= event.isTrusted; }, true); // not what the page puts in
function labReload(message) {
  if (labEntered || !labBroken.test(message) || sessionStorage.getItem("labReloaded")) return;
  sessionStorage.setItem("labReloaded", "once");
  location.reload();
}
addEventListener("error", event => labReload(String(event.message)));
addEventListener("unhandledrejection", event => labReload(String(event.reason)));
// The page that is drawn whole may do so again at its next load.
addEventListener("load", () => setTimeout(() => sessionStorage.removeItem("labReloaded"), 60000));

// Whether the person has chosen a step of the lesson; lesson.js, which reads it, may come later.
document.addEventListener("click", event => {
  window.labLessonPressed ||= event.isTrusted && Boolean(event.target.closest?.(".lab-lesson-steps, .lab-lesson-buttons"));
}, true);

function labSort(button) {
  const heading = button.closest("th"), table = heading.closest("table"), body = table.tBodies[0];
  const column = heading.cellIndex;
  const down = heading.getAttribute("aria-sort") === "ascending" ||
    (heading.getAttribute("aria-sort") === null && heading.dataset.first === "descending");
  const key = row => row.cells[column].dataset.value ?? row.cells[column].innerText;
  const missing = value => value === "";
  const rows = [...body.rows].sort((a, b) => {
    const [x, y] = [key(a), key(b)];
    if (missing(x) || missing(y)) return missing(x) - missing(y); // rows without the figure stay last
    const order = isNaN(x) || isNaN(y) ? x.localeCompare(y) : x - y;
    return down ? -order : order;
  });
  for (const other of table.tHead.querySelectorAll("th")) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", down ? "descending" : "ascending");
  body.append(...rows);
}

function labDownload(button) {
  const table = document.getElementById(button.dataset.csv);
  const quote = text => /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  const lines = [...table.rows].map(row => [...row.cells]
    .map(cell => quote((cell.dataset.value ?? cell.innerText).trim())).join(","));
  const link = document.createElement("a");
  // The mark at the front lets a spreadsheet see that it is UTF-8.
  link.href = URL.createObjectURL(new Blob(["\ufeff" + lines.join("\r\n") + "\r\n"], {type: "text/csv"}));
  link.download = button.dataset.name + ".csv";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

async function labCopy(button) {
  const text = document.getElementById(button.dataset.copy).innerText;
  try {
    await navigator.clipboard.writeText(text);
  } catch { // no permission, or a page that is not served securely
    const area = Object.assign(document.createElement("textarea"), {value: text});
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  const before = button.innerText;
  button.innerText = labTexts.copied;
  setTimeout(() => { button.innerText = before; }, 2000);
}

// vega-embed draws a chart's file when the mouse goes down on its link: a key press, or a quick click, would save an
// empty page. The link is followed once the file is there.
function labChart(link) {
  link.setAttribute("href", "#");
  link.dispatchEvent(new MouseEvent("mousedown"));
  const wait = (left) => {
    if (link.getAttribute("href") === "#") {
      if (left) setTimeout(wait, 50, left - 1);
      return;
    }
    const save = document.createElement("a");
    save.href = link.href;
    save.download = link.download;
    save.click();
    link.closest("details")?.removeAttribute("open");
  };
  wait(200);
}

document.addEventListener("click", event => {
  const link = event.target.closest?.(".vega-actions a[download]");
  if (link) {
    event.preventDefault();
    labChart(link);
  }
  const button = event.target.closest?.("button");
  if (button?.dataset.sort !== undefined) labSort(button);
  if (button?.dataset.csv !== undefined) labDownload(button);
  if (button?.dataset.copy !== undefined) labCopy(button);
});

// Names for what Gradio and vega-embed leave without one: dropdowns of several choices, and the charts' menus; and in
// the page's language those that Gradio gives. The copy of the tab bar that it measures, which nobody sees, takes no
// focus.
function labName() {
  for (const copy of document.querySelectorAll(".tab-container.visually-hidden")) copy.inert = true;
  for (const input of document.querySelectorAll("input.border-none:not([aria-label])")) {
    const title = input.closest(".block")?.querySelector("[data-testid='block-info']")?.textContent.trim(); // also of a closed one
    if (title) input.setAttribute("aria-label", title);
  }
  for (const summary of document.querySelectorAll(".vega-embed > details > summary:not([aria-label])")) {
    const chart = summary.closest(".vega-embed").querySelector("svg[aria-label]")?.getAttribute("aria-label");
    summary.setAttribute("aria-label", `${summary.parentElement.title}: ${chart ?? ""}`);
  }
  for (const [english, name] of Object.entries(labTexts.names)) {
    for (const one of document.querySelectorAll(`[aria-label="${english}"]`)) one.setAttribute("aria-label", name);
  }
}
let labNaming;
new MutationObserver(() => {
  clearTimeout(labNaming);
  labNaming = setTimeout(labName, 100);
}).observe(document.documentElement, {childList: true, subtree: true});

// The presses of a gr.HTML whose buttons have data-pick: its `select` event has the button's value. The focus stays on
// the button where a press draws it again.
function labPick(element, trigger) {
  let pressed = null;
  element.addEventListener("click", event => {
    const button = event.target.closest("[data-pick]");
    pressed = button?.dataset.pick ?? null;
    if (button) trigger("select", {value: button.dataset.pick});
  });
  new MutationObserver(() => {
    if (pressed === null || document.activeElement !== document.body) return;
    element.querySelector(`[data-pick="${CSS.escape(pressed)}"]`)?.focus({preventScroll: true});
  }).observe(element, {childList: true, subtree: true});
}

// After a run may have been deleted: without an open run the address names none.
function labRunClosed(run) {
  if (!run) window.labAddress?.({run: null}, true);
  return [];
}

// A cookie with the grant of a browser that gave the password: an upload comes without the page's session. On a Space
// the page stands in a frame of another site, where a cookie must be set with these attributes.
function labGrant(grant) {
  const {cookie, seconds} = labTexts.grant;
  const site = location.protocol === "https:" ? "SameSite=None; Secure; Partitioned" : "SameSite=Lax";
  document.cookie = `${cookie}=${grant || ""}; path=/; max-age=${grant ? seconds : 0}; ${site}`;
  return [];
}
