// The run that the page's address names is open: when the page is loaded, and after Back and Forward.
const open = () => {
  const params = new URLSearchParams(location.search), runs = params.getAll("run");
  if (!element.isConnected || (params.get("tab") ?? "train") !== "train") return;
  const title = document.querySelector("#lab-run-title"), shown = title?.checkVisibility() ? title.dataset.run : "";
  const named = runs.length === 1 ? runs[0] : "";
  if (named && !params.has("tab") && window.labAddress) { // ?run=ID alone
    labAddress({tab: "train"}, true);
    dispatchEvent(new PopStateEvent("popstate"));
    return;
  }
  if (named !== shown) trigger("select", {value: named});
};
addEventListener("popstate", open);
setTimeout(open);
