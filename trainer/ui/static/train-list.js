// The presses in a list of runs: a name opens its run, Stop stops it; what a person unfolded or folded stays so when
// the list is drawn again. The body of a function of Gradio's with the element and its trigger.
const folds = new Map();
element.addEventListener("click", event => {
  const name = event.target.closest("[data-pick]"), stop = event.target.closest("[data-stop]");
  const fold = event.target.closest("summary")?.parentElement;
  if (name) {
    window.labAddress?.({run: name.dataset.pick});
    trigger("select", {value: name.dataset.pick});
  }
  if (stop) {
    stop.disabled = true;
    trigger("stop", {value: stop.dataset.stop});
  }
  if (fold) folds.set(fold.dataset.group, !fold.open);
});
new MutationObserver(() => {
  for (const fold of element.querySelectorAll("details[data-group]")) {
    const open = folds.get(fold.dataset.group);
    if (open !== undefined && fold.open !== open) fold.open = open;
  }
}).observe(element, {childList: true, subtree: true, attributes: true, attributeFilter: ["open", "data-group"]});
